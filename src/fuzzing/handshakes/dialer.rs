//! Servers that our dialing side finds.

use super::curve::low_order_keys;
use super::forger::{HELLO_END, Server, metadata as metadata_of};
use super::greetings::greeting;
use super::metadata::property;
use super::{Act, Case, End, Ours, SERVER, change, command};
use crate::proto::handshake::{CurveError, HandshakeError};
use crate::wire::command::SocketType;
use crate::wire::curve::LayoutError;
use crate::wire::greeting::{GREETING_LEN, GreetingError, Mechanism};
use crate::wire::plain;

/// Octets that our side says up to INITIATE of CURVE, and up to that of PLAIN.
const INITIATE_END: usize = HELLO_END + 301;
const PLAIN_HELLO_END: usize = GREETING_LEN + 2 + 20;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for mechanism in [Mechanism::Null, Mechanism::Plain, Mechanism::Curve] {
        cases.extend(others(mechanism));
    }
    cases.extend(plain());
    cases.extend(curve_welcomes());
    cases.extend(curve_changes());
    cases.extend(curve_readies());
    cases.extend(curve_low_order());
    cases
}

fn refused_us(reason: &str) -> End {
    End::Closed(HandshakeError::Refused { reason: reason.into() })
}

fn unexpected(name: &str, expected: &'static str) -> End {
    End::Closed(HandshakeError::Unexpected { name: name.into(), expected })
}

/// A server of another mechanism, or of none.
fn others(ours: Mechanism) -> Vec<Case> {
    let mut cases = Vec::new();
    for theirs in [Mechanism::Null, Mechanism::Plain, Mechanism::Curve] {
        if theirs == ours {
            continue;
        }
        // The names differ in their first letter.
        let octets = greeting(theirs).get(..13).unwrap_or_default().to_vec();
        let octet = octets.last().copied().unwrap_or_default();
        let error = GreetingError::MechanismDiffers { ours, at: 12, octet };
        let end = End::Closed(error.into());
        let name = format!("server of {theirs}");
        cases.push(Case::new(Ours::Dialer(ours), &name, vec![Act::send(octets)], end));
    }
    let old = End::Closed(GreetingError::OldVersion { major: 1 }.into());
    let octets = b"\xff\0\0\0\0\0\0\0\x01\x7f\x01".to_vec();
    cases.push(Case::new(Ours::Dialer(ours), "server of ZMTP 2.0", vec![Act::send(octets)], old));
    let end = End::Closed(GreetingError::NotZmtp { octet: b'H' }.into());
    let octets = b"H".to_vec();
    cases.push(Case::new(Ours::Dialer(ours), "server of HTTP", vec![Act::send(octets)], end));
    cases
}

fn ready(metadata: &[u8]) -> Vec<u8> {
    command(&[b"\x05READY", metadata].concat())
}

/// Servers of PLAIN.
fn plain() -> Vec<Case> {
    let trailing = plain::LayoutError::Trailing { command: "WELCOME", len: 1 };
    let welcome = || command(b"\x07WELCOME");
    let router = || ready(&metadata_of(SocketType::Router));
    let publisher = ready(&metadata_of(SocketType::Pub));
    let behind = |octets: Vec<u8>| [welcome(), octets].concat();
    let hello = super::plain_hello(b"worker", b"secret");
    let initiate = command(b"\x08INITIATE");
    let rows = [
        ("READY instead of WELCOME", router(), unexpected("READY", "WELCOME")),
        ("HELLO instead of WELCOME", hello, unexpected("HELLO", "WELCOME")),
        ("ERROR instead of WELCOME", command(b"\x05ERROR\x03400"), refused_us("400")),
        ("ERROR of libzmq instead of WELCOME", command(b"^RROR\x03400"), refused_us("400")),
        ("ERROR of libzmq instead of READY", behind(command(b"^RROR\x03500")), refused_us("500")),
        ("WELCOME with data", command(b"\x07WELCOME\0"), End::Closed(trailing.into())),
        ("ERROR instead of READY", behind(command(b"\x05ERROR\x03500")), refused_us("500")),
        ("WELCOME twice", behind(welcome()), unexpected("WELCOME", "READY")),
        ("INITIATE instead of READY", behind(initiate), unexpected("INITIATE", "READY")),
        ("READY of a PUB", behind(publisher), End::Refused("incompatible-socket-type")),
        ("READY without type", behind(ready(b"")), End::Refused("no-socket-type")),
        ("good", behind(router()), End::Served(0)),
        ("good, and a message behind", behind([&router()[..], b"\0\x01m"].concat()), {
            End::Served(3)
        }),
    ];
    rows.into_iter()
        .map(|(name, octets, end)| {
            let octets = move |_: &[u8]| octets.clone();
            let acts =
                vec![Act::send(greeting(Mechanism::Plain)), Act::answer(PLAIN_HELLO_END, octets)];
            Case::new(Ours::Dialer(Mechanism::Plain), name, acts, end)
        })
        .collect()
}

