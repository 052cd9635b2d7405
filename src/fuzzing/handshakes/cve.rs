//! Bugs that other engines had, by their names. None of them is to be one of ours.

use super::forger::{Client, KNOWN_KEY, Server, WELCOME_END, public};
use super::greetings::greeting;
use super::metadata::{of_length, property};
use super::*;
use crate::proto::curve::{ChannelError, SharedKey};
use crate::proto::handshake::{CurveError, Handshake, Peer};
use crate::wire::command::CommandError;
use crate::wire::frame::HEADER_LEN_MAX;
use crate::wire::greeting::GreetingError;

type Outcome = Result<Option<Peer>, HandshakeError>;

const ALL: [Mechanism; 3] = [Mechanism::Null, Mechanism::Plain, Mechanism::Curve];

/// A listener that hears these octets: the outcome, what it says behind its greeting, and what it
/// leaves.
fn hear(mechanism: Mechanism, octets: &[u8]) -> (Outcome, Vec<u8>, usize) {
    let (mut said, mut input) = (Vec::new(), octets);
    let mut handshake = Handshake::new(local(Ours::Listener(mechanism), 0), &mut said);
    let result = handshake.read(&mut input, &mut said);
    (result, said.split_off(64), input.len())
}

/// What a good client sends in its turns.
fn acts(mechanism: Mechanism) -> Vec<Act> {
    let greeting = greeting(mechanism);
    match mechanism {
        Mechanism::Null => null::acts(greeting),
        Mechanism::Plain => plain::acts(greeting),
        Mechanism::Curve => curve::acts(greeting),
    }
}

/// All octets of a good client.
fn good(mechanism: Mechanism) -> Vec<u8> {
    let mut said = Vec::new();
    let mut handshake = Handshake::new(local(Ours::Listener(mechanism), 0), &mut said);
    let (mut octets, mut result) = (Vec::new(), Ok(None));
    for act in acts(mechanism) {
        let sent = act.octets(&said);
        result = handshake.read(&mut &sent[..], &mut said);
        octets.extend(sent);
    }
    assert!(matches!(result, Ok(Some(_))), "{result:?}");
    octets
}

/// The end of a client of CURVE.
fn curve_end(client: &Client) -> Option<End> {
    let (hello, client) = (client.hello(), client.clone());
    let acts = vec![
        Act::send([greeting(Mechanism::Curve), hello].concat()),
        Act::answer(WELCOME_END, move |heard| client.initiate(heard)),
    ];
    let ours = Ours::Listener(Mechanism::Curve);
    play(&Case::new(ours, "", acts, End::Served(0)), false, 0).end(ours).unwrap()
}

#[test]
fn cve_2014_7202_no_downgrade_by_an_older_greeting() {
    for mechanism in ALL {
        // ZMTP 1.0: an anonymous peer, one with a name, and a first frame in the long form.
        for (octets, taken) in [
            (&b"\x01\0\x06\0hello"[..], 0),
            (b"\x05\0name\x06\0hello", 0),
            (b"\xff\0\0\0\0\0\0\x01\0\0hello", 9),
        ] {
            let (result, said, left) = hear(mechanism, octets);
            assert!(matches!(result, Err(HandshakeError::Greeting(_))), "{result:?}");
            assert_eq!((said.len(), octets.len() - left), (0, taken));
        }
        // ZMTP 2.0: DEALER without a name, and a message.
        let octets = b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05\0\0\0\x05hello";
        let (result, said, left) = hear(mechanism, octets);
        assert_eq!(result, Err(GreetingError::OldVersion { major: 1 }.into()));
        assert_eq!((said.len(), octets.len() - left), (0, 10));
    }
}

#[test]
fn cve_2014_9721_no_downgrade_to_another_mechanism() {
    for ours in ALL {
        for theirs in ALL.into_iter().filter(|theirs| *theirs != ours) {
            // Its whole handshake, and then without its greeting behind one of ours.
            let octets = good(theirs);
            let (result, said, _) = hear(ours, &octets);
            let octet = theirs.name().as_bytes()[0];
            let error = GreetingError::MechanismDiffers { ours, at: 12, octet };
            assert_eq!((result, said), (Err(error.into()), vec![]));
            let (result, said, _) = hear(ours, &[&greeting(ours), &octets[64..]].concat());
            assert!(result.is_err(), "{ours} and {theirs}: {result:?}");
            assert!(said.is_empty(), "{ours} and {theirs}");
        }
    }
}

