//! CURVE between our two sides, and with what was recorded. What strangers do is in
//! `fuzzing::handshakes`.

use std::sync::Arc;

use super::*;
use crate::id::PublicKey;
use crate::proto::curve::{KeyPair, SecretKey, Side};

/// Admits, or not, whoever has this key; nobody else.
#[derive(Debug)]
struct OneKey(PublicKey, Verdict);

impl Authority for OneKey {
    fn judge(&self, claim: &Claim<'_>) -> Verdict {
        match claim {
            Claim::Key(key) if *key == self.0 => self.1,
            _ => Verdict::Refuse,
        }
    }
}

// Secret keys are repeated octets, as in the vectors.
const SERVER: u8 = 0x11;
const CLIENT: u8 = 0x22;

fn pair(octet: u8) -> Arc<KeyPair> {
    Arc::new(KeyPair::new(SecretKey::new([octet; 32])))
}

/// The randomness of the vectors; `seed` makes another one of it.
fn fresh(short_term: u8, seed: u8) -> Box<Fresh> {
    let seeded = |octet: u8| octet ^ seed;
    Box::new(Fresh {
        short_term: [seeded(short_term); 32],
        cookie_key: [seeded(0x55); 32],
        welcome_nonce: [seeded(0x66); 16],
        cookie_nonce: [seeded(0x77); 16],
        vouch_nonce: [seeded(0x88); 16],
    })
}

fn server_with(present: u8, old: Option<u8>, fresh: Box<Fresh>, verdict: Verdict) -> Local {
    let authority = Arc::new(OneKey(pair(CLIENT).public(), verdict));
    let (present, old) = (pair(present), old.map(pair));
    let security = Security::CurveServer(CurveServer { present, old, fresh, authority });
    Local { role: Role::Accept, security, limits: Limits::default() }
}

fn server() -> Local {
    server_with(SERVER, None, fresh(0x44, 0), Verdict::Admit)
}

fn client_with(server: PublicKey, fresh: Box<Fresh>) -> Local {
    let security = Security::CurveClient(CurveClient { server, own: pair(CLIENT), fresh });
    Local { role: DIAL, security, limits: Limits::default() }
}

