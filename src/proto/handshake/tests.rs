use super::*;
use crate::wire::command::{CommandError, MetadataError};
use crate::wire::greeting::{GreetingError, Mechanism};
use proptest::prelude::*;

mod curve;
mod plain;

// Captured from libzmq 4.3.5 (pyzmq 27.3) against a raw socket, in the pieces it sent.
const LIBZMQ_GREETING: [&[u8]; 3] = [
    b"\xff\0\0\0\0\0\0\0\x01\x7f",
    b"\x03",
    b"\x01NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
];
const LIBZMQ_GREETING_OF_WORKER_1: [&[u8]; 3] =
    [b"\xff\0\0\0\0\0\0\0\x09\x7f", LIBZMQ_GREETING[1], LIBZMQ_GREETING[2]];
const LIBZMQ_DEALER_READY: &[u8] =
    b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0";
const LIBZMQ_READY_OF_WORKER_1: &[u8] =
    b"\x04\x31\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x08worker-1";
const LIBZMQ_REQ_READY: &[u8] =
    b"\x04\x26\x05READY\x0bSocket-Type\0\0\0\x03REQ\x08Identity\0\0\0\0";
const LIBZMQ_REQ_MESSAGE: &[u8] = b"\x01\0\0\x05hello";
const LIBZMQ_ROUTER_READY: &[u8] =
    b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06ROUTER\x08Identity\0\0\0\0";
const LIBZMQ_PUB_READY: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB";
/// A ROUTER whose ZAP handler says 400 sends this instead of READY, without waiting for ours.
const LIBZMQ_ROUTER_REFUSES: &[u8] = b"\x04\x0a\x05ERROR\x03400";

// Captured from the crate zeromq 0.7.0, which speaks 3.0 and sends 64 octets at once.
const ZMQ_RS_GREETING: &[u8] =
    b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const ZMQ_RS_DEALER_READY: &[u8] = b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER";

const DIAL: Role = Role::Dial { socket_type: SocketType::Dealer, identity: None };

/// What a handshake made of some octets.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    result: Result<Option<Peer>, HandshakeError>,
    /// What it sent behind its greeting.
    sent: Vec<u8>,
    /// Octets it left for the traffic.
    left: usize,
}

/// Feeds the pieces one after the other, until there is a result.
fn shake<'a>(role: Role, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    shake_as(Local { role, security: Security::Null, limits: Limits::default() }, pieces)
}

/// The same with this side.
fn shake_as<'a>(local: Local, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut out = Vec::new();
    let mut handshake = Handshake::new(local, &mut out);
    let (mut result, mut left) = (Ok(None), 0);
    for piece in pieces {
        if result != Ok(None) {
            left += piece.len();
            continue;
        }
        let mut input = piece;
        result = handshake.read(&mut input, &mut out);
        left = input.len();
    }
    Outcome { result, sent: out.split_off(64), left }
}

fn peer(socket_type: SocketType, announced: SocketType, identity: &[u8], minor: u8) -> Peer {
    let identity = Identity::try_from(identity).ok();
    Peer {
        socket_type,
        announced,
        identity,
        version: Version { major: 3, minor },
        proven: None,
        by_old_key: false,
        channel: None,
    }
}

