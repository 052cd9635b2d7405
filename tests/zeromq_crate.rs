//! Peers that are pure Rust and not ours: the crate `zeromq` as client and worker.

use std::time::Duration;

use bytes::Bytes;
use majordomo::broker::Broker;
use majordomo::config::BrokerConfig;
use majordomo::transport::endpoint::Endpoint;
use tokio::time::timeout;
use zeromq::{DealerSocket, ReqSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

/// Longer than anything here takes, on any machine.
const WAIT: Duration = Duration::from_secs(30);

type Frames = Vec<Bytes>;

struct Scene {
    broker: Broker,
    endpoint: String,
}

impl Scene {
    fn new(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut config = BrokerConfig::default();
        config.broker.bind = vec![Endpoint::Tcp(([127, 0, 0, 1], 0).into())];
        change(&mut config);
        let broker = Broker::bind(config).unwrap();
        let endpoint = broker.local_addrs()[0].to_string();
        Self { broker, endpoint }
    }

    async fn connect<S: Socket>(&self) -> S {
        let mut socket = S::new();
        timeout(WAIT, socket.connect(&self.endpoint)).await.unwrap().unwrap();
        socket
    }

    async fn worker(&self, service: &'static [u8], version: u8) -> Worker {
        let mut worker = Worker { socket: self.connect().await, version };
        worker.say(b"\x01", vec![service.into()]).await;
        worker
    }

    async fn end(self) {
        assert_eq!(self.broker.shutdown(WAIT).await.abandoned, 0);
    }
}

async fn send(socket: &mut impl SocketSend, frames: Frames) {
    let message = ZmqMessage::try_from(frames).unwrap();
    timeout(WAIT, socket.send(message)).await.unwrap().unwrap();
}

async fn receive(socket: &mut impl SocketRecv) -> Frames {
    timeout(WAIT, socket.recv()).await.unwrap().unwrap().into_vec()
}

/// What a client sends and gets, from its service on; REQ adds and takes the delimiter itself.
fn client(version: u8, reply: bool, rest: &[Bytes]) -> Frames {
    let mut frames: Frames = match (version, reply) {
        (1, _) => vec![b"".as_slice().into(), b"MDPC01".as_slice().into()],
        (_, false) => vec![b"MDPC02".as_slice().into(), b"\x01".as_slice().into()],
        (_, true) => vec![b"MDPC02".as_slice().into(), b"\x03".as_slice().into()],
    };
    frames.extend_from_slice(rest);
    frames
}

struct Worker {
    socket: DealerSocket,
    version: u8,
}

impl Worker {
    async fn say(&mut self, octet: &'static [u8], rest: Frames) {
        let mut frames: Frames = match self.version {
            1 => vec![b"".as_slice().into(), b"MDPW01".as_slice().into()],
            _ => vec![b"MDPW02".as_slice().into()],
        };
        frames.push(octet.into());
        frames.extend(rest);
        send(&mut self.socket, frames).await;
    }

    /// The next command's octet, and what follows it.
    async fn hear(&mut self) -> (Bytes, Frames) {
        let mut frames = receive(&mut self.socket).await;
        let rest = frames.split_off(if self.version == 1 { 3 } else { 2 });
        (frames.pop().unwrap(), rest)
    }

    /// Answers the next request with its own body.
    async fn echo(&mut self) -> Frames {
        let (octet, rest) = self.hear().await;
        assert_eq!(&octet[..], b"\x02");
        let body = rest[2..].to_vec();
        self.say(if self.version == 1 { b"\x03" } else { b"\x04" }, rest).await;
        body
    }
}

#[tokio::test]
async fn dealer_clients_and_workers_of_both_versions_are_served() {
    let scene = Scene::new(|_| {});
    for (client_version, worker_version) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let mut worker = scene.worker(b"echo", worker_version).await;
        let mut socket: DealerSocket = scene.connect().await;
        for size in [0, 1, 255, 256, 70_000, 1 << 20] {
            let body = Bytes::from(vec![b'x'; size]);
            let said = [Bytes::from("echo"), body.clone(), Bytes::new()];
            send(&mut socket, client(client_version, false, &said)).await;
            assert_eq!(worker.echo().await, said[1..]);
            assert_eq!(receive(&mut socket).await, client(client_version, true, &said));
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn a_req_client_is_served() {
    let scene = Scene::new(|_| {});
    let mut worker = scene.worker(b"echo", 1).await;
    let mut socket: ReqSocket = scene.connect().await;
    for at in 0..100 {
        let said = [Bytes::from("MDPC01"), Bytes::from("echo"), Bytes::from(at.to_string())];
        send(&mut socket, said.to_vec()).await;
        worker.echo().await;
        assert_eq!(receive(&mut socket).await, said);
    }
    scene.end().await;
}

#[tokio::test]
async fn a_thousand_pipelined_requests_are_answered_once_each() {
    let scene = Scene::new(|config| config.service.prefetch = 10);
    let mut worker = scene.worker(b"echo", 1).await;
    let work = tokio::spawn(async move {
        for _ in 0..1000 {
            worker.echo().await;
        }
        worker
    });
    let mut socket: DealerSocket = scene.connect().await;
    for at in 0..1000 {
        let said = [Bytes::from("echo"), Bytes::from(at.to_string())];
        send(&mut socket, client(1, false, &said)).await;
    }
    let mut seen = vec![0; 1000];
    for _ in 0..1000 {
        let number = receive(&mut socket).await.pop().unwrap();
        seen[std::str::from_utf8(&number).unwrap().parse::<usize>().unwrap()] += 1;
    }
    assert_eq!(seen, vec![1; 1000]);
    drop(work.await.unwrap());
    scene.end().await;
}

#[tokio::test]
async fn the_request_of_a_worker_that_goes_is_answered_by_another() {
    let scene = Scene::new(|_| {});
    let mut lost = scene.worker(b"work", 1).await;
    let mut socket: ReqSocket = scene.connect().await;
    let said = [Bytes::from("MDPC01"), Bytes::from("work"), Bytes::from("precious")];
    send(&mut socket, said.to_vec()).await;
    assert_eq!(lost.hear().await.0, b"\x02".as_slice());
    drop(lost);
    let mut other = scene.worker(b"work", 2).await;
    assert_eq!(other.echo().await, said[2..]);
    assert_eq!(receive(&mut socket).await, said);
    scene.end().await;
}

#[tokio::test]
async fn a_worker_gets_heartbeats_and_at_the_end_disconnect() {
    let interval = Duration::from_millis(50);
    let scene = Scene::new(|config| {
        config.mdp.heartbeat = interval;
        config.mdp.liveness = 100;
    });
    let mut worker = scene.worker(b"work", 2).await;
    for _ in 0..3 {
        assert_eq!(worker.hear().await, (Bytes::from_static(b"\x05"), vec![]));
    }
    let shutdown = tokio::spawn(scene.end());
    let mut last = worker.hear().await;
    while last.0 == b"\x05".as_slice() {
        last = worker.hear().await;
    }
    assert_eq!(last, (Bytes::from_static(b"\x06"), vec![]));
    shutdown.await.unwrap();
}
