//! `router_ops`: several peers do anything in any order. After every step the core's tables are
//! audited, and every peer has been told what a naive broker would have told it.

mod check;
mod model;
mod routing;
mod steps;
mod table;
mod world;

use std::time::{Duration, Instant};

use self::model::Model;
pub(super) use self::world::{Event, World};
use super::pieces::Choices;
use crate::id::PeerId;
use crate::proto::core::Core;
use crate::proto::policy::{ClientLimits, Keepalive, ServicePolicy, ServiceRule, Settings};
use crate::wire::message::Message;

/// The core, the naive broker, and the world between them.
#[derive(Debug)]
struct Scene {
    core: Core,
    model: Model,
    world: World,
    epoch: Instant,
    /// Real time since the epoch; a stall of the broker passes in it and not in broker time.
    clock: Duration,
    /// Peers that are there, in the order of their coming.
    peers: Vec<PeerId>,
    /// What peers said that could not be taken.
    blocked: Vec<(PeerId, Message)>,
    /// Every address that a worker was ever given.
    addresses: Vec<Vec<u8>>,
    /// Bodies made so far, so that no two are alike.
    bodies: u16,
}

/// The first octet chooses the settings; what follows are steps of three octets and more.
pub fn router_ops(input: &[u8]) {
    const STEPS_MAX: usize = 200;
    let mut choices = Choices::new(input);
    let mut scene = Scene::new(settings(choices.octet()));
    for _ in 0..STEPS_MAX {
        if choices.is_empty() {
            break;
        }
        scene.step(&mut choices);
    }
    scene.finish();
}

const SERVICES: [&[u8]; 8] =
    [b"plain", b"three", b"once", b"again", b"wide", b"other", b"mmi.service", b"mmi.echo"];
const INTERVAL: Duration = Duration::from_millis(500);
const EXPIRY: Duration = Duration::from_millis(1500);
const UNSERVED_TTL: Duration = Duration::from_secs(4);

pub(super) fn settings(choice: u8) -> Settings {
    let small = |bit: u8, small, large| if choice & bit == 0 { large } else { small };
    let base = ServicePolicy {
        busy_timeout: Some(Duration::from_secs(3)),
        attempts: 2,
        queue_messages_max: small(1, 3, 100),
        unserved_ttl: Some(UNSERVED_TTL),
        ..ServicePolicy::default()
    };
    let rule = |name: &str, policy| ServiceRule { pattern: name.into(), policy, at: None };
    let rules = vec![
        rule("three", ServicePolicy { prefetch: 3, ..base.clone() }),
        rule("once", ServicePolicy { at_most_once: true, prefetch: 2, ..base.clone() }),
        rule("again", ServicePolicy { resend_after_partial: true, prefetch: 2, ..base.clone() }),
        rule(
            "wide",
            ServicePolicy { prefetch: 70, attempts: 1, busy_timeout: None, ..base.clone() },
        ),
    ];
    Settings {
        mdp: Keepalive { interval: INTERVAL, liveness: 3 },
        rules,
        policy: ServicePolicy { unserved_ttl: small_ttl(choice), ..base },
        client: ClientLimits {
            requests_max: small(2, 4, 200),
            bytes_max: usize::MAX,
            services_max: usize::MAX,
            rate: None,
        },
        services_max: small(4, 3, 100),
        answer_frames_max: small(8, 4, 1000),
        ..Settings::default()
    }
}

fn small_ttl(choice: u8) -> Option<Duration> {
    (choice & 16 == 0).then_some(UNSERVED_TTL)
}

impl Scene {
    fn new(settings: Settings) -> Self {
        let epoch = tokio::time::Instant::now().into_std();
        Self {
            core: Core::new(settings.clone(), 1, epoch),
            model: Model::new(settings),
            world: World::default(),
            epoch,
            clock: Duration::ZERO,
            peers: Vec::new(),
            blocked: Vec::new(),
            addresses: Vec::new(),
            bodies: 0,
        }
    }

    fn now(&self) -> Instant {
        self.epoch + self.clock
    }

    /// Everybody leaves, and nothing is left of them.
    fn finish(mut self) {
        while let Some(peer) = self.peers.last().copied() {
            self.leave(peer);
        }
        assert_eq!(self.core.router().open_requests(), 0);
        assert_eq!(self.core.router().services().count(), 0);
        let dead = self.core.router().dead.charged();
        assert_eq!(self.world.charged, dead, "memory was not given back");
        assert!(self.core.is_drained());
    }
}
