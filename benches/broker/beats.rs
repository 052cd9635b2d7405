//! What heartbeats cost at least: a loop that greets as a broker does, reads whatever comes, and
//! writes a heartbeat to each connection once an interval. It knows no worker and no deadline.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use crate::load::{BEAT, greeting, ready};

/// Beats due within this go out together, as those of the broker do.
const COALESCE: Duration = Duration::from_millis(5);

/// Runs until it is killed.
pub(crate) fn run(interval: Duration) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        io::stdout().flush()?;
        let (sender, receiver) = mpsc::channel(16);
        spawn_local(write(receiver, interval));
        loop {
            let (stream, _) = listener.accept().await?;
            let sender = sender.clone();
            spawn_local(async move {
                let Ok((reader, writer)) = greet(stream).await else { return };
                if sender.send(writer).await.is_ok() {
                    read(reader).await;
                }
            });
        }
    })
}

async fn greet(stream: TcpStream) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(&greeting()).await?;
    reader.read_exact(&mut [0; 64]).await?;
    let mut header = [0; 2];
    reader.read_exact(&mut header).await?;
    reader.read_exact(&mut vec![0; header[1].into()]).await?;
    writer.write_all(&ready(b"ROUTER")).await?;
    Ok((reader, writer))
}

async fn read(mut reader: OwnedReadHalf) {
    let mut octets = [0; 512];
    while reader.read(&mut octets).await.is_ok_and(|count| count > 0) {}
}

/// All intervals are alike, so the next connection to write to is always the one in front.
async fn write(mut arrivals: mpsc::Receiver<OwnedWriteHalf>, interval: Duration) {
    let mut due: VecDeque<(Instant, OwnedWriteHalf)> = VecDeque::new();
    loop {
        let next = due.front().map_or_else(|| Instant::now() + interval, |(at, _)| *at + COALESCE);
        tokio::select! {
            arrival = arrivals.recv() => {
                let Some(writer) = arrival else { return };
                due.push_back((Instant::now() + interval, writer));
            }
            () = sleep_until(next) => {
                let now = Instant::now();
                while due.front().is_some_and(|(at, _)| *at <= now) {
                    let Some((at, writer)) = due.pop_front() else { return };
                    if writer.try_write(BEAT).is_ok() {
                        due.push_back((at + interval, writer));
                    }
                }
            }
        }
    }
}
