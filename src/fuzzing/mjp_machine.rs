//! `mjp_machine`: peers of MJP and MDP do anything in any order. After every step the core's tables
//! are audited, and every peer of MJP has been told what its requests and its work allow.
//!
//! Where [`router_ops`](super::router_ops) predicts every message with a model of the whole broker,
//! this one holds only what a peer can see of its own connection.

mod script;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::pieces::Choices;
use super::router_ops::{Event, World, settings};
use crate::id::PeerId;
use crate::proto::core::{Admission, Core, Hello, Taken};
use crate::proto::keys::KeyLimits;
use crate::proto::policy::MjpLimits;
use crate::proto::rights::Grants;
use crate::wire::message::Message;
use crate::wire::mjp::{self, Answer, FromBroker, Outcome, Tally, Targets, ToBroker, is_mjp};

/// Why a request or a scatter may be refused.
const REFUSALS: [&str; 5] = ["overloaded", "draining", "duplicate_id", "no_target", "key_conflict"];

/// What a peer knows of its connection.
#[derive(Debug, Default)]
struct Peer {
    /// Whether it speaks MJP, once it has said something valid.
    native: Option<bool>,
    /// It is not read.
    paused: bool,
    /// Its open requests.
    open: Vec<u64>,
    /// Those that are for several workers, as far as they are known.
    scatters: BTreeMap<u64, Scattered>,
    /// What it wants of its requests: to know what happens, to be asked.
    wants: BTreeMap<u64, (bool, bool)>,
    /// What it was given and has not answered, and what it said that it takes.
    held: Vec<u64>,
    credit: Option<u16>,
    draining: bool,
    service: Vec<u8>,
    topics: topics::Topics,
}

/// What the caller of a scatter has heard of it.
#[derive(Debug, Default)]
struct Scattered {
    /// Whose outcome is to come.
    targets: Option<BTreeSet<String>>,
    tally: Tally,
}

/// A request that is being taken.
#[derive(Debug, Clone, Copy)]
struct Asking {
    peer: PeerId,
    id: u64,
    was_open: bool,
    refused: bool,
}

#[derive(Debug)]
struct Stage {
    core: Core,
    world: World,
    epoch: Instant,
    clock: Duration,
    peers: BTreeMap<PeerId, Peer>,
    asking: Option<Asking>,
    /// Everything that any worker was ever given.
    tokens: Vec<u64>,
}

const TICK: Duration = Duration::from_millis(50);
const PEERS_MAX: usize = 10;

/// The first octet chooses the settings; what follows are steps of three octets and more.
pub fn mjp_machine(input: &[u8]) {
    const STEPS_MAX: usize = 200;
    let mut choices = Choices::new(input);
    let mut stage = Stage::new(choices.octet());
    for _ in 0..STEPS_MAX {
        if choices.is_empty() {
            break;
        }
        stage.step(&mut choices);
        stage.check();
    }
    stage.finish();
}

