//! How one lease stands, as far as its keys say.

use std::collections::BTreeMap;

use super::keys::{Keys, Part, id_of};
use crate::engine::etcd::Change;
use crate::engine::etcd::wire::KeyValue;
use crate::lease::Seen;

/// How one lease stands.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) held: Option<Holder>,
    /// Who waits, by the revision at which it came.
    pub(super) line: BTreeMap<i64, Place>,
    /// Who is to hold it next, and when that was said.
    heir: Option<(i64, String)>,
    said: Vec<u8>,
    properties: BTreeMap<String, String>,
    /// The epoch of the newest holder that is known.
    last: Option<u64>,
}

/// Who holds it.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) created: i64,
    name: Vec<u8>,
}

/// Who waits.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) lease: i64,
    pub(super) name: Vec<u8>,
}

/// How a candidate stands in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It holds when it takes the lease now.
    Own {
        /// When it came in line.
        place: i64,
        /// It was named as the next one, at that revision.
        heir: Option<i64>,
    },
    /// It waits.
    Waits,
    /// It is not in line.
    Gone,
}

impl Holder {
    pub(super) fn epoch(&self) -> u64 {
        epoch_of(self.created)
    }

    pub(super) fn name(&self) -> Option<String> {
        (!self.name.is_empty()).then(|| String::from_utf8_lossy(&self.name).into_owned())
    }
}

/// Revisions begin at 1.
pub(super) fn epoch_of(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}

impl View {
    /// As all keys of the lease say.
    pub(super) fn read(keys: &Keys, kvs: Vec<KeyValue>) -> Self {
        let mut view = Self::default();
        for kv in kvs {
            view.apply(keys, &kv.into());
        }
        view
    }

    /// The same, but what was known of holders before is remembered.
    pub(super) fn again(self, before: &Self) -> Self {
        let last = self.last.max(before.last);
        Self { last, ..self }
    }

    /// A key has changed.
    pub(super) fn apply(&mut self, keys: &Keys, change: &Change) {
        let (created, value) = (change.created, change.value.as_ref());
        match keys.part(&change.key) {
            Some(Part::Held) => {
                self.held = value.map(|name| Holder { created, name: name.clone() });
                self.last = self.held.as_ref().map(Holder::epoch).max(self.last);
            }
            Some(Part::Said) => self.said = value.cloned().unwrap_or_default(),
            Some(Part::Heir) => {
                let heir = value.map(|id| (created, String::from_utf8_lossy(id).into_owned()));
                self.heir = heir;
            }
            Some(Part::Line(id)) => {
                self.line.retain(|_, place| place.id != id);
                if let Some(name) = value {
                    let (id, lease, name) = (id.to_owned(), change.lease, name.clone());
                    self.line.insert(created, Place { id, lease, name });
                }
            }
            Some(Part::Property(name)) => {
                // Values that are no text are of no interest.
                match value.cloned().map(String::from_utf8) {
                    Some(Ok(text)) => self.properties.insert(name.into(), text),
                    Some(Err(_)) | None => self.properties.remove(name),
                };
            }
            None => {}
        }
    }

    /// Whether anybody holds it or waits for it.
    pub(super) fn is_known(&self) -> bool {
        self.held.is_some() || !self.line.is_empty()
    }

    /// How the candidate with that lease of etcd stands.
    pub(super) fn turn(&self, lease: i64) -> Turn {
        let own = id_of(lease);
        let Some((place, _)) = self.line.iter().find(|(_, place)| place.id == own) else {
            return Turn::Gone;
        };
        let place = *place;
        match (&self.held, &self.heir) {
            (Some(_), _) => Turn::Waits,
            (None, Some((at, heir))) if *heir == own => Turn::Own { place, heir: Some(*at) },
            (None, Some(_)) => Turn::Waits,
            (None, None) => match self.line.first_key_value() {
                Some((first, _)) if *first == place => Turn::Own { place, heir: None },
                _ => Turn::Waits,
            },
        }
    }

    /// What an observer is told.
    pub(super) fn seen(&self, keys: &Keys) -> Seen {
        let Some(holder) = &self.held else { return Seen::Free { last: self.last } };
        let value = if keys.own {
            self.said.clone()
        } else {
            serde_json::to_vec(&self.properties).unwrap_or_default()
        };
        Seen::Held { epoch: holder.epoch(), name: holder.name(), value }
    }
}

impl From<KeyValue> for Change {
    fn from(kv: KeyValue) -> Self {
        Self {
            key: kv.key,
            value: Some(kv.value),
            created: kv.create_revision,
            lease: kv.lease,
            revision: kv.mod_revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Layout;
    use super::*;

    fn change(key: &str, value: Option<&str>, created: i64) -> Change {
        let (key, value) = (key.into(), value.map(|text| text.as_bytes().to_vec()));
        Change { key, value, created, lease: 0, revision: created }
    }

    #[test]
    fn the_first_in_line_or_the_heir_takes_what_is_free() {
        let keys = Layout::Own("/r/".into()).keys("a").unwrap();
        let mut view = View::default();
        assert_eq!(view.turn(1), Turn::Gone);
        view.apply(&keys, &change(&keys.held, Some("h"), 5));
        for (lease, created) in [(1, 6), (2, 7)] {
            view.apply(&keys, &change(&keys.place(lease), Some("n"), created));
        }
        assert_eq!((view.turn(1), view.turn(2)), (Turn::Waits, Turn::Waits));
        view.apply(&keys, &change(&keys.held, None, 0));
        assert_eq!((view.turn(1), view.turn(2)), (Turn::Own { place: 6, heir: None }, Turn::Waits));
        assert_eq!(view.seen(&keys), Seen::Free { last: Some(5) });
        view.apply(&keys, &change(&keys.heir(), Some(&id_of(2)), 8));
        let named = Turn::Own { place: 7, heir: Some(8) };
        assert_eq!((view.turn(1), view.turn(2)), (Turn::Waits, named));
        view.apply(&keys, &change(&keys.heir(), None, 0));
        view.apply(&keys, &change(&keys.place(1), None, 0));
        assert_eq!((view.turn(1), view.turn(2)), (Turn::Gone, Turn::Own { place: 7, heir: None }));
    }

    #[test]
    fn what_a_holder_says_is_a_value_or_properties() {
        let own = Layout::Own("/r/".into()).keys("a").unwrap();
        let mut view = View::default();
        view.apply(&own, &change(&own.held, Some(""), 5));
        view.apply(&own, &change(&own.said(), Some("x"), 5));
        let value = b"x".to_vec();
        assert_eq!(view.seen(&own), Seen::Held { epoch: 5, name: None, value });
        let keys = Layout::Nuropb.keys("a").unwrap();
        let mut view = View::default();
        view.apply(&keys, &change(&keys.held, Some("i1"), 5));
        view.apply(&keys, &change(&keys.property("consume"), Some("False"), 6));
        let value = br#"{"consume":"False"}"#.to_vec();
        assert_eq!(view.seen(&keys), Seen::Held { epoch: 5, name: Some("i1".into()), value });
    }
}
