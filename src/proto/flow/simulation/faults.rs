//! Who comes for a flow, who offers to, and what goes wrong.

use crate::proto::flow::output::End;
use crate::proto::flow::table::FlowId;
use crate::wire::zio::{Cid, FlowLabel};

use super::party::Party;
use super::world::{Actor, Event, SECOND, World, service};

impl World {
    /// Somebody comes for a flow: honest or not, on a connection of its own or one that it has.
    pub(super) fn send(&mut self, flow: FlowId) {
        let Some(at) = self.bots.iter().position(|(other, ..)| *other == flow) else { return };
        let (_, label, origin) = self.bots.remove(at);
        let read = FlowLabel::read(&label).unwrap();
        let direction = read.direction().unwrap();
        if let Cid::Is(cid) = read.cid() {
            self.judge.cids.insert(flow, cid.get());
        }
        let strangers: Vec<usize> = (0..self.actors.len())
            .filter(|at| match &self.actors[*at] {
                Actor::Stranger(it) => self.shell.links[it.link].alive,
                _ => false,
            })
            .collect();
        if !strangers.is_empty() && self.rng.one_in(4) {
            let at = self.rng.pick(&strangers);
            if let Actor::Stranger(stranger) = &mut self.actors[at] {
                stranger.give(&label, &mut self.rng);
                let end = self.shell.links[stranger.link].end;
                self.judge.sent.entry(flow).or_default().insert(end);
            }
            return;
        }
        let idle: Vec<usize> = (0..self.actors.len())
            .filter(|at| match &self.actors[*at] {
                Actor::Handler { party, over } => *over && self.shell.links[party.link].alive,
                _ => false,
            })
            .collect();
        let reused = if idle.is_empty() { None } else { Some(self.rng.pick(&idle)) };
        let actor = match reused.filter(|_| self.rng.one_in(2)) {
            Some(actor) => {
                let Actor::Handler { party, over } = &mut self.actors[actor] else { return };
                let shape = self.shell.links[party.link].shape;
                *party = Party::new(party.link, origin, direction, label, shape, &mut self.rng);
                *over = false;
                self.saw("reused");
                self.soon(actor);
                actor
            }
            None => {
                let link = self.connect_handler(reused);
                let shape = self.shell.links[link].shape;
                let party = Party::new(link, origin, direction, label, shape, &mut self.rng);
                self.enter(link, |_| Actor::Handler { party, over: false })
            }
        };
        let Actor::Handler { party, .. } = &self.actors[actor] else { return };
        let end = self.shell.links[party.link].end;
        self.judge.sent.entry(flow).or_default().insert(end);
    }

    /// A connection for a handler, or another lane of one that there is within MJP.
    fn connect_handler(&mut self, other: Option<usize>) -> usize {
        let end = other.and_then(|actor| match &self.actors[actor] {
            Actor::Handler { party, .. } => Some(self.shell.links[party.link].end),
            _ => None,
        });
        let peer = end.filter(|end| end.is_lane()).map(|end| end.peer);
        match peer.filter(|_| self.rng.one_in(2)) {
            Some(peer) => {
                let lane = u64::try_from(self.shell.links.len()).unwrap() + 1;
                self.saw("lanes");
                self.connect_as(End { peer, lane })
            }
            None => self.connect(),
        }
    }

    pub(super) fn offer(&mut self) {
        let now = self.time();
        for _ in 0..self.rng.within(1, 2) {
            let end = End::of(self.peers.insert(()));
            let credit = u32::try_from(self.rng.within(0, 2)).unwrap();
            if let Ok(id) = self.table.offer(now, end, service(), credit, &mut self.shell) {
                self.offers.push((end, id));
            }
        }
    }

    pub(super) fn fault(&mut self) {
        let now = self.time();
        let alive: Vec<usize> =
            (0..self.shell.links.len()).filter(|link| self.shell.links[*link].alive).collect();
        let link = if alive.is_empty() { None } else { Some(self.rng.pick(&alive)) };
        match (self.rng.within(0, 6), link) {
            (0 | 1, Some(link)) => self.cut(link),
            (2 | 3, Some(link)) => {
                self.shell.links[link].stalled = self.now + self.rng.within(SECOND, 5 * SECOND);
            }
            (4, _) => {
                self.shell.memory = self.shell.charged;
                self.after(SECOND, 3 * SECOND, Event::MemoryBack);
            }
            (5, _) => {
                if let Some((end, _)) = self.offers.pop() {
                    self.table.lost(now, end, &mut self.shell);
                }
            }
            _ => {
                let credit = u32::try_from(self.rng.within(0, 3)).unwrap();
                if let Some((_, handler)) = self.offers.last() {
                    self.table.set_credit(now, *handler, credit, &mut self.shell);
                }
            }
        }
    }

    /// The connection of that link breaks, with all its lanes.
    pub(super) fn cut(&mut self, link: usize) {
        let peer = self.shell.links[link].end.peer;
        let own: Vec<usize> = (0..self.shell.links.len())
            .filter(|at| self.shell.links[*at].end.peer == peer && self.shell.links[*at].alive)
            .collect();
        for at in &own {
            let it = &mut self.shell.links[*at];
            it.alive = false;
            it.up.clear();
            it.down.clear();
            it.bytes = 0;
            let end = it.end;
            self.judge.cut.insert(end);
            self.note(|| format!("{end:?} is cut"));
        }
        let now = self.time();
        self.table.leave(now, peer, &mut self.shell);
        for at in own {
            let end = self.shell.links[at].end;
            self.shell.by_end.remove(&end);
            self.soon(self.by_link[at]);
        }
    }
}
