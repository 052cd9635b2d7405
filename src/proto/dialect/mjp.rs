//! The states of an MJP/1 peer, and what the broker does in each (SPEC 9).
//!
//! ```text
//!                  READY                   DRAIN
//!   Caller ----------------> Worker ----------------> Draining
//!    ^  ^                     |  ^                     |    |
//!    |  |  BYE, expiry        |  |        READY        |    |
//!    |  +---------------------+  +---------------------+    |
//!    +---------------------- BYE, expiry -------------------+
//! ```
//!
//! Every peer may ask, a worker too, and nothing that it asks changes its state. A peer that says
//! what it may not is told so and goes on: each thing said here stands alone. An answer to a request
//! that the peer holds is [`Event::Final`], [`Event::Partial`] or [`Event::Failed`], any other is
//! [`Event::Stray`] or [`Event::StrayPart`]: a worker that has said BYE, or has expired, may be late.
//! What is said in the middle of a request, and has no place there, is [`Event::StrayTalk`].

/// What a connection has shown itself to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No worker: it asks, or does nothing yet.
    Caller,
    /// A worker that is registered.
    Worker,
    /// A worker that is registered and wants no more work.
    Draining,
}

/// What the peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// HELLO.
    Hello,
    /// REQUEST.
    Request,
    /// CANCEL.
    Cancel,
    /// STATUS.
    Status,
    /// SUBSCRIBE, UNSUBSCRIBE or PUBLISH.
    Topic,
    /// LEASE.
    Lease,
    /// GROUP.
    Group,
    /// LANE.
    Lane,
    /// HEARTBEAT.
    Heartbeat,
    /// READY for a service that can be served: the same as before, if it is a worker.
    Ready,
    /// READY for a name that cannot be served, or for another service.
    BadReady,
    /// CREDIT.
    Credit,
    /// DRAIN.
    Drain,
    /// BYE.
    Bye,
    /// The last answer to a request that this worker holds.
    Final,
    /// A part of an answer to a request that this worker holds.
    Partial,
    /// An error instead of an answer to a request that this worker holds.
    Failed,
    /// Something happens at a request that this worker holds.
    Event,
    /// A question to the caller of a request that this worker holds.
    Ask,
    /// The answer to what the worker of an own request has asked.
    Tell,
    /// One of these three about another request, or about what was not asked.
    StrayTalk,
    /// A last answer, or an error, to a request that this peer does not hold.
    Stray,
    /// A part of an answer to a request that this peer does not hold.
    StrayPart,
    /// Something that this version does not know, or that is malformed.
    Invalid,
    /// The worker was silent for too long, or the broker stops.
    Expired,
}

/// What the broker does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Say HELLO.
    Greet,
    /// Accept the request.
    Accept,
    /// End the request, if it is open.
    Cancel,
    /// Answer from the tables.
    Report,
    /// Change the subscriptions of the peer, or tell those of all.
    Topic,
    /// Change who holds a lease, or tell who does.
    Lease,
    /// Change a group, or tell of it.
    Group,
    /// See to a flow.
    Flow,
    /// Say HEARTBEAT.
    Beat,
    /// Note that the worker lives.
    Note,
    /// Register the worker.
    Register,
    /// Replace what the worker said when it registered.
    Update,
    /// Change the credit of the worker.
    Credit,
    /// Give the worker no more work, and say DRAIN.
    Retire,
    /// Say DRAIN.
    Echo,
    /// Take the worker out, and give back what it holds.
    Release,
    /// As `Release`, and say BYE.
    Dismiss,
    /// Forward the last answer, or the error.
    Finish,
    /// Forward a part of the answer.
    Part,
    /// Tell the caller, if it wants to know.
    Event,
    /// Ask the caller, or tell the worker that there is none to be asked.
    Ask,
    /// Tell the worker.
    Tell,
    /// Take the answer if nobody else has the request.
    Late,
    /// The rest of that answer is not to be taken late.
    LatePart,
    /// Say ERROR.
    Object,
    /// Drop the message and count it.
    Drop,
}

impl State {
    /// Whether the peer is registered as a worker.
    #[must_use]
    pub fn is_worker(self) -> bool {
        match self {
            Self::Caller => false,
            Self::Worker | Self::Draining => true,
        }
    }

