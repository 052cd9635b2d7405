//! Clients and servers of CURVE that can do every step wrong.

use std::sync::{Arc, OnceLock};

use crate::id::PublicKey;
use crate::proto::curve::{Crypto, Dryoc, KeyPair, Nonce, SecretKey, SharedKey, nonce};
use crate::wire::command::{Metadata, SocketType};
use crate::wire::curve::{Hello, Initiate, PAIR_BOX_LEN, PAIR_LEN, PairBox, Ready, Welcome, pair};
use crate::wire::greeting::GREETING_LEN;

/// The key of boxes between a public key of low order and any secret one: HSalsa20 of zeros.
pub(in crate::fuzzing) const KNOWN_KEY: [u8; 32] = [
    0x35, 0x1f, 0x86, 0xfa, 0xa3, 0xb9, 0x88, 0x46, 0x8a, 0x85, 0x01, 0x22, 0xb6, 0x5b, 0x0a, 0xce,
    0xce, 0x9c, 0x48, 0x26, 0x80, 0x6a, 0xee, 0xe6, 0x3d, 0xe9, 0xc0, 0xda, 0x2b, 0xd7, 0xf9, 0x1e,
];

/// Octets of the greeting and of HELLO, and of what a listener says up to WELCOME.
pub(in crate::fuzzing) const HELLO_END: usize = GREETING_LEN + 2 + Hello::LEN;
pub(in crate::fuzzing) const WELCOME_END: usize = GREETING_LEN + 2 + Welcome::LEN;

/// The pair of the secret key that has this octet 32 times. It is worked out once.
pub(in crate::fuzzing) fn pair_of(octet: u8) -> Arc<KeyPair> {
    static PAIRS: [OnceLock<Arc<KeyPair>>; 256] = [const { OnceLock::new() }; 256];
    let pair = || Arc::new(KeyPair::new(SecretKey::new([octet; 32])));
    PAIRS.get(usize::from(octet)).map_or_else(pair, |kept| kept.get_or_init(pair).clone())
}

pub(in crate::fuzzing) fn public(octet: u8) -> PublicKey {
    pair_of(octet).public()
}

/// The key between two, or the one that everybody knows.
fn agree(theirs: &PublicKey, ours: u8) -> SharedKey {
    Dryoc::agree(theirs, &SecretKey::new([ours; 32])).unwrap_or_else(|| SharedKey::new(KNOWN_KEY))
}

/// The metadata of a peer of this type without a name.
pub(in crate::fuzzing) fn metadata(socket_type: SocketType) -> Vec<u8> {
    let mut octets = Vec::new();
    Metadata { socket_type, identity: None }.encode(&mut octets);
    octets
}

fn seal_pair(
    key: &SharedKey,
    nonce: &Nonce,
    end: &[u8; 16],
    mut both: [u8; PAIR_LEN],
) -> [u8; PAIR_BOX_LEN] {
    let tag = Dryoc::seal(key, nonce, &mut both);
    PairBox { nonce: end, tag: &tag, boxed: &both }.octets()
}

/// A client. What it does is right unless somebody changes a field.
#[derive(Debug, Clone)]
pub(in crate::fuzzing) struct Client {
    /// The octet of its secret key.
    pub(in crate::fuzzing) own: u8,
    /// That of its short-term one.
    pub(in crate::fuzzing) short: u8,
    /// The server it knocks at.
    pub(in crate::fuzzing) server: PublicKey,
    /// The short-term key that HELLO shows.
    pub(in crate::fuzzing) hello_short: PublicKey,
    pub(in crate::fuzzing) hello_number: u64,
    /// What the box of HELLO holds.
    pub(in crate::fuzzing) hello_text: [u8; PAIR_LEN],
    /// What INITIATE gives back; that of WELCOME if there is none.
    pub(in crate::fuzzing) cookie: Option<[u8; PAIR_BOX_LEN]>,
    pub(in crate::fuzzing) initiate_number: u64,
    /// The key that INITIATE shows.
    pub(in crate::fuzzing) shown: PublicKey,
    /// The short-term key and the server that the vouch is for.
    pub(in crate::fuzzing) vouched: [PublicKey; 2],
    /// The key that the vouch is sealed with instead of that between C and S'.
    pub(in crate::fuzzing) vouch_key: Option<SharedKey>,
    pub(in crate::fuzzing) metadata: Vec<u8>,
}

impl Client {
    pub(in crate::fuzzing) fn new(own: u8, server: u8) -> Self {
        const SHORT: u8 = 0x33;
        let (server, short) = (public(server), public(SHORT));
        Self {
            own,
            short: SHORT,
            server,
            hello_short: short,
            hello_number: 1,
            hello_text: [0; PAIR_LEN],
            cookie: None,
            initiate_number: 2,
            shown: public(own),
            vouched: [short, server],
            vouch_key: None,
            metadata: metadata(SocketType::Dealer),
        }
    }

    /// The key of HELLO and WELCOME.
    fn first_key(&self) -> SharedKey {
        match Dryoc::agree(&self.hello_short, &SecretKey::new([1; 32])) {
            Some(_) => agree(&self.server, self.short),
            None => SharedKey::new(KNOWN_KEY),
        }
    }

