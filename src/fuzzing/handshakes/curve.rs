//! Clients at a listener of CURVE.

use super::forger::{self, Client, KNOWN_KEY, WELCOME_END, public};
use super::greetings::{self, greeting};
use super::{
    ADMITTED, Act, Case, End, OLD_SERVER, Ours, REFUSED, SERVER, UNKNOWN, change, command,
    metadata, null, plain_hello,
};
use crate::id::{Principal, PublicKey};
use crate::proto::curve::SharedKey;
use crate::proto::handshake::{CurveError, HandshakeError};
use crate::wire::curve::LayoutError;
use crate::wire::greeting::Mechanism;

const OURS: Ours = Ours::Listener(Mechanism::Curve);

/// Of a cookie: nonce, tag and inside begin here.
const COOKIE_PARTS: [(&str, usize); 3] = [("nonce", 0), ("tag", 16), ("inside", 32)];

fn good() -> Client {
    Client::new(ADMITTED, SERVER)
}

/// A client with something changed.
fn client(change: impl FnOnce(&mut Client)) -> Client {
    let mut client = good();
    change(&mut client);
    client
}

/// All of this client's octets, behind this greeting.
fn whole(greeting: Vec<u8>, client: Client) -> Vec<Act> {
    let hello = client.hello();
    vec![
        Act::send([greeting, hello].concat()),
        Act::answer(WELCOME_END, move |heard| client.initiate(heard)),
    ]
}

/// All of a good peer's octets, behind this greeting.
pub(super) fn acts(greeting: Vec<u8>) -> Vec<Act> {
    whole(greeting, good())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = greetings::cases(Mechanism::Curve);
    let mut rows = null::frames();
    rows.extend(null::commands("HELLO"));
    rows.extend(hellos());
    cases.extend(rows.into_iter().map(|(name, octets, end)| {
        let acts = vec![Act::send([greeting(Mechanism::Curve), octets].concat())];
        Case::new(OURS, name, acts, end)
    }));
    let mut rows = null::frames();
    rows.extend(null::commands("INITIATE"));
    rows.extend(instead());
    cases.extend(rows.into_iter().map(|(name, octets, end)| {
        let octets = [greeting(Mechanism::Curve), good().hello(), octets].concat();
        Case::new(OURS, &format!("behind HELLO, {name}"), vec![Act::send(octets)], end)
    }));
    cases.extend(clients().into_iter().map(|(name, client, end)| {
        Case::new(OURS, name, whole(greeting(Mechanism::Curve), client), end)
    }));
    cases.extend(metadata::table().map(|(name, metadata, end)| {
        let client = client(|client| client.metadata = metadata);
        Case::new(OURS, &name, whole(greeting(Mechanism::Curve), client), end)
    }));
    cases.extend(changes());
    cases.extend(replies());
    cases
}

