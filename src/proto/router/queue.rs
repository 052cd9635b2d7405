//! Requests that wait for a service: each client's in the order of acceptance, the clients in turn.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::id::{PeerId, RequestId};

use super::Hasher;

/// A waiting request: its place in the order of acceptance, and which one it is.
type Entry = (u64, RequestId);

/// The requests of one client. A lane that was emptied from outside stays until its turn comes, or
/// until there are many of them.
#[derive(Debug, Default)]
struct Lane {
    entries: VecDeque<Entry>,
}

/// The waiting requests of one service.
///
/// One flood does not starve the rest: the clients take turns. A request that comes back from a
/// lost worker goes to its old place among those of its client.
#[derive(Debug)]
pub(super) struct Queue {
    lanes: HashMap<PeerId, Lane, Hasher>,
    /// Whose turn it is; each client with a lane is here once.
    turns: VecDeque<PeerId>,
    len: usize,
}

impl Queue {
    /// So many empty lanes are left alone, and as many as others.
    const EMPTY_LANES_MAX: usize = 64;

    pub(super) fn new(hasher: Hasher) -> Self {
        Self { lanes: HashMap::with_hasher(hasher), turns: VecDeque::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a request at the end of its client's lane, or back to its old place there.
    pub(super) fn insert(&mut self, caller: PeerId, sequence: u64, id: RequestId) {
        let lane = self.lanes.entry(caller).or_insert_with(|| {
            self.turns.push_back(caller);
            Lane::default()
        });
        let at = lane.entries.partition_point(|(other, _)| *other < sequence);
        lane.entries.insert(at, (sequence, id));
        self.len += 1;
    }

    /// As [`Self::insert`], for a request that has been accepted before: its client is next.
    pub(super) fn give_back(&mut self, caller: PeerId, sequence: u64, id: RequestId) {
        let lanes = self.lanes.len();
        self.insert(caller, sequence, id);
        if self.lanes.len() > lanes {
            self.turns.rotate_right(1);
        }
    }

    /// The next request, of the client whose turn it is.
    pub(super) fn pop(&mut self) -> Option<RequestId> {
        while let Some(caller) = self.turns.pop_front() {
            let Some(lane) = self.lanes.get_mut(&caller) else { continue };
            let next = lane.entries.pop_front();
            if lane.entries.is_empty() {
                self.lanes.remove(&caller);
            } else {
                self.turns.push_back(caller);
            }
            if let Some((_, id)) = next {
                self.len -= 1;
                return Some(id);
            }
        }
        None
    }

    /// Takes out one request, wherever it is.
    pub(super) fn remove(&mut self, caller: PeerId, sequence: u64) {
        let Some(lane) = self.lanes.get_mut(&caller) else { return };
        if let Ok(at) = lane.entries.binary_search_by_key(&sequence, |(other, _)| *other) {
            lane.entries.remove(at);
            self.len -= 1;
        }
        if self.lanes.len() > Self::EMPTY_LANES_MAX + 2 * self.len {
            self.sweep();
        }
    }

    /// Forgets the empty lanes: clients that come, ask and go while nobody serves must leave
    /// nothing behind.
    fn sweep(&mut self) {
        self.lanes.retain(|_, lane| !lane.entries.is_empty());
        self.turns.retain(|caller| self.lanes.contains_key(caller));
    }

    /// How many requests of its client go before one, and how many clients take turns.
    pub(super) fn place_of(&self, caller: PeerId, sequence: u64) -> Option<(usize, usize)> {
        let lane = self.lanes.get(&caller)?;
        let at = lane.entries.binary_search_by_key(&sequence, |(other, _)| *other).ok()?;
        Some((at, self.lanes.len()))
    }

    /// The requests of each client, in the order of acceptance; the client whose turn it is first.
    pub(super) fn lanes(&self) -> impl Iterator<Item: Iterator<Item = RequestId>> + '_ {
        let lanes = self.turns.iter().filter_map(|caller| self.lanes.get(caller));
        lanes.map(|lane| lane.entries.iter().map(|(_, id)| *id))
    }

    /// The oldest request of each client that has any.
    pub(super) fn oldest(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.lanes().filter_map(|mut lane| lane.next())
    }

    /// What is in the lanes; turns, order and length are checked.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn audit(&self) -> Result<Vec<(PeerId, Vec<Entry>)>, String> {
        let mut lanes = Vec::new();
        for caller in &self.turns {
            let lane = self.lanes.get(caller).ok_or_else(|| format!("{caller:?} has no lane"))?;
            let entries: Vec<_> = lane.entries.iter().copied().collect();
            if !entries.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(format!("the lane of {caller:?} is not in the order of acceptance"));
            }
            lanes.push((*caller, entries));
        }
        let callers: std::collections::BTreeSet<_> = self.turns.iter().collect();
        if callers.len() != lanes.len() || lanes.len() != self.lanes.len() {
            return Err("not every lane has one turn".into());
        }
        let len: usize = lanes.iter().map(|(_, entries)| entries.len()).sum();
        if len == self.len { Ok(lanes) } else { Err(format!("{len} wait, {} are told", self.len)) }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    struct Ids {
        peers: Vec<PeerId>,
        requests: Vec<RequestId>,
    }

