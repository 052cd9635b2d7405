//! A case against the state machine.

use super::{Case, End, Ours, local};
use crate::proto::handshake::{Handshake, HandshakeError, Peer};
use crate::wire::command::{Command, CommandReader};
use crate::wire::greeting::GREETING_LEN;

/// What came of a case.
#[derive(Debug)]
pub struct Played {
    /// The outcome.
    pub result: Result<Option<Peer>, HandshakeError>,
    /// All that our side has said.
    pub said: Vec<u8>,
    /// Octets that are left for the traffic.
    pub left: usize,
}

/// Plays the case, whose octets come one at a time if they `dribble`, and without the last
/// `missing` ones.
///
/// # Panics
/// The case waits for something that our side does not say.
#[must_use]
pub fn play(case: &Case, dribble: bool, missing: usize) -> Played {
    let mut said = Vec::new();
    let mut handshake = Handshake::new(local(case.ours, 0), &mut said);
    let (mut result, mut left) = (Ok(None), 0);
    for (index, act) in case.acts.iter().enumerate() {
        let is_last = index + 1 == case.acts.len();
        assert!(said.len() >= act.after, "{}: act {index} waits in vain: {result:?}", case.name);
        assert_eq!(result, Ok(None), "{}: act {index} comes too late", case.name);
        let octets = act.octets(&said);
        let end = octets.len().saturating_sub(if is_last { missing } else { 0 });
        let octets = octets.get(..end).unwrap_or_default();
        for piece in octets.chunks(if dribble { 1 } else { usize::MAX }) {
            if result != Ok(None) {
                left += piece.len();
                continue;
            }
            let mut input = piece;
            result = handshake.read(&mut input, &mut said);
            left = input.len();
        }
    }
    Played { result, said, left }
}

impl Played {
    /// How it ended, if it did; `Err` says what was said that should not have been.
    ///
    /// # Errors
    /// What our side said does not go with the outcome.
    pub fn end(&self, ours: Ours) -> Result<Option<End>, String> {
        let mut commands = self.said.get(GREETING_LEN..).ok_or("no greeting")?;
        let (mut ready, mut error) = (false, None);
        let mut reader = CommandReader::new(1024);
        while let Some(body) = reader.read(&mut commands).map_err(|error| error.to_string())? {
            if let Some(error) = error {
                return Err(format!("something was said behind the ERROR {error}"));
            }
            match Command::decode(&body).map_err(|error| error.to_string())? {
                Command::Ready(_) => ready = true,
                Command::Error { reason } => error = Some(reason.escape_ascii().to_string()),
                Command::Other { name: b"HELLO" | b"WELCOME" | b"INITIATE" } => {}
                other => return Err(format!("{other:?} was said")),
            }
        }
        let reply = self.result.as_ref().err().and_then(HandshakeError::reply);
        if error.as_deref() != reply {
            return Err(format!("ERROR {error:?} was said instead of {reply:?}"));
        }
        let served = matches!(self.result, Ok(Some(_)));
        if matches!(ours, Ours::Listener(_)) && ready != served {
            return Err(format!("READY was said: {ready}, and a peer is there: {served}"));
        }
        Ok(match (&self.result, reply) {
            (Ok(None), _) => None,
            (Ok(Some(_)), _) => Some(End::Served(self.left)),
            (Err(_), Some(reason)) => Some(End::Refused(reason)),
            (Err(error), None) => Some(End::Closed(error.clone())),
        })
    }
}