#[test]
fn cve_2014_7203_what_was_sent_before_is_refused() {
    for (hello_number, initiate_number) in [(1, 1), (2, 1), (u64::MAX, 0)] {
        let client = Client { hello_number, initiate_number, ..Client::new(ADMITTED, SERVER) };
        let (number, hello) = (initiate_number, hello_number);
        let error = CurveError::InitiateNumber { number, hello };
        assert_eq!(curve_end(&client), Some(End::Closed(error.into())));
    }
    // Behind the handshake: the numbers of its boxes are spent.
    let case =
        Case::new(Ours::Listener(Mechanism::Curve), "", acts(Mechanism::Curve), End::Served(0));
    let channel = play(&case, false, 0).result.unwrap().unwrap().channel.unwrap();
    let mut client = channel.clone();
    (client.side, client.sent) = (crate::proto::curve::Side::Client, 2);
    let (_, mut opener) = channel.split();
    let (mut sealer, _) = client.clone().split();
    let mut message = Vec::new();
    sealer.seal(0, b"pay", &mut message);
    assert_eq!(opener.open(&message[2..], &mut Vec::new()), Ok(()));
    let replayed = Err(ChannelError::Replayed { nonce: 3, last: 3 });
    assert_eq!(opener.open(&message[2..], &mut Vec::new()), replayed);
    client.sent = 0;
    let (mut sealer, _) = client.split();
    for nonce in [1, 2, 3] {
        message.clear();
        sealer.seal(0, b"pay", &mut message);
        let replayed = Err(ChannelError::Replayed { nonce, last: 3 });
        assert_eq!(opener.open(&message[2..], &mut Vec::new()), replayed);
    }
}

#[test]
fn cve_2019_6250_sizes_that_overflow_are_refused() {
    for mechanism in ALL {
        for size in [1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX - 8, u64::MAX] {
            // What follows would be read as the body, wherever that ended up.
            let header = [&[6][..], &size.to_be_bytes()].concat();
            let octets = [&greeting(mechanism)[..], &header, &[0xff; 100]].concat();
            let error = CommandError::TooBig { size, max: 1024 };
            let expected = (Err(error.into()), vec![], 100);
            assert_eq!(hear(mechanism, &octets), expected, "{mechanism} {size}");
        }
    }
}

#[test]
fn cve_2019_13132_initiate_of_any_size() {
    for len in 0..=1024 - 257 {
        let metadata = of_length(len);
        let client = Client { metadata, ..Client::new(ADMITTED, SERVER) };
        // Less than the type and another property cannot be made.
        let expected = if len <= 512 { End::Served(0) } else { End::Refused("metadata-too-long") };
        assert_eq!(curve_end(&client), Some(expected), "{len}");
    }
    for len in [1024 - 256, 4096, 9000, 1 << 20] {
        let client = Client { metadata: of_length(len), ..Client::new(ADMITTED, SERVER) };
        let error = CommandError::TooBig { size: 257 + len as u64, max: 1024 };
        assert_eq!(curve_end(&client), Some(End::Closed(error.into())), "{len}");
    }
    // A dialer is no better off with the READY of its server.
    for len in [512, 513, 994, 995, 1 << 16] {
        let metadata = property(b"X-", &vec![0; len - 7]);
        let server = Server { metadata, ..Server::new(SERVER) };
        let (mut said, ours) = (Vec::new(), Ours::Dialer(Mechanism::Curve));
        let mut handshake = Handshake::new(local(ours, 0), &mut said);
        handshake.read(&mut &greeting(Mechanism::Curve)[..], &mut said).unwrap();
        let welcome = server.welcome(&said);
        handshake.read(&mut &welcome[..], &mut said).unwrap();
        let label = handshake.read(&mut &server.ready(&said)[..], &mut said).unwrap_err().label();
        let expected = match len {
            512 => "no_socket_type",
            513 | 994 => "metadata_too_long",
            _ => "command_too_big",
        };
        assert_eq!(label, expected, "{len}");
    }
}

#[test]
fn cve_2020_15166_there_is_no_peer_before_the_handshake_ends() {
    for mechanism in ALL {
        let octets = good(mechanism);
        for len in 0..octets.len() {
            let (result, _, left) = hear(mechanism, &octets[..len]);
            assert_eq!((result, left), (Ok(None), 0), "{mechanism}, first {len} octets");
        }
    }
}

#[test]
fn cve_2020_36400_and_cve_2021_20235_segments_of_any_size() {
    for mechanism in ALL {
        let octets = [&good(mechanism)[..], &[0xff; 100_000]].concat();
        let (result, _, left) = hear(mechanism, &octets);
        assert!(matches!(result, Ok(Some(_))), "{mechanism}: {result:?}");
        assert_eq!(left, 100_000);
        // The messages of a peer of ZMTP 1.0.
        let octets = [&b"\x01\0\xff\0\0\0\0\0\0\x23\x28\0"[..], &[0xff; 100_000]].concat();
        let (result, said, left) = hear(mechanism, &octets);
        assert_eq!(result, Err(GreetingError::NotZmtp { octet: 1 }.into()));
        assert_eq!((said.len(), left), (0, octets.len()));
    }
}

