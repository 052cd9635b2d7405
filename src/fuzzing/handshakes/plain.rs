//! Clients at a listener of PLAIN.

use super::greetings::{self, greeting};
use super::metadata::{self, dealer_and};
use super::{Act, Case, End, Ours, PASSWORD, PENDING_USER, USER, command, null, plain_hello};
use crate::id::{Principal, UserName};
use crate::proto::handshake::HandshakeError;
use crate::wire::greeting::Mechanism;
use crate::wire::plain::LayoutError;

type Row = (&'static str, Vec<u8>, End);

const DENIED: End = End::Refused("400");

/// All of a good peer's octets, behind this greeting.
pub(super) fn acts(greeting: Vec<u8>) -> Vec<Act> {
    vec![Act::send([greeting, hello(), initiate(&dealer_and(b""))].concat())]
}

/// HELLO of the user that is let in.
fn hello() -> Vec<u8> {
    plain_hello(USER.as_bytes(), PASSWORD.as_bytes())
}

fn initiate(metadata: &[u8]) -> Vec<u8> {
    command(&[b"\x08INITIATE", metadata].concat())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = greetings::cases(Mechanism::Plain);
    let mut rows = null::frames();
    rows.extend(null::commands("HELLO"));
    rows.extend(hellos());
    cases.extend(rows.into_iter().map(|(name, octets, end)| case(name, &[], &octets, end)));

    let mut rows = null::frames();
    rows.extend(null::commands("INITIATE"));
    rows.extend(initiates());
    cases.extend(
        rows.into_iter().map(|(name, octets, end)| {
            case(&format!("behind HELLO, {name}"), &hello(), &octets, end)
        }),
    );
    cases.extend(
        metadata::table()
            .map(|(name, metadata, end)| case(&name, &hello(), &initiate(&metadata), end)),
    );
    cases
}

fn case(name: &str, before: &[u8], octets: &[u8], end: End) -> Case {
    let octets = [&greeting(Mechanism::Plain)[..], before, octets].concat();
    Case::new(Ours::Listener(Mechanism::Plain), name, vec![Act::send(octets)], end)
}

fn hellos() -> Vec<Row> {
    let user = |name: &str| UserName::try_from(name.as_bytes()).expect("it is short");
    let layout = |error: LayoutError| End::Closed(error.into());
    let overrun = |what, len| layout(LayoutError::Overrun { what, len });
    let trailing = |len| layout(LayoutError::Trailing { command: "HELLO", len });
    let unexpected = |name: &str| {
        let name = name.into();
        End::Closed(HandshakeError::Unexpected { name, expected: "HELLO" })
    };
    let who = Principal::User(user(PENDING_USER));
    let later = End::Closed(HandshakeError::NotYet { who });
    let curve = [&b"\x05HELLO\x01\0"[..], &[0; 192]].concat();
    let (name, word) = (USER.as_bytes(), PASSWORD.as_bytes());
    let ready = command(&[b"\x05READY", &dealer_and(b"")[..]].concat());
    vec![
        ("READY before HELLO", ready, unexpected("READY")),
        ("INITIATE before HELLO", initiate(&dealer_and(b"")), unexpected("INITIATE")),
        ("WELCOME before HELLO", command(b"\x07WELCOME"), unexpected("WELCOME")),
        ("HELLO of CURVE", command(&curve), trailing(191)),
        ("HELLO without data", command(b"\x05HELLO"), overrun("user name", 0)),
        ("user beyond the end", command(b"\x05HELLO\x05work"), overrun("user name", 5)),
        ("no password", command(b"\x05HELLO\x04work"), overrun("password", 5)),
        ("password beyond the end", command(b"\x05HELLO\x01u\xffp"), overrun("password", 4)),
        ("octets behind the password", command(b"\x05HELLO\x01u\x01p!"), trailing(1)),
        ("a thousand octets behind it", command(&[b"\x05HELLO\0\0", &[0; 1000][..]].concat()), {
            trailing(1000)
        }),
        ("no user and no password", plain_hello(b"", b""), DENIED),
        ("user without password", plain_hello(name, b""), DENIED),
        ("password without user", plain_hello(b"", word), DENIED),
        ("wrong password", plain_hello(name, b"Secret"), DENIED),
        ("beginning of the password", plain_hello(name, b"secre"), DENIED),
        ("password and more", plain_hello(name, b"secrets"), DENIED),
        ("password and a zero", plain_hello(name, b"secret\0"), DENIED),
        ("password of 255", plain_hello(name, &[b's'; 255]), DENIED),
        ("unknown user", plain_hello(b"stranger", word), DENIED),
        ("user in capitals", plain_hello(b"WORKER", word), DENIED),
        ("user and a zero", plain_hello(b"worker\0", word), DENIED),
        ("user of 32", plain_hello(&[b'u'; 32], word), DENIED),
        ("user of 33", plain_hello(&[b'u'; 33], word), DENIED),
        ("user of 255", plain_hello(&[b'u'; 255], word), DENIED),
        ("binary user", plain_hello(b"\n\xff\x1b[", word), DENIED),
        ("user who has to wait", plain_hello(PENDING_USER.as_bytes(), word), later),
        ("user who has to wait, wrong password", plain_hello(PENDING_USER.as_bytes(), b"s"), {
            DENIED
        }),
    ]
}

fn initiates() -> Vec<Row> {
    let unexpected = |name: &str| {
        let name = name.into();
        End::Closed(HandshakeError::Unexpected { name, expected: "INITIATE" })
    };
    let good = initiate(&dealer_and(b""));
    let ready = command(&[b"\x05READY", &dealer_and(b"")[..]].concat());
    vec![
        ("HELLO again", hello(), unexpected("HELLO")),
        ("READY instead of INITIATE", ready, unexpected("READY")),
        ("WELCOME", command(b"\x07WELCOME"), unexpected("WELCOME")),
        ("INITIATE of CURVE", initiate(&[0xaa; 283]), End::Refused("malformed-metadata")),
        ("good", good.clone(), End::Served(0)),
        ("message behind INITIATE", [&good[..], b"\0\x01m"].concat(), End::Served(3)),
        ("INITIATE twice", good.repeat(2), End::Served(good.len())),
        ("garbage behind INITIATE", [&good[..], b"\xff"].concat(), End::Served(1)),
    ]
}
