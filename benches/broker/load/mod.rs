//! The load generator: clients and workers that share nothing with the broker but the sockets, and
//! check every message. Only `library` is the project's own, to be held against the rest.

mod client;
mod first;
mod length;
mod library;
mod mjp;
mod nats;
mod wire;
mod worker;
mod zmtp;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

pub(crate) use client::{Calls, ClientArgs, clients};
pub(crate) use first::first_call;
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

/// Connects and speaks until messages may follow.
fn open<W: Wire>(
    args: &LoadArgs,
    side: Side,
    number: u32,
) -> io::Result<(W, tokio::net::TcpStream)> {
    let mut stream = TcpStream::connect(args.addr)?;
    stream.set_nodelay(true)?;
    let own = args.own_services && side == Side::Worker;
    let name = if own { format!("{SERVICE}.{number}") } else { SERVICE.into() };
    let wire = W::open(&mut stream, side, &name, args.credit, Body::new(args.size))?;
    stream.set_nonblocking(true)?;
    Ok((wire, tokio::net::TcpStream::from_std(stream)?))
}

/// What has come and was not taken yet.
struct Inbox {
    octets: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    fn new(octets: usize) -> Self {
        Self { octets: vec![0; octets], start: 0, end: 0 }
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
        let count = reader.read(&mut self.octets[self.end..]).await?;
        self.end += count;
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
