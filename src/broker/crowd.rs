//! Who is here how often: connections of each key and user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::Principal;

/// Connections of everybody who has proven who it is.
#[derive(Debug)]
pub(super) struct Crowd {
    max: usize,
    counts: Mutex<HashMap<Principal, usize>>,
}

/// One connection's place; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// `None`: it is not counted.
    of: Option<(Arc<Crowd>, Principal)>,
}

/// As many connections as there may be are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl Crowd {
    /// At most `max` connections each.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, counts: Mutex::default() })
    }

    /// One more connection of that principal. Who has proven nothing is not counted here.
    pub(super) fn enter(self: &Arc<Self>, principal: Principal) -> Result<Place, TooMany> {
        if !matches!(principal, Principal::Key(_) | Principal::User(_)) {
            return Ok(Place { of: None });
        }
        let mut counts = self.lock();
        let count = counts.entry(principal).or_default();
        if *count >= self.max {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Place { of: Some((self.clone(), principal)) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Principal, usize>> {
        // The counts are whole between any two statements.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, principal)) = &self.of else { return };
        let mut counts = crowd.lock();
        if let Some(count) = counts.get_mut(principal) {
            *count -= 1;
            if *count == 0 {
                counts.remove(principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PublicKey;

    #[test]
    fn each_key_has_so_many_connections_and_strangers_any_number() {
        let crowd = Crowd::new(2);
        let [one, other] = [1, 2].map(|octet| Principal::Key(PublicKey([octet; 32])));
        let places = [crowd.enter(one).unwrap(), crowd.enter(one).unwrap()];
        assert_eq!(crowd.enter(one).unwrap_err(), TooMany);
        assert!(crowd.enter(other).is_ok());
        let _many = [(); 5].map(|()| crowd.enter(Principal::Address([1; 16])).unwrap());
        drop(places);
        assert!(crowd.enter(one).is_ok());
        assert_eq!(crowd.lock().len(), 0);
    }
}
