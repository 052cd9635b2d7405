//! The server of CURVE.

use std::sync::Arc;

use super::super::plain::admitted;
use super::super::step::{Terms, data_of};
use super::super::{
    Authority, Claim, CurveError, CurveServer, Fresh, HandshakeError, Peer, same_secret,
};
use crate::id::{Principal, PublicKey};
use crate::proto::curve::{Channel, Crypto, Dryoc, KeyPair, SecretKey, SharedKey, Side, nonce};
use crate::wire::curve::{
    Hello, Initiate, InitiateText, PairBox, Ready, Welcome, pair, pair_halves,
};

/// The number of our READY.
const READY_NUMBER: u64 = 1;

/// A client has to knock.
#[derive(Debug)]
pub(in super::super) struct CurveHello {
    terms: Terms,
    server: CurveServer,
}

impl CurveHello {
    pub(in super::super) fn start(terms: Terms, server: CurveServer) -> Self {
        Self { terms, server }
    }

    pub(in super::super) fn on_command(
        self,
        body: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<CurveInitiate, HandshakeError> {
        let hello = Hello::decode(data_of(body, "HELLO")?)?;
        let Self { terms, server: CurveServer { present, old, fresh, authority } } = self;
        // Which of our keys does it know?
        let mut opened = open(&hello, &present)?.map(|shared| (present, shared));
        let mut by_old_key = false;
        if let (None, Some(old)) = (&opened, old) {
            opened = open(&hello, &old)?.map(|shared| (old, shared));
            by_old_key = true;
        }
        let (own, shared) = opened.ok_or(CurveError::HelloForged)?;

        let low_order = CurveError::LowOrder { whose: "client's short-term" };
        let short_term = SecretKey::new(fresh.short_term);
        let key = Dryoc::agree(&hello.short_term, &short_term).ok_or(low_order)?;
        welcome(&fresh, &short_term, &hello.short_term, &shared, out);
        let (short_term, number) = (hello.short_term, hello.number);
        Ok(CurveInitiate { terms, own, by_old_key, authority, fresh, short_term, number, key })
    }
}

/// The key of the boxes of HELLO and WELCOME, if the client knows us by this key.
fn open(hello: &Hello<'_>, own: &KeyPair) -> Result<Option<SharedKey>, CurveError> {
    let low_order = CurveError::LowOrder { whose: "client's short-term" };
    let shared = Dryoc::agree(&hello.short_term, own.secret()).ok_or(low_order)?;
    let mut text = *hello.boxed;
    let nonce = nonce::numbered(nonce::HELLO, hello.number);
    if !Dryoc::open(&shared, &nonce, hello.tag, &mut text) {
        return Ok(None);
    }
    if text.iter().any(|octet| *octet != 0) {
        return Err(CurveError::HelloNotZero);
    }
    Ok(Some(shared))
}

/// Appends WELCOME, with a cookie that only this connection can read.
fn welcome(
    fresh: &Fresh,
    short_term: &SecretKey,
    theirs: &PublicKey,
    shared: &SharedKey,
    out: &mut Vec<u8>,
) {
    let mut boxed = pair(&theirs.0, short_term.as_bytes());
    let cookie_nonce = nonce::random(nonce::COOKIE, &fresh.cookie_nonce);
    let tag = Dryoc::seal(&SharedKey::new(fresh.cookie_key), &cookie_nonce, &mut boxed);
    let cookie = PairBox { nonce: &fresh.cookie_nonce, tag: &tag, boxed: &boxed }.octets();

    let mut boxed = Welcome::text(&Dryoc::public_key(short_term), &cookie);
    let welcome_nonce = nonce::random(nonce::WELCOME, &fresh.welcome_nonce);
    let tag = Dryoc::seal(shared, &welcome_nonce, &mut boxed);
    Welcome { nonce: &fresh.welcome_nonce, tag: &tag, boxed: &boxed }.encode(out);
}

/// The client has to give the cookie back, and to prove its key.
#[derive(Debug)]
pub(in super::super) struct CurveInitiate {
    terms: Terms,
    /// The key of ours that the client knows.
    own: Arc<KeyPair>,
    by_old_key: bool,
    authority: Arc<dyn Authority>,
    fresh: Box<Fresh>,
    /// C'.
    short_term: PublicKey,
    /// The number of HELLO.
    number: u64,
    /// The key of all boxes that follow: between C' and S'.
    key: SharedKey,
}

impl CurveInitiate {
    pub(in super::super) fn on_command(
        self,
        body: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Peer, HandshakeError> {
        let Initiate { cookie, number, tag, boxed } = Initiate::decode(data_of(body, "INITIATE")?)?;
        self.check_cookie(PairBox::read(cookie))?;
        if number <= self.number {
            return Err(CurveError::InitiateNumber { number, hello: self.number }.into());
        }
        if !Dryoc::open(&self.key, &nonce::numbered(nonce::INITIATE, number), tag, boxed) {
            return Err(CurveError::InitiateForged.into());
        }
        let text = Initiate::read_text(boxed).ok_or(CurveError::InitiateForged)?;
        let InitiateText { key: theirs, vouch, metadata } = text;
        self.check_vouch(&theirs, PairBox::read(vouch))?;
        let who = Principal::Key(theirs);
        admitted(self.authority.judge(&Claim::Key(theirs)), who)?;

        let peer = self.terms.peer(metadata)?;
        let mut words = self.terms.words_to(&peer);
        let nonce = nonce::numbered(nonce::READY, READY_NUMBER);
        let tag = Dryoc::seal(&self.key, &nonce, &mut words);
        Ready::encode(READY_NUMBER, &tag, &words, out);
        let channel =
            Channel { side: Side::Server, key: self.key, sent: READY_NUMBER, received: number };
        let (proven, by_old_key) = (Some(who), self.by_old_key);
        Ok(Peer { proven, by_old_key, channel: Some(channel), ..peer })
    }

    /// The cookie is the one that this connection was given: its key is no other one's.
    fn check_cookie(&self, cookie: Option<PairBox<'_>>) -> Result<(), CurveError> {
        let PairBox { nonce, tag, boxed } = cookie.ok_or(CurveError::Cookie)?;
        let mut text = zeroize::Zeroizing::new(*boxed);
        let key = SharedKey::new(self.fresh.cookie_key);
        let opens = Dryoc::open(&key, &nonce::random(nonce::COOKIE, nonce), tag, &mut text[..]);
        let [theirs, ours] = pair_halves(&text);
        let same =
            same_secret(theirs, &self.short_term.0) && same_secret(ours, &self.fresh.short_term);
        if opens && same { Ok(()) } else { Err(CurveError::Cookie) }
    }

    /// Whoever has the key says that the short-term key is its own, and that it means us.
    fn check_vouch(
        &self,
        theirs: &PublicKey,
        vouch: Option<PairBox<'_>>,
    ) -> Result<(), CurveError> {
        let PairBox { nonce, tag, boxed } = vouch.ok_or(CurveError::VouchForged)?;
        let short_term = SecretKey::new(self.fresh.short_term);
        let low_order = CurveError::LowOrder { whose: "client's" };
        let key = Dryoc::agree(theirs, &short_term).ok_or(low_order)?;
        let mut text = *boxed;
        if !Dryoc::open(&key, &nonce::random(nonce::VOUCH, nonce), tag, &mut text) {
            return Err(CurveError::VouchForged);
        }
        let [short_term, server] = pair_halves(&text);
        if *short_term != self.short_term.0 {
            return Err(CurveError::VouchForAnotherKey);
        }
        // RFC 26 wants it checked; libzmq does not.
        if *server != self.own.public().0 {
            return Err(CurveError::VouchForAnotherServer);
        }
        Ok(())
    }
}
