//! The load generator: clients and workers that share nothing with the broker but the sockets, and
//! check every message. Only `library` is the project's own, to be held against the rest.

mod client;
mod first;
mod flow;
mod length;
mod library;
mod line;
mod mjp;
mod nats;
mod wire;
mod worker;
mod zmtp;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

pub(crate) use client::{Calls, ClientArgs, clients};
pub(crate) use first::first_call;
pub(crate) use flow::{FlowArgs, givers, takers};
pub(crate) use line::seal;
use line::{Line, unseal};
use majordomo::id::PublicKey;
use majordomo::keys::public_from_text;
use majordomo::proto::curve::{Opener, Sealer};
pub(crate) use wire::SERVICE;
use wire::{Body, Side, Wire};
pub(crate) use worker::workers;
pub(crate) use zmtp::{BEAT, greeting, ready};

/// What a peer is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speech {
    Mdp,
    Mjp,
    /// MJP/1 to workers; clients are those of the library.
    Library,
    Plain,
    /// As plain, with as many frames as MDP has on the whole way.
    Padded,
    Nats,
    Length,
}

/// What both sides have to know.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    #[arg(long)]
    pub(crate) speech: Speech,
    #[arg(long)]
    pub(crate) addr: SocketAddr,
    /// Connections.
    #[arg(long)]
    pub(crate) count: u32,
    /// Octets of a body.
    #[arg(long)]
    pub(crate) size: usize,
    /// Requests that a worker takes at a time, if that is for it to say.
    #[arg(long, default_value_t = 1)]
    pub(crate) credit: u16,
    /// Each worker offers a service of its own, by its number.
    #[arg(long)]
    pub(crate) own_services: bool,
    /// Workers say that often that they live.
    #[arg(long, value_parser = millis)]
    pub(crate) beat: Option<Duration>,
    /// The key of a server that speaks CURVE, in Z85.
    #[arg(long, value_parser = key, allow_hyphen_values = true)]
    pub(crate) server_key: Option<PublicKey>,
}

fn key(text: &str) -> Result<PublicKey, &'static str> {
    public_from_text(text).ok_or("no key in Z85")
}

pub(crate) fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

/// A line to the driver.
fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the driver listens");
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs on one thread, until a task panics.
fn on_one_thread(main: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().block_on(&current_thread(), main);
}

/// A connection whose messages may begin.
struct Opened<W> {
    wire: W,
    stream: tokio::net::TcpStream,
    channel: Option<(Sealer, Opener)>,
}

/// Connects and speaks until messages may follow.
fn open<W: Wire>(args: &LoadArgs, side: Side, number: u32) -> io::Result<Opened<W>> {
    let mut line = Line::open(args.addr, args.server_key)?;
    let own = args.own_services && side == Side::Worker;
    let name = if own { format!("{SERVICE}.{number}") } else { SERVICE.into() };
    let wire = W::open(&mut line, side, &name, args.credit, Body::new(args.size))?;
    let (stream, channel) = line.into_parts();
    stream.set_nonblocking(true)?;
    Ok(Opened { wire, stream: tokio::net::TcpStream::from_std(stream)?, channel })
}

/// What has come and was not taken yet.
struct Inbox {
    octets: Vec<u8>,
    start: usize,
    end: usize,
    /// What came in boxes that are not whole yet, and what opens them.
    boxes: Option<(Vec<u8>, Opener)>,
}

impl Inbox {
    fn new(octets: usize) -> Self {
        Self { octets: vec![0; octets], start: 0, end: 0, boxes: None }
    }

    fn opened_by(mut self, opener: Option<Opener>) -> Self {
        self.boxes = opener.map(|opener| (Vec::new(), opener));
        self
    }

    /// Room for the largest batch worth having.
    fn for_body(size: usize) -> Self {
        Self::new(2 * size + (256 << 10))
    }

    /// Reads once; false at the end. Can be dropped without loss.
    async fn read(&mut self, reader: &mut OwnedReadHalf) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end > self.octets.len() / 2 {
            self.octets.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let Some((boxes, opener)) = &mut self.boxes else {
            let count = reader.read(&mut self.octets[self.end..]).await?;
            self.end += count;
            return Ok(count > 0);
        };
        boxes.reserve(64 << 10);
        let count = reader.read_buf(boxes).await?;
        self.octets.truncate(self.end);
        let left = unseal(opener, boxes, &mut self.octets).len();
        self.end = self.octets.len();
        boxes.drain(..boxes.len() - left);
        Ok(count > 0)
    }

    fn rest(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    /// Leaves only the last `count` octets.
    fn keep(&mut self, count: usize) {
        self.start = self.end - count;
    }
}
