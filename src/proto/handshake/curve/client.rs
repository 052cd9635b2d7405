//! The client of CURVE.

use super::super::step::{Terms, data_of};
use super::super::{CurveClient, CurveError, HandshakeError, Peer};
use crate::id::{Principal, PublicKey};
use crate::proto::curve::{Channel, Crypto, Dryoc, SecretKey, SharedKey, Side, nonce};
use crate::wire::curve::{Hello, Initiate, PAIR_LEN, PairBox, Ready, Welcome, pair};

/// The numbers of what we send.
const HELLO_NUMBER: u64 = 1;
const INITIATE_NUMBER: u64 = 2;

/// We have knocked, and the server has to answer.
#[derive(Debug)]
pub(in super::super) struct CurveWelcome {
    terms: Terms,
    client: CurveClient,
    short_term: SecretKey,
    /// Its public half: C'.
    public: PublicKey,
    /// The key of the boxes of HELLO and WELCOME: between C' and S.
    shared: SharedKey,
}

impl CurveWelcome {
    pub(in super::super) fn start(
        terms: Terms,
        client: CurveClient,
        out: &mut Vec<u8>,
    ) -> Result<Self, CurveError> {
        let low_order = CurveError::LowOrder { whose: "server's" };
        let short_term = SecretKey::new(client.fresh.short_term);
        let shared = Dryoc::agree(&client.server, &short_term).ok_or(low_order)?;
        let mut boxed = [0; PAIR_LEN];
        let nonce = nonce::numbered(nonce::HELLO, HELLO_NUMBER);
        let tag = Dryoc::seal(&shared, &nonce, &mut boxed);
        let public = Dryoc::public_key(&short_term);
        Hello { short_term: public, number: HELLO_NUMBER, tag: &tag, boxed: &boxed }.encode(out);
        Ok(Self { terms, client, short_term, public, shared })
    }

    pub(in super::super) fn on_command(
        self,
        body: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<CurveReady, HandshakeError> {
        let Welcome { nonce, tag, boxed } = Welcome::decode(data_of(body, "WELCOME")?)?;
        let mut text = *boxed;
        if !Dryoc::open(&self.shared, &nonce::random(nonce::WELCOME, nonce), tag, &mut text) {
            return Err(CurveError::WelcomeForged.into());
        }
        let (theirs, cookie) = Welcome::read_text(&text).ok_or(CurveError::WelcomeForged)?;
        let low_order = CurveError::LowOrder { whose: "server's short-term" };
        let key = Dryoc::agree(&theirs, &self.short_term).ok_or(low_order)?;
        let vouching = Dryoc::agree(&theirs, self.client.own.secret()).ok_or(low_order)?;

        let server = self.client.server;
        let mut boxed = pair(&self.public.0, &server.0);
        let vouch_nonce = &self.client.fresh.vouch_nonce;
        let tag = Dryoc::seal(&vouching, &nonce::random(nonce::VOUCH, vouch_nonce), &mut boxed);
        let vouch = PairBox { nonce: vouch_nonce, tag: &tag, boxed: &boxed }.octets();

        let own = self.client.own.public();
        let mut text = Initiate::text(&own, &vouch, &self.terms.first_words());
        let nonce = nonce::numbered(nonce::INITIATE, INITIATE_NUMBER);
        let tag = Dryoc::seal(&key, &nonce, &mut text);
        Initiate::encode(cookie, INITIATE_NUMBER, &tag, &text, out);
        Ok(CurveReady { terms: self.terms, server, key })
    }
}

/// The server has to let us in.
#[derive(Debug)]
pub(in super::super) struct CurveReady {
    terms: Terms,
    server: PublicKey,
    /// The key of all boxes that follow: between C' and S'.
    key: SharedKey,
}

impl CurveReady {
    pub(in super::super) fn on_command(self, body: &mut [u8]) -> Result<Peer, HandshakeError> {
        let Ready { number, tag, boxed } = Ready::decode(data_of(body, "READY")?)?;
        if !Dryoc::open(&self.key, &nonce::numbered(nonce::READY, number), tag, boxed) {
            return Err(CurveError::ReadyForged.into());
        }
        let peer = self.terms.peer(boxed)?;
        let channel =
            Channel { side: Side::Client, key: self.key, sent: INITIATE_NUMBER, received: number };
        Ok(Peer { proven: Some(Principal::Key(self.server)), channel: Some(channel), ..peer })
    }
}