impl Stage {
    fn new(choice: u8) -> Self {
        let epoch = tokio::time::Instant::now().into_std();
        let mut settings = settings(choice);
        if choice & 32 != 0 {
            settings.mjp = MjpLimits { credit_max: 2, header_bytes_max: 64, asks_max: 2 };
        }
        if choice & 64 != 0 {
            let kept = Duration::from_millis(300);
            settings.keys = KeyLimits {
                keys_max: 2,
                keys_per_principal_max: Some(2),
                bytes_max: 400,
                kept,
                callers_max: 2,
            };
        }
        Self {
            core: Core::new(settings, 1, epoch),
            world: World::default(),
            epoch,
            clock: Duration::ZERO,
            peers: BTreeMap::new(),
            asking: None,
            tokens: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.epoch + self.clock
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let [what, who, how] = [(); 3].map(|()| choices.octet());
        if self.peers.is_empty() || what < 16 {
            return self.join(how);
        }
        let at = usize::from(who) % self.peers.len();
        let Some(id) = self.peers.keys().nth(at).copied() else { return };
        match what {
            16..=27 => {
                self.core.leave(self.now(), id, &mut self.world);
                self.peers.remove(&id);
            }
            28..=47 => self.pass(how),
            48..=55 => {
                let set = if how < 128 { &mut self.world.full } else { &mut self.world.pressed };
                if !set.remove(&id) {
                    set.insert(id);
                } else if how >= 128 {
                    self.core.relieved(self.now(), id, &mut self.world);
                }
            }
            56 if how < 40 => self.core.drain(self.now(), Duration::from_secs(10), &mut self.world),
            57 if how < 40 => self.core.dismiss_all(self.now(), &mut self.world),
            56..=59 => self.world.account_full = !self.world.account_full,
            _ => {
                if let Some(said) = self.script(what, id, how, choices) {
                    self.say(id, &said);
                }
            }
        }
    }

    fn join(&mut self, how: u8) {
        if self.peers.len() >= PEERS_MAX {
            return;
        }
        let name = (how >= 0xe0).then_some([b'a' + how % 2]);
        let identity = name.and_then(|name| crate::id::Identity::try_from(&name[..]).ok());
        let (takes_ping, grants) = (how.is_multiple_of(2), Grants::all_but_admin());
        let hello = Hello { identity, takes_ping, grants, ..Hello::default() };
        let (id, admission) = self.core.join(self.now(), hello, &mut self.world);
        if !matches!(admission, Admission::Refused(_)) {
            let paused = admission == Admission::Wait;
            self.peers.insert(id, Peer { paused, ..Peer::default() });
        }
    }

    fn pass(&mut self, how: u8) {
        if how == 0xff {
            // A stall of our own.
            self.clock += Duration::from_secs(60);
            self.core.tick(self.now(), &mut self.world);
            return;
        }
        for _ in 0..=how % 32 {
            self.clock += TICK;
            self.core.tick(self.now(), &mut self.world);
            self.listen();
        }
    }

    fn say(&mut self, id: PeerId, said: &Message) {
        if self.peers.get(&id).is_none_or(|peer| peer.paused) {
            return;
        }
        let native = is_mjp(said.frames());
        if native {
            self.note(id, said);
        } else if crate::wire::mdp::ToBroker::decode(said.frames()).is_ok()
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.native.get_or_insert(false);
        }
        let now = self.now();
        self.core.hear(now, id, true);
        let taken = self.core.message(now, id, said.frames(), &mut self.world);
        assert!(taken == Taken::Yes || !native, "{id:?} speaks MJP and is not read");
        self.listen();
        self.end_asking();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.topics.end();
            self.check_topics(id);
        }
        if taken == Taken::NotYet
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.paused = true;
        }
    }

    /// What the peer may expect of what it is about to say.
    fn note(&mut self, id: PeerId, said: &Message) {
        let decoded = ToBroker::decode(said.frames());
        let nothing = matches!(&decoded, Err(error) if error.why == mjp::Malformed::NoKind);
        let header_max = if self.credit_max() == 2 { 64 } else { mjp::HEADER_MAX };
        let header = said.frames().nth(2).unwrap_or_default().len();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if nothing || !*peer.native.get_or_insert(true) || header > header_max {
            return;
        }
        if let Ok(said) = &decoded {
            peer.topics.note(said);
        }
        match decoded {
            Ok(ToBroker::Request(request)) => {
                let was_open = peer.open.contains(&request.id);
                if !was_open {
                    peer.open.push(request.id);
                    let wants = (request.says.events(), request.says.asks());
                    peer.wants.insert(request.id, wants);
                }
                self.asking = Some(Asking { peer: id, id: request.id, was_open, refused: false });
            }
            Ok(ToBroker::Scatter(scatter)) => {
                let was_open = peer.open.contains(&scatter.id);
                if !was_open {
                    peer.open.push(scatter.id);
                    peer.scatters.insert(scatter.id, Scattered::default());
                    peer.wants.insert(scatter.id, (scatter.says.events(), false));
                }
                self.asking = Some(Asking { peer: id, id: scatter.id, was_open, refused: false });
            }
            Ok(ToBroker::Ready(says))
                if !says.service.starts_with(b"mmi.")
                    && (peer.credit.is_none() || peer.service == says.service) =>
            {
                peer.credit = Some(says.credit());
                peer.service = says.service.to_vec();
                peer.draining = false;
            }
            Ok(ToBroker::Credit { credit }) if !peer.draining => {
                peer.credit = peer.credit.map(|_| credit);
            }
            Ok(ToBroker::Drain) => {
                peer.draining = peer.credit.is_some();
                peer.credit = peer.credit.map(|_| 0);
            }
            Ok(ToBroker::Bye) => peer.unregister(),
            Ok(ToBroker::Final(answer)) => peer.held.retain(|token| *token != answer.id),
            Ok(ToBroker::Error(failure)) => peer.held.retain(|token| *token != failure.id),
            _ => {}
        }
    }

    fn credit_max(&self) -> usize {
        self.core.settings().mjp.credit_max
    }

    /// A request that was refused is not open.
    fn end_asking(&mut self) {
        let Some(asking) = self.asking.take() else { return };
        let Some(peer) = self.peers.get_mut(&asking.peer) else { return };
        if asking.refused && !asking.was_open {
            peer.open.retain(|id| *id != asking.id);
            peer.scatters.remove(&asking.id);
            peer.wants.remove(&asking.id);
        }
        assert!(asking.refused || !asking.was_open, "{} was taken twice", asking.id);
    }

    /// Hears all that was said.
    fn listen(&mut self) {
        for id in std::mem::take(&mut self.world.resumed) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.paused = false;
            }
        }
        for (id, event) in std::mem::take(&mut self.world.log) {
            match event {
                Event::Close(_) => {
                    self.peers.remove(&id).expect("one who has gone is closed");
                }
                Event::Send(frames) => {
                    let Some(peer) = self.peers.get(&id) else {
                        panic!("{frames:?} was said to {id:?}, which has gone")
                    };
                    let message = Message::new(frames);
                    let native = is_mjp(message.frames());
                    assert_eq!(peer.native, Some(native), "{id:?} was told {message:?}");
                    if native {
                        self.hear(id, &message);
                    }
                }
            }
        }
    }

    fn hear(&mut self, id: PeerId, message: &Message) {
        let credit_max = self.credit_max();
        let said = FromBroker::decode(message.frames()).expect("the broker speaks MJP");
        let asking = self.asking.as_mut().filter(|asking| asking.peer == id);
        let peer = self.peers.get_mut(&id).expect("looked at above");
        if peer.topics.hear(&said) {
            return;
        }
        match said {
            FromBroker::Request(delivery) => {
                let credit = peer.credit.expect("work for one who is no worker");
                peer.held.push(delivery.id);
                self.tokens.push(delivery.id);
                assert!(peer.held.len() <= usize::from(credit).min(credit_max), "{peer:?}");
            }
            FromBroker::Cancel { id } => {
                assert!(
                    peer.held.contains(&id),
                    "{id} is to be stopped, and is not there: {peer:?}"
                );
            }
            FromBroker::Bye(_) => peer.unregister(),
            FromBroker::Lease { .. } | FromBroker::Group { .. } | FromBroker::Lane(_) => {}
            FromBroker::Accepted { id, .. } => {
                let asked = asking.is_some_and(|asking| asking.id == id && !asking.was_open);
                assert!(asked, "{id} was accepted, and nobody asked");
            }
            FromBroker::Targets(targets) => {
                let asked = asking.is_some_and(|it| it.id == targets.id && !it.was_open);
                assert!(asked, "{} has targets, and nobody asked", targets.id);
                peer.targets(&targets);
            }
            FromBroker::Outcome(outcome) => peer.outcome(&outcome),
            FromBroker::Note(note) => peer.note(&note),
            FromBroker::Event(event) => assert!(peer.wants(event.id).0, "{event:?}: {peer:?}"),
            FromBroker::Ask(ask) => assert!(peer.wants(ask.id).1, "{ask:?}: {peer:?}"),
            FromBroker::Tell(tell) => assert!(peer.held.contains(&tell.id), "{tell:?}: {peer:?}"),
            FromBroker::Partial(answer) => {
                let open = peer.open.contains(&answer.id);
                assert!(open && !peer.scatters.contains_key(&answer.id), "{peer:?}");
            }
            FromBroker::Final(answer) => peer.answered(&answer),
            FromBroker::Error(failure) if failure.id == 0 => {}
            FromBroker::Error(failure) => {
                let code = mjp::Fault::decode(failure.header).map(|fault| fault.code);
                match (asking, code) {
                    (Some(asking), Ok(code))
                        if asking.id == failure.id && REFUSALS.contains(&code) =>
                    {
                        assert_eq!(code == "duplicate_id", asking.was_open, "{code}");
                        assert!(!asking.refused, "refused twice");
                        asking.refused = true;
                    }
                    // What was malformed never was a request.
                    (_, Ok("bad_request" | "unsupported")) => {}
                    _ => {
                        let scatter = peer.scatters.get(&failure.id);
                        assert!(scatter.is_none(), "an error for {scatter:?}");
                        peer.close(failure.id);
                    }
                }
            }
            FromBroker::Flow(flow) => panic!("nobody offers a flow service: {flow:?}"),
            FromBroker::Hello(_)
            | FromBroker::Heartbeat
            | FromBroker::Drain { .. }
            | FromBroker::Status { .. }
            | FromBroker::Published { .. }
            | FromBroker::News(_)
            | FromBroker::Gap { .. }
            | FromBroker::Admin { .. } => {}
        }
    }

    fn check(&mut self) {
        self.listen();
        if let Err(what) = self.core.audit() {
            panic!("{what}");
        }
        assert_eq!(self.world.charged, self.core.charged());
        let open: usize = self.peers.values().map(|peer| peer.open.len()).sum();
        let stock = self.peers.values().any(|peer| peer.native != Some(true));
        // Those who wait for the answer of the same request have one between them.
        let keys = &self.core.router().keys;
        let repeats = keys.all_waiters().filter(|(_, waiter)| !waiter.owner).count();
        let known = self.core.router().open_requests() + repeats;
        // Requests of callers that have gone may still be at workers.
        assert!(open <= known, "{open} requests are awaited, {known} are open, stock: {stock}");
    }

    /// Everybody leaves, and nothing is left of them.
    fn finish(mut self) {
        while let Some(id) = self.peers.keys().next_back().copied() {
            self.core.leave(self.now(), id, &mut self.world);
            self.peers.remove(&id);
            self.check();
        }
        // Requests with a key wait for who may come back, as long as that one would have waited.
        self.pass(31);
        self.check();
        assert_eq!(self.core.router().open_requests(), 0);
        assert_eq!(self.core.router().services_len(), 0);
        // Scatters and answers are remembered for some time.
        let router = self.core.router();
        let remembered = router.jobs.charged() + router.keys.charged();
        assert_eq!(self.world.charged, remembered, "memory was not given back");
    }
}

