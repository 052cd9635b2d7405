//! Stands between a client and its broker: takes its time, and breaks or holds up what goes through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

pub(crate) struct Relay {
    pub(crate) endpoint: String,
    cuts: watch::Sender<u64>,
    accepted: Arc<AtomicUsize>,
    held_up: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl Relay {
    /// To the broker at `endpoint`, `tcp://IP:PORT`.
    pub(crate) async fn to(endpoint: &str) -> Self {
        Self::slow(endpoint, Duration::ZERO, Duration::ZERO).await
    }

    /// The same, with these delays.
    pub(crate) async fn slow(endpoint: &str, there: Duration, back: Duration) -> Self {
        let to: SocketAddr = endpoint.strip_prefix("tcp://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let (cuts, held_up) = (watch::Sender::new(0), watch::Sender::new(false));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (counted, cut, stopped) = (accepted.clone(), cuts.clone(), held_up.clone());
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let (mut cut, stopped) = (cut.subscribe(), stopped.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = join(near, to, [there, back], stopped) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { endpoint, cuts, accepted, held_up, listening }
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The same, and takes no more.
    pub(crate) fn close(&self) {
        self.listening.abort();
        self.cut();
    }

    /// Connections that there have been.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Holds up all that is said, both ways, or lets it go on.
    pub(crate) fn hold_up(&self, held_up: bool) {
        self.held_up.send_replace(held_up);
    }
}

async fn join(near: TcpStream, to: SocketAddr, delays: [Duration; 2], way: watch::Receiver<bool>) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let [there, back] = delays;
    tokio::select! {
        () = carry(near_in, far_out, there, way.clone()) => {}
        () = carry(far_in, near_out, back, way) => {}
    }
}

/// Passes on what comes, so much later, and as fast as it has come.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut way: watch::Receiver<bool>,
) {
    let (sender, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async move {
        let mut octets = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut octets).await {
            if sender.send((Instant::now() + delay, octets[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((at, octets)) = waiting.recv().await {
            sleep_until(at).await;
            if way.wait_for(|held_up| !held_up).await.is_err()
                || to.write_all(&octets).await.is_err()
            {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
