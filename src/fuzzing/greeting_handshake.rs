//! `greeting_handshake`: both sides of a handshake against whatever a peer sends.

use super::pieces::{Choices, Cuts};
use crate::id::Identity;
use crate::proto::handshake::{Handshake, HandshakeError, Local, Peer, Role, Security};
use crate::wire::Limits;
use crate::wire::command::{Command, CommandReader, Metadata, SocketType};
use crate::wire::frame::HEADER_LEN_MAX;
use crate::wire::greeting::{GREETING_LEN, Greeting, GreetingReader, Mechanism, Version};

/// How a handshake ended, what was said, and how much of the stream it took.
#[derive(Debug, PartialEq, Eq)]
struct Ending {
    result: Result<Option<Peer>, HandshakeError>,
    out: Vec<u8>,
    left: Vec<u8>,
}

/// The first octet chooses our side, the next ones the cuts; the rest is the stream.
pub fn greeting_handshake(input: &[u8]) {
    let mut choices = Choices::new(input);
    let choice = choices.octet();
    let Local { role, limits, .. } = local(choice);
    let cuts = Cuts::read(&mut choices);
    let stream = choices.rest();

    let mut whole = stream;
    let ending = shake(choice, stream, |left| std::mem::take(left));
    let mut pieces = cuts;
    assert_eq!(shake(choice, stream, |left| pieces.next(left)), ending, "in pieces");

    let taken = stream.len() - ending.left.len();
    let most = GREETING_LEN + HEADER_LEN_MAX + limits.handshake_command_bytes_max;
    assert!(taken <= most, "{taken} octets were taken, {most} at most were of use");
    let greeted = matches!(GreetingReader::new(Mechanism::Null).read(&mut whole), Ok(Some(_)));
    check_output(&role, greeted, &ending);
    match &ending.result {
        Ok(Some(peer)) => check_peer(&role, peer, stream),
        Ok(None) => {}
        // A reason goes into the log: what the peer wrote in it is escaped.
        Err(reason) => {
            assert!(reason.to_string().bytes().all(|octet| (b' '..0x7f).contains(&octet)))
        }
    }
}

/// An even octet accepts, an odd one dials with the type and the name that its bits give.
fn local(choice: u8) -> Local {
    let role = if choice.is_multiple_of(2) {
        Role::Accept
    } else {
        let at = usize::from(choice >> 2) % SocketType::ALL.len();
        Role::Dial {
            socket_type: SocketType::ALL.get(at).copied().unwrap_or(SocketType::Dealer),
            identity: (choice & 2 != 0).then(|| Identity::try_from(&b"me"[..]).expect("a name")),
        }
    };
    let handshake_command_bytes_max = if choice >= 128 { 64 } else { 1024 };
    let limits = Limits { handshake_command_bytes_max, ..Limits::default() };
    Local { role, security: Security::Null, limits }
}

/// Feeds one handshake until it ends or the stream does.
fn shake<'s>(
    choice: u8,
    stream: &'s [u8],
    mut next: impl FnMut(&mut &'s [u8]) -> &'s [u8],
) -> Ending {
    let (mut out, mut left) = (Vec::new(), stream);
    let mut handshake = Handshake::new(local(choice), &mut out);
    while !left.is_empty() {
        let mut piece = next(&mut left);
        let result = handshake.read(&mut piece, &mut out);
        if result == Ok(None) {
            assert!(piece.is_empty(), "octets were left lying");
            continue;
        }
        let after = out.len();
        assert_eq!(handshake.read(&mut &b"x"[..], &mut out), Err(HandshakeError::Ended));
        assert_eq!(out.len(), after, "something was said after the end");
        return Ending { result, out, left: [piece, left].concat() };
    }
    Ending { result: Ok(None), out, left: Vec::new() }
}

/// All that may be said: 64 octets of greeting, one READY at its time, one ERROR that ends it.
fn check_output(role: &Role, greeted: bool, ending: &Ending) {
    let (greeting, mut rest) = ending.out.split_at(GREETING_LEN);
    let ours = Greeting { version: Version::OURS, mechanism: Mechanism::Null, as_server: false };
    assert_eq!(greeting, ours.encode());

    let (mut ready, mut error) = (None, None);
    let mut reader = CommandReader::new(4096);
    while let Some(body) = reader.read(&mut rest).expect("we write commands that can be read") {
        assert_eq!(error, None, "something was said after ERROR");
        match Command::decode(&body).expect("we write commands that can be read") {
            Command::Ready(metadata) if ready.is_none() => {
                ready = Some(Metadata::decode(metadata).expect("so is our metadata"));
            }
            Command::Error { reason } => error = Some(reason.to_vec()),
            other => panic!("{other:?} has no place in our handshake"),
        }
    }
    let reply = ending.result.as_ref().err().and_then(HandshakeError::reply);
    assert_eq!(error.as_deref(), reply.map(str::as_bytes));
    if let Some(reason) = error {
        // RFC 37: visible characters only.
        assert!(reason.iter().all(u8::is_ascii_graphic) && reason.len() <= 255);
    }
    let expected = match role {
        Role::Accept => match &ending.result {
            Ok(Some(peer)) => {
                Some(Metadata { socket_type: answer_to(peer.socket_type), identity: None })
            }
            _ => None,
        },
        Role::Dial { socket_type, identity } => greeted.then(|| Metadata {
            socket_type: *socket_type,
            identity: identity.clone().filter(|_| socket_type.has_identity()),
        }),
    };
    assert_eq!(ready, expected);
}

/// What whoever accepts a peer of that type is.
fn answer_to(theirs: SocketType) -> SocketType {
    if theirs == SocketType::Client { SocketType::Server } else { SocketType::Router }
}

/// A peer is what its own octets say it is.
fn check_peer(role: &Role, peer: &Peer, stream: &[u8]) {
    assert!(peer.announced.compatible(peer.socket_type));
    let announced = match role {
        Role::Accept => answer_to(peer.socket_type),
        Role::Dial { socket_type, .. } => *socket_type,
    };
    assert_eq!(peer.announced, announced);
    assert_eq!(stream.get(10..12), Some(&[peer.version.major, peer.version.minor][..]));
    // ZMTP 3.0 has no PING; it came with 3.1.
    assert!(peer.version.major >= 3);
    assert_eq!(peer.version.has_ping(), (peer.version.major, peer.version.minor) != (3, 0));
    let mut written = Vec::new();
    let metadata = Metadata { socket_type: peer.socket_type, identity: peer.identity.clone() };
    metadata.encode(&mut written);
    assert_eq!(Metadata::decode(&written).as_ref(), Ok(&metadata));
}