fn client() -> Local {
    client_with(pair(SERVER).public(), fresh(0x33, 0))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

// The vectors, made with libsodium. `hello` and so on are whole frames.

fn hello() -> Vec<u8> {
    [
        b"\x04\xc8\x05HELLO\x01\0",
        &[0; 72][..],
        &hex("7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14
              0000000000000001
              7dcf8ebc4506d5a25eafc3ddf311e7e5ff922d310574edf98fa87c0243d1d9b9e118b597645c522333afb74c41b2ce51
              f8ddd7e8f8f1296ad8445190a8725ed45135ceed0b13aa27c8a0d9c5322f1c7f"),
    ]
    .concat()
}

fn welcome() -> Vec<u8> {
    [
        b"\x04\xa8\x07WELCOME",
        &[0x66; 16][..],
        &hex("904ff6bd4a957e166763992fd7158623a25a5b89caab77e2b9899d835ac64b5b54a4ea7d0a7b95aef31fdc69e589c7e1
              e5f6130081c9115c9fc524388aab03fcf60aaf1d14346f02e1e72176a516c994168ffe4a739b85ed9de52234bf596bc2
              fb8a6d921308272bdb4746cdf7995fb2d831becedf61a8a2177ffbc9a3bf6a4a1950c898f984dcc37748e16247a1ab25"),
    ]
    .concat()
}

fn initiate() -> Vec<u8> {
    [
        b"\x06\0\0\0\0\0\0\x01\x24\x08INITIATE",
        &[0x77; 16][..],
        &hex("cd56b060985a0eddfcaadd4ffa4d101dbac40f39de6978e0ff03fce54be0352a4bfe1375a27806df88bc9b579762ea88
              689cd4560ceec63766e25c7d48d501ac148249d06430cb089be06a52c2fa495e 0000000000000002
              af5f959098bc6c38ad530c27cac93954e0102d327da88914fb333146cb6c1c484a4bb3094c0c00eb88fbcf062aea905f
              bd0fb85bc74d8d75cf1622b0108b0a16c52bf8e99df9cab9c9f5bfafaf96af3eb8a65038871e34ece5bd1986e8856c5c
              0286356dc515fbc5b39d769b8eee8521dd444c568e130499acae1010325f1a2e3535c63d13b2d136e07422c3c11adcb9
              40115a1d98ac139ee1707db7c14e56731e3c5d0c37ce8b75f73fe185f864aef03b659b"),
    ]
    .concat()
}

fn ready() -> Vec<u8> {
    [
        b"\x04\x41\x05READY",
        &hex("0000000000000001
              2e804656d802990e8cf38c55338e594265d57704d72d188f691d5246d1293fef9217d799ba845485e40f1a2fbaf9723e9a67b6")[..],
    ]
    .concat()
}

#[test]
fn each_octet_of_a_handshake_is_that_of_libsodium() {
    let met = meet(server(), client());
    assert_eq!(met.to_server[12..33], *b"CURVE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(met.to_client[12..33], *b"CURVE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
    assert_eq!(met.to_server[64..266], hello());
    assert_eq!(met.to_client[64..234], welcome());
    assert_eq!(met.to_server[266..], initiate());
    assert_eq!(met.to_client[234..], ready());

    let at_server = met.at_server.unwrap().unwrap();
    let at_client = met.at_client.unwrap().unwrap();
    let key = hex("c512924888c2212f68dd352e9c1e6ac75632b3ceef30b26fa3cdecbf041e2107");
    for (peer, side, sent, received, proven) in
        [(at_server, Side::Server, 1, 2, CLIENT), (at_client, Side::Client, 2, 1, SERVER)]
    {
        assert_eq!(peer.proven, Some(Principal::Key(pair(proven).public())));
        assert!(!peer.by_old_key);
        let channel = peer.channel.unwrap();
        assert_eq!((channel.side, channel.sent, channel.received), (side, sent, received));
        assert_eq!(channel.key.as_bytes()[..], key);
    }
}

#[test]
fn the_channels_of_the_two_sides_fit() {
    let met = meet(server(), client());
    let channel = |result: Result<Option<Peer>, _>| result.unwrap().unwrap().channel.unwrap();
    let (mut to_client, mut from_client) = channel(met.at_server).split();
    let (mut to_server, mut from_server) = channel(met.at_client).split();
    let (mut boxed, mut plain) = (Vec::new(), Vec::new());
    to_server.seal(0, b"hello", &mut boxed);
    from_client.open(&boxed[2..], &mut plain).unwrap();
    boxed.clear();
    to_client.seal(0, b"world", &mut boxed);
    from_server.open(&boxed[2..], &mut plain).unwrap();
    assert_eq!(plain, b"\0\x05hello\0\x05world");
}

#[test]
fn a_server_is_known_by_its_present_key_and_by_its_old_one() {
    const OLD: u8 = 0x12;
    for (known, old, expected) in [
        (SERVER, None, Some(false)),
        (SERVER, Some(OLD), Some(false)),
        (OLD, Some(OLD), Some(true)),
        (OLD, None, None),
        (0x13, Some(OLD), None),
    ] {
        let server = server_with(SERVER, old, fresh(0x44, 0), Verdict::Admit);
        let met = meet(server, client_with(pair(known).public(), fresh(0x33, 0)));
        let Some(by_old_key) = expected else {
            assert_eq!(met.at_server, Err(CurveError::HelloForged.into()));
            assert_eq!((met.to_client.len(), met.at_client), (64, Ok(None)), "nothing was said");
            continue;
        };
        assert_eq!(met.at_server.unwrap().unwrap().by_old_key, by_old_key);
        let at_client = met.at_client.unwrap().unwrap();
        assert_eq!(at_client.proven, Some(Principal::Key(pair(known).public())));
    }
}

#[test]
fn who_is_not_admitted_hears_error_if_it_is_for_good_and_nothing_if_it_may_come_again() {
    let who = Principal::Key(pair(CLIENT).public());
    let met = meet(server_with(SERVER, None, fresh(0x44, 0), Verdict::Refuse), client());
    assert_eq!(met.at_server, Err(HandshakeError::NotAdmitted { who }));
    assert_eq!(met.to_client[234..], b"\x04\x0a\x05ERROR\x03400"[..]);
    assert_eq!(met.at_client, Err(HandshakeError::Refused { reason: "400".into() }));
    let met = meet(server_with(SERVER, None, fresh(0x44, 0), Verdict::Later), client());
    assert_eq!(met.at_server, Err(HandshakeError::NotYet { who }));
    assert_eq!((met.to_client.len(), met.at_client), (234, Ok(None)));
    // Approving it lets the next attempt in.
    assert!(matches!(meet(server(), client()).at_server, Ok(Some(_))));
}

#[test]
fn every_cut_waits_and_every_dribble_is_understood() {
    let met = meet(server(), client());
    every_cut_waits(server, &met.to_server, &met.at_server);
    every_cut_waits(client, &met.to_client, &met.at_client);
}

#[test]
fn what_was_recorded_is_refused_by_a_new_connection() {
    let Met { to_server, to_client, .. } = meet(server(), client());
    // HELLO is answered whenever it comes; INITIATE holds a cookie that another connection gave,
    // also if it has the same keys but for that of the cookie.
    let other_keys = fresh(0x44, 1);
    let mut other_cookie_key = fresh(0x44, 0);
    other_cookie_key.cookie_key = [0x56; 32];
    for fresh in [other_keys, other_cookie_key] {
        let local = server_with(SERVER, None, fresh, Verdict::Admit);
        let Outcome { result, sent, left } = shake_as(local, [&to_server[..]]);
        assert_eq!((result, left), (Err(CurveError::Cookie.into()), 0));
        assert_eq!(sent.len(), 170, "only WELCOME was said");
    }
    // INITIATE without HELLO, or HELLO twice.
    let greeting = &to_server[..64];
    for (commands, name, expected) in
        [([initiate(), vec![]], "INITIATE", "HELLO"), ([hello(), hello()], "HELLO", "INITIATE")]
    {
        let Outcome { result, .. } = shake_as(server(), [greeting, &commands.concat()]);
        assert_eq!(result, Err(HandshakeError::unexpected(name.as_bytes(), expected)));
    }
    // What a server said to one client says nothing to the next.
    let local = client_with(pair(SERVER).public(), fresh(0x33, 1));
    let Outcome { result, .. } = shake_as(local, [&to_client[..]]);
    assert_eq!(result, Err(CurveError::WelcomeForged.into()));
    // READY of another connection with the same client key.
    let mut out = Vec::new();
    let mut handshake = Handshake::new(client(), &mut out);
    let met = meet(server_with(SERVER, None, fresh(0x45, 0), Verdict::Admit), client());
    assert_eq!(handshake.read(&mut &met.to_client[..234], &mut out), Ok(None));
    let result = handshake.read(&mut &ready()[..], &mut out);
    assert_eq!(result, Err(CurveError::ReadyForged.into()));
}

#[test]
fn a_key_of_low_order_is_no_servers() {
    let low = client_with(PublicKey([0; 32]), fresh(0x33, 0));
    let Outcome { result, sent, .. } = shake_as(low, [&meet(server(), client()).to_client[..]]);
    let error = HandshakeError::from(CurveError::LowOrder { whose: "server's" });
    assert!(error.is_final(), "the key that we were given is wrong");
    assert_eq!((result, &sent[..]), (Err(error), &b""[..]));
}

#[test]
fn either_side_may_have_dialed() {
    // The server dials as DEALER, and the client accepts as ROUTER.
    let server = Local { role: DIAL, ..server() };
    let client = Local { role: Role::Accept, ..client() };
    let met = meet(server, client);
    let at_server = met.at_server.unwrap().unwrap();
    let at_client = met.at_client.unwrap().unwrap();
    let types = |peer: &Peer| (peer.socket_type, peer.announced);
    assert_eq!(types(&at_server), (SocketType::Router, SocketType::Dealer));
    assert_eq!(types(&at_client), (SocketType::Dealer, SocketType::Router));
}

#[test]
fn no_secret_is_ever_shown() {
    let met = meet(server(), client());
    // Each secret is one octet over and over.
    let secrets = [0x11, 0x22, 0x33, 0x44, 0x55].map(|octet: u8| format!("{octet}, {octet}, "));
    for (local, octets) in [(server(), &met.to_server), (client(), &met.to_client)] {
        let mut shown = format!("{local:?}");
        let mut out = Vec::new();
        let mut handshake = Handshake::new(local, &mut out);
        for octet in octets {
            shown += &format!("{handshake:?}");
            let result = handshake.read(&mut &[*octet][..], &mut out);
            shown += &format!("{result:?}");
        }
        assert!(shown.contains("Channel"), "it went to the end");
        for secret in &secrets {
            assert!(!shown.contains(secret), "{secret}");
        }
    }
}

#[test]
fn a_handshake_takes_less_than_4_kib_of_memory() {
    // Of `transport::greet`: what is read at a time.
    const READ_BYTES: usize = 512;
    let max = Limits::default().handshake_command_bytes_max;
    // A vector that grows as octets arrive may have twice as much room as it needs.
    let command = 2 * (max + crate::wire::frame::HEADER_LEN_MAX);
    // Fresh, and the keys that are kept in boxes of their own: c' or s', and one of two.
    let secrets = size_of::<Fresh>() + 3 * SecretKey::LEN;
    let Met { to_server, to_client, .. } = meet(server(), client());
    let mut most_said = 0;
    for (local, octets) in [(server(), to_server), (client(), to_client)] {
        let mut out = Vec::new();
        let mut handshake = Handshake::new(local, &mut out);
        for octet in &octets {
            let _ = handshake.read(&mut &[*octet][..], &mut out);
            most_said = most_said.max(out.capacity());
            out.clear();
        }
    }
    let bytes = size_of::<Handshake>() + command + secrets + most_said + READ_BYTES;
    assert!(bytes < 4 << 10, "{bytes}, of them {} of state", size_of::<Handshake>());
}
