//! The states of a Majordomo peer, and what the broker does in each (SPEC 4.5).
//!
//! ```text
//!              request               READY
//!   Client <------------- Unknown ------------> Worker
//!      |                     |                    |
//!      +---------------------+--------------------+  what it may not say, DISCONNECT, expiry
//!                            v
//!                        Dismissed
//! ```
//!
//! A worker is idle or busy by what it holds, which the router knows: an answer to a request that
//! the peer holds is [`Event::Final`] or [`Event::Partial`], any other is [`Event::Stray`].

use crate::wire::mdp::Version;

/// What a connection has shown itself to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing valid was said yet.
    Unknown,
    /// A client of that version.
    Client(Version),
    /// A worker that is registered.
    Worker(Version),
    /// A worker that is none any more.
    Dismissed(Dismissal),
}

/// What is still to be said to a dismissed worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dismissal {
    /// Its next HEARTBEAT, READY or answer gets one DISCONNECT, so that it registers anew.
    Owed(Version),
    /// Nothing: it left by itself, or has been told.
    Silent,
}

/// What the peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request of a client.
    Request(Version),
    /// READY with a name that can be served.
    Ready(Version),
    /// READY with a name that cannot.
    BadReady(Version),
    /// The last answer to a request that this worker holds.
    Final(Version),
    /// A part of an answer to a request that this worker holds.
    Partial(Version),
    /// A last answer to a request that this worker does not hold, or one that is malformed.
    Stray(Version),
    /// A part of an answer to a request that this worker does not hold.
    StrayPart(Version),
    /// HEARTBEAT.
    Heartbeat(Version),
    /// DISCONNECT.
    Disconnect(Version),
    /// A worker's command that is none.
    Invalid(Version),
    /// The worker was silent for too long.
    Expired,
}

impl Event {
    fn version(self) -> Option<Version> {
        match self {
            Self::Request(version)
            | Self::Ready(version)
            | Self::BadReady(version)
            | Self::Final(version)
            | Self::Partial(version)
            | Self::Stray(version)
            | Self::StrayPart(version)
            | Self::Heartbeat(version)
            | Self::Disconnect(version)
            | Self::Invalid(version) => Some(version),
            Self::Expired => None,
        }
    }
}

/// What the broker does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Accept the request.
    Accept,
    /// Register the worker.
    Register,
    /// Forward the last answer.
    Finish,
    /// Forward a part of the answer.
    Part,
    /// Note that the worker lives.
    Note,
    /// Take the worker out, give back what it holds, and say DISCONNECT.
    Dismiss,
    /// As `Dismiss`, saying nothing.
    Release,
    /// Say DISCONNECT to one who is not registered.
    Disconnect,
    /// A dismissed worker answers: take it if nobody else has the request.
    Late,
    /// As `Late`, and say the DISCONNECT that is owed.
    LateDisconnect,
    /// Drop the message and count it.
    Drop,
}

impl State {
    /// The next state, and what to do.
    #[must_use]
    pub fn on(self, event: Event) -> (Self, Action) {
        use Event as E;

        match self {
            Self::Unknown => match event {
                E::Request(version) => (Self::Client(version), Action::Accept),
                E::Ready(version) => (Self::Worker(version), Action::Register),
                E::BadReady(version)
                | E::Final(version)
                | E::Partial(version)
                | E::Stray(version)
                | E::StrayPart(version)
                | E::Heartbeat(version) => (Self::owed(version), Action::Disconnect),
                E::Invalid(version) => (Self::owed(version), Action::Drop),
                E::Disconnect(_) => (Self::silent(), Action::Drop),
                E::Expired => (self, Action::Drop),
            },
            Self::Client(own) => match event {
                E::Request(version) if version == own => (self, Action::Accept),
                E::Request(_) | E::Expired => (self, Action::Drop),
                E::Ready(version)
                | E::BadReady(version)
                | E::Final(version)
                | E::Partial(version)
                | E::Stray(version)
                | E::StrayPart(version)
                | E::Heartbeat(version)
                | E::Invalid(version) => (Self::owed(version), Action::Disconnect),
                E::Disconnect(_) => (Self::silent(), Action::Drop),
            },
            Self::Worker(own) => self.on_as_worker(own, event),
            Self::Dismissed(Dismissal::Owed(version)) => match event {
                E::Heartbeat(_) | E::Ready(_) => (Self::silent(), Action::Disconnect),
                E::Final(_) | E::Stray(_) => (Self::silent(), Action::LateDisconnect),
                E::Disconnect(_) => (Self::silent(), Action::Drop),
                E::Request(_)
                | E::BadReady(_)
                | E::Partial(_)
                | E::StrayPart(_)
                | E::Invalid(_)
                | E::Expired => (Self::owed(version), Action::Drop),
            },
            Self::Dismissed(Dismissal::Silent) => match event {
                E::Final(_) | E::Stray(_) => (self, Action::Late),
                E::Request(_)
                | E::Ready(_)
                | E::BadReady(_)
                | E::Partial(_)
                | E::StrayPart(_)
                | E::Heartbeat(_)
                | E::Disconnect(_)
                | E::Invalid(_)
                | E::Expired => (self, Action::Drop),
            },
        }
    }