impl Peer {
    fn unregister(&mut self) {
        self.credit = None;
        self.draining = false;
        self.held.clear();
    }

    fn targets(&mut self, targets: &Targets<'_>) {
        let names = targets.names().expect("an array of texts");
        let known: BTreeSet<_> = names.iter().cloned().collect();
        assert!(!known.is_empty() && known.len() == names.len(), "{names:?}");
        let scatter = self.scatters.get_mut(&targets.id);
        let scatter = scatter.unwrap_or_else(|| panic!("{} is no scatter", targets.id));
        assert!(scatter.targets.replace(known).is_none(), "targets again");
    }

    /// The only one of its target.
    fn outcome(&mut self, outcome: &Outcome<'_>) {
        let says = outcome.says;
        let scatter = self.scatters.get_mut(&outcome.id);
        let scatter = scatter.unwrap_or_else(|| panic!("{} is no scatter", outcome.id));
        let due = scatter.targets.as_mut().is_some_and(|targets| targets.remove(says.target));
        assert!(due, "{says:?} of {scatter:?}");
        *match says.outcome {
            "replied" => &mut scatter.tally.replied,
            "failed" => &mut scatter.tally.failed,
            "refused" => &mut scatter.tally.refused,
            "lost" => &mut scatter.tally.lost,
            "timed_out" => &mut scatter.tally.timed_out,
            "cancelled" => &mut scatter.tally.cancelled,
            other => panic!("an outcome is {other}"),
        } += 1;
    }