#[test]
fn libzmq_ba63f037_a_refusal_is_heeded() {
    let denied = b"\x04\x0a\x05ERROR\x03400";
    // They go on as if they had been let in.
    let initiate = command(&[b"\x08INITIATE", &of_length(0)[..]].concat());
    let hello = plain_hello(USER.as_bytes(), b"wrong");
    let octets = [&greeting(Mechanism::Plain)[..], &hello, &initiate, b"\0\x01m"].concat();
    let (result, said, _) = hear(Mechanism::Plain, &octets);
    assert!(matches!(result, Err(HandshakeError::NotAdmitted { .. })), "{result:?}");
    assert_eq!(said, denied);

    for (own, said_then) in [(REFUSED, &denied[..]), (UNKNOWN, b"")] {
        let client = Client::new(own, SERVER);
        let mut said = Vec::new();
        let ours = Ours::Listener(Mechanism::Curve);
        let mut handshake = Handshake::new(local(ours, 0), &mut said);
        let hello = [greeting(Mechanism::Curve), client.hello()].concat();
        handshake.read(&mut &hello[..], &mut said).unwrap();
        let initiate = client.initiate(&said);
        let result = handshake.read(&mut &initiate.repeat(2)[..], &mut said);
        assert!(result.is_err(), "{result:?}");
        assert_eq!(said[WELCOME_END..], *said_then);
        let again = handshake.read(&mut &initiate[..], &mut said);
        assert_eq!(again, Err(HandshakeError::Ended));
    }
}

#[test]
fn libzmq_87_port_scans_are_closed_at_their_first_octet() {
    let probes: [&[u8]; 10] = [
        b"\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"OPTIONS / RTSP/1.0\r\n\r\n",
        b"\x80\0\0\x28\x72\xfe\x1d\x13\0\0\0\0\0\0\0\x02\0\x01\x86\xa0",
        b"\0\x1e\0\x06\x01\0\0\x01\0\0\0\0\0\0\x07version\x04bind\0\0\x10\0\x03",
        b"\x16\x03\0\0\x69\x01\0\0\x65\x03\x03U\x1c\xa7\xe4random1random2",
        b"\x03\0\0\x0b\x06\xe0\0\0\0\0\0",
        b"\0\0\0\xa4\xffSMBr\0\0\0\0\x08\x01\x40\0\0",
        b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x02\x04\0\x80\0",
        b"HELP\r\n",
    ];
    for mechanism in ALL {
        for probe in probes {
            let (result, said, left) = hear(mechanism, probe);
            assert_eq!(result, Err(GreetingError::NotZmtp { octet: probe[0] }.into()));
            assert_eq!((said.len(), left), (0, probe.len()));
        }
    }
}

#[test]
fn netmq_225_jeromq_440_rzmq_9_zmq_rs_286_announced_sizes_and_cut_commands() {
    for mechanism in ALL {
        let octets = good(mechanism);
        let mut at = 64;
        while at < octets.len() {
            let header = crate::wire::frame::Header::decode(&octets[at..]).unwrap().unwrap();
            let body_at = at + header.len;
            let body_end = body_at + usize::try_from(header.size).unwrap();
            // A command that ends wherever it likes, and one that says it is much longer.
            for end in body_at..body_end {
                let cut = [&octets[..at], &command(&octets[body_at..end])].concat();
                let result = hear(mechanism, &cut).0;
                // READY and INITIATE may end with any property.
                let served = matches!(&result, Ok(Some(peer)) if peer.identity.is_none());
                assert!(result.is_err() || served, "{mechanism}, {end}: {result:?}");
            }
            let size = 1_u64 << 40;
            let long = [&octets[..at], &[6], &size.to_be_bytes(), &octets[body_at..]].concat();
            let error = CommandError::TooBig { size, max: 1024 };
            let (result, _, left) = hear(mechanism, &long);
            assert_eq!(result, Err(error.into()));
            assert_eq!(left, long.len() - at - HEADER_LEN_MAX, "nothing of the body is taken");
            at = body_end;
        }
    }
}