    /// The frame.
    pub(in crate::fuzzing) fn hello(&self) -> Vec<u8> {
        let mut boxed = self.hello_text;
        let nonce = nonce::numbered(nonce::HELLO, self.hello_number);
        let tag = Dryoc::seal(&self.first_key(), &nonce, &mut boxed);
        let (short_term, number) = (self.hello_short, self.hello_number);
        let mut out = Vec::new();
        Hello { short_term, number, tag: &tag, boxed: &boxed }.encode(&mut out);
        out
    }

    /// The server's short-term key and the cookie, out of all that it has said; zeros if it is
    /// another one's.
    pub(in crate::fuzzing) fn welcomed(&self, heard: &[u8]) -> (PublicKey, [u8; PAIR_BOX_LEN]) {
        let nothing = (PublicKey([0; 32]), [0; PAIR_BOX_LEN]);
        let data = heard.get(GREETING_LEN + 2 + 1 + Welcome::NAME.len()..WELCOME_END);
        let Some(Ok(Welcome { nonce, tag, boxed })) = data.map(Welcome::decode) else {
            return nothing;
        };
        let mut text = *boxed;
        let nonce = nonce::random(nonce::WELCOME, nonce);
        let opens = Dryoc::open(&self.first_key(), &nonce, tag, &mut text);
        match Welcome::read_text(&text) {
            Some((short_term, cookie)) if opens => (short_term, *cookie),
            _ => nothing,
        }
    }

    /// The frame, to a server that has said this.
    pub(in crate::fuzzing) fn initiate(&self, heard: &[u8]) -> Vec<u8> {
        let (theirs, cookie) = self.welcomed(heard);
        let end = [0x88; 16];
        let vouch_key = self.vouch_key.clone().unwrap_or_else(|| agree(&theirs, self.own));
        let [short, server] = &self.vouched;
        let nonce = nonce::random(nonce::VOUCH, &end);
        let vouch = seal_pair(&vouch_key, &nonce, &end, pair(&short.0, &server.0));
        let mut text = Initiate::text(&self.shown, &vouch, &self.metadata);
        let nonce = nonce::numbered(nonce::INITIATE, self.initiate_number);
        let tag = Dryoc::seal(&agree(&theirs, self.short), &nonce, &mut text);
        let mut out = Vec::new();
        let cookie = self.cookie.unwrap_or(cookie);
        Initiate::encode(&cookie, self.initiate_number, &tag, &text, &mut out);
        out
    }
}

/// A server, towards a client that knows it by `own`. What it does is right unless somebody changes
/// a field.
#[derive(Debug, Clone)]
pub(in crate::fuzzing) struct Server {
    /// The octet of its secret key.
    pub(in crate::fuzzing) own: u8,
    /// That of its short-term one.
    pub(in crate::fuzzing) short: u8,
    /// The short-term key that WELCOME shows.
    pub(in crate::fuzzing) welcome_short: PublicKey,
    pub(in crate::fuzzing) ready_number: u64,
    pub(in crate::fuzzing) metadata: Vec<u8>,
}

impl Server {
    pub(in crate::fuzzing) fn new(own: u8) -> Self {
        const SHORT: u8 = 0x44;
        Self {
            own,
            short: SHORT,
            welcome_short: public(SHORT),
            ready_number: 1,
            metadata: metadata(SocketType::Router),
        }
    }

    /// The short-term key of the client, out of all that it has said.
    fn knocked(heard: &[u8]) -> PublicKey {
        let data = heard.get(GREETING_LEN + 2 + 1 + Hello::NAME.len()..HELLO_END);
        match data.map(Hello::decode) {
            Some(Ok(hello)) => hello.short_term,
            _ => PublicKey([0; 32]),
        }
    }

    /// The frame, to a client that has said this.
    pub(in crate::fuzzing) fn welcome(&self, heard: &[u8]) -> Vec<u8> {
        let theirs = Self::knocked(heard);
        let end = [0x77; 16];
        let nonce = nonce::random(nonce::COOKIE, &end);
        let kept = pair(&theirs.0, &[self.short; 32]);
        let cookie = seal_pair(&SharedKey::new([0x55; 32]), &nonce, &end, kept);
        let mut boxed = Welcome::text(&self.welcome_short, &cookie);
        let end = [0x66; 16];
        let nonce = nonce::random(nonce::WELCOME, &end);
        let tag = Dryoc::seal(&agree(&theirs, self.own), &nonce, &mut boxed);
        let mut out = Vec::new();
        Welcome { nonce: &end, tag: &tag, boxed: &boxed }.encode(&mut out);
        out
    }

    /// The frame, to a client that has said this.
    pub(in crate::fuzzing) fn ready(&self, heard: &[u8]) -> Vec<u8> {
        let mut boxed = self.metadata.clone();
        let nonce = nonce::numbered(nonce::READY, self.ready_number);
        let tag = Dryoc::seal(&agree(&Self::knocked(heard), self.short), &nonce, &mut boxed);
        let mut out = Vec::new();
        Ready::encode(self.ready_number, &tag, &boxed, &mut out);
        out
    }
}

/// A cookie that the key of octets `key` opens.
pub(in crate::fuzzing) fn cookie(
    key: u8,
    short_term: &PublicKey,
    secret: u8,
) -> [u8; PAIR_BOX_LEN] {
    let end = [0x77; 16];
    let nonce = nonce::random(nonce::COOKIE, &end);
    seal_pair(&SharedKey::new([key; 32]), &nonce, &end, pair(&short_term.0, &[secret; 32]))
}
