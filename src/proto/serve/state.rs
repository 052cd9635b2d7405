//! The states of a worker, and what it does in each.
//!
//! ```text
//!              due                  connected
//!     Away ----------> Dialling ---------------> Serving ------+
//!      ^ ^                |                        |  |  stop  |
//!      | +----------------+                        |  |        | stop, and the protocol
//!      |     lost         lost, silent, dismissed  |  v        | has no DRAIN
//!      +-------------------------------------------+  Draining |
//!                                                      |  echo |
//!    stop (Away, Dialling); idle, deadline, lost,      v       v
//!    silent, dismissed (Draining, Leaving)            Leaving <+
//!    ------------------------------------> Stopped <----+
//! ```

use crate::proto::clock::Time;

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No connection; the next attempt is due then.
    Away {
        /// When.
        until: Time,
    },
    /// An attempt to connect is under way.
    Dialling,
    /// Registered with the broker, as far as the worker knows.
    Serving,
    /// The stop was asked for and the broker has been told; what it had sent before may still
    /// come.
    Draining {
        /// Until then.
        deadline: Time,
    },
    /// Nothing new is begun: what is held is finished.
    Leaving {
        /// Until then.
        deadline: Time,
    },
    /// The end.
    Stopped,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The time to connect has come.
    Due,
    /// There is a connection.
    Connected,
    /// There is none, or no longer.
    Lost,
    /// The broker said nothing for too long.
    Silent,
    /// The broker says that it is no worker any more.
    Dismissed,
    /// The broker has heard that it drains: nothing new comes.
    Echo,
    /// Nothing is held any more.
    Idle,
    /// It shall stop, until then, with or without a word to be waited for.
    Stop {
        /// Until then.
        deadline: Time,
        /// The protocol knows DRAIN.
        drains: bool,
    },
    /// The time for the stop is up.
    TimeUp,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Begin to connect.
    Dial,
    /// Say READY.
    Register,
    /// What was held is the broker's again; wait, and connect anew.
    Abandon,
    /// As `Abandon`, and close the connection.
    Close,
    /// Say DRAIN.
    Drain,
    /// Nothing has to be waited for: look whether anything is held.
    Settle,
    /// Say goodbye, which gives back what is held, and end.
    Part,
    /// What was held is the broker's again; end.
    End,
}

impl State {
    /// The next state, and what to do. `Away` after `Abandon` and `Close` is due at once: how long
    /// to wait is decided by whoever carries it out.
    #[must_use]
    pub fn on(self, event: Event) -> (Self, Action) {
        use Event as E;

        let away = Self::Away { until: Time::default() };
        match self {
            Self::Away { .. } => match event {
                E::Due => (Self::Dialling, Action::Dial),
                E::Stop { .. } => (Self::Stopped, Action::End),
                E::Connected
                | E::Lost
                | E::Silent
                | E::Dismissed
                | E::Echo
                | E::Idle
                | E::TimeUp => (self, Action::Nothing),
            },
            Self::Dialling => match event {
                E::Connected => (Self::Serving, Action::Register),
                E::Lost => (away, Action::Abandon),
                E::Stop { .. } => (Self::Stopped, Action::End),
                E::Due | E::Silent | E::Dismissed | E::Echo | E::Idle | E::TimeUp => {
                    (self, Action::Nothing)
                }
            },
            Self::Serving => match event {
                E::Lost => (away, Action::Abandon),
                E::Silent | E::Dismissed => (away, Action::Close),
                E::Stop { deadline, drains: true } => (Self::Draining { deadline }, Action::Drain),
                E::Stop { deadline, drains: false } => (Self::Leaving { deadline }, Action::Settle),
                E::Due | E::Connected | E::Echo | E::Idle | E::TimeUp => (self, Action::Nothing),
            },
            Self::Draining { deadline } => match event {
                E::Echo => (Self::Leaving { deadline }, Action::Settle),
                E::TimeUp => (Self::Stopped, Action::Part),
                E::Lost | E::Silent | E::Dismissed => (Self::Stopped, Action::End),
                E::Stop { deadline: other, .. } => {
                    (Self::Draining { deadline: deadline.min(other) }, Action::Nothing)
                }
                E::Due | E::Connected | E::Idle => (self, Action::Nothing),
            },
            Self::Leaving { deadline } => match event {
                E::Idle | E::TimeUp => (Self::Stopped, Action::Part),
                E::Lost | E::Silent | E::Dismissed => (Self::Stopped, Action::End),
                E::Stop { deadline: other, .. } => {
                    (Self::Leaving { deadline: deadline.min(other) }, Action::Nothing)
                }
                E::Due | E::Connected | E::Echo => (self, Action::Nothing),
            },
            Self::Stopped => (self, Action::Nothing),
        }
    }

