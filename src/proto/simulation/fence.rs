//! What actors may do, as an operator would have it and as the judge sees it; and how that changes.

use crate::id::{Principal, PublicKey, ServiceName};
use crate::proto::rights::{Grants, Pattern, Rule, Source, Verb};
use crate::wire::mdp;
use crate::wire::message::Frames;
use crate::wire::mjp::{self, is_mjp};
use crate::wire::nfp;

use super::actor::Actor;
use super::plan::{GHOST, SERVED};
use super::rng::Rng;
use super::world::World;

/// What an actor may do.
#[derive(Debug, Clone, Default)]
pub(super) struct Fence {
    /// Names that it may call and serve; none of them: all.
    only: Option<Names>,
}

/// Names, each whole or with `*` at its end; what is among the others too is not allowed.
#[derive(Debug, Clone, Default)]
struct Names {
    call: (Vec<&'static str>, Vec<&'static str>),
    serve: (Vec<&'static str>, Vec<&'static str>),
}

impl Fence {
    /// A worker may serve what it offers, or nothing at all.
    fn of_worker(service: &'static str, open: bool) -> Self {
        let serve = if open { vec![service] } else { Vec::new() };
        let only = Names { call: (vec!["*"], Vec::new()), serve: (serve, Vec::new()) };
        Self { only: Some(only) }
    }

    fn of_stranger(rng: &mut Rng) -> Self {
        let mut some = || {
            let all = [SERVED[0], SERVED[1], SERVED[2], GHOST, "unknown*", "unknown1", "e*", "*"];
            (0..rng.within(0, 3)).map(|_| all[rng.index(all.len())]).collect::<Vec<_>>()
        };
        // What the broker tells of itself it may ask.
        let call = ([some(), vec!["mmi.*"]].concat(), some());
        let serve = (some(), some());
        let call = (call.0, call.1.into_iter().filter(|name| *name != "*").collect());
        Self { only: Some(Names { call, serve }) }
    }

    pub(super) fn grants(&self) -> Grants {
        let Some(names) = &self.only else { return Grants::all_but_admin() };
        let rule = |deny, verb, name: &&str| {
            let source = Source { place: "simulation".into(), line: 1 };
            Rule { deny, verb, pattern: Pattern::try_from(*name).unwrap(), source }
        };
        let mut rules = Vec::new();
        for (verb, (allowed, denied)) in [(Verb::Call, &names.call), (Verb::Serve, &names.serve)] {
            rules.extend(allowed.iter().map(|name| rule(false, verb, name)));
            rules.extend(denied.iter().map(|name| rule(true, verb, name)));
        }
        // Whoever publishes and listens is not among those whose rights are limited in that.
        rules.push(rule(false, Verb::Publish, &"*"));
        rules.push(rule(false, Verb::Subscribe, &"*"));
        Grants::new(rules).unwrap()
    }

    /// Whether a message is something that the actor may not do.
    pub(super) fn forbids(&self, frames: Frames<'_>) -> bool {
        if self.only.is_none() {
            return false;
        }
        if is_mjp(frames) {
            return match mjp::ToBroker::decode(frames) {
                Ok(mjp::ToBroker::Request(request)) => !self.may_call(request.says.service),
                Ok(mjp::ToBroker::Scatter(scatter)) => !self.may_call(scatter.says.service),
                Ok(mjp::ToBroker::Ready(says)) => !self.may_serve(says.service),
                _ => false,
            };
        }
        if let Ok(nfp::ToBroker::Worker(nfp::FromWorker::Ready { service })) =
            nfp::ToBroker::decode(frames)
        {
            return !self.may_serve(service);
        }
        matches!(mdp::ToBroker::decode(frames), Ok(mdp::ToBroker::Request(request))
            if !self.may_call(request.service))
    }

    fn may_call(&self, service: &[u8]) -> bool {
        self.only.as_ref().is_none_or(|names| within(&names.call, service))
    }

