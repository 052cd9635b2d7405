//! What a run is made of, drawn from its seed: settings, peers, links.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::id::ServiceName;
use crate::proto::flow::simulation::stranger::Stranger as FlowStranger;
use crate::proto::flow::{FlowRule, FlowSettings, Target};
use crate::proto::jobs::JobLimits;
use crate::proto::keys::KeyLimits;
use crate::proto::policy::{
    ClientLimits, Keepalive, MjpLimits, NfpSettings, Rate, ServicePolicy, ServiceRule, Settings,
    TopicLimits,
};
use crate::wire::mjp::Level;

use super::actor::Actor;
use super::client::{self, Client};
use super::flow_peer::{FlowPeer, Role};
use super::flow_server::{FlowServer, WRITER};
use super::native_client::{self, NativeClient};
use super::native_worker::{self, NativeWorker};
use super::nfp_client::{self, NfpClient};
use super::nfp_worker::{self, NfpWorker};
use super::repeater::{self, Repeater};
use super::rng::Rng;
use super::servant::Servant;
use super::stranger::Stranger;
use super::worker::{self, Worker};

/// Services that have workers in the end.
pub(super) const SERVED: [&str; 3] = ["echo", "once", "parts"];
/// A service with workers of NFP, and one with workers of every dialect, which a request has to be
/// a job for. Not every run has them.
pub(super) const JOBS: &str = "jobs";
pub(super) const MIXED: &str = "mixed";
/// A service without workers.
pub(super) const GHOST: &str = "ghost";
/// One in so many runs has peers of NFP, which take as much time as all others together.
const NFP_SHARE: u64 = 2;
/// One in so many runs has flows.
const FLOW_SHARE: u64 = 3;
/// Microseconds.
pub(super) const MS: u64 = 1000;

/// A whole run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) actors: Vec<Actor>,
    /// Octets the outbox of a peer takes, beyond which answers are refused.
    pub(super) outbox_max: usize,
    /// Octets of the memory account.
    pub(super) memory: usize,
    /// Faults, in order: when.
    pub(super) faults: Vec<u64>,
    /// When faults end.
    pub(super) calm_at: u64,
    /// The broker drains and says good-bye in the end.
    pub(super) drains: bool,
    /// There are peers of NFP.
    pub(super) nfp: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let nfp = rng.one_in(NFP_SHARE);
        let mut settings = settings(rng);
        // Those of NFP are more.
        settings.services_max += if nfp { 2 } else { 0 };
        if !nfp && rng.one_in(4) {
            let [per_second, burst] = [rng.pick(&[60, 200]), rng.pick(&[1, 10])];
            let [per_second, burst] = [per_second, burst].map(|it| NonZeroU32::new(it).unwrap());
            settings.client.rate = Some(Rate { per_second, burst });
        }
        let memory = rng.pick(&[20_000, 40_000, 1 << 24]);
        // What is remembered of jobs must leave room for new ones.
        if memory < 1 << 20 {
            settings.nfp.jobs.ended_bytes_max = 2000;
        }
        // GET of a queued job is answered by two messages at once.
        let outbox_min = if nfp && settings.policy.queue { 2_000 } else { 0 };
        let calm_at = 2_500 * MS;
        let faults = rng.within(5, 12);
        let mut faults: Vec<u64> = (0..faults).map(|_| rng.within(50 * MS, calm_at)).collect();
        faults.sort_unstable();
        let mut actors = actors(rng, &settings, nfp);
        if rng.one_in(FLOW_SHARE) {
            actors.extend(flow_peers(rng, &settings, actors.len()));
        }
        let outbox_max = rng.pick(&[400, 2_000, 1 << 20]).max(outbox_min);
        settings.flow.outbox_bytes_max = outbox_max;
        Self { actors, settings, outbox_max, memory, faults, calm_at, drains: rng.one_in(3), nfp }
    }
}