#[test]
fn our_greeting_goes_out_whole_before_anything_comes_in() {
    // Golden: RFC 37 "Formal Grammar"; zero padding, as-server 0 for NULL.
    for role in [Role::Accept, DIAL] {
        let local = Local { role, security: Security::Null, limits: Limits::default() };
        let mut out = Vec::new();
        let _handshake = Handshake::new(local, &mut out);
        assert_eq!(out[..12], *b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01");
        assert_eq!(out[12..], [&b"NULL"[..], &[0; 48]].concat());
    }
}

#[test]
fn captured_peers_that_connect_are_served() {
    use SocketType::{Dealer, Req, Router};
    let [a, b, c] = LIBZMQ_GREETING;
    let [d, e, f] = LIBZMQ_GREETING_OF_WORKER_1;
    let cases: [(&str, &[&[u8]], Peer, usize); 6] = [
        ("DEALER", &[a, b, c, LIBZMQ_DEALER_READY], peer(Dealer, Router, b"", 1), 0),
        (
            "DEALER with identity",
            &[d, e, f, LIBZMQ_READY_OF_WORKER_1],
            peer(Dealer, Router, b"worker-1", 1),
            0,
        ),
        ("REQ", &[a, b, c, LIBZMQ_REQ_READY], peer(Req, Router, b"", 1), 0),
        (
            "REQ with its first request",
            &[a, b, c, LIBZMQ_REQ_READY, LIBZMQ_REQ_MESSAGE],
            peer(Req, Router, b"", 1),
            9,
        ),
        ("ROUTER", &[a, b, c, LIBZMQ_ROUTER_READY], peer(Router, Router, b"", 1), 0),
        (
            "DEALER of zmq.rs",
            &[ZMQ_RS_GREETING, ZMQ_RS_DEALER_READY],
            peer(Dealer, Router, b"", 0),
            0,
        ),
    ];
    for (case, pieces, peer, left) in cases {
        let expected = Outcome { result: Ok(Some(peer)), sent: LIBZMQ_ROUTER_READY.to_vec(), left };
        assert_eq!(shake(Role::Accept, pieces.iter().copied()), expected, "{case}");
        assert_eq!(shake(Role::Accept, [&pieces.concat()[..]]), expected, "{case}, one segment");
    }
}

#[test]
fn a_dialed_libzmq_router_is_greeted_as_by_a_libzmq_dealer() {
    let [a, b, c] = LIBZMQ_GREETING;
    let outcome = shake(DIAL, [a, b, c]);
    // READY goes out with the last octet of the greeting, before the peer's.
    assert_eq!(outcome, Outcome { result: Ok(None), sent: LIBZMQ_DEALER_READY.to_vec(), left: 0 });
    let outcome = shake(DIAL, [a, b, c, LIBZMQ_ROUTER_READY]);
    let router = peer(SocketType::Router, SocketType::Dealer, b"", 1);
    assert_eq!(outcome.result, Ok(Some(router)));
    assert_eq!(outcome.sent, LIBZMQ_DEALER_READY);

    let identity = Identity::try_from(&b"worker-1"[..]).ok();
    let named = Role::Dial { socket_type: SocketType::Dealer, identity };
    assert_eq!(shake(named, [a, b, c]).sent, LIBZMQ_READY_OF_WORKER_1);
    let req = Role::Dial { socket_type: SocketType::Req, identity: None };
    assert_eq!(shake(req, [a, b, c]).sent, LIBZMQ_REQ_READY);
}

#[test]
fn an_error_from_the_peer_is_final_and_stays_unanswered() {
    let [a, b, c] = LIBZMQ_GREETING;
    let refused = HandshakeError::Refused { reason: "400".into() };
    assert!(refused.is_final());
    let outcome = shake(DIAL, [a, b, c, LIBZMQ_ROUTER_REFUSES]);
    assert_eq!((outcome.result, &outcome.sent[..]), (Err(refused.clone()), LIBZMQ_DEALER_READY));
    let outcome = shake(Role::Accept, [a, b, c, LIBZMQ_ROUTER_REFUSES]);
    assert_eq!((outcome.result, &outcome.sent[..]), (Err(refused), &b""[..]));
}

#[test]
fn the_announced_type_follows_the_peers_and_the_rest_is_refused_for_good() {
    use SocketType::{Client, Dealer, Req, Router, Server};
    let greeting = LIBZMQ_GREETING.concat();
    for theirs in SocketType::ALL {
        let mut metadata = Vec::new();
        let identity = None;
        crate::wire::command::Metadata { socket_type: theirs, identity }.encode(&mut metadata);
        let mut ready = Vec::new();
        Command::Ready(&metadata).encode(&mut ready);
        let outcome = shake(Role::Accept, [&greeting[..], &ready]);
        if [Req, Dealer, Router].contains(&theirs) {
            assert_eq!(outcome.result, Ok(Some(peer(theirs, Router, b"", 1))));
            assert_eq!(outcome.sent, LIBZMQ_ROUTER_READY);
        } else if theirs == Client {
            assert_eq!(outcome.result, Ok(Some(peer(theirs, Server, b"", 1))));
            assert_eq!(outcome.sent, b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06SERVER");
        } else {
            let error = HandshakeError::NotServed { theirs };
            let reason = error.reply().unwrap();
            let mut refusal = Vec::new();
            Command::Error { reason: reason.as_bytes() }.encode(&mut refusal);
            assert_eq!(outcome, Outcome { result: Err(error), sent: refusal, left: 0 });
        }
    }
}

#[test]
fn a_dialer_that_finds_the_wrong_socket_says_so_and_gives_up() {
    let greeting = LIBZMQ_GREETING.concat();
    let Outcome { result, sent, .. } = shake(DIAL, [&greeting[..], LIBZMQ_PUB_READY]);
    let (ours, theirs) = (SocketType::Dealer, SocketType::Pub);
    let error = HandshakeError::Incompatible { ours, theirs };
    assert!(error.is_final());
    assert_eq!(result, Err(error));
    let refusal = b"\x04\x1f\x05ERROR\x18incompatible-socket-type";
    assert_eq!(sent.strip_prefix(LIBZMQ_DEALER_READY), Some(&refusal[..]));
}

/// What came of a server and a client that were brought together, and all they said.
struct Met {
    at_server: Result<Option<Peer>, HandshakeError>,
    at_client: Result<Option<Peer>, HandshakeError>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

/// Carries octets between the two until nothing more is said.
fn meet(server: Local, client: Local) -> Met {
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut server = Handshake::new(server, &mut to_client);
    let mut client = Handshake::new(client, &mut to_server);
    let (mut at_server, mut at_client) = (Ok(None), Ok(None));
    let (mut heard_by_server, mut heard_by_client) = (0, 0);
    loop {
        let mut input = &to_client.clone()[heard_by_client..];
        if at_client == Ok(None) && !input.is_empty() {
            heard_by_client = to_client.len();
            at_client = client.read(&mut input, &mut to_server);
            continue;
        }
        let mut input = &to_server.clone()[heard_by_server..];
        if at_server == Ok(None) && !input.is_empty() {
            heard_by_server = to_server.len();
            at_server = server.read(&mut input, &mut to_client);
            continue;
        }
        return Met { at_server, at_client, to_server, to_client };
    }
}

/// Whatever of these octets has come, there is no outcome before the last one; and it is the same
/// however they come.
fn every_cut_waits(
    local: impl Fn() -> Local,
    octets: &[u8],
    expected: &Result<Option<Peer>, HandshakeError>,
) {
    for len in 0..octets.len() {
        let Outcome { result, left, .. } = shake_as(local(), [&octets[..len]]);
        assert_eq!((result, left), (Ok(None), 0), "first {len} octets");
    }
    let whole = shake_as(local(), [octets]);
    assert_eq!(&whole.result, expected);
    for size in [1, 2, 7, 100] {
        assert_eq!(shake_as(local(), octets.chunks(size)), whole, "{size} octets at a time");
    }
}

#[test]
fn our_two_sides_understand_each_other() {
    use SocketType::{Dealer, Router};
    let local = |role| Local { role, security: Security::Null, limits: Limits::default() };
    let identity = Identity::try_from(&b"ours"[..]).ok();
    let met = meet(local(Role::Accept), local(Role::Dial { socket_type: Dealer, identity }));
    assert_eq!(met.at_server, Ok(Some(peer(Dealer, Router, b"ours", 1))));
    assert_eq!(met.at_client, Ok(Some(peer(Router, Dealer, b"", 1))));
    every_cut_waits(|| local(Role::Accept), &met.to_server, &met.at_server);
}

#[test]
fn the_limit_of_a_command_holds_at_its_edge_before_anything_is_allocated() {
    let greeting = LIBZMQ_GREETING.concat();
    let max = Limits::default().handshake_command_bytes_max;
    let limits = Limits { metadata_bytes_max: max, ..Limits::default() };
    let type_len = LIBZMQ_DEALER_READY.len() - 2;
    for size in [max - 1, max, max + 1] {
        // One more property fills READY up: 7 octets around its value.
        let value = vec![b'v'; size - type_len - 7];
        let value_len = u32::try_from(value.len()).unwrap().to_be_bytes();
        let body = [&LIBZMQ_DEALER_READY[2..], b"\x02X-", &value_len, &value].concat();
        assert_eq!(body.len(), size);
        let mut header = Vec::new();
        crate::wire::frame::Header::encode(4, size, &mut header);
        let local = Local { role: Role::Accept, security: Security::Null, limits };
        let Outcome { result, sent, .. } = shake_as(local, [&greeting[..], &header, &body]);
        if size <= max {
            assert!(matches!(result, Ok(Some(_))), "{size}: {result:?}");
        } else {
            let too_big = CommandError::TooBig { size: size as u64, max };
            assert_eq!((result, sent), (Err(too_big.into()), vec![]));
        }
    }
}

#[test]
fn a_handshake_that_has_ended_stays_ended() {
    for octets in [&b"GET"[..], &[&LIBZMQ_GREETING.concat(), LIBZMQ_DEALER_READY].concat()] {
        let mut out = Vec::new();
        let local =
            Local { role: Role::Accept, security: Security::Null, limits: Limits::default() };
        let mut handshake = Handshake::new(local, &mut out);
        let first = handshake.read(&mut &octets[..], &mut out);
        assert_ne!(first, Ok(None));
        let sent = out.len();
        assert_eq!(handshake.read(&mut &octets[..], &mut out), Err(HandshakeError::Ended));
        assert_eq!(out.len(), sent);
    }
}

#[test]
fn errors_say_what_is_for_good() {
    use SocketType::{Dealer, Pub};
    let octet = 0;
    let name_max = 255;
    let too_long = crate::id::NameError::TooLong { len: 256, max: name_max };
    let ours = Mechanism::Null;
    let who = Principal::Key(crate::id::PublicKey([7; 32]));
    let plain_layout = crate::wire::plain::LayoutError::Overrun { what: "password", len: 3 };
    let curve_layout = crate::wire::curve::LayoutError::Version { major: 2, minor: 0 };
    // (error, told to the peer, final for a dialer)
    let cases: Vec<(HandshakeError, Option<&str>, bool)> = vec![
        (GreetingError::NotZmtp { octet }.into(), None, false),
        (GreetingError::Unversioned { octet }.into(), None, false),
        (GreetingError::OldVersion { major: 1 }.into(), None, true),
        (GreetingError::MechanismDiffers { ours, at: 12, octet }.into(), None, true),
        (CommandError::NoName.into(), None, false),
        (HandshakeError::unexpected(b"HELLO", "READY"), None, false),
        (HandshakeError::refused(b"no"), None, true),
        (HandshakeError::Ended, None, false),
        (plain_layout.into(), None, false),
        (HandshakeError::UserName(too_long), Some("400"), true),
        (curve_layout.into(), None, false),
        (CurveError::HelloForged.into(), None, false),
        (CurveError::WelcomeForged.into(), None, false),
        (CurveError::LowOrder { whose: "client's" }.into(), None, false),
        (CurveError::LowOrder { whose: "server's" }.into(), None, true),
        (HandshakeError::NotAdmitted { who }, Some("400"), true),
        (HandshakeError::NotYet { who }, None, false),
        (HandshakeError::MetadataTooLong { len: 513, max: 512 }, Some("metadata-too-long"), true),
        (MetadataError::TooMany.into(), Some("malformed-metadata"), true),
        (MetadataError::NoSocketType.into(), Some("no-socket-type"), true),
        (MetadataError::Identity(too_long).into(), Some("identity-longer-than-255-octets"), true),
        (
            MetadataError::Identity(crate::id::NameError::StartsWithZero).into(),
            Some("identity-starts-with-zero"),
            true,
        ),
        (
            MetadataError::UnknownSocketType { name: "x".into() }.into(),
            Some("unknown-socket-type"),
            true,
        ),
        (
            HandshakeError::NotServed { theirs: Pub },
            Some("socket-type-not-served:use-REQ,DEALER,ROUTER-or-CLIENT"),
            true,
        ),
        (
            HandshakeError::Incompatible { ours: Dealer, theirs: Pub },
            Some("incompatible-socket-type"),
            true,
        ),
    ];
    for (error, reply, is_final) in cases {
        assert_eq!((error.reply(), error.is_final()), (reply, is_final), "{error}");
        assert!(error.label().bytes().all(|c| c == b'_' || c.is_ascii_lowercase()));
        // RFC 37: error-reason = short-size 0*255VCHAR
        assert!(reply.is_none_or(|reason| reason.bytes().all(|c| c.is_ascii_graphic())));
    }
}

proptest! {
    #[test]
    fn however_the_octets_arrive_the_outcome_is_the_same(
        accept in any::<bool>(),
        damage in proptest::option::of((0..140_usize, any::<u8>())),
        cuts in proptest::collection::vec(0..140_usize, 0..6),
    ) {
        let role = if accept { Role::Accept } else { DIAL };
        let ready = if accept { LIBZMQ_READY_OF_WORKER_1 } else { LIBZMQ_ROUTER_READY };
        let mut octets = [&LIBZMQ_GREETING.concat(), ready, LIBZMQ_REQ_MESSAGE].concat();
        if let Some((at, octet)) = damage && at < octets.len() {
            octets[at] = octet;
        }
        let whole = shake(role.clone(), [&octets[..]]);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(octets.len())).collect();
        cuts.extend([0, octets.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|window| &octets[window[0]..window[1]]);
        let pieced = shake(role.clone(), pieces);
        prop_assert_eq!(&pieced.result, &whole.result);
        prop_assert_eq!(&pieced.sent, &whole.sent);
        let dribbled = shake(role, octets.chunks(1));
        prop_assert_eq!(&dribbled.result, &whole.result);
        prop_assert_eq!(&dribbled.sent, &whole.sent);
        if whole.result.is_ok() {
            prop_assert_eq!((pieced.left, dribbled.left), (whole.left, whole.left));
        }
    }

    #[test]
    fn no_octets_make_it_panic_or_send_more_than_ready_and_error(
        octets in proptest::collection::vec(any::<u8>(), 0..200),
        greeted in any::<bool>(),
    ) {
        let greeting = if greeted { LIBZMQ_GREETING.concat() } else { vec![] };
        for role in [Role::Accept, DIAL] {
            let outcome = shake(role, [&greeting[..], &octets]);
            prop_assert!(outcome.sent.len() <= 120);
        }
    }
}
