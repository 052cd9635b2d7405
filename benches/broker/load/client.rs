//! Clients: so many requests in flight each, the time of each taken, each reply checked once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use majordomo::proto::curve::{Opener, Sealer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::wire::{Body, HEAD, Said, Side, Wire};
use super::{
    Inbox, LoadArgs, Opened, Speech, length, library, millis, mjp, nats, on_one_thread, open, say,
    zmtp,
};
use crate::outbox::Outbox;

/// How long and how hard to call.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(super) load: LoadArgs,
    /// Requests in flight of each client.
    #[arg(long)]
    pub(super) window: usize,
    /// Until figures are taken.
    #[arg(long, value_parser = millis)]
    warm: Duration,
    /// While figures are taken.
    #[arg(long, value_parser = millis)]
    measure: Duration,
    /// Ends after so many calls rather than after a time.
    #[arg(long)]
    calls: Option<u64>,
}

/// What the clients of one process saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Calls {
    pub(crate) calls: u64,
    pub(crate) seconds: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

/// What has been answered since the figures are taken.
pub(super) struct Tally {
    calls: u64,
    since: Instant,
    latency: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let latency = Histogram::new(3).expect("three digits");
        Self { calls: 0, since: Instant::now(), latency }
    }

    pub(super) fn add(&mut self, latency: Duration) {
        self.calls += 1;
        self.latency += u64::try_from(latency.as_nanos()).expect("a short while");
    }

    fn calls(&self) -> Calls {
        let micros = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        Calls {
            calls: self.calls,
            seconds: self.since.elapsed().as_secs_f64(),
            p50: micros(0.5),
            p99: micros(0.99),
            p999: micros(0.999),
        }
    }
}

/// Runs clients; says `start` and then what was measured.
pub(crate) fn clients(args: &ClientArgs) {
    match args.load.speech {
        Speech::Mdp => run::<zmtp::Mdp>(args),
        Speech::Mjp => run::<mjp::Mjp>(args),
        Speech::Library => library::run(args),
        Speech::Plain => run::<zmtp::Plain>(args),
        Speech::Padded => run::<zmtp::Padded>(args),
        Speech::Nats => run::<nats::Nats>(args),
        Speech::Length => run::<length::Length>(args),
    }
}

fn run<W: Wire>(args: &ClientArgs) {
    on_one_thread(async {
        let tally = Arc::new(Mutex::new(Tally::new()));
        let mut opened = Vec::new();
        for number in 0..args.load.count {
            opened.push(open::<W>(&args.load, Side::Client, number).expect("a connection"));
        }
        for (number, Opened { wire, stream, channel }) in (0..).zip(opened) {
            let client = Client {
                wire,
                body: Body::new(args.load.size),
                number,
                sent: vec![(0, Instant::now()); args.window],
                sequence: 0,
                tally: tally.clone(),
            };
            spawn_local(async move { client.call(stream, channel).await.expect("a connection") });
        }
        report(args, &tally).await;
    });
}

/// Warms up, says `start`, and after the time, or the calls, what was measured.
pub(super) async fn report(args: &ClientArgs, tally: &Mutex<Tally>) {
    let tally = || tally.lock().expect("nobody panics");
    tokio::time::sleep(args.warm).await;
    *tally() = Tally::new();
    say("start");
    match args.calls {
        None => tokio::time::sleep(args.measure).await,
        Some(calls) => {
            while tally().calls < calls {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    let calls = tally().calls();
    say(&serde_json::to_string(&calls).expect("plain figures"));
}

struct Client<W> {
    wire: W,
    body: Body,
    number: u32,
    /// Sequence number and time of the request in each slot; 0 when there is none.
    sent: Vec<(u64, Instant)>,
    sequence: u64,
    tally: Arc<Mutex<Tally>>,
}

impl<W: Wire> Client<W> {
    async fn call(
        mut self,
        stream: TcpStream,
        channel: Option<(Sealer, Opener)>,
    ) -> std::io::Result<()> {
        let (mut reader, writer) = stream.into_split();
        let (sealer, opener) = channel.unzip();
        let mut inbox = Inbox::for_body(self.body.size()).opened_by(opener);
        let mut outbox = Outbox::default().sealed_by(sealer);
        let mut free: Vec<usize> = (0..self.sent.len()).collect();
        let mut ask = Vec::new();
        loop {
            self.request(&mut free, &mut outbox);
            outbox.run().append(&mut ask);
            let done = outbox.flush(&writer)?;
            tokio::select! {
                biased;
                more = inbox.read(&mut reader) => assert!(more?, "the peer hung up"),
                writable = writer.writable(), if !done => writable?,
            }
            let now = Instant::now();
            let mut input = inbox.rest();
            let mut tally = self.tally.lock().expect("nobody panics");
            while let Some(said) = self.wire.next(&mut input) {
                match said {
                    Said::Message { body, .. } => {
                        let head = self.body.check(body);
                        let (slot, sent) = take(&head, self.number, &mut self.sent);
                        tally.add(now - sent);
                        free.push(slot);
                    }
                    Said::Ask(answer) => ask = answer,
                    Said::Aside => {}
                }
            }
            drop(tally);
            let left = input.len();
            inbox.keep(left);
        }
    }

    /// Sends a request in each free slot.
    fn request(&mut self, free: &mut Vec<usize>, outbox: &mut Outbox) {
        if free.is_empty() {
            return;
        }
        let now = Instant::now();
        for slot in free.drain(..) {
            self.sequence += 1;
            self.sent[slot] = (self.sequence, now);
            self.wire.request(&head(self.number, slot, self.sequence), outbox);
        }
    }
}

/// What a body begins with: whose it is.
pub(super) fn head(number: u32, slot: usize, sequence: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&number.to_le_bytes());
    head[4..8].copy_from_slice(&u32::try_from(slot).expect("few slots").to_le_bytes());
    head[8..].copy_from_slice(&sequence.to_le_bytes());
    head
}

/// The slot that a reply answers, and when its request was sent. It must be this client's, and
/// answered for the first time.
fn take(head: &[u8; HEAD], number: u32, sent: &mut [(u64, Instant)]) -> (usize, Instant) {
    let (client, rest) = head.split_first_chunk().expect("4 of 16");
    let (slot, sequence) = rest.split_first_chunk().expect("4 of 12");
    assert_eq!(u32::from_le_bytes(*client), number, "a reply to another client");
    let slot = u32::from_le_bytes(*slot) as usize;
    let sequence = u64::from_le_bytes(*sequence.first_chunk().expect("8 of 8"));
    let (expected, at) = sent[slot];
    assert_eq!(sequence, expected, "a reply to a request that is not open");
    sent[slot].0 = 0;
    (slot, at)
}
