//! What the label of a flow's message says.

use std::num::NonZeroU32;

use super::label::{Label, Members, Value};
use super::malformed::Malformed;

/// Attributes of a label that belong to the protocol.
pub mod attribute {
    /// Which message it is.
    pub const FLOW: &str = "flow";
    /// Whether its sender will give or take; of BOT.
    pub const DIRECTION: &str = "direction";
    /// Credit asked for, agreed on (BOT), or handed out (PAY).
    pub const CREDIT: &str = "credit";
    /// Which client a handler comes for; of BOT, between broker and handler.
    pub const CID: &str = "cid";
}

/// The messages of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Beginning of transmission: how the sender wants it.
    Bot,
    /// Data.
    Dat,
    /// Credit: as many DATs more may be sent.
    Pay,
    /// End of transmission.
    Eot,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bot, Self::Dat, Self::Pay, Self::Eot];

    /// The value of `flow`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bot => "BOT",
            Self::Dat => "DAT",
            Self::Pay => "PAY",
            Self::Eot => "EOT",
        }
    }
}

/// What the sender of a BOT will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// It gives: it sends DAT.
    Extract,
    /// It takes: it sends PAY.
    Inject,
}

impl Direction {
    /// The value of `direction`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Extract => "extract",
            Self::Inject => "inject",
        }
    }

    /// That of the other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Extract => Self::Inject,
            Self::Inject => Self::Extract,
        }
    }
}

/// Whom a BOT is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cid {
    /// It is a client's: there is no `cid`, or one that counts as absent (zero, false, null, empty).
    Absent,
    /// It is a handler's, for that client.
    Is(NonZeroU32),
    /// It is a handler's, for nobody that there can be.
    Invalid,
}

/// The label of a flow's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLabel<'a> {
    label: Label<'a>,
    kind: Kind,
    direction: Option<Value<'a>>,
    credit: Option<Value<'a>>,
    cid: Option<Value<'a>>,
}

impl<'a> FlowLabel<'a> {
    /// Reads a label. The form of the message does not matter.
    ///
    /// # Errors
    /// It is none of a flow.
    #[inline]
    pub fn read(text: &'a str) -> Result<Self, Malformed> {
        // Almost all DATs, as Python and C++ write them.
        if matches!(text, r#"{"flow": "DAT"}"# | r#"{"flow":"DAT"}"#) {
            let label = Label::read(text);
            return Ok(Self { label, kind: Kind::Dat, direction: None, credit: None, cid: None });
        }
        Self::read_any(text)
    }

    fn read_any(text: &'a str) -> Result<Self, Malformed> {
        let [mut flow, mut direction, mut credit, mut cid] = [None; 4];
        for member in Members::of(text) {
            let member = member?;
            for (name, place) in [
                (attribute::FLOW, &mut flow),
                (attribute::DIRECTION, &mut direction),
                (attribute::CREDIT, &mut credit),
                (attribute::CID, &mut cid),
            ] {
                if member.is(name) {
                    *place = Some(member.value);
                }
            }
        }
        let flow: Value<'_> = flow.ok_or(Malformed::NoFlow)?;
        let kind = Kind::ALL.into_iter().find(|kind| flow.is(kind.name()));
        let kind = kind.ok_or(Malformed::UnknownFlow)?;
        Ok(Self { label: Label::read(text), kind, direction, credit, cid })
    }

    /// The whole label.
    #[must_use]
    pub fn label(&self) -> Label<'a> {
        self.label
    }

    /// Which message it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the sender will do; none if it does not say, or something else.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        let said = self.direction?;
        [Direction::Extract, Direction::Inject].into_iter().find(|it| said.is(it.name()))
    }

    /// The credit; none if there is none, or no whole number of 64 bits.
    #[must_use]
    pub fn credit(&self) -> Option<i64> {
        self.credit?.integer()
    }

    /// Whom it is about.
    #[must_use]
    pub fn cid(&self) -> Cid {
        match self.cid {
            None => Cid::Absent,
            Some(value) if value.is_nothing() => Cid::Absent,
            Some(value) => {
                let number = value.integer().and_then(|number| u32::try_from(number).ok());
                number.and_then(NonZeroU32::new).map_or(Cid::Invalid, Cid::Is)
            }
        }
    }
}
