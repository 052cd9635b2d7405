//! One end of a flow: giver or taker, client or server.
//!
//! A flow is a one-way stream of DATs with credit. With the agreed credit T, what the giver holds,
//! the PAYs under way, what the taker holds and the DATs under way make T at every moment: no more
//! than T DATs are ever anywhere between the two. Within MJP the same holds for octets, of which a
//! DAT costs as many as its parts have, if both ends are there.
//!
//! The machine decides; what is said has to be put into a label by [`Stamp::label`], and what was
//! heard comes as a [`FlowLabel`].

mod octets;
mod state;
#[cfg(test)]
mod tests;
mod wrong;

pub use octets::Load;
pub use state::{Action, Input, State, TABLE};
pub use wrong::{Misuse, Violation};

use std::time::Duration;

use crate::proto::clock::Time;
use crate::wire::zio::{Direction, FlowLabel, Kind, Label, Malformed, attribute, set};

use octets::Octets;

/// Who speaks first. It has nothing to do with who gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// It says the first BOT, and takes the credit that it is told.
    Client,
    /// It answers, and may lower the credit.
    Server,
}

/// What an end wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Who speaks first.
    pub side: Side,
    /// What it does.
    pub direction: Direction,
    /// Credit asked for, or the most that is granted: 1 and more. A taker never hands out more,
    /// whatever it is told, so that no more DATs wait for it.
    pub credit: u32,
    /// Within MJP, credit in octets that is asked for; a taker never hands out more. `None`: none.
    pub bytes: Option<u64>,
    /// How long a client waits for the answer to its BOT. `None`: for ever.
    pub answer_timeout: Option<Duration>,
    /// How long the answer to an EOT is waited for. `None`: for ever.
    pub end_timeout: Option<Duration>,
}

/// One end of a flow.
#[derive(Debug, Clone)]
pub struct Endpoint {
    terms: Terms,
    state: State,
    /// The agreed credit; 0 before there is one.
    total: u64,
    /// Of it what this end holds.
    held: u64,
    /// DATs that were heard and whose credit is not handed out again.
    kept: u64,
    /// Credit in octets, if there is any.
    octets: Option<Octets>,
    /// Messages said: the number of the next one.
    said: u64,
    deadline: Option<Time>,
}

/// What a message has to say besides what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Which message it is.
    pub kind: Kind,
    /// Of a BOT.
    pub direction: Option<Direction>,
    /// Of BOT and PAY.
    pub credit: Option<u64>,
    /// Of BOT and PAY within MJP, to be put beside the message.
    pub bytes: Option<u64>,
    /// Its number.
    pub seqno: u64,
}

/// What a message meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heard {
    /// A client asks; answer by BOT with this credit, or by EOT.
    Asked {
        /// What will be granted.
        credit: u64,
    },
    /// The server said yes, and the flow runs with this credit.
    Began {
        /// What was granted.
        credit: u64,
    },
    /// The server said no.
    Refused,
    /// Data.
    Dat,
    /// As many more DATs may go.
    Pay {
        /// How many.
        credit: u64,
    },
    /// Something between the two EOTs: it belongs to the flow and counts for nothing.
    Late,
    /// The other end has ended: say EOT, too.
    Ending,
    /// The other end has answered the EOT.
    Ended,
}

/// What did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expired {
    /// The answer to a BOT. It may come yet: say EOT, or go on waiting.
    Answer,
    /// The answer to an EOT. The flow is over.
    End,
}

impl Endpoint {
    /// An end that has said nothing.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        let terms = Terms { credit: terms.credit.max(1), ..terms };
        Self {
            terms,
            state: State::Idle,
            total: 0,
            held: 0,
            kept: 0,
            octets: None,
            said: 0,
            deadline: None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The agreed credit; 0 before there is one.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Of it what this end holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// The agreed credit in octets, and what of it this end holds; none if there is none.
    #[must_use]
    pub fn octets(&self) -> Option<(u64, u64)> {
        self.octets.map(|octets| (octets.total, octets.held))
    }

    /// What a taker can hand out now.
    #[must_use]
    pub fn payable(&self) -> u64 {
        let reserve = self.total.saturating_sub(self.terms.credit.into());
        if self.gives() { 0 } else { self.held.saturating_sub(reserve + self.kept) }
    }

    /// What a taker can hand out now, in octets.
    #[must_use]
    pub fn payable_octets(&self) -> u64 {
        let (Some(octets), false) = (self.octets, self.gives()) else { return 0 };
        octets.held.saturating_sub(octets.kept)
    }

    /// Whether it is time for a taker to pay: half of what it may hand out can be. The other half
    /// is with the giver or on its way, so that nobody waits and one PAY stands for many DATs; and
    /// as a DAT costs half of the octets at most, no giver waits for ever for the rest.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let half = |payable: u64, all: u64| payable > 0 && payable >= all.div_ceil(2);
        let window = self.total.min(self.terms.credit.into());
        let octets = self.octets.map_or(0, |octets| octets.total);
        half(self.payable(), window) || half(self.payable_octets(), octets)
    }

