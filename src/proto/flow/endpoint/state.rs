//! The states of one end of a flow, and what each message means in each of them.
//!
//! ```text
//!         send BOT            hear BOT
//!   Idle ----------> BotSent -------------+         giver:  Broke <-----> Generous
//!    |                  | hear EOT        |                  PAY heard, DAT sent
//!    | hear BOT         v                 +-----> running
//!    |              Refused               |         taker:  Rich <------> HandsOut
//!    |                  ^ send EOT        |                  PAY sent, DAT heard
//!    +-----------> BotHeard --------------+
//!                       |     send BOT
//!                       | hear EOT (the client gives up; BotSent: send EOT, to AckFin)
//!                       v
//!   running  -- hear EOT --> FinAck -- send EOT --> Fin
//!   running  -- send EOT --> AckFin -- hear EOT --> Fin
//! ```
//!
//! Both ends may say EOT at a time: each takes the other's for the answer, and there is no third.

/// Where an end of a flow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing was said.
    Idle,
    /// A client that waits for the answer to its BOT.
    BotSent,
    /// A server that has not answered a BOT.
    BotHeard,
    /// A giver without credit.
    Broke,
    /// A giver with credit.
    Generous,
    /// A taker that holds all credit: the other end may send nothing.
    Rich,
    /// A taker that has handed out credit.
    HandsOut,
    /// It has said EOT and waits for the other's.
    AckFin,
    /// It has heard EOT and has to say its own.
    FinAck,
    /// Both have said EOT.
    Fin,
    /// There is no flow: the server said no.
    Refused,
}

/// A message that comes or shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say all there is")]
pub enum Input {
    SendBot,
    HearBot,
    SendDat,
    HearDat,
    SendPay,
    HearPay,
    SendEot,
    HearEot,
}

/// What a message means; some depend on more than the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It may not be now: nothing changes.
    Reject,
    /// A client asks for a flow.
    Ask,
    /// A server is asked for one, and lowers the credit to what it wants.
    Consider,
    /// The server says yes, and the flow runs.
    Grant,
    /// The client hears so, and takes the credit that it is told.
    Agree,
    /// The server says no, or is heard to.
    Refuse,
    /// A DAT goes: one credit less to the giver.
    Spend,
    /// A DAT comes: one credit more to the taker.
    Gain,
    /// A PAY goes: the taker hands out what it holds.
    HandOut,
    /// A PAY comes: the giver has more.
    Earn,
    /// An EOT goes first, or an EOT comes first.
    Close,
    /// The second EOT.
    Finish,
    /// What goes or comes between the two EOTs: it counts for nothing.
    Pass,
}

impl State {
    /// All of them, in the order of [`TABLE`].
    pub const ALL: [Self; 11] = [
        Self::Idle,
        Self::BotSent,
        Self::BotHeard,
        Self::Broke,
        Self::Generous,
        Self::Rich,
        Self::HandsOut,
        Self::AckFin,
        Self::FinAck,
        Self::Fin,
        Self::Refused,
    ];

    /// What the message means.
    #[must_use]
    pub fn on(self, input: Input) -> Action {
        let row = TABLE.get(self as usize);
        row.and_then(|row| row.get(input as usize)).copied().unwrap_or(Action::Reject)
    }

    /// Whether DAT and PAY flow.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Broke | Self::Generous | Self::Rich | Self::HandsOut)
    }

    /// Whether nothing more is said or heard.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Fin | Self::Refused)
    }
}

impl Input {
    /// All of them, in the order of [`TABLE`].
    pub const ALL: [Self; 8] = [
        Self::SendBot,
        Self::HearBot,
        Self::SendDat,
        Self::HearDat,
        Self::SendPay,
        Self::HearPay,
        Self::SendEot,
        Self::HearEot,
    ];
}

/// A row for each state, a column for each message: sent and heard BOT, DAT, PAY, EOT.
#[rustfmt::skip]
pub const TABLE: [[Action; 8]; 11] = {
    use Action::{Agree, Ask, Close, Consider, Earn, Finish, Gain, Grant, HandOut, Pass, Refuse,
                 Reject, Spend};
    [
        // sent BOT  heard     sent DAT  heard     sent PAY  heard     sent EOT  heard
        [Ask,        Consider, Reject,   Reject,   Reject,   Reject,   Reject,   Reject], // Idle
        [Reject,     Agree,    Reject,   Reject,   Reject,   Reject,   Close,    Refuse], // BotSent
        [Grant,      Reject,   Reject,   Reject,   Reject,   Reject,   Refuse,   Close],  // BotHeard
        [Reject,     Reject,   Reject,   Reject,   Reject,   Earn,     Close,    Close],  // Broke
        [Reject,     Reject,   Spend,    Reject,   Reject,   Earn,     Close,    Close],  // Generous
        [Reject,     Reject,   Reject,   Reject,   HandOut,  Reject,   Close,    Close],  // Rich
        [Reject,     Reject,   Reject,   Gain,     HandOut,  Reject,   Close,    Close],  // HandsOut
        [Reject,     Pass,     Reject,   Pass,     Reject,   Pass,     Reject,   Finish], // AckFin
        [Reject,     Pass,     Pass,     Pass,     Pass,     Pass,     Finish,   Reject], // FinAck
        [Reject,     Reject,   Reject,   Reject,   Reject,   Reject,   Reject,   Reject], // Fin
        [Reject,     Reject,   Reject,   Reject,   Reject,   Reject,   Reject,   Reject], // Refused
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_inputs_stand_where_the_table_has_them() {
        for (at, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, at);
        }
        for (at, input) in Input::ALL.into_iter().enumerate() {
            assert_eq!(input as usize, at);
        }
    }

    #[test]
    fn nothing_is_taken_after_the_end_and_an_eot_is_taken_until_then() {
        for state in State::ALL {
            let takes = Input::ALL.into_iter().any(|input| state.on(input) != Action::Reject);
            assert_eq!(takes, !state.is_over(), "{state:?}");
            let ends = [Input::SendEot, Input::HearEot].map(|eot| state.on(eot) != Action::Reject);
            assert_eq!(ends.contains(&true), !state.is_over() && state != State::Idle, "{state:?}");
            assert!(!state.is_running() || ends == [true; 2], "{state:?}");
        }
    }
}