type Row = (&'static str, Vec<u8>, End);

fn closed(error: CurveError) -> End {
    End::Closed(error.into())
}

/// Public keys with which X25519 yields zeros, whatever the secret one is.
pub(in crate::fuzzing) fn low_order_keys() -> [(&'static str, PublicKey); 7] {
    let small = |octet| {
        let mut key = [0; 32];
        key[0] = octet;
        PublicKey(key)
    };
    // 2^255-19 is the modulus p, in little endian.
    let near_p = |octet| {
        let mut key = [0xff; 32];
        [key[0], key[31]] = [octet, 0x7f];
        PublicKey(key)
    };
    let order_8 = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    let other_of_order_8 = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ];
    [
        ("0", small(0)),
        ("1", small(1)),
        ("of order 8", PublicKey(order_8)),
        ("the other of order 8", PublicKey(other_of_order_8)),
        ("p - 1", near_p(0xec)),
        ("p", near_p(0xed)),
        ("p + 1", near_p(0xee)),
    ]
}

/// What may come instead of HELLO.
fn hellos() -> Vec<Row> {
    let unexpected = |name: &str| {
        let name = name.into();
        End::Closed(HandshakeError::Unexpected { name, expected: "HELLO" })
    };
    let length =
        |len| End::Closed(LayoutError::Length { command: "HELLO", len, expected: 200 }.into());
    let version = |major, minor| End::Closed(LayoutError::Version { major, minor }.into());
    let of_length = |len| {
        let mut body = good().hello();
        body.drain(..2);
        body.resize(len, 0);
        command(&body)
    };
    let of_version = |major, minor| {
        let mut hello = good().hello();
        hello.splice(8..10, [major, minor]);
        hello
    };
    let ready = command(&[b"\x05READY", &metadata::dealer_and(b"")[..]].concat());
    let initiate = [&b"\x08INITIATE"[..], &[0; 283]].concat();
    let welcome = [&b"\x07WELCOME"[..], &[0; 160]].concat();
    vec![
        ("READY before HELLO", ready, unexpected("READY")),
        ("INITIATE before HELLO", command(&initiate), unexpected("INITIATE")),
        ("WELCOME before HELLO", command(&welcome), unexpected("WELCOME")),
        ("HELLO of PLAIN", plain_hello(b"worker", b"secret"), length(20)),
        ("HELLO of 6", of_length(6), length(6)),
        ("HELLO of 7", of_length(7), length(7)),
        ("HELLO of 112", of_length(112), length(112)),
        ("HELLO of 199", of_length(199), length(199)),
        ("HELLO of 201", of_length(201), length(201)),
        ("HELLO of 1,024", of_length(1024), length(1024)),
        ("HELLO of version 0.0", of_version(0, 0), version(0, 0)),
        ("HELLO of version 0.1", of_version(0, 1), version(0, 1)),
        ("HELLO of version 1.1", of_version(1, 1), version(1, 1)),
        ("HELLO of version 2.0", of_version(2, 0), version(2, 0)),
        ("HELLO of version 255.255", of_version(255, 255), version(255, 255)),
        ("HELLO to another server", Client::new(ADMITTED, 0x13).hello(), {
            closed(CurveError::HelloForged)
        }),
        ("HELLO of zeros", command(&[b"\x05HELLO\x01\0", &[0; 192][..]].concat()), {
            closed(CurveError::LowOrder { whose: "client's short-term" })
        }),
    ]
}

/// What may come instead of INITIATE.
fn instead() -> Vec<Row> {
    let unexpected = |name: &str| {
        let name = name.into();
        End::Closed(HandshakeError::Unexpected { name, expected: "INITIATE" })
    };
    let short =
        |len| End::Closed(LayoutError::Short { command: "INITIATE", len, least: 257 }.into());
    let of_length = |len: usize| {
        let mut body = b"\x08INITIATE".to_vec();
        body.resize(len, 0xaa);
        command(&body)
    };
    let ready = command(&[b"\x05READY", &metadata::dealer_and(b"")[..]].concat());
    let cookie = || closed(CurveError::Cookie);
    let zeros = [&b"\x08INITIATE"[..], &[0; 283]].concat();
    vec![
        ("HELLO again", good().hello(), unexpected("HELLO")),
        ("HELLO of another client", Client::new(UNKNOWN, SERVER).hello(), unexpected("HELLO")),
        ("READY instead of INITIATE", ready, unexpected("READY")),
        ("WELCOME", command(&[b"\x07WELCOME", &[0; 160][..]].concat()), unexpected("WELCOME")),
        ("INITIATE of PLAIN", of_length(31), short(31)),
        ("INITIATE of 9", of_length(9), short(9)),
        ("INITIATE of 105", of_length(105), short(105)),
        ("INITIATE of 256", of_length(256), short(256)),
        ("INITIATE of 257", of_length(257), cookie()),
        ("INITIATE of 1,024", of_length(1024), cookie()),
        ("INITIATE of zeros", command(&zeros), cookie()),
    ]
}

/// Clients that go all the way, and say something wrong.
fn clients() -> Vec<(&'static str, Client, End)> {
    let later = |octet| {
        let who = Principal::Key(public(octet));
        End::Closed(HandshakeError::NotYet { who })
    };
    let number = |number, hello| closed(CurveError::InitiateNumber { number, hello });
    let cookie = |cookie| client(|client| client.cookie = Some(cookie));
    let numbers = |hello, initiate| {
        client(|client| (client.hello_number, client.initiate_number) = (hello, initiate))
    };
    let short = good().hello_short;
    let other_short = public(0x34);
    vec![
        ("good", good(), End::Served(0)),
        ("good, by our old key", Client::new(ADMITTED, OLD_SERVER), End::Served(0)),
        ("key that is refused", Client::new(REFUSED, SERVER), End::Refused("400")),
        ("key that nobody knows", Client::new(UNKNOWN, SERVER), later(UNKNOWN)),
        ("key that is refused, by our old key", Client::new(REFUSED, OLD_SERVER), {
            End::Refused("400")
        }),
        // Nobody learns from the answer whether its metadata would do.
        (
            "key that nobody knows, bad metadata",
            { Client { metadata: vec![0xff], ..Client::new(UNKNOWN, SERVER) } },
            later(UNKNOWN),
        ),
        ("our own key", Client::new(SERVER, SERVER), later(SERVER)),
        // Whose secret half it does not have.
        ("stolen key", { Client { shown: public(ADMITTED), ..Client::new(UNKNOWN, SERVER) } }, {
            closed(CurveError::VouchForged)
        }),
        ("vouch for another short-term key", client(|client| client.vouched[0] = other_short), {
            closed(CurveError::VouchForAnotherKey)
        }),
        ("vouch for another server", client(|client| client.vouched[1] = public(0x13)), {
            closed(CurveError::VouchForAnotherServer)
        }),
        ("vouch for our old key", client(|client| client.vouched[1] = public(OLD_SERVER)), {
            closed(CurveError::VouchForAnotherServer)
        }),
        ("vouch the wrong way round", client(|client| client.vouched.reverse()), {
            closed(CurveError::VouchForAnotherKey)
        }),
        ("cookie of zeros", cookie([0; 96]), closed(CurveError::Cookie)),
        ("cookie of another connection", cookie(forger::cookie(0x56, &short, 0x44)), {
            closed(CurveError::Cookie)
        }),
        ("cookie for another client", cookie(forger::cookie(0x55, &other_short, 0x44)), {
            closed(CurveError::Cookie)
        }),
        ("cookie with another secret", cookie(forger::cookie(0x55, &short, 0x45)), {
            closed(CurveError::Cookie)
        }),
        ("INITIATE has the number of HELLO", numbers(1, 1), number(1, 1)),
        ("INITIATE has number 0", numbers(1, 0), number(0, 1)),
        ("INITIATE has a lower number", numbers(u64::MAX, 2), number(2, u64::MAX)),
        ("INITIATE has the last number again", numbers(u64::MAX, u64::MAX), {
            number(u64::MAX, u64::MAX)
        }),
        ("numbers with a gap", numbers(7, 1 << 40), End::Served(0)),
        ("the last number", numbers(u64::MAX - 1, u64::MAX), End::Served(0)),
        ("HELLO has number 0", numbers(0, 1), End::Served(0)),
    ]
}

/// An octet of a good command is another one.
fn changes() -> Vec<Case> {
    let greeting = || greeting(Mechanism::Curve);
    let mut cases = Vec::new();
    // Offsets in the frame, whose header has 2 octets.
    for (what, at) in [("C'", 82), ("number", 121), ("tag", 122), ("box", 138), ("end", 201)] {
        let mut hello = good().hello();
        change(&mut hello, at);
        let acts = vec![Act::send([greeting(), hello].concat())];
        let name = format!("{what} of HELLO is another one");
        cases.push(Case::new(OURS, &name, acts, closed(CurveError::HelloForged)));
    }
    for (what, at) in [("first", 0), ("last", 63)] {
        let client = client(|client| change(&mut client.hello_text, at));
        let acts = vec![Act::send([greeting(), client.hello()].concat())];
        let name = format!("{what} octet in the box of HELLO is not zero");
        cases.push(Case::new(OURS, &name, acts, closed(CurveError::HelloNotZero)));
    }
    for (what, key) in low_order_keys() {
        let hello = client(|client| client.hello_short = key).hello();
        let acts = vec![Act::send([greeting(), hello].concat())];
        let end = closed(CurveError::LowOrder { whose: "client's short-term" });
        cases.push(Case::new(OURS, &format!("C' is {what}"), acts, end));
        let client = client(|client| {
            (client.shown, client.vouch_key) = (key, Some(SharedKey::new(KNOWN_KEY)));
        });
        let end = closed(CurveError::LowOrder { whose: "client's" });
        cases.push(Case::new(OURS, &format!("C is {what}"), whole(greeting(), client), end));
    }
    // Here the header has 9 octets.
    let (cookie, initiate) = (CurveError::Cookie, CurveError::InitiateForged);
    let in_cookie = COOKIE_PARTS.map(|(what, at)| (what, 9 + 9 + at, cookie));
    let rest = [("number", 116), ("tag", 122), ("box", 138), ("vouch", 170), ("end", 300)];
    for (what, at, error) in
        in_cookie.into_iter().chain(rest.map(|(what, at)| (what, at, initiate)))
    {
        let change = move |heard: &[u8]| {
            let mut initiate = good().initiate(heard);
            change(&mut initiate, at);
            initiate
        };
        let hello = Act::send([greeting(), good().hello()].concat());
        let part = if error == cookie { "the cookie" } else { "INITIATE" };
        let name = format!("{what} of {part} is another one");
        let acts = vec![hello, Act::answer(WELCOME_END, change)];
        cases.push(Case::new(OURS, &name, acts, closed(error)));
    }
    cases
}

/// Handshakes that depend on what our side has said, and what may follow them.
fn replies() -> Vec<Case> {
    let welcomed = |name: &str, end, answer: fn(&[u8]) -> Vec<u8>| {
        let hello = Act::send([greeting(Mechanism::Curve), good().hello()].concat());
        Case::new(OURS, name, vec![hello, Act::answer(WELCOME_END, answer)], end)
    };
    let unexpected = HandshakeError::Unexpected { name: "WELCOME".into(), expected: "INITIATE" };
    let padded = {
        let mut hello = good().hello();
        hello.splice(10..82, [0xff; 72]);
        let octets = [greeting(Mechanism::Curve), hello].concat();
        vec![Act::send(octets), Act::answer(WELCOME_END, |heard| good().initiate(heard))]
    };
    vec![
        Case::new(OURS, "padding of HELLO is ff", padded, End::Served(0)),
        welcomed("our own WELCOME", End::Closed(unexpected), |heard| {
            heard.get(64..WELCOME_END).unwrap_or_default().to_vec()
        }),
        welcomed(
            "long form of HELLO behind it",
            {
                let name = "HELLO".into();
                End::Closed(HandshakeError::Unexpected { name, expected: "INITIATE" })
            },
            |_| [b"\x06\0\0\0\0\0\0\0\xc8", good().hello().get(2..).unwrap_or_default()].concat(),
        ),
        welcomed("MESSAGE behind INITIATE", End::Served(40), |heard| {
            [good().initiate(heard), vec![0; 40]].concat()
        }),
        welcomed("INITIATE twice", End::Served(301), |heard| good().initiate(heard).repeat(2)),
        welcomed("garbage behind INITIATE", End::Served(1), |heard| {
            [&good().initiate(heard)[..], b"\xff"].concat()
        }),
        welcomed(
            "INITIATE and one octet more",
            End::Closed(CurveError::InitiateForged.into()),
            |heard| {
                let initiate = good().initiate(heard);
                command(&[initiate.get(9..).unwrap_or_default(), b"\0"].concat())
            },
        ),
        welcomed(
            "INITIATE and one octet less",
            End::Closed(CurveError::InitiateForged.into()),
            |heard| {
                let initiate = good().initiate(heard);
                command(initiate.get(9..initiate.len() - 1).unwrap_or_default())
            },
        ),
    ]
}
