//! A way to the broker that takes time, differently there and back, and can be cut.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

pub(crate) struct Detour {
    pub(crate) endpoint: String,
    cut: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Detour {
    /// To the broker at `to`, `tcp://HOST:PORT`, with these delays.
    pub(crate) async fn new(to: &str, there: Duration, back: Duration) -> Self {
        let to = to.strip_prefix("tcp://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let cut = watch::Sender::new(0);
        let cuts = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&to).await else { continue };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                let mut cut = cuts.subscribe();
                let ways = async move {
                    tokio::join!(pass(near_in, far_out, there), pass(far_in, near_out, back))
                };
                tokio::spawn(async move {
                    tokio::select! {
                        _ = ways => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { endpoint, cut, task }
    }

    /// Breaks all connections that stand.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// The same, and there is no way any more.
    pub(crate) fn close(&self) {
        self.task.abort();
        self.cut();
    }
}

/// Passes on what comes, so much later, and as fast as it has come.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut waiting) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut buffer).await {
            let octets = buffer[..count].to_vec();
            if count == 0 || sender.send((Instant::now() + delay, octets)).await.is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((at, octets)) = waiting.recv().await {
            sleep_until(at).await;
            if to.write_all(&octets).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(read, write);
}