const CURVE: Ours = Ours::Dialer(Mechanism::Curve);

/// A server of CURVE that answers HELLO in this way.
fn welcoming(
    name: &str,
    end: End,
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Case {
    let acts = vec![Act::send(greeting(Mechanism::Curve)), Act::answer(HELLO_END, answer)];
    Case::new(CURVE, name, acts, end)
}

/// A server of CURVE that answers INITIATE in this way.
fn readying(
    name: &str,
    end: End,
    server: Server,
    answer: impl Fn(&Server, &[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Case {
    let welcoming = server.clone();
    let acts = vec![
        Act::send(greeting(Mechanism::Curve)),
        Act::answer(HELLO_END, move |heard| welcoming.welcome(heard)),
        Act::answer(INITIATE_END, move |heard| answer(&server, heard)),
    ];
    Case::new(CURVE, name, acts, end)
}

fn curve_welcomes() -> Vec<Case> {
    let good = || Server::new(SERVER);
    let of_length = |len: usize| {
        move |heard: &[u8]| {
            let mut body = Server::new(SERVER).welcome(heard);
            body.drain(..2);
            body.resize(len, 0);
            command(&body)
        }
    };
    let length =
        |len| End::Closed(LayoutError::Length { command: "WELCOME", len, expected: 168 }.into());
    let forged = || End::Closed(CurveError::WelcomeForged.into());
    let null_ready = ready(&metadata_of(SocketType::Router));
    vec![
        welcoming("READY instead of WELCOME", unexpected("READY", "WELCOME"), move |heard| {
            good().ready(heard)
        }),
        welcoming("READY of NULL", unexpected("READY", "WELCOME"), move |_| null_ready.clone()),
        welcoming("our own HELLO", unexpected("HELLO", "WELCOME"), |heard| {
            heard.get(GREETING_LEN..HELLO_END).unwrap_or_default().to_vec()
        }),
        welcoming("ERROR instead of WELCOME", refused_us("400"), |_| command(b"\x05ERROR\x03400")),
        welcoming(
            "message instead of WELCOME",
            {
                let error = crate::wire::command::CommandError::NotACommand { flags: 0 };
                End::Closed(error.into())
            },
            |_| b"\0".to_vec(),
        ),
        welcoming("MESSAGE instead of WELCOME", unexpected("MESSAGE", "WELCOME"), |_| {
            command(b"\x07MESSAGE\0\0\0\0\0\0\0\x01")
        }),
        welcoming("WELCOME of PLAIN", length(8), of_length(8)),
        welcoming("WELCOME of 167", length(167), of_length(167)),
        welcoming("WELCOME of 169", length(169), of_length(169)),
        welcoming("WELCOME of 1,024", length(1024), of_length(1024)),
        welcoming("WELCOME of another server", forged(), |heard| Server::new(0x13).welcome(heard)),
        welcoming("WELCOME of zeros", forged(), |_| {
            command(&[&b"\x07WELCOME"[..], &[0; 160]].concat())
        }),
    ]
}

/// An octet of a good WELCOME or READY is another one.
fn curve_changes() -> Vec<Case> {
    let flipped = |mut octets: Vec<u8>, at| {
        change(&mut octets, at);
        octets
    };
    let mut cases = Vec::new();
    for (what, at) in [("nonce", 10), ("tag", 26), ("S'", 42), ("cookie", 74), ("end", 169)] {
        let end = End::Closed(CurveError::WelcomeForged.into());
        cases.push(welcoming(
            &format!("{what} of WELCOME is another one"),
            end,
            move |heard: &[u8]| flipped(Server::new(SERVER).welcome(heard), at),
        ));
    }
    for (what, at) in [("number", 15), ("tag", 16), ("box", 32), ("end", 66)] {
        let end = End::Closed(CurveError::ReadyForged.into());
        let name = format!("{what} of READY is another one");
        cases.push(readying(&name, end, Server::new(SERVER), move |server, heard| {
            flipped(server.ready(heard), at)
        }));
    }
    cases
}

fn curve_low_order() -> Vec<Case> {
    low_order_keys()
        .into_iter()
        .map(|(what, key)| {
            let server = Server { welcome_short: key, ..Server::new(SERVER) };
            let end = End::Closed(CurveError::LowOrder { whose: "server's short-term" }.into());
            welcoming(&format!("S' is {what}"), end, move |heard| server.welcome(heard))
        })
        .collect()
}

fn curve_readies() -> Vec<Case> {
    let server = |change: fn(&mut Server)| {
        let mut server = Server::new(SERVER);
        change(&mut server);
        server
    };
    let good = || server(|_| {});
    let forged = || End::Closed(CurveError::ReadyForged.into());
    let short = |len| End::Closed(LayoutError::Short { command: "READY", len, least: 30 }.into());
    vec![
        readying("good", End::Served(0), good(), Server::ready),
        readying(
            "READY has number 0",
            End::Served(0),
            server(|server| server.ready_number = 0),
            Server::ready,
        ),
        readying(
            "READY has the last number",
            End::Served(0),
            server(|server| server.ready_number = u64::MAX),
            Server::ready,
        ),
        readying("good, and a MESSAGE behind", End::Served(40), good(), |server, heard| {
            [server.ready(heard), vec![0; 40]].concat()
        }),
        readying("ERROR instead of READY", refused_us("400"), good(), |_, _| {
            command(b"\x05ERROR\x03400")
        }),
        readying("WELCOME twice", unexpected("WELCOME", "READY"), good(), Server::welcome),
        readying("our own INITIATE", unexpected("INITIATE", "READY"), good(), |_, heard| {
            heard.get(HELLO_END..INITIATE_END).unwrap_or_default().to_vec()
        }),
        readying("READY of 29", short(29), good(), |_, _| {
            command(&[&b"\x05READY"[..], &[0; 23]].concat())
        }),
        readying("READY of NULL behind WELCOME", forged(), good(), |server, _| {
            ready(&server.metadata)
        }),
        readying("READY of another short-term key", forged(), good(), |_, heard| {
            Server { short: 0x45, ..Server::new(SERVER) }.ready(heard)
        }),
        readying(
            "READY of a PUB",
            End::Refused("incompatible-socket-type"),
            server(|server| server.metadata = metadata_of(SocketType::Pub)),
            Server::ready,
        ),
        readying(
            "READY without metadata",
            End::Refused("no-socket-type"),
            server(|server| server.metadata.clear()),
            Server::ready,
        ),
        readying(
            "READY with broken metadata",
            End::Refused("malformed-metadata"),
            server(|server| server.metadata = vec![0xff]),
            Server::ready,
        ),
        readying(
            "READY with 513 octets of metadata",
            End::Refused("metadata-too-long"),
            server(|server| server.metadata = property(b"X-", &[0; 506])),
            Server::ready,
        ),
    ]
}