    /// Whether there is a connection on which the broker and the worker talk.
    #[must_use]
    pub fn is_connected(self) -> bool {
        match self {
            Self::Serving | Self::Draining { .. } | Self::Leaving { .. } => true,
            Self::Away { .. } | Self::Dialling | Self::Stopped => false,
        }
    }

    /// When its time is up, or it has to do something by itself.
    #[must_use]
    pub fn deadline(self) -> Option<Time> {
        match self {
            Self::Away { until } => Some(until),
            Self::Draining { deadline } | Self::Leaving { deadline } => Some(deadline),
            Self::Dialling | Self::Serving | Self::Stopped => None,
        }
    }
}

#[cfg(test)]
impl State {
    /// The kind of state.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Away { .. } => "away",
            Self::Dialling => "dialling",
            Self::Serving => "serving",
            Self::Draining { .. } => "draining",
            Self::Leaving { .. } => "leaving",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
impl Event {
    /// The kind of event.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Connected => "connected",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Dismissed => "dismissed",
            Self::Echo => "echo",
            Self::Idle => "idle",
            Self::Stop { .. } => "stop",
            Self::TimeUp => "time up",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_worker_goes_from_state_to_state_as_the_table_says() {
        use Event::{Connected, Dismissed, Due, Echo, Idle, Lost, Silent, TimeUp};
        let away = State::Away { until: at(0) };
        let (draining, leaving) =
            (State::Draining { deadline: at(9) }, State::Leaving { deadline: at(9) });
        let stop = |drains| Event::Stop { deadline: at(9), drains };
        let sooner = Event::Stop { deadline: at(3), drains: true };
        for (state, event, next, action) in [
            (away, Due, State::Dialling, Action::Dial),
            (away, stop(true), State::Stopped, Action::End),
            (away, Lost, away, Action::Nothing),
            (State::Dialling, Connected, State::Serving, Action::Register),
            (State::Dialling, Lost, away, Action::Abandon),
            (State::Dialling, stop(true), State::Stopped, Action::End),
            (State::Serving, Lost, away, Action::Abandon),
            (State::Serving, Silent, away, Action::Close),
            (State::Serving, Dismissed, away, Action::Close),
            (State::Serving, Idle, State::Serving, Action::Nothing),
            (State::Serving, Echo, State::Serving, Action::Nothing),
            (State::Serving, stop(true), draining, Action::Drain),
            (State::Serving, stop(false), leaving, Action::Settle),
            (draining, Idle, draining, Action::Nothing),
            (draining, Echo, leaving, Action::Settle),
            (draining, TimeUp, State::Stopped, Action::Part),
            (draining, Lost, State::Stopped, Action::End),
            (draining, Dismissed, State::Stopped, Action::End),
            (draining, sooner, State::Draining { deadline: at(3) }, Action::Nothing),
            (leaving, Idle, State::Stopped, Action::Part),
            (leaving, TimeUp, State::Stopped, Action::Part),
            (leaving, Silent, State::Stopped, Action::End),
            (leaving, sooner, State::Leaving { deadline: at(3) }, Action::Nothing),
            (State::Stopped, Connected, State::Stopped, Action::Nothing),
            (State::Stopped, Due, State::Stopped, Action::Nothing),
        ] {
            assert_eq!(state.on(event), (next, action), "{state:?} on {event:?}");
        }
    }
}
