//! The states of an NFP peer, and what the broker does in each (SPEC 10).
//!
//! ```text
//!               READY                  expiry
//!     New ----------------> Worker ----------------> Dismissed
//!      | ^                   ^  |                       |
//!      | |    DISCONNECT     |  |                       |
//!      | +-------------------|--+                       |
//!      |                     +--------- READY ----------+
//!      +---- any command of a client ----> Client
//! ```
//!
//! A worker that the broker does not know, or no longer, is told so by one DISCONNECT when it
//! speaks: it comes back at once on a new connection, where it would otherwise wait until it has
//! missed six keepalives. Nobody is client and worker on one connection: a NorFab worker opens a
//! second one to ask.

/// What a connection has shown itself to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It speaks NFP; neither client nor worker yet.
    New,
    /// A client.
    Client,
    /// A worker that is registered.
    Worker,
    /// A worker that is none any more, and has been told so.
    Dismissed,
}

/// What the peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// POST, GET, DELETE, PUT or MMI.
    Ask,
    /// A command of a client that is no good.
    Refused,
    /// OPEN of a client.
    Open,
    /// DISCONNECT of a client.
    Leave,
    /// READY for a service that can be served.
    Ready,
    /// READY without a name, or for one that is the broker's own.
    BadReady,
    /// KEEPALIVE.
    Keepalive,
    /// DISCONNECT of a worker.
    Disconnect,
    /// RESPONSE, EVENT or STREAM.
    Report,
    /// A command of a worker that is no good.
    Invalid,
    /// The worker was silent for too long, or the broker stops.
    Expired,
}

/// What the broker does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Carry out what the client asks.
    Ask,
    /// Tell the client what is wrong.
    Refuse,
    /// Nothing.
    Ignore,
    /// Register the worker.
    Register,
    /// Note that the worker lives.
    Note,
    /// Say DISCONNECT.
    Disconnect,
    /// Take the worker out.
    Release,
    /// Take the worker out and say DISCONNECT.
    Dismiss,
    /// Forward what the worker says.
    Forward,
    /// Drop the message and count it.
    Drop,
}

impl State {
    /// The next state, and what to do.
    #[must_use]
    pub fn on(self, event: Event) -> (Self, Action) {
        use Event as E;
        match (self, event) {
            (Self::New | Self::Client, E::Ask) => (Self::Client, Action::Ask),
            (Self::New | Self::Client, E::Refused) => (Self::Client, Action::Refuse),
            (Self::New | Self::Client, E::Open) => (Self::Client, Action::Ignore),
            (Self::New | Self::Client, E::Leave) => (Self::New, Action::Ignore),
            // Who knows no better is told what is wrong, whatever it is otherwise.
            (Self::Worker | Self::Dismissed, E::Ask | E::Refused) => (self, Action::Refuse),
            (Self::Worker | Self::Dismissed, E::Open | E::Leave) => (self, Action::Drop),

            (Self::New | Self::Dismissed, E::Ready) => (Self::Worker, Action::Register),
            (Self::Worker, E::Ready | E::Keepalive) => (self, Action::Note),
            (Self::New, E::Keepalive | E::Report) => (Self::Dismissed, Action::Disconnect),
            (Self::Worker, E::Report) => (self, Action::Forward),
            (Self::Worker, E::Disconnect) => (Self::New, Action::Release),
            (Self::Worker, E::Expired) => (Self::Dismissed, Action::Dismiss),
            (Self::Dismissed, E::Disconnect) => (Self::New, Action::Ignore),

            (_, E::BadReady | E::Invalid) => (self, Action::Drop),
            (
                Self::New | Self::Client | Self::Dismissed,
                E::Ready | E::Keepalive | E::Disconnect | E::Report | E::Expired,
            ) => (self, Action::Drop),
        }
    }
}

#[cfg(test)]
impl State {
    /// Notes the transition for the simulation.
    pub(crate) fn witness(self, event: Event) {
        crate::proto::witness::saw("nfp", self.label(), event.label());
    }

    pub(crate) const ALL: [Self; 4] = [Self::New, Self::Client, Self::Worker, Self::Dismissed];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Dismissed => "dismissed",
        }
    }
}

#[cfg(test)]
impl Event {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Refused => "refused",
            Self::Open => "open",
            Self::Leave => "leave",
            Self::Ready => "ready",
            Self::BadReady => "bad ready",
            Self::Keepalive => "keepalive",
            Self::Disconnect => "disconnect",
            Self::Report => "report",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Client, Dismissed, New, Worker};
    use super::*;

    #[test]
    fn an_unknown_worker_is_told_once() {
        assert_eq!(New.on(Event::Keepalive), (Dismissed, Action::Disconnect));
        assert_eq!(New.on(Event::Report), (Dismissed, Action::Disconnect));
        for event in [Event::Keepalive, Event::Report] {
            assert_eq!(Dismissed.on(event), (Dismissed, Action::Drop));
        }
        assert_eq!(Dismissed.on(Event::Ready), (Worker, Action::Register));
    }

    #[test]
    fn only_a_worker_is_forwarded_and_only_a_client_is_served() {
        for state in State::ALL {
            let forwards = state.on(Event::Report).1 == Action::Forward;
            assert_eq!(forwards, state == Worker, "{state:?}");
            let asks = state.on(Event::Ask).1 == Action::Ask;
            assert_eq!(asks, matches!(state, New | Client), "{state:?}");
        }
    }

    #[test]
    fn a_second_ready_registers_nobody() {
        assert_eq!(Worker.on(Event::Ready), (Worker, Action::Note));
        assert_eq!(Client.on(Event::Ready), (Client, Action::Drop));
        assert_eq!(New.on(Event::BadReady), (New, Action::Drop));
    }
}
