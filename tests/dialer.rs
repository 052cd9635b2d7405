//! The dialing side, over sockets: back-off, the handshake as a DEALER, and the `tokio_util` codec,
//! against an embedded broker.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use majordomo::broker::Broker;
use majordomo::config::BrokerConfig;
use majordomo::proto::handshake::{Local, Role, Security};
use majordomo::transport::codec::{Heard, Say, ZmtpCodec};
use majordomo::transport::dial::{Backoff, dial_until_connected};
use majordomo::transport::endpoint::Endpoint;
use majordomo::transport::greet::{Means, greet};
use majordomo::wire::Limits;
use majordomo::wire::command::{Command, SocketType};
use majordomo::wire::message::Message;
use tokio_util::codec::{FramedRead, FramedWrite};

fn broker(endpoint: &Endpoint) -> Broker {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec![endpoint.clone()];
    Broker::bind(config).unwrap()
}

#[tokio::test]
async fn a_dialer_finds_a_broker_that_comes_later_and_talks_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.sock");
    let endpoint: Endpoint = format!("ipc://{}", path.display()).parse().unwrap();
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(20), 7);
    let dialing = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { dial_until_connected(&endpoint, &mut backoff).await }
    });
    tokio::task::yield_now().await;
    let broker = broker(&endpoint);
    let (mut reader, writer) = dialing.await.unwrap().into_split();

    let local = Local {
        role: Role::Dial { socket_type: SocketType::Dealer, identity: None },
        security: Security::Null,
        limits: Limits::default(),
    };
    let (peer, early) = greet(&mut reader, &writer, local, Means::default()).await.unwrap();
    assert_eq!((peer.socket_type, peer.version.has_ping()), (SocketType::Router, true));
    assert!(early.is_empty(), "a broker says nothing by itself");

    let mut said = FramedWrite::new(writer, ZmtpCodec::new(Limits::default()));
    let mut heard = FramedRead::new(reader, ZmtpCodec::new(Limits::default()));
    let request = Message::new([&b""[..], b"MDPC01", b"mmi.service", b"nobody"]);
    said.send(Say::Message(request)).await.unwrap();
    let reply = Message::new([&b""[..], b"MDPC01", b"mmi.service", b"404"]);
    assert_eq!(heard.next().await.unwrap().unwrap(), Heard::Message(reply));

    // A large body, and a command between two messages.
    let mut ping = Vec::new();
    Command::Ping { ttl_deciseconds: 0, context: b"ctx" }.encode(&mut ping);
    said.send(Say::Command(ping)).await.unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap(), Heard::Command, "the PONG");
    let large = vec![7; 300_000];
    let request = [b"".to_vec(), b"MDPC01".to_vec(), b"mmi.other".to_vec(), large];
    said.send(Say::Message(Message::new(request))).await.unwrap();
    let reply = Message::new([&b""[..], b"MDPC01", b"mmi.other", b"501"]);
    assert_eq!(heard.next().await.unwrap().unwrap(), Heard::Message(reply));

    let report = broker.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.abandoned, 0);
    assert!(heard.next().await.is_none(), "the broker has gone");
}