    fn ids() -> Ids {
        let mut peers = SlotMap::<PeerId, ()>::with_key();
        let mut requests = SlotMap::<RequestId, ()>::with_key();
        Ids {
            peers: (0..3).map(|_| peers.insert(())).collect(),
            requests: (0..10).map(|_| requests.insert(())).collect(),
        }
    }

    fn order(queue: &mut Queue, ids: &Ids) -> Vec<usize> {
        let position = |id| ids.requests.iter().position(|other| *other == id).unwrap();
        std::iter::from_fn(|| queue.pop().map(position)).collect()
    }

    fn filled(ids: &Ids, entries: &[(usize, usize)]) -> Queue {
        let mut queue = Queue::new(Hasher::default());
        for (peer, request) in entries {
            queue.insert(ids.peers[*peer], *request as u64, ids.requests[*request]);
        }
        queue
    }

    #[test]
    fn a_flood_of_one_client_does_not_starve_the_others() {
        let ids = ids();
        let mut queue = filled(&ids, &[(0, 0), (0, 1), (0, 2), (1, 3), (2, 4), (1, 5)]);
        assert_eq!(order(&mut queue, &ids), [0, 3, 4, 1, 5, 2]);
    }

    #[test]
    fn a_request_given_back_takes_its_old_place() {
        let ids = ids();
        let mut queue = filled(&ids, &[(0, 1), (0, 4), (1, 5)]);
        queue.give_back(ids.peers[0], 2, ids.requests[2]);
        queue.give_back(ids.peers[2], 3, ids.requests[3]);
        assert_eq!(queue.len(), 5);
        assert_eq!(order(&mut queue, &ids), [3, 1, 5, 2, 4]);
    }

    #[test]
    fn clients_that_come_and_go_leave_nothing_behind() {
        let ids = ids();
        let mut peers = SlotMap::<PeerId, ()>::with_key();
        let mut queue = Queue::new(Hasher::default());
        queue.insert(peers.insert(()), 0, ids.requests[0]);
        for sequence in 1..10_000 {
            let peer = peers.insert(());
            queue.insert(peer, sequence, ids.requests[1]);
            queue.remove(peer, sequence);
        }
        assert!(queue.lanes.len() <= Queue::EMPTY_LANES_MAX + 4, "{}", queue.lanes.len());
        assert_eq!(queue.turns.len(), queue.lanes.len());
        assert_eq!(order(&mut queue, &ids), [0]);
    }

    #[test]
    fn requests_leave_from_any_place() {
        let ids = ids();
        let mut queue = filled(&ids, &[(0, 0), (0, 1), (0, 2), (1, 3), (2, 4)]);
        queue.remove(ids.peers[0], 1);
        queue.remove(ids.peers[1], 3);
        queue.remove(ids.peers[2], 4);
        assert_eq!(order(&mut queue, &ids), [0, 2]);
        assert_eq!(queue.len(), 0);
    }
}
