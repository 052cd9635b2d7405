//! A list of rows as JSON, no longer than there is room for.

use serde::Serialize;
use serde_json::Value;

/// The octets of a JSON array.
#[derive(Debug)]
pub(super) struct Listing {
    octets: Vec<u8>,
    max: usize,
    left_out: usize,
}

impl Listing {
    /// What a last row may take that says what was left out, octets.
    const LAST: usize = 256;

    /// A list of at most `max` octets.
    pub(super) fn new(max: usize) -> Self {
        Self { octets: b"[".to_vec(), max, left_out: 0 }
    }

    /// Adds a row if there is room for it. Behind one that was left out there is none: what is
    /// listed is the beginning.
    pub(super) fn push(&mut self, row: &impl Serialize) {
        let row = super::super::written(row);
        let room = self.max.saturating_sub(self.octets.len() + Self::LAST);
        if self.left_out > 0 || row.len() + 1 > room {
            self.left_out += 1;
            return;
        }
        self.append(&row);
    }

    /// Rows that found no room.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether no row came.
    pub(super) fn is_empty(&self) -> bool {
        self.octets.len() == 1 && self.left_out == 0
    }

    /// The array, with one more row at its end.
    pub(super) fn finish(mut self, last: Option<&Value>) -> Vec<u8> {
        if let Some(last) = last {
            self.append(&super::super::written(last));
        }
        self.octets.push(b']');
        self.octets
    }

    fn append(&mut self, row: &[u8]) {
        if self.octets.len() > 1 {
            self.octets.push(b',');
        }
        self.octets.extend_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_that_find_no_room_are_counted() {
        let mut listing = Listing::new(300);
        assert!(listing.is_empty());
        for row in 0..10 {
            listing.push(&json!({ "row": row }));
        }
        assert_eq!(listing.left_out(), 6);
        listing.push(&json!({}));
        let octets = listing.finish(Some(&json!({"left_out": 7})));
        let rows: Vec<Value> = serde_json::from_slice(&octets).unwrap();
        let shown = (0..4).map(|row| json!({ "row": row }));
        assert_eq!(rows, shown.chain([json!({"left_out": 7})]).collect::<Vec<_>>());
        assert_eq!(Listing::new(0).finish(None), b"[]");
    }
}
