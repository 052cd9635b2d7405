//! Stands between a client and its broker, and breaks or holds up what goes through it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) struct Relay {
    pub(crate) endpoint: String,
    lines: Arc<Mutex<JoinSet<()>>>,
    accepted: Arc<AtomicUsize>,
    held_up: watch::Sender<bool>,
}

impl Relay {
    pub(crate) async fn to(endpoint: &str) -> Self {
        let to: SocketAddr = endpoint.strip_prefix("tcp://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let lines = Arc::new(Mutex::new(JoinSet::new()));
        let accepted = Arc::new(AtomicUsize::new(0));
        let held_up = watch::Sender::new(false);
        let (carried, counted, way) = (lines.clone(), accepted.clone(), held_up.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let way = way.subscribe();
                carried.lock().unwrap().spawn(async move {
                    if let Ok(far) = TcpStream::connect(to).await {
                        let (near_in, near_out) = near.into_split();
                        let (far_in, far_out) = far.into_split();
                        let there = carry(near_in, far_out, way.clone());
                        tokio::select! {
                            () = there => {}
                            () = carry(far_in, near_out, way) => {}
                        }
                    }
                });
            }
        });
        Self { endpoint, lines, accepted, held_up }
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.lines.lock().unwrap().abort_all();
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

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut way: watch::Receiver<bool>,
) {
    let mut octets = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut octets).await {
        if way.wait_for(|held_up| !held_up).await.is_err()
            || to.write_all(&octets[..count]).await.is_err()
        {
            return;
        }
    }
}
