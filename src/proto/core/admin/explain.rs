//! ADMIN `explain`: where a request is, and why it is not at a worker (SPEC 16.4).

use std::borrow::Cow;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::core::report::{Room, count, millis};
use crate::proto::dead::{Cause, LetterId};
use crate::proto::output::Output;
use crate::proto::policy::{ServicePolicy, ServiceRule};
use crate::proto::router::{Situation, Standing};
use crate::wire::mjp::{
    AdminHeader, Code, ExplainReport, Packed, PolicyReport, StandReport, StateReport,
};

use super::Refused;
use super::dead::seen_report;

/// What stands in an entry beside what an entry of a page always has, octets.
const STAND: usize = 512;

impl Core {
    /// Answers `explain`: of the request `uuid`, or of the service `service`.
    pub(super) fn explain<O: Output>(
        &mut self,
        now: Time,
        (id, query): (PeerId, u64),
        says: &AdminHeader<'_>,
        out: &mut O,
    ) -> Result<(), Refused> {
        let packed = match (says.uuid, says.service) {
            (Some(uuid), _) => self.explain_request(now, uuid)?,
            (None, Some(service)) => self.explain_service(now, service, says.max())?,
            (None, None) => {
                return Err((Code::BadRequest, "`uuid` or `service` is missing".into()));
            }
        };
        self.say_packed(id, query, &packed, out);
        Ok(())
    }

    fn explain_request(&self, now: Time, uuid: &[u8]) -> Result<Packed, Refused> {
        let name = std::str::from_utf8(uuid).unwrap_or_default();
        let bad = "`uuid` is no id of a request: those have 16 hexadecimal digits";
        let id = LetterId::from_name(name).ok_or_else(|| (Code::BadRequest, Cow::from(bad)))?;
        if let Some((_, letter)) = self.router.dead.named(id) {
            let why = format!("it is a dead letter: {}", letter.cause.as_str());
            let stand = StandReport {
                because: Some(&why),
                age: millis(letter.accepted_at.ago(now)),
                attempts: letter.attempts.into(),
                order: letter.order.as_deref(),
                ..StandReport::of(name, "dead")
            };
            let seen = letter.seen.iter().map(|seen| seen_report(now, seen)).collect();
            return Ok(self.explained(letter.service.as_bytes(), vec![stand], Some(seen)));
        }
        let unknown = "no request of that id is known: it has ended, or there was none";
        let unknown = || (Code::NotFound, Cow::from(unknown));
        let Some(request) = self.router.request_called(id) else {
            let held = self.depot().and_then(|depot| depot.held_as(now, id));
            let (service, held) = held.ok_or_else(unknown)?;
            let standing = self.router.standing_on_disk(service.as_bytes(), held);
            let (uuid, behind) = names(&standing);
            let stands = vec![stand(&standing, &uuid, behind.as_deref())];
            return Ok(self.explained(service.as_bytes(), stands, None));
        };
        let standing = self.router.standing(now, request).ok_or_else(unknown)?;
        let service = self.router.asked_of(request).and_then(|id| self.router.name_of(id));
        let service = service.ok_or_else(unknown)?;
        let (uuid, behind) = names(&standing);
        let seen = self.router.seen_by(request).iter().map(|seen| seen_report(now, seen)).collect();
        let stands = vec![stand(&standing, &uuid, behind.as_deref())];
        Ok(self.explained(service.as_bytes(), stands, Some(seen)))
    }