    fn note(&self, note: &mjp::Note<'_>) {
        let left = self.scatters.get(&note.id).and_then(|scatter| scatter.targets.as_ref());
        let there = left.is_some_and(|left| left.contains(note.says.target));
        assert!(there && self.wants(note.id).0, "{note:?}: {self:?}");
    }

    /// What it wants of an open request: to know what happens, to be asked.
    fn wants(&self, id: u64) -> (bool, bool) {
        let wants = self.wants.get(&id).filter(|_| self.open.contains(&id));
        wants.copied().unwrap_or_default()
    }

    /// The answer to a request, or the tally of a scatter.
    fn answered(&mut self, answer: &Answer<'_>) {
        if let Some(scatter) = self.scatters.remove(&answer.id) {
            let whole = scatter.targets.as_ref().is_some_and(BTreeSet::is_empty);
            let tally = Tally::decode(answer.header);
            assert!(whole && tally == Ok(scatter.tally), "{scatter:?} is {tally:?}");
        }
        self.close(answer.id);
    }

    /// An answer, or an error: the only one.
    fn close(&mut self, id: u64) {
        let at = self.open.iter().position(|open| *open == id);
        let at = at.unwrap_or_else(|| panic!("{id} ends, and is not open: {self:?}"));
        self.open.swap_remove(at);
        self.wants.remove(&id);
    }
}