    /// The next state, and what to do.
    #[must_use]
    pub fn on(self, event: Event) -> (Self, Action) {
        use Event as E;
        match (self, event) {
            (_, E::Hello) => (self, Action::Greet),
            (_, E::Request) => (self, Action::Accept),
            (_, E::Cancel) => (self, Action::Cancel),
            (_, E::Status) => (self, Action::Report),
            (_, E::Topic) => (self, Action::Topic),
            (_, E::Lease) => (self, Action::Lease),
            (_, E::Group) => (self, Action::Group),
            (_, E::Lane) => (self, Action::Flow),
            (_, E::BadReady | E::Invalid) => (self, Action::Object),
            (_, E::Stray) => (self, Action::Late),
            (_, E::StrayPart) => (self, Action::LatePart),
            (_, E::Tell) => (self, Action::Tell),
            (_, E::StrayTalk) => (self, Action::Drop),

            (Self::Caller, E::Heartbeat) => (self, Action::Beat),
            (Self::Caller, E::Ready) => (Self::Worker, Action::Register),
            (Self::Caller, E::Drain) => (self, Action::Echo),
            (
                Self::Caller,
                E::Credit
                | E::Bye
                | E::Final
                | E::Partial
                | E::Failed
                | E::Event
                | E::Ask
                | E::Expired,
            ) => (self, Action::Drop),

            (Self::Worker, E::Credit) => (self, Action::Credit),
            // What it was given stands; a credit said after DRAIN would ask for more.
            (Self::Draining, E::Credit) => (self, Action::Drop),
            (Self::Worker, E::Drain) => (Self::Draining, Action::Retire),
            (Self::Draining, E::Drain) => (self, Action::Echo),

            (Self::Worker | Self::Draining, E::Heartbeat) => (self, Action::Note),
            (Self::Worker | Self::Draining, E::Ready) => (Self::Worker, Action::Update),
            (Self::Worker | Self::Draining, E::Bye) => (Self::Caller, Action::Release),
            (Self::Worker | Self::Draining, E::Expired) => (Self::Caller, Action::Dismiss),
            (Self::Worker | Self::Draining, E::Final | E::Failed) => (self, Action::Finish),
            (Self::Worker | Self::Draining, E::Partial) => (self, Action::Part),
            (Self::Worker | Self::Draining, E::Event) => (self, Action::Event),
            (Self::Worker | Self::Draining, E::Ask) => (self, Action::Ask),
        }
    }
}

#[cfg(test)]
impl State {
    /// Notes which row of the table is taken.
    pub(crate) fn witness(self, event: Event) {
        crate::proto::witness::saw("mjp", self.label(), event.label());
    }

    /// The kind of state.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Worker => "worker",
            Self::Draining => "draining",
        }
    }
}

#[cfg(test)]
impl Event {
    fn label(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Request => "request",
            Self::Cancel => "cancel",
            Self::Status => "status",
            Self::Topic => "topic",
            Self::Lease => "lease",
            Self::Group => "group",
            Self::Lane => "lane",
            Self::Heartbeat => "heartbeat",
            Self::Ready => "ready",
            Self::BadReady => "bad ready",
            Self::Credit => "credit",
            Self::Drain => "drain",
            Self::Bye => "bye",
            Self::Final => "final",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Event => "event",
            Self::Ask => "ask",
            Self::Tell => "tell",
            Self::StrayTalk => "stray talk",
            Self::Stray => "stray",
            Self::StrayPart => "stray part",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
        }
    }
}

#[cfg(test)]
mod tests {
    use State::{Caller, Draining, Worker};

    use super::*;

    // The rows of SPEC 9 in which the state makes a difference.
    #[test]
    fn a_peer_is_treated_as_the_table_says() {
        let cases = [
            (Caller, Event::Request, Caller, Action::Accept),
            (Worker, Event::Request, Worker, Action::Accept),
            (Caller, Event::Heartbeat, Caller, Action::Beat),
            (Worker, Event::Heartbeat, Worker, Action::Note),
            (Draining, Event::Heartbeat, Draining, Action::Note),
            (Caller, Event::Ready, Worker, Action::Register),
            (Worker, Event::Ready, Worker, Action::Update),
            (Draining, Event::Ready, Worker, Action::Update),
            (Worker, Event::BadReady, Worker, Action::Object),
            (Caller, Event::Credit, Caller, Action::Drop),
            (Worker, Event::Credit, Worker, Action::Credit),
            (Draining, Event::Credit, Draining, Action::Drop),
            (Caller, Event::Drain, Caller, Action::Echo),
            (Worker, Event::Drain, Draining, Action::Retire),
            (Draining, Event::Drain, Draining, Action::Echo),
            (Caller, Event::Bye, Caller, Action::Drop),
            (Worker, Event::Bye, Caller, Action::Release),
            (Draining, Event::Bye, Caller, Action::Release),
            (Worker, Event::Expired, Caller, Action::Dismiss),
            (Draining, Event::Expired, Caller, Action::Dismiss),
            (Worker, Event::Final, Worker, Action::Finish),
            (Draining, Event::Failed, Draining, Action::Finish),
            (Draining, Event::Partial, Draining, Action::Part),
            (Worker, Event::Event, Worker, Action::Event),
            (Draining, Event::Ask, Draining, Action::Ask),
            (Caller, Event::Tell, Caller, Action::Tell),
            (Worker, Event::StrayTalk, Worker, Action::Drop),
            (Caller, Event::Stray, Caller, Action::Late),
            (Worker, Event::Stray, Worker, Action::Late),
            (Worker, Event::Invalid, Worker, Action::Object),
        ];
        for (state, event, next, action) in cases {
            assert_eq!(state.on(event), (next, action), "{state:?} on {event:?}");
        }
    }
}
