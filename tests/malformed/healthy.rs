//! Peers that call all the time, and how long each call takes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use majordomo::transport::endpoint::Endpoint;
use majordomo::transport::session::{CurveIdentity, Session, SessionConfig};
use majordomo::wire::message::Message;

/// Between the answer to a peer and its next call.
const PAUSE: Duration = Duration::from_millis(5);
/// No call may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What goes on meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Quiet,
    Busy,
    Over,
}

/// What the calls of a phase took.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) worst: Duration,
}

impl Figures {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        Self { calls: took.len(), median: at(50), p99: at(99), worst: at(100) }
    }
}

type Took = Vec<(u8, Duration)>;

/// All of them, on a thread of their own.
pub(crate) struct Healthy {
    phase: Arc<AtomicU8>,
    thread: JoinHandle<Took>,
}

impl Healthy {
    pub(crate) fn start(count: usize, listener: SocketAddr, curve: CurveIdentity) -> Self {
        let phase = Arc::new(AtomicU8::new(Phase::Quiet as u8));
        let config = SessionConfig { curve: Some(curve), ..SessionConfig::default() };
        let seen = phase.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let peers = (0..count).map(|number| {
                let (phase, config) = (seen.clone(), config.clone());
                async move { talk(number, Endpoint::Tcp(listener), config, &phase).await }
            });
            let took = runtime.unwrap().block_on(futures::future::join_all(peers));
            took.concat()
        });
        Self { phase, thread }
    }

    pub(crate) fn phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// While it was quiet, and while it was not. No call has failed.
    pub(crate) fn stop(self) -> (Figures, Figures) {
        self.phase(Phase::Over);
        let took = self.thread.join().expect("no healthy peer fails");
        let of = |phase: Phase| {
            let of_phase = took.iter().filter(|(at, _)| *at == phase as u8);
            Figures::of(of_phase.map(|(_, took)| *took).collect())
        };
        (of(Phase::Quiet), of(Phase::Busy))
    }
}

/// One peer: it asks whether a service is there, and there is none.
async fn talk(number: usize, endpoint: Endpoint, config: SessionConfig, phase: &AtomicU8) -> Took {
    let mut session = Session::connect(&endpoint, &config).await.unwrap();
    let (name, mut took) = (format!("none-{number}"), Vec::new());
    let expected = Message::new([&b""[..], b"MDPC01", b"mmi.service", b"404"]);
    loop {
        let at = phase.load(Ordering::Relaxed);
        if at == Phase::Over as u8 {
            return took;
        }
        let began = Instant::now();
        session.send(|out| {
            for frame in [&b""[..], b"MDPC01", b"mmi.service"] {
                out.frame(frame);
            }
            out.last_frame(name.as_bytes());
        });
        let mut answer = None;
        while answer.is_none() {
            let turn = session.turn(|frames| answer = Some(frames.to_message()));
            tokio::time::timeout(PATIENCE, turn).await.unwrap().unwrap();
        }
        assert_eq!(answer, Some(expected.clone()));
        took.push((at, began.elapsed()));
        tokio::time::sleep(PAUSE).await;
    }
}