    fn on_as_worker(self, own: Version, event: Event) -> (Self, Action) {
        use Event as E;
        // RFC 7: a version sticks to a connection; a peer is a client or a worker, not both.
        if event.version().is_some_and(|version| version != own) {
            return (Self::owed(own), Action::Dismiss);
        }
        match event {
            E::Final(_) => (self, Action::Finish),
            E::Partial(_) => (self, Action::Part),
            E::Heartbeat(_) => (self, Action::Note),
            E::Disconnect(_) => (Self::silent(), Action::Release),
            E::Request(_)
            | E::Ready(_)
            | E::BadReady(_)
            | E::Stray(_)
            | E::StrayPart(_)
            | E::Invalid(_)
            | E::Expired => (Self::owed(own), Action::Dismiss),
        }
    }

    fn owed(version: Version) -> Self {
        Self::Dismissed(Dismissal::Owed(version))
    }

    fn silent() -> Self {
        Self::Dismissed(Dismissal::Silent)
    }
}

#[cfg(test)]
impl State {
    /// Notes which row of the table is taken.
    pub(crate) fn witness(self, event: Event) {
        crate::proto::witness::saw("mdp", self.label(), event.label(self));
    }

    /// The kind of state.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Client(_) => "client",
            Self::Worker(_) => "worker",
            Self::Dismissed(Dismissal::Owed(_)) => "owed",
            Self::Dismissed(Dismissal::Silent) => "silent",
        }
    }
}

#[cfg(test)]
impl Event {
    /// The kind of event, as the state distinguishes them.
    fn label(self, state: State) -> &'static str {
        let own = match state {
            State::Client(version) if matches!(self, Self::Request(_)) => Some(version),
            State::Worker(version) => Some(version),
            _ => None,
        };
        if own.zip(self.version()).is_some_and(|(own, version)| own != version) {
            return "other version";
        }
        match self {
            Self::Request(_) => "request",
            Self::Ready(_) => "ready",
            Self::BadReady(_) => "bad ready",
            Self::Final(_) => "final",
            Self::Partial(_) => "partial",
            Self::Stray(_) => "stray",
            Self::StrayPart(_) => "stray part",
            Self::Heartbeat(_) => "heartbeat",
            Self::Disconnect(_) => "disconnect",
            Self::Invalid(_) => "invalid",
            Self::Expired => "expired",
        }
    }
}

#[cfg(test)]
mod tests {
    use Event::{
        BadReady, Disconnect, Expired, Final, Heartbeat, Invalid, Partial, Ready, Request, Stray,
    };
    use Version::{V01, V02};

    use super::*;

    // The rows of RFC 7 and RFC 18 that a broker owes its peers, and our choice where they leave
    // one (SPEC 4.5).
    #[test]
    fn a_peer_is_treated_as_the_table_says() {
        let owed = State::Dismissed(Dismissal::Owed(V01));
        let silent = State::Dismissed(Dismissal::Silent);
        let worker = State::Worker(V01);
        let client = State::Client(V01);
        let cases = [
            (State::Unknown, Request(V01), client, Action::Accept),
            (State::Unknown, Ready(V01), worker, Action::Register),
            (State::Unknown, BadReady(V01), owed, Action::Disconnect),
            (State::Unknown, Stray(V01), owed, Action::Disconnect),
            (State::Unknown, Heartbeat(V01), owed, Action::Disconnect),
            (State::Unknown, Disconnect(V01), silent, Action::Drop),
            (State::Unknown, Invalid(V01), owed, Action::Drop),
            (client, Request(V01), client, Action::Accept),
            (client, Request(V02), client, Action::Drop),
            (client, Ready(V01), owed, Action::Disconnect),
            (client, Heartbeat(V01), owed, Action::Disconnect),
            (client, Disconnect(V01), silent, Action::Drop),
            (worker, Final(V01), worker, Action::Finish),
            (worker, Partial(V01), worker, Action::Part),
            (worker, Stray(V01), owed, Action::Dismiss),
            (worker, Heartbeat(V01), worker, Action::Note),
            (worker, Heartbeat(V02), owed, Action::Dismiss),
            (worker, Ready(V01), owed, Action::Dismiss),
            (worker, BadReady(V01), owed, Action::Dismiss),
            (worker, Invalid(V01), owed, Action::Dismiss),
            (worker, Request(V01), owed, Action::Dismiss),
            (worker, Disconnect(V01), silent, Action::Release),
            (worker, Expired, owed, Action::Dismiss),
            (owed, Heartbeat(V01), silent, Action::Disconnect),
            (owed, Ready(V01), silent, Action::Disconnect),
            (owed, Stray(V01), silent, Action::LateDisconnect),
            (owed, Invalid(V01), owed, Action::Drop),
            (owed, Request(V01), owed, Action::Drop),
            (owed, Disconnect(V01), silent, Action::Drop),
            (silent, Heartbeat(V01), silent, Action::Drop),
            (silent, Ready(V01), silent, Action::Drop),
            (silent, Stray(V01), silent, Action::Late),
            (silent, Request(V01), silent, Action::Drop),
        ];
        for (state, event, next, action) in cases {
            assert_eq!(state.on(event), (next, action), "{state:?} on {event:?}");
        }
    }
}