    fn may_serve(&self, service: &[u8]) -> bool {
        self.only.as_ref().is_none_or(|names| within(&names.serve, service))
    }
}

fn within((allowed, denied): &(Vec<&'static str>, Vec<&'static str>), name: &[u8]) -> bool {
    let means = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => name.len() >= start.len() && &name[..start.len()] == start.as_bytes(),
        None => name == pattern.as_bytes(),
    };
    allowed.iter().any(means) && !denied.iter().any(means)
}

/// On whose behalf an actor speaks. Some prove who they are. Clients of NFP do not, nor those who
/// take their names: a job would be the one's and not the other's.
pub(super) fn principal_of(index: usize, actor: &Actor, nfp: bool) -> Principal {
    let proves = match actor {
        // The keys of one are those of the other.
        Actor::NfpClient(_) | Actor::Repeater(_) => false,
        Actor::Stranger(_) => !nfp,
        _ => true,
    };
    match u8::try_from(index) {
        Ok(number) if proves && index.is_multiple_of(2) => {
            Principal::Key(PublicKey([number; PublicKey::LEN]))
        }
        _ => Principal::Local,
    }
}

impl World {
    /// What the actor may do from the beginning.
    pub(super) fn fence_of(&mut self, actor: usize) -> Fence {
        if principal_of(actor, &self.actors[actor], self.plan.nfp) == Principal::Local {
            return Fence::default();
        }
        match &self.actors[actor] {
            Actor::Stranger(_) => Fence::of_stranger(&mut self.rng),
            worker => {
                worker.offers().map_or_else(Fence::default, |name| Fence::of_worker(name, true))
            }
        }
    }

    /// Some may do something else from now on, and one may be thrown out.
    pub(super) fn regrant(&mut self) {
        if self.calm {
            // Everybody may do again what it is there for.
            self.fences.fill(Fence::default());
            return self.apply_fences(None);
        }
        let revoked = self.rng.one_in(2).then(|| self.rng.index(self.actors.len()));
        for actor in 0..self.actors.len() {
            let is_fenced = self.fences[actor].only.is_some();
            if is_fenced && self.rng.one_in(2) {
                self.fences[actor] = match self.actors[actor].offers() {
                    Some(service) => Fence::of_worker(service, self.rng.one_in(2)),
                    None => Fence::of_stranger(&mut self.rng),
                };
            }
        }
        self.note(|| format!("rights change, {revoked:?} is revoked"));
        self.apply_fences(revoked);
    }

    fn apply_fences(&mut self, revoked: Option<usize>) {
        let now = self.instant();
        let Self { core, sockets, fences, actors, plan, .. } = self;
        let nfp = plan.nfp;
        let mut judge = |principal: &Principal, _| {
            let is_it = |actor: &usize| principal_of(*actor, &actors[*actor], nfp) == *principal;
            match (*principal != Principal::Local).then(|| (0..actors.len()).find(is_it)).flatten()
            {
                Some(actor) if revoked == Some(actor) => None,
                Some(actor) => Some((fences[actor].grants(), None)),
                None => Some((Grants::all_but_admin(), None)),
            }
        };
        sockets.judge.regrants = true;
        core.regrant(now, &mut judge, sockets);
        sockets.judge.regrants = false;
    }

    /// Nobody serves what it may not.
    pub(super) fn check_fences(&self) -> Result<(), String> {
        if self.fences.iter().all(|fence| fence.only.is_none()) {
            return Ok(());
        }
        for (_, worker) in self.core.router().workers_at(0) {
            let name = self.core.router().name_of(worker.service());
            let name = name.map(ServiceName::as_bytes).unwrap_or_default();
            let conn = self.conns.iter().rev().find(|conn| conn.id == Some(worker.peer()));
            let Some(actor) = conn.map(|conn| conn.actor) else { continue };
            if !self.fences[actor].may_serve(name) {
                return Err(format!("actor {actor} serves {} and may not", name.escape_ascii()));
            }
        }
        Ok(())
    }
}
