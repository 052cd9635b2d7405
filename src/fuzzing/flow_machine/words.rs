//! What ends say, and what becomes of a BOT, in text.

use super::world::Did;
use crate::proto::flow::End;

/// A message, in the words of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) kind: &'static str,
    /// Of BOT: `extract`, `inject`, or anything else.
    pub(super) direction: &'static str,
    /// As it is written.
    pub(super) credit: &'static str,
    pub(super) stream: &'static str,
    /// Of a handler's BOT.
    pub(super) cid: Option<u32>,
    pub(super) seqno: u64,
}

pub(super) fn reverse(direction: &'static str) -> &'static str {
    match direction {
        "extract" => "inject",
        "inject" => "extract",
        other => other,
    }
}

impl Words {
    pub(super) fn label(&self) -> String {
        match self.kind {
            "BOT" => self.bot(self.kind, self.direction, self.cid.map(|cid| cid.to_string())),
            "PAY" => format!(r#"{{"flow": "PAY", "credit": {}}}"#, self.credit),
            kind => format!(r#"{{"flow": "{kind}"}}"#),
        }
    }

    pub(super) fn bot(&self, kind: &str, direction: &str, cid: Option<String>) -> String {
        let cid = cid.map_or_else(String::new, |cid| format!(r#", "cid": {cid}"#));
        let (credit, stream) = (self.credit, self.stream);
        format!(
            r#"{{"flow": "{kind}", "credit": {credit}, "direction": "{direction}", "stream": "{stream}"{cid}}}"#
        )
    }

    /// As a handler gets a client's; the id is taken out.
    pub(super) fn for_handler(&self) -> String {
        self.bot("BOT", reverse(self.direction), Some("#".into()))
    }

    pub(super) fn refusal(&self, to: End, named: bool) -> Did {
        let cid = named.then(|| "#".into());
        Did::Said(to, self.bot("EOT", reverse(self.direction), cid), self.seqno)
    }

    pub(super) fn number(&self) -> Option<i64> {
        self.credit.parse().ok()
    }
}
