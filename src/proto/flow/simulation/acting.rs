//! What everybody does, some time after they have heard something.

use crate::proto::flow::endpoint::State;
use crate::proto::flow::output::End;
use crate::wire::zio::Direction;

use super::party::Party;
use super::world::{ALONE, Actor, CALM, Event, MS, SECOND, World};

impl World {
    pub(super) fn act(&mut self, at: usize) -> Result<(), String> {
        self.acting.remove(&at);
        let now = self.time();
        let link = match &self.actors[at] {
            Actor::Client { link, .. } => *link,
            Actor::Handler { party, .. } => party.link,
            Actor::Stranger(stranger) => stranger.link,
        };
        let (alive, shape, end) = {
            let it = &self.shell.links[link];
            (it.alive, it.shape, it.end)
        };
        if let Actor::Stranger(stranger) = &mut self.actors[at] {
            if alive && self.now < ALONE {
                let message = stranger.act(shape, &self.judge.known_cids, &mut self.rng);
                let bytes = self.rng.pick(&[None, Some(0), Some(1), Some(700), Some(u64::MAX)]);
                self.push(link, message, bytes);
                self.stranger_goes_on(at);
            } else if alive {
                self.cut(link);
            }
            return Ok(());
        }
        if !alive {
            self.come_back(at);
            return Ok(());
        }
        let said = match &mut self.actors[at] {
            Actor::Client { party: None, left: 0, .. } | Actor::Stranger(_) => return Ok(()),
            Actor::Client { party: party @ None, left, .. } => {
                *left -= 1;
                self.flows += 1;
                let direction = self.rng.pick(&[Direction::Extract, Direction::Inject]);
                let stream = self.rng.pick(&[0, 1, 1, 2, 2, 2, 0, 0, 3]);
                let bot = format!(r#"{{"stream": "s{stream}"}}"#);
                let new = Party::new(link, self.flows, direction, bot, shape, &mut self.rng);
                party.insert(new).act(now, shape, &mut self.rng)
            }
            Actor::Client { party: Some(party), .. } | Actor::Handler { party, .. } => {
                party.act(now, shape, &mut self.rng)
            }
        };
        if let Some((message, bytes)) = said {
            self.push(link, message, bytes);
            self.note_giver(end);
            self.soon(at);
        }
        self.look_whether_over(at, end);
        Ok(())
    }

    /// What a giver has given is known from its EOT on, if that is the first one.
    fn note_giver(&mut self, end: End) {
        let gave = self.party_of(end).and_then(Party::gave);
        self.judge.given.extend(gave);
    }

    fn look_whether_over(&mut self, at: usize, end: End) {
        let (state, deadline) = match &self.actors[at] {
            Actor::Client { party: Some(party), .. } => {
                (party.endpoint.state(), party.endpoint.next_timeout())
            }
            Actor::Handler { party, over: false } => {
                (party.endpoint.state(), party.endpoint.next_timeout())
            }
            Actor::Client { party: None, .. } | Actor::Handler { .. } | Actor::Stranger(_) => {
                return;
            }
        };
        if !state.is_over() {
            if deadline.is_some() && state == State::BotSent {
                self.soon(at);
            }
            return;
        }
        self.judge_end(end);
        match &mut self.actors[at] {
            Actor::Client { party, left, .. } => {
                *party = None;
                if *left > 0 {
                    self.saw("reused");
                }
                self.soon(at);
            }
            Actor::Handler { over, .. } => *over = true,
            Actor::Stranger(_) => {}
        }
    }

    /// An honest client whose connection was cut connects anew, if it has more to do.
    fn come_back(&mut self, at: usize) {
        let more = match &mut self.actors[at] {
            Actor::Client { party, left, .. } => {
                *party = None;
                *left > 0
            }
            Actor::Handler { over, .. } => {
                *over = true;
                false
            }
            Actor::Stranger(_) => false,
        };
        if more {
            let new = self.connect();
            if let Actor::Client { link, .. } = &mut self.actors[at] {
                *link = new;
            }
            self.by_link.resize(new + 1, usize::MAX);
            self.by_link[new] = at;
            self.soon(at);
        }
    }

    fn stranger_goes_on(&mut self, at: usize) {
        if self.acting.insert(at) {
            let slow = self.now > CALM;
            self.after(MS, if slow { 20 * SECOND } else { 400 * MS }, Event::Act(at));
        }
    }
}