    /// So many DATs of so many octets were heard and wait for the application: their credit is not
    /// handed out before that has taken them, so that no more than the credit ever wait.
    pub fn keep(&mut self, dats: u64, size: u64) {
        self.kept = dats;
        if let Some(octets) = &mut self.octets {
            octets.kept = size;
        }
    }

    /// Whether a giver that has credit in messages has enough in octets for a message.
    ///
    /// # Errors
    /// [`Misuse::NoOctets`]: later, maybe. [`Misuse::TooBig`]: never.
    pub fn affords(&self, size: u64) -> Result<(), Misuse> {
        self.octets.map_or(Ok(()), |octets| octets.affords(size))
    }

    /// Whether this end gives.
    #[must_use]
    pub fn gives(&self) -> bool {
        self.terms.direction == Direction::Extract
    }

    /// Says something whose parts have `size` octets, which matters for a DAT within MJP.
    ///
    /// # Errors
    /// It may not be said now; see [`Misuse`].
    pub fn say(&mut self, now: Time, kind: Kind, size: u64) -> Result<Stamp, Misuse> {
        let (input, role) = match kind {
            Kind::Bot => (Input::SendBot, true),
            Kind::Dat => (Input::SendDat, self.gives()),
            Kind::Pay => (Input::SendPay, !self.gives()),
            Kind::Eot => (Input::SendEot, true),
        };
        if !role {
            return Err(Misuse::Role { kind });
        }
        let state = self.state;
        let untimely = Misuse::Untimely { kind, state };
        let (mut credit, mut bytes) = (None, None);
        match state.on(input) {
            Action::Ask if self.terms.side == Side::Client => {
                (credit, bytes) = (Some(self.terms.credit.into()), self.terms.bytes);
                self.enter(State::BotSent, now, self.terms.answer_timeout);
            }
            Action::Grant => {
                credit = Some(self.total);
                bytes = self.octets.map(|octets| octets.total);
                self.begin();
            }
            Action::Spend => {
                self.affords(size)?;
                if let Some(octets) = &mut self.octets {
                    octets.held = octets.held.saturating_sub(size);
                }
                self.held = self.held.saturating_sub(1);
                self.state = if self.held == 0 { State::Broke } else { State::Generous };
            }
            Action::HandOut => {
                let (payable, octets) = (self.payable(), self.payable_octets());
                if payable == 0 && octets == 0 {
                    return Err(untimely);
                }
                credit = Some(payable);
                self.held -= payable;
                if let Some(own) = &mut self.octets {
                    bytes = Some(octets);
                    own.held -= octets;
                }
                self.state = self.taking();
            }
            Action::Pass => credit = (kind == Kind::Pay).then_some(0),
            Action::Close => self.enter(State::AckFin, now, self.terms.end_timeout),
            Action::Refuse => self.enter(State::Refused, now, None),
            Action::Finish => self.enter(State::Fin, now, None),
            Action::Reject if state == State::Broke && kind == Kind::Dat => {
                return Err(Misuse::Broke { total: self.total });
            }
            Action::Ask
            | Action::Reject
            | Action::Consider
            | Action::Agree
            | Action::Gain
            | Action::Earn => return Err(untimely),
        }
        let direction = (kind == Kind::Bot).then_some(self.terms.direction);
        let stamp = Stamp { kind, direction, credit, bytes, seqno: self.said };
        self.said += 1;
        Ok(stamp)
    }

    /// The other end said something.
    ///
    /// # Errors
    /// It may not say that now; see [`Violation`].
    pub fn hear(
        &mut self,
        now: Time,
        label: &FlowLabel<'_>,
        load: Load,
    ) -> Result<Heard, Violation> {
        let kind = label.kind();
        let input = match kind {
            Kind::Bot => Input::HearBot,
            Kind::Dat => Input::HearDat,
            Kind::Pay => Input::HearPay,
            Kind::Eot => Input::HearEot,
        };
        let state = self.state;
        match state.on(input) {
            Action::Consider if self.terms.side == Side::Server => self.consider(now, label, load),
            Action::Agree => self.agree(label, load),
            Action::Refuse => {
                self.enter(State::Refused, now, None);
                Ok(Heard::Refused)
            }
            Action::Gain => {
                if let Some(octets) = &mut self.octets {
                    octets.gain(kind, load.size)?;
                }
                self.held += 1;
                self.state = self.taking();
                Ok(Heard::Dat)
            }
            Action::Earn => self.earn(label, load),
            Action::Pass => Ok(Heard::Late),
            Action::Close => {
                self.enter(State::FinAck, now, None);
                Ok(Heard::Ending)
            }
            Action::Finish => {
                self.enter(State::Fin, now, None);
                Ok(Heard::Ended)
            }
            Action::Consider
            | Action::Reject
            | Action::Ask
            | Action::Grant
            | Action::Spend
            | Action::HandOut => Err(Violation::Untimely { kind, state }),
        }
    }