    fn explain_service(&self, now: Time, name: &[u8], max: usize) -> Result<Packed, Refused> {
        let found = self.router.service_id(name);
        let is_kept = self.depot().is_some_and(|depot| depot.counts_of(name).is_some());
        if found.is_none() && !is_kept && self.router.dead.in_queue(name) == 0 {
            let why = "nobody offers or asks for a service of that name";
            return Err((Code::NotFound, why.into()));
        }
        let requests = found.map(|id| self.router.some_requests(id, max)).unwrap_or_default();
        let here = requests.iter().filter_map(|id| self.router.standing(now, *id));
        let more = max.saturating_sub(requests.len());
        let held = self.depot().map(|depot| depot.held_of(now, name, more)).unwrap_or_default();
        let held = held.into_iter().map(|held| self.router.standing_on_disk(name, held));
        let stands = here.chain(held);
        let stands: Vec<_> = stands.map(|standing| (names(&standing), standing)).collect();
        let mut room = Room::new(max);
        let fitting = stands.iter().take_while(|(_, standing)| {
            let why = standing.because.as_ref().map_or(0, String::len);
            let order = standing.order.as_ref().map_or(0, |order| order.len());
            let worker = standing.worker.as_ref().map_or(0, |(name, _)| name.len());
            room.take(STAND + why + order + worker)
        });
        let fitting = fitting.map(|((uuid, behind), it)| stand(it, uuid, behind.as_deref()));
        Ok(self.explained(name, fitting.collect(), None))
    }

    fn explained(
        &self,
        name: &[u8],
        requests: Vec<StandReport<'_>>,
        seen: Option<Vec<crate::wire::mjp::SeenReport<'_>>>,
    ) -> Packed {
        let situation = self.router.situation_of(name);
        let dead = self.router.dead.in_queue(name);
        let (rule, policy) = self.router.rule_of(name);
        let causes: Vec<_> = policy.dead.causes.iter().map(Cause::as_str).collect();
        let causes = causes.join(",");
        Packed::new(&ExplainReport {
            requests: Some(requests),
            seen,
            service: situation.as_ref().map(|situation| state(name, situation, dead)),
            policy: Some(policy_report(rule, policy, &causes)),
        })
    }
}

/// The names of a request, and of the one that it is behind.
fn names(standing: &Standing) -> (String, Option<String>) {
    (standing.id.to_string(), standing.behind.map(|behind| behind.to_string()))
}

fn stand<'a>(it: &'a Standing, uuid: &'a str, behind: Option<&'a str>) -> StandReport<'a> {
    StandReport {
        because: it.because.as_deref(),
        ahead: it.ahead.map(|(ahead, _)| count(ahead)),
        clients: it.ahead.map(|(_, clients)| count(clients)),
        wait: it.wait.map(millis),
        left: it.left.map(millis),
        expires: it.expires.map(millis),
        age: millis(it.age),
        attempts: it.attempts.into(),
        worker: it.worker.as_ref().map(|(name, _)| &**name),
        running: it.worker.as_ref().map(|(_, running)| millis(*running)),
        order: it.order.as_deref(),
        behind,
        ..StandReport::of(uuid, it.state)
    }
}

fn state<'a>(name: &'a [u8], it: &'a Situation, dead: usize) -> StateReport<'a> {
    StateReport {
        name,
        state: it.state,
        because: it.because.as_deref(),
        workers: count(it.workers),
        ready: count(it.ready),
        credit: count(it.credit),
        running: count(it.running),
        waiting: count(it.waiting),
        suspects: count(it.suspects),
        delayed: count(it.delayed),
        behind: count(it.behind),
        dead: count(dead),
    }
}

fn policy_report<'a>(
    rule: Option<&'a ServiceRule>,
    policy: &ServicePolicy,
    causes: &'a str,
) -> PolicyReport<'a> {
    PolicyReport {
        pattern: rule.map(|rule| &*rule.pattern),
        at: rule.and_then(|rule| rule.at.as_deref()),
        attempts: policy.attempts.into(),
        backoff: millis(policy.backoff.base),
        backoff_factor: policy.backoff.factor.into(),
        backoff_max: millis(policy.backoff.max),
        backoff_jitter: policy.backoff.jitter.into(),
        ttl: policy.ttl.map(millis),
        at_most_once: policy.at_most_once,
        queue_messages_max: count(policy.queue_messages_max),
        queue_bytes_max: count(policy.queue_bytes_max),
        dead_letters: causes,
    }
}