fn policy(rng: &mut Rng) -> ServicePolicy {
    ServicePolicy {
        prefetch: rng.pick(&[1, 1, 1, 2, 4, 8]),
        busy_timeout: rng.pick(&[
            None,
            Some(Duration::from_millis(500)),
            Some(Duration::from_millis(900)),
        ]),
        attempts: rng.pick(&[1, 2, 3]),
        at_most_once: false,
        resend_after_partial: false,
        queue_messages_max: rng.pick(&[1, 3, 8, 10_000]),
        queue_bytes_max: rng.pick(&[600, 5_000, 1 << 20]),
        queue: rng.one_in(3),
        unserved_ttl: rng
            .pick(&[Some(Duration::from_millis(200)), Some(Duration::from_millis(700))]),
        level: Level::Memory,
        ..ServicePolicy::default()
    }
}

fn settings(rng: &mut Rng) -> Settings {
    let rule = |pattern: &str, policy| ServiceRule { pattern: pattern.into(), policy, at: None };
    Settings {
        mdp: Keepalive {
            interval: Duration::from_millis(rng.pick(&[150, 250])),
            liveness: rng.pick(&[2, 3]),
        },
        rules: vec![
            rule("once", ServicePolicy { at_most_once: true, ..policy(rng) }),
            rule("part*", ServicePolicy { resend_after_partial: rng.one_in(2), ..policy(rng) }),
        ],
        policy: policy(rng),
        client: ClientLimits {
            requests_max: rng.pick(&[1, 3, 12, 1024]),
            bytes_max: rng.pick(&[600, 4_000, 1 << 20]),
            services_max: rng.pick(&[1, 2, 256]),
            rate: None,
        },
        services_max: rng.pick(&[4, 6, 65_536]),
        answer_frames_max: rng.pick(&[3, 1024]),
        answer_bytes_max: rng.pick(&[150, 1 << 20]),
        mjp: MjpLimits {
            credit_max: rng.pick(&[2, 65_535]),
            asks_max: rng.pick(&[1, 3, 16]),
            ..MjpLimits::default()
        },
        topics: TopicLimits {
            subscriptions_max: rng.pick(&[3, 100_000]),
            per_peer_max: rng.pick(&[2, 10_000]),
            outbox_bytes_max: rng.pick(&[200, 2_000, 1 << 20]),
            ..TopicLimits::default()
        },
        keys: keys(rng),
        flow: flow(rng),
        nfp: NfpSettings {
            keepalive: Keepalive {
                interval: Duration::from_millis(rng.pick(&[150, 250])),
                liveness: rng.pick(&[2, 3]),
            },
            jobs: jobs(rng),
            cross_service: false,
        },
        ..Settings::default()
    }
}

fn jobs(rng: &mut Rng) -> JobLimits {
    JobLimits {
        jobs_max: rng.pick(&[4, 100_000]),
        open_per_client_max: rng.pick(&[2, 10_000]),
        kept: Duration::from_millis(rng.pick(&[300, 600_000])),
        ended_bytes_max: rng.pick(&[2000, 64 << 20]),
        ..JobLimits::default()
    }
}

fn keys(rng: &mut Rng) -> KeyLimits {
    KeyLimits {
        keys_max: rng.pick(&[3, 10_000]),
        keys_per_principal_max: rng.pick(&[None, Some(2), Some(10_000)]),
        bytes_max: rng.pick(&[400, 64 << 20, 64 << 20]),
        kept: Duration::from_millis(rng.pick(&[300, 600_000, 600_000])),
        callers_max: rng.pick(&[2, 16]),
    }
}

fn flow(rng: &mut Rng) -> FlowSettings {
    let rule = |glob: &str, target| FlowRule {
        direction: None,
        attributes: vec![("stream".into(), glob.into())],
        target,
    };
    let writer = ServiceName::try_from(WRITER.as_bytes()).unwrap();
    FlowSettings {
        rules: vec![rule("s1", Target::Service(writer)), rule("s3", Target::Refuse)],
        otherwise: Target::Factory,
        decision_timeout: Duration::from_millis(400),
        handler_timeout: Duration::from_millis(700),
        // No honest end is silent for longer, whatever goes wrong.
        end_timeout: Duration::from_millis(3_500),
        idle_after: Some(Duration::from_millis(300)),
        queue_bytes_max: rng.pick(&[60, 200]),
        waiting_max: rng.pick(&[1, 4, 100]),
        ..FlowSettings::default()
    }
}