    /// A BOT of the other direction is welcome, whatever credit it names: it is lowered.
    fn consider(
        &mut self,
        now: Time,
        label: &FlowLabel<'_>,
        load: Load,
    ) -> Result<Heard, Violation> {
        self.check_direction(label)?;
        let own = u64::from(self.terms.credit);
        let asked = label.credit().and_then(|credit| u64::try_from(credit).ok());
        self.total = asked.filter(|asked| (1..=own).contains(asked)).unwrap_or(own);
        self.agree_on_octets(load);
        self.enter(State::BotHeard, now, None);
        Ok(Heard::Asked { credit: self.total })
    }

    /// The server's credit holds, more or less than was asked for; but not none at all.
    fn agree(&mut self, label: &FlowLabel<'_>, load: Load) -> Result<Heard, Violation> {
        self.check_direction(label)?;
        let granted = label.credit().and_then(|credit| u64::try_from(credit).ok());
        let none = Violation::NoCredit { kind: Kind::Bot };
        self.total = granted.filter(|credit| *credit > 0).ok_or(none)?;
        self.agree_on_octets(load);
        self.begin();
        Ok(Heard::Began { credit: self.total })
    }

    /// Of two credits the smaller one holds; there is none if either end has none.
    fn agree_on_octets(&mut self, load: Load) {
        let both = self.terms.bytes.zip(load.bytes);
        self.octets = both.map(|(own, said)| Octets { total: own.min(said), ..Octets::default() });
    }

    /// Where a taker stands that has not ended.
    fn taking(&self) -> State {
        if self.held == self.total { State::Rich } else { State::HandsOut }
    }

    fn earn(&mut self, label: &FlowLabel<'_>, load: Load) -> Result<Heard, Violation> {
        let (held, total) = (self.held, self.total);
        let credit = label.credit().and_then(|credit| u64::try_from(credit).ok());
        let credit = credit.ok_or(Violation::NoCredit { kind: Kind::Pay })?;
        if credit > total - held {
            return Err(Violation::TooMuch { credit, held, total });
        }
        if let Some(octets) = &mut self.octets {
            octets.gain(Kind::Pay, load.bytes.unwrap_or(0))?;
        }
        self.held += credit;
        if self.held > 0 {
            self.state = State::Generous;
        }
        Ok(Heard::Pay { credit })
    }

    fn check_direction(&self, label: &FlowLabel<'_>) -> Result<(), Violation> {
        let own = self.terms.direction;
        let fits = label.direction() == Some(own.reversed());
        if fits { Ok(()) } else { Err(Violation::Direction { own }) }
    }

    /// The taker holds everything.
    fn begin(&mut self) {
        (self.held, self.state) =
            if self.gives() { (0, State::Broke) } else { (self.total, State::Rich) };
        let gives = self.gives();
        if let Some(octets) = &mut self.octets {
            octets.held = if gives { 0 } else { octets.total };
        }
        self.deadline = None;
    }

    fn enter(&mut self, state: State, now: Time, timeout: Option<Duration>) {
        self.state = state;
        self.deadline = timeout.map(|timeout| now.after(timeout));
    }

    /// When something is late.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.deadline
    }

    /// Notes what is late.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Expired> {
        if self.deadline? > now {
            return None;
        }
        self.deadline = None;
        if self.state == State::AckFin {
            self.state = State::Fin;
            return Some(Expired::End);
        }
        Some(Expired::Answer)
    }
}

impl Stamp {
    /// The label of a message with the application's own attributes; those of the protocol are set
    /// in it, or added in the order that ZIO has them.
    ///
    /// # Errors
    /// Never for a label that was read.
    pub fn label(&self, own: Label<'_>) -> Result<String, Malformed> {
        let mut text = set(own, attribute::FLOW, &format!("\"{}\"", self.kind.name()))?;
        if let Some(credit) = self.credit {
            text = set(Label::parse(&text)?, attribute::CREDIT, &credit.to_string())?;
        }
        if let Some(direction) = self.direction {
            let value = format!("\"{}\"", direction.name());
            text = set(Label::parse(&text)?, attribute::DIRECTION, &value)?;
        }
        Ok(text)
    }
}
