//! Doubly linked lists through the entries of a table: every operation O(1), no allocation.

use slotmap::{Key, SlotMap};

/// An entry's neighbours in the list that it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links<K> {
    prev: K,
    next: K,
}

impl<K: Key> Default for Links<K> {
    fn default() -> Self {
        Self { prev: K::null(), next: K::null() }
    }
}

impl<K: Key> Links<K> {
    /// The entry behind this one.
    pub(super) fn next(&self) -> Option<K> {
        (!self.next.is_null()).then_some(self.next)
    }
}

/// An entry that can be in one list at a time.
pub(super) trait Linked<K: Key> {
    fn links(&mut self) -> &mut Links<K>;
}

impl<K: Key, V: Linked<K>> Linked<K> for Box<V> {
    fn links(&mut self) -> &mut Links<K> {
        (**self).links()
    }
}

/// First and last entry of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<K> {
    first: K,
    last: K,
}

impl<K: Key> Default for List<K> {
    fn default() -> Self {
        Self { first: K::null(), last: K::null() }
    }
}

impl<K: Key> List<K> {
    pub(super) fn first(&self) -> Option<K> {
        (!self.first.is_null()).then_some(self.first)
    }

    pub(super) fn last(&self) -> Option<K> {
        (!self.last.is_null()).then_some(self.last)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Whether `key` is all there is.
    pub(super) fn is_only(&self, key: K) -> bool {
        self.first == key && self.last == key
    }

    /// Appends `key`, which is in no list.
    pub(super) fn push_back<V: Linked<K>>(&mut self, table: &mut SlotMap<K, V>, key: K) {
        let last = std::mem::replace(&mut self.last, key);
        if let Some(entry) = table.get_mut(key) {
            *entry.links() = Links { prev: last, next: K::null() };
        }
        match table.get_mut(last) {
            Some(before) => before.links().next = key,
            None => self.first = key,
        }
    }

    /// Takes out `key`, which is in this list.
    pub(super) fn remove<V: Linked<K>>(&mut self, table: &mut SlotMap<K, V>, key: K) {
        let Some(entry) = table.get_mut(key) else { return };
        let Links { prev, next } = std::mem::take(entry.links());
        match table.get_mut(prev) {
            Some(before) => before.links().next = next,
            None => self.first = next,
        }
        match table.get_mut(next) {
            Some(after) => after.links().prev = prev,
            None => self.last = prev,
        }
    }

    /// The entries in order, their links checked both ways.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn walk<V>(
        &self,
        table: &SlotMap<K, V>,
        links: impl Fn(&V) -> &Links<K>,
    ) -> Result<Vec<K>, String> {
        let (mut keys, mut before, mut at) = (Vec::new(), K::null(), self.first);
        while !at.is_null() {
            let entry = table.get(at).ok_or_else(|| format!("{at:?} is listed and gone"))?;
            if links(entry).prev != before || keys.len() >= table.len() {
                return Err(format!("the list is torn at {at:?}"));
            }
            keys.push(at);
            (before, at) = (at, links(entry).next);
        }
        if self.last == before { Ok(keys) } else { Err("the list ends elsewhere".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    slotmap::new_key_type! { struct TestKey; }

    impl Linked<TestKey> for (char, Links<TestKey>) {
        fn links(&mut self) -> &mut Links<TestKey> {
            &mut self.1
        }
    }

    #[test]
    fn entries_leave_from_either_end_and_from_between() {
        let mut table = SlotMap::<TestKey, (char, Links<TestKey>)>::with_key();
        let mut list = List::default();
        let keys = ['a', 'b', 'c', 'd'].map(|name| table.insert((name, Links::default())));
        for key in keys {
            list.push_back(&mut table, key);
        }
        let order = |list: &List<TestKey>, table: &mut SlotMap<_, (char, Links<TestKey>)>| {
            let (mut names, mut at) = (String::new(), list.first);
            while let Some(entry) = table.get_mut(at) {
                names.push(entry.0);
                at = entry.1.next;
            }
            names
        };
        list.remove(&mut table, keys[1]);
        assert_eq!(order(&list, &mut table), "acd");
        list.remove(&mut table, keys[3]);
        list.remove(&mut table, keys[0]);
        assert_eq!(order(&list, &mut table), "c");
        list.push_back(&mut table, keys[0]);
        assert_eq!(order(&list, &mut table), "ca");
        list.remove(&mut table, keys[2]);
        list.remove(&mut table, keys[0]);
        assert!(list.is_empty());
    }
}
