//! The dialing side that client and worker share, over sockets: against an embedded broker, and
//! against a peer that does what a broker would not.

use std::time::Duration;

use futures::FutureExt;
use majordomo::broker::Broker;
use majordomo::config::BrokerConfig;
use majordomo::proto::handshake::{Local, Role, Security};
use majordomo::transport::endpoint::Endpoint;
use majordomo::transport::greet::{Means, greet};
use majordomo::transport::session::{Session, SessionConfig, SessionError};
use majordomo::transport::stream::{ReadHalf, Stream, WriteHalf};
use majordomo::wire::Limits;
use majordomo::wire::message::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PING: &[u8] = b"\x04\x07\x04PING\x00\x00";
const PONG: &[u8] = b"\x04\x05\x04PONG";

/// A session with a peer that the test plays itself.
async fn pair(config: SessionConfig) -> (Session, ReadHalf, WriteHalf) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
    let accept = async {
        let (mut reader, writer) = Stream::Tcp(listener.accept().await.unwrap().0).into_split();
        let local =
            Local { role: Role::Accept, security: Security::Null, limits: Limits::default() };
        let (_, early) = greet(&mut reader, &writer, local, Means::default()).await.unwrap();
        assert!(early.is_empty());
        (reader, writer)
    };
    let (session, (reader, writer)) = tokio::join!(Session::connect(&endpoint, &config), accept);
    (session.unwrap(), reader, writer)
}

#[tokio::test]
async fn a_session_talks_to_a_broker_in_batches_and_with_large_bodies() {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    let broker = Broker::bind(config).unwrap();
    let endpoint = broker.local_addrs()[0].clone();
    let mut session = Session::connect(&endpoint, &SessionConfig::default()).await.unwrap();
    let large = Message::new([vec![7; 300_000]]);
    for _ in 0..500 {
        session.send(|out| {
            for frame in [&b""[..], b"MDPC01", b"mmi.service"] {
                out.frame(frame);
            }
            out.last_frame(b"nobody");
        });
    }
    session.send(|out| {
        for frame in [&b""[..], b"MDPC01", b"mmi.other"] {
            out.frame(frame);
        }
        out.frames(&large.frames());
    });
    let mut replies = Vec::new();
    while replies.len() < 501 {
        session.turn(|frames| replies.push(frames.to_message())).await.unwrap();
    }
    let last = replies.pop().unwrap();
    assert_eq!(last, Message::new([&b""[..], b"MDPC01", b"mmi.other", b"501"]));
    let reply = Message::new([&b""[..], b"MDPC01", b"mmi.service", b"404"]);
    assert!(replies.iter().all(|it| *it == reply));
    broker.shutdown(Duration::from_secs(5)).await;
    let end = session.turn(|frames| panic!("{frames:?}")).await;
    assert!(matches!(end, Err(SessionError::HungUp)), "{end:?}");
}

#[tokio::test]
async fn a_turn_that_is_given_up_loses_nothing() {
    let (mut session, _, mut writer) = pair(SessionConfig::default()).await;
    let sent = tokio::spawn(async move {
        for number in 0..200u8 {
            for octets in [&[1, 2, number][..], &[number, 0], &[1, number]] {
                writer.write_all(octets).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        writer
    });
    let mut heard = Vec::new();
    while heard.len() < 200 {
        tokio::select! {
            biased;
            turn = session.turn(|frames| heard.push(frames.to_message())) => turn.unwrap(),
            () = tokio::task::yield_now() => {}
        }
    }
    let expected: Vec<_> = (0..200u8).map(|n| Message::new([vec![n, n], vec![n]])).collect();
    assert_eq!(heard, expected);
    drop(sent.await.unwrap());
}

#[tokio::test]
async fn a_peer_that_answers_ping_is_kept_and_one_that_does_not_is_left() {
    let config =
        SessionConfig { ping_interval: Duration::from_millis(20), ..SessionConfig::default() };
    let (mut session, mut reader, mut writer) = pair(config).await;
    let peer = tokio::spawn(async move {
        let mut ping = [0; PING.len()];
        for _ in 0..5 {
            reader.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping, PING);
            writer.write_all(PONG).await.unwrap();
        }
        reader.read_exact(&mut ping).await.unwrap();
        (reader, writer)
    });
    let end = session.turn(|frames| panic!("{frames:?}")).await;
    assert!(matches!(end, Err(SessionError::Silent { .. })), "{end:?}");
    drop(peer.await.unwrap());
}

#[tokio::test]
async fn a_ping_is_answered_between_messages_and_error_ends_the_session() {
    let (mut session, mut reader, mut writer) = pair(SessionConfig::default()).await;
    writer.write_all(b"\x04\x0a\x04PING\x00\x00ctx\x00\x01m").await.unwrap();
    session.send(|out| out.last_frame(b"said before"));
    let mut heard = None;
    session.turn(|frames| heard = Some(frames.to_message())).await.unwrap();
    assert_eq!(heard, Some(Message::new([&b"m"[..]])));
    session.flush().await.unwrap();
    let mut octets = [0; 23];
    reader.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"\x00\x0bsaid before\x04\x08\x04PONGctx");
    writer.write_all(b"\x04\x0a\x05ERROR\x03bad").await.unwrap();
    let end = session.turn(|frames| panic!("{frames:?}")).await;
    assert!(matches!(&end, Err(SessionError::Refused { reason }) if reason == "bad"), "{end:?}");
}

#[tokio::test]
async fn a_full_outbox_says_so_and_a_turn_tells_when_it_has_room_again() {
    let config = SessionConfig { outbox_bytes_max: 100_000, ..SessionConfig::default() };
    let (mut session, mut reader, writer) = pair(config).await;
    let body = Message::new([vec![1; 50_000]]);
    let mut sent = 0;
    // As long as the sockets between take it, there is room.
    while session.has_room() {
        session.send(|out| out.frames(&body.frames()));
        sent += 1;
        let turn = session.turn(|frames| panic!("{frames:?}")).now_or_never();
        assert!(turn.is_none_or(|turn| turn.is_ok()));
    }
    assert!(session.waiting() >= 100_000);
    let read = tokio::spawn(async move {
        let mut octets = vec![0; 1 << 16];
        let mut count = 0;
        while count < sent * 50_009 {
            count += reader.read(&mut octets).await.unwrap();
        }
        (reader, writer)
    });
    session.turn(|frames| panic!("{frames:?}")).await.unwrap();
    assert!(session.has_room());
    session.flush().await.unwrap();
    drop(read.await.unwrap());
}

#[tokio::test]
async fn who_does_not_shake_hands_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
    let config =
        SessionConfig { connect_timeout: Duration::from_millis(50), ..SessionConfig::default() };
    let error = Session::connect(&endpoint, &config).await.unwrap_err();
    assert!(matches!(error, SessionError::TimedOut { .. }), "{error:?}");
    drop(listener);
    let error = Session::connect(&endpoint, &config).await.unwrap_err();
    assert!(matches!(error, SessionError::Dial { .. }), "{error:?}");
}