/// ZIO sockets, and a worker that offers a flow service.
fn flow_peers(rng: &mut Rng, settings: &Settings, first: usize) -> Vec<Actor> {
    let mut actors = Vec::new();
    let beat = u64::try_from(settings.mdp.interval.as_micros()).unwrap();
    actors.push(Actor::FlowServer(FlowServer::new(beat)));
    let mut add = |role, rng: &mut Rng| {
        let me = u32::try_from(first + actors.len()).unwrap();
        actors.push(Actor::FlowPeer(Box::new(FlowPeer::new(me, role, rng))));
    };
    for _ in 0..rng.within(1, 3) {
        add(Role::Client(u32::try_from(rng.within(2, 8)).unwrap()), rng);
    }
    for _ in 0..rng.within(1, 3) {
        add(Role::Handler, rng);
    }
    for _ in 0..rng.within(0, 1) {
        add(Role::Stranger(FlowStranger::new(0)), rng);
    }
    actors
}

fn actors(rng: &mut Rng, settings: &Settings, nfp: bool) -> Vec<Actor> {
    let mut actors = Vec::new();
    let clients = rng.within(3, 5);
    let quota = u32::try_from(64 / clients + 1).unwrap();
    for _ in 0..clients {
        let me = u32::try_from(actors.len()).unwrap();
        actors.push(if rng.one_in(2) {
            Actor::Client(Client::new(me, client::Kind::draw(rng, nfp), quota))
        } else {
            Actor::NativeClient(NativeClient::new(me, native_client::Kind::draw(rng, nfp), quota))
        });
    }
    for _ in 0..rng.within(0, 2) {
        actors.push(Actor::Repeater(Repeater::new(repeater::Kind::draw(rng), quota)));
    }
    // At least one worker a service, which is there in the end.
    let extra = rng.within(1, 3);
    for index in 0..SERVED.len() + usize::try_from(extra).unwrap() {
        let service = SERVED[index % SERVED.len()];
        let interval = u64::try_from(settings.mdp.interval.as_micros()).unwrap();
        actors.push(if rng.one_in(2) {
            Actor::Worker(Worker::new(service, interval, worker::Kind::draw(rng)))
        } else {
            let kind = native_worker::Kind::draw(rng);
            Actor::NativeWorker(NativeWorker::new(service, interval, kind))
        });
    }
    if nfp {
        actors.extend(nfp_peers(rng, settings, actors.len()));
    }
    for _ in 0..rng.within(0, 2) {
        let service = rng.pick(&SERVED);
        let servant = Servant::new(service, settings.mdp.interval, rng);
        actors.push(Actor::Servant(Box::new(servant)));
    }
    for _ in 0..rng.within(1, 2) {
        let me = u32::try_from(actors.len()).unwrap();
        actors.push(Actor::Stranger(Stranger::new(me, nfp)));
    }
    actors
}

/// Peers of NFP, and of other dialects for what is asked across them.
fn nfp_peers(rng: &mut Rng, settings: &Settings, first: usize) -> Vec<Actor> {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap();
    let (beat, nfp_beat) = (micros(settings.mdp.interval), micros(settings.nfp.keepalive.interval));
    let mut actors = Vec::new();
    for _ in 0..rng.within(1, 2) {
        let me = u32::try_from(first + actors.len()).unwrap();
        let client = NfpClient::new(me, nfp_client::Kind::draw(rng), 24);
        actors.push(Actor::NfpClient(client));
    }
    let extra = rng.pick(&[JOBS, MIXED]);
    for service in [JOBS, MIXED, extra] {
        let kind = nfp_worker::Kind::draw(rng);
        actors.push(Actor::NfpWorker(NfpWorker::new(service, nfp_beat, kind)));
    }
    actors.push(if rng.one_in(2) {
        Actor::Worker(Worker::new(MIXED, beat, worker::Kind::draw(rng)))
    } else {
        Actor::NativeWorker(NativeWorker::new(MIXED, beat, native_worker::Kind::draw(rng)))
    });
    actors
}