#[test]
fn libzmq_router_identities_that_the_broker_could_have_made() {
    for name in [&b"\0"[..], b"\0abcd", &[0; 255]] {
        let metadata = metadata::dealer_and(&property(b"Identity", name));
        let client = Client { metadata: metadata.clone(), ..Client::new(ADMITTED, SERVER) };
        assert_eq!(curve_end(&client), Some(End::Refused("identity-starts-with-zero")));
        let ready = command(&[b"\x05READY", &metadata[..]].concat());
        let (result, _, _) = hear(Mechanism::Null, &[greeting(Mechanism::Null), ready].concat());
        assert_eq!(result.unwrap_err().reply(), Some("identity-starts-with-zero"));
        let initiate = command(&[b"\x08INITIATE", &metadata[..]].concat());
        let hello = plain_hello(USER.as_bytes(), PASSWORD.as_bytes());
        let octets = [greeting(Mechanism::Plain), hello, initiate].concat();
        let (result, _, _) = hear(Mechanism::Plain, &octets);
        assert_eq!(result.unwrap_err().reply(), Some("identity-starts-with-zero"));
    }
}

#[test]
fn libzmq_ping_of_any_length_is_not_echoed_before_login() {
    for mechanism in ALL {
        for len in 0..40 {
            let ping = command(&[b"\x04PING", &vec![0xaa; len][..]].concat());
            let (result, said, left) = hear(mechanism, &[greeting(mechanism), ping].concat());
            assert!(result.is_err(), "{len}: {result:?}");
            assert_eq!((said.len(), left), (0, 0), "{len}");
        }
    }
}

#[test]
fn libzmq_200_mib_before_login_are_refused_at_the_header() {
    for mechanism in ALL {
        let header = [&[6][..], &(200_u64 << 20).to_be_bytes()].concat();
        let octets = [&greeting(mechanism)[..], &header, &[b'x'; 5000]].concat();
        let (result, _, left) = hear(mechanism, &octets);
        assert_eq!(result.unwrap_err().label(), "command_too_big");
        assert_eq!(left, 5000);
    }
}

#[test]
fn nats_cve_2019_13126_lengths_that_overflow_in_metadata() {
    for size in [u32::MAX, u32::MAX - 3, u32::MAX - 4, 1 << 31, (1 << 31) - 1, 1 << 16] {
        let broken = [&b"\x02X-"[..], &size.to_be_bytes(), b"value"].concat();
        let metadata = metadata::dealer_and(&broken);
        let client = Client { metadata: metadata.clone(), ..Client::new(ADMITTED, SERVER) };
        assert_eq!(curve_end(&client), Some(End::Refused("malformed-metadata")), "{size}");
        let ready = command(&[b"\x05READY", &metadata[..]].concat());
        let (result, _, _) = hear(Mechanism::Null, &[greeting(Mechanism::Null), ready].concat());
        assert_eq!(result.unwrap_err().label(), "malformed_metadata", "{size}");
    }
}

#[test]
fn rustcrypto_keys_of_low_order_share_no_secret() {
    for (what, key) in curve::low_order_keys() {
        let knocks = Client { hello_short: key, ..Client::new(ADMITTED, SERVER) };
        let octets = [greeting(Mechanism::Curve), knocks.hello()].concat();
        let (result, said, _) = hear(Mechanism::Curve, &octets);
        let error = CurveError::LowOrder { whose: "client's short-term" };
        assert_eq!((result, said), (Err(error.into()), vec![]), "C' is {what}");
        // Its vouch is sealed with the key that everybody knows.
        let client = Client {
            shown: key,
            vouch_key: Some(SharedKey::new(KNOWN_KEY)),
            ..Client::new(ADMITTED, SERVER)
        };
        let error = CurveError::LowOrder { whose: "client's" };
        assert_eq!(curve_end(&client), Some(End::Closed(error.into())), "C is {what}");
    }
}

#[test]
fn libzmq_what_a_client_vouched_to_another_server_opens_no_door_here() {
    // The server 13 x 32 was visited by the admitted client and passes its vouch on. It does not
    // know c', so its INITIATE is its own; the vouch names it.
    let another = public(0x13);
    let mut client = Client::new(ADMITTED, SERVER);
    client.vouched[1] = another;
    let error = CurveError::VouchForAnotherServer;
    assert_eq!(curve_end(&client), Some(End::Closed(error.into())));
}

#[test]
fn nobody_is_sent_more_than_he_sent_before_he_has_proven_anything() {
    for mechanism in ALL {
        for case in cases().iter().filter(|case| case.ours == Ours::Listener(mechanism)) {
            let said = play(case, false, 0).said.len();
            let sent: usize = case.acts.iter().map(|act| act.octets(&[0; 300]).len()).sum();
            // The greeting goes to whoever connects; ERROR is short.
            assert!(said <= 64 + sent.max(64), "{}: {said} for {sent}", case.name);
        }
    }
}
