//! The raw relay: what a broker costs at least. Bodies behind a length and an address go from
//! clients to workers round robin, and back by address. No service, no queue, no check.
//!
//! One current-thread runtime, a reader and a writer task for each connection, and two ways to
//! write: by the reader after each read, or by the writers when all that is ready was read.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::outbox::{LARGE, Outbox};

/// First octet of a client's connection.
pub(crate) const CLIENT: u8 = b'C';
/// First octet of a worker's connection.
pub(crate) const WORKER: u8 = b'W';
/// Octets of length and address.
pub(crate) const HEADER: usize = 8;
/// Octets of one read.
const READ: usize = 64 << 10;

/// When outboxes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Flush {
    /// After each read.
    Connection,
    /// When all that is ready has been read.
    Turn,
}

struct Peer {
    writer: OwnedWriteHalf,
    outbox: RefCell<Outbox>,
    touched: Cell<bool>,
    notify: Notify,
}

#[derive(Default)]
struct Hub {
    peers: RefCell<Vec<Rc<Peer>>>,
    workers: RefCell<Vec<Rc<Peer>>>,
    turn: Cell<usize>,
}

/// Runs a relay until it is killed.
pub(crate) fn run(flush: Flush) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(flush))
}

async fn serve(flush: Flush) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    let hub = Rc::new(Hub::default());
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_local(connection(stream, hub.clone(), flush));
    }
}

async fn connection(stream: TcpStream, hub: Rc<Hub>, flush: Flush) {
    stream.set_nodelay(true).expect("no delay");
    let (mut reader, writer) = stream.into_split();
    let Ok(kind) = reader.read_u8().await else { return };
    let peer = Rc::new(Peer {
        writer,
        outbox: RefCell::default(),
        touched: Cell::new(false),
        notify: Notify::new(),
    });
    let address = u32::try_from(hub.peers.borrow().len()).expect("few peers");
    hub.peers.borrow_mut().push(peer.clone());
    if kind == WORKER {
        hub.workers.borrow_mut().push(peer.clone());
    }
    spawn_local(write(peer));
    // A peer that breaks off ends the run; there is nothing to clean up.
    let _ = read(reader, &hub, (kind == CLIENT).then_some(address), flush).await;
}

/// Writes the outbox whenever it was touched.
async fn write(peer: Rc<Peer>) {
    loop {
        peer.notify.notified().await;
        peer.touched.set(false);
        loop {
            let Ok(done) = peer.outbox.borrow_mut().flush(&peer.writer) else { return };
            if done {
                break;
            }
            if peer.writer.writable().await.is_err() {
                return;
            }
        }
    }
}

/// Passes on what comes from a client, which has an address, or from a worker.
async fn read(
    mut reader: OwnedReadHalf,
    hub: &Hub,
    client: Option<u32>,
    flush: Flush,
) -> io::Result<()> {
    let mut input = BytesMut::new();
    let mut touched = Vec::new();
    loop {
        let missing = missing(&input);
        if input.capacity() - input.len() < missing.max(READ / 4) {
            input.reserve(missing.max(READ));
        }
        if reader.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Some((address, body)) = take(&mut input) {
            let peer = match client {
                Some(_) => hub.next_worker(),
                None => hub.peers.borrow()[address as usize].clone(),
            };
            pass(&peer, client.unwrap_or_default(), body, &mut input);
            if !peer.touched.replace(true) {
                touched.push(peer);
            }
        }
        for peer in touched.drain(..) {
            if flush == Flush::Connection {
                peer.touched.set(false);
                if peer.outbox.borrow_mut().flush(&peer.writer)? {
                    continue;
                }
            }
            peer.notify.notify_one();
        }
    }
}

impl Hub {
    fn next_worker(&self) -> Rc<Peer> {
        let workers = self.workers.borrow();
        let next = (self.turn.get() + 1) % workers.len();
        self.turn.set(next);
        workers[next].clone()
    }
}

/// A body that was taken, or the length of one at the front of the input.
enum Body {
    Small(usize),
    Large(Bytes),
}

fn size_of_body(input: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(*input.first_chunk()?) as usize)
}

/// Octets that the message at the front still lacks.
fn missing(input: &[u8]) -> usize {
    size_of_body(input).map_or(0, |size| (HEADER + size).saturating_sub(input.len()))
}

/// Takes the header of the next message if all of it is there.
fn take(input: &mut BytesMut) -> Option<(u32, Body)> {
    let size = size_of_body(input)?;
    if input.len() < HEADER + size {
        return None;
    }
    input.advance(4);
    let address = input.get_u32_le();
    let body =
        if size < LARGE { Body::Small(size) } else { Body::Large(input.split_to(size).freeze()) };
    Some((address, body))
}

fn pass(peer: &Peer, address: u32, body: Body, input: &mut BytesMut) {
    let mut outbox = peer.outbox.borrow_mut();
    let size = match &body {
        Body::Small(size) => *size,
        Body::Large(body) => body.len(),
    };
    let run = outbox.run();
    run.extend_from_slice(&u32::try_from(size).expect("as it came").to_le_bytes());
    run.extend_from_slice(&address.to_le_bytes());
    match body {
        Body::Small(size) => {
            run.extend_from_slice(&input[..size]);
            input.advance(size);
        }
        Body::Large(body) => outbox.push(body),
    }
}
