//! What goes wrong.

use std::time::Duration;

use super::actor::Actor;
use super::plan::MS;
use super::world::{Event, World};

impl World {
    pub(super) fn fault(&mut self) -> Result<(), String> {
        if self.calm {
            // The last one: the broker is told to stop.
            if self.sockets.judge.accepted < Self::REQUESTS_MIN {
                self.at(self.now + 10 * MS, Event::Fault);
                return Ok(());
            }
            self.note(|| "drain".into());
            let now = self.instant();
            // Without a time it would be the echo of a worker's own DRAIN; with little of it flows
            // are cut that would have ended.
            let within = Duration::from_millis(self.rng.pick(&[100, 10_000]));
            self.core.drain(now, within, &mut self.sockets);
            self.draining = true;
            self.sockets.judge.is_draining = true;
            self.sockets.judge.flows.judge.stopping = true;
            return Ok(());
        }
        self.faults += 1;
        let alive: Vec<usize> = self.links.iter().flatten().copied().collect();
        let conn = if alive.is_empty() { None } else { Some(alive[self.rng.index(alive.len())]) };
        let until = self.now + self.rng.within(50, 900) * MS;
        match (self.rng.within(0, 9), conn) {
            (0 | 1, Some(conn)) => self.cut(conn),
            (2, Some(conn)) => {
                self.note(|| format!("{conn} is not heard"));
                self.conns[conn].up.stalled_until = until;
            }
            (3, Some(conn)) => {
                self.note(|| format!("{conn} does not hear"));
                self.conns[conn].down.stalled_until = until;
            }
            (4, Some(conn)) => {
                let actor = self.conns[conn].actor;
                self.vanish(conn);
                return self.actor_lost(actor);
            }
            (5, Some(conn)) => {
                let actor = self.conns[conn].actor;
                self.note(|| format!("actor {actor} is frozen"));
                self.frozen[actor] = until + 600 * MS;
            }
            (6, _) => {
                for actor in 0..self.actors.len() {
                    match &mut self.actors[actor] {
                        Actor::Worker(worker) => worker.hang(until),
                        Actor::NativeWorker(worker) => worker.hang(until),
                        Actor::NfpWorker(worker) => worker.hang(until),
                        Actor::Servant(servant) => servant.hang(until),
                        Actor::Client(_)
                        | Actor::NativeClient(_)
                        | Actor::NfpClient(_)
                        | Actor::Repeater(_)
                        | Actor::FlowPeer(_)
                        | Actor::FlowServer(_)
                        | Actor::Stranger(_) => {}
                    }
                }
            }
            (7, _) => {
                self.note(|| "memory is short".into());
                self.sockets.memory = 3_000;
                self.at(until, Event::MemoryBack);
            }
            (8, _) => self.at(self.now, Event::Regrant),
            _ => {
                let stall = self.rng.pick(&[30, 400, 1_500]);
                self.note(|| format!("the broker stands still for {stall} ms"));
                self.broker_until = self.broker_until.max(self.now + stall * MS);
            }
        }
        Ok(())
    }

    /// The connection breaks: each side gets a prefix of what was on its way.
    fn cut(&mut self, conn: usize) {
        self.note(|| format!("{conn} is cut"));
        let link = &mut self.conns[conn];
        link.up.cut(&mut self.rng);
        link.down.cut(&mut self.rng);
        let (up, down) = (link.up.end_at(self.now), link.down.end_at(self.now));
        self.at(up, Event::FinUp(conn));
        self.at(down, Event::FinDown(conn));
    }
}
