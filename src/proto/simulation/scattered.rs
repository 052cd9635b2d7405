//! A scatter, as its client sees it: TARGETS, an outcome for each of them, the tally.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::message::Message;
use crate::wire::mjp::{
    Answer, Note, Outcome, Packed, Recipients, Scatter, ScatterHeader, Tally, Targets, ToBroker,
};

use super::actor::{Act, Context, encoded};
use super::native_worker::ZONE;
use super::plan::MIXED;
use super::tag::Tag;

/// What was heard of a scatter so far.
#[derive(Debug, Default)]
pub(super) struct Scattered {
    targets: Option<BTreeSet<String>>,
    tally: Tally,
}

impl Scattered {
    pub(super) fn is_accepted(&self) -> bool {
        self.targets.is_some()
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn targets(&mut self, targets: &Targets<'_>) -> Result<(), String> {
        let names = targets.names().map_err(|error| format!("targets: {error}"))?;
        let count = names.len();
        let known: BTreeSet<_> = names.into_iter().collect();
        if known.len() != count || count == 0 || self.targets.replace(known).is_some() {
            return Err(format!("{count} targets of {}, some twice, or again", targets.id));
        }
        Ok(())
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn outcome(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let says = outcome.says;
        if !self.targets.as_mut().is_some_and(|targets| targets.remove(says.target)) {
            return Err(format!("{says:?} of {}, which has {:?} left", outcome.id, self.targets));
        }
        *match says.outcome {
            "replied" => &mut self.tally.replied,
            "failed" => &mut self.tally.failed,
            "refused" => &mut self.tally.refused,
            "lost" => &mut self.tally.lost,
            "timed_out" => &mut self.tally.timed_out,
            "cancelled" => &mut self.tally.cancelled,
            other => return Err(format!("an outcome is {other}")),
        } += 1;
        Ok(())
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn note(&self, note: &Note<'_>) -> Result<(), String> {
        let open = self.targets.as_ref().is_some_and(|it| it.contains(note.says.target));
        let left = &self.targets;
        if open { Ok(()) } else { Err(format!("{note:?} of a scatter which has {left:?} left")) }
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn ended(&mut self, answer: &Answer<'_>) -> Result<(), String> {
        let left = self.targets.as_ref().is_none_or(|targets| !targets.is_empty());
        let tally = Tally::decode(answer.header);
        if left || tally != Ok(self.tally) || !answer.body.eq([b""]) {
            return Err(format!("{tally:?} ends {self:?}"));
        }
        Ok(())
    }
}

/// Asks several workers.
pub(super) fn scatter(
    id: u64,
    service: &str,
    timeout: Option<u64>,
    tag: Tag,
    cx: &mut Context<'_>,
) {
    let names: Vec<_> = (0..cx.rng.within(1, 6)).map(|_| cx.rng.within(0, 15)).collect();
    let names: Vec<_> = names.into_iter().map(|number| format!("actor{number}")).collect();
    let to = match cx.rng.within(0, 5) {
        0 => Recipients::Names(names.iter().map(String::as_str).collect()),
        1 => Recipients::Labels(BTreeMap::from([ZONE])),
        _ => Recipients::All,
    };
    let events = Some(cx.rng.one_in(2));
    let says = ScatterHeader { timeout, events, ..ScatterHeader::new(service.as_bytes(), to) };
    let mut frames = vec![if service == MIXED { tag.to_job(None) } else { tag.encode() }];
    if cx.rng.one_in(4) {
        frames.push(vec![5; cx.rng.pick(&[0, 200, 5_000])]);
    }
    let (header, body) = (Packed::new(&says), Message::new(frames));
    let (header, body) = (header.octets(), body.frames());
    let said = ToBroker::Scatter(Scatter { id, header, says: says.clone(), body });
    cx.act(Act::Say(encoded(|encoder| said.encode(encoder))));
}
