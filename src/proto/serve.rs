//! A worker: when it connects, registers, shows that it lives, begins a request, answers, gives
//! up on a broker, and leaves (SPEC 4.5, from the other side).
//!
//! The states and their diagram are in [`state`]. Here they are carried out:
//!
//! - Requests come by credit: at most [`Settings::credit`] are handled at a time, more of them wait
//!   here (an MDP broker decides by itself how many it sends).
//! - What was handled for a connection that is gone is told to stop; its answer goes nowhere, as
//!   the broker has given the request to somebody else. Until it ends it takes a place.
//! - Heartbeats go out when nothing else did for an interval, whatever is being handled.
//! - A broker that says nothing for [`Keepalive::expiry`] counts as gone. Stock brokers of MDP do
//!   not beat to a worker that holds a request; so while it holds one, only a broker that was seen
//!   to do so is held to it.
//!
//! # The stop
//! *MJP*: DRAIN; the broker echoes it behind everything it has sent; the requests held are finished;
//! then BYE. Nothing is delivered in vain.
//! *MDP*: nothing that comes after the stop is begun; what is held is finished; DISCONNECT follows
//! the last answer. MDP has no word for "no more": the broker may have sent another request before
//! it reads the DISCONNECT. Such a request has not been begun and the worker does not answer it; a
//! majordomo broker gives it to another worker (unless its service is `at_most_once`: the broker
//! cannot know that it was not begun), a stock broker forgets it as it forgets those of any
//! worker that goes.
//! Either way, when the time is up the goodbye comes before the last answers, and what is held
//! goes back to the broker.

mod held;
pub mod state;
#[cfg(test)]
mod tests;
pub mod words;

use std::collections::VecDeque;
use std::time::Duration;

pub use held::{Job, Token};

use super::backoff::Backoff;
use super::clock::{Clock, Time};
use super::policy::Keepalive;
use held::{Cancelled, Held};
use state::{Action, Event, State};
use words::{Taken, Talk, Told};

/// What a worker has to know before it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests handled at a time, at least 1.
    pub credit: u16,
    /// When to show that it lives, and how long a broker may be silent.
    pub keepalive: Keepalive,
    /// Waits between attempts to connect.
    pub backoff: Backoff,
    /// The protocol has DRAIN and BYE, and the broker beats whatever the worker does: MJP.
    pub native: bool,
}

/// What happens. `J` is a request as it is handed to the handler, `A` an answer or a part of one.
#[derive(Debug)]
pub enum Input<J, A> {
    /// The connection that [`Output::Dial`] asked for is there.
    Connected,
    /// It is not, or no longer.
    Lost,
    /// The broker said something.
    Heard(Heard<J>),
    /// The broker is in the middle of saying something.
    Hearing,
    /// A handler gave a part of its answer.
    Part(Job, A),
    /// A handler says what happens.
    Event(Job, Box<Talk>),
    /// A handler asks the caller.
    Ask(Job, Box<Talk>),
    /// A handler has ended, and this is its answer.
    Last(Job, A),
    /// Handle so many at a time from now on.
    Credit(u16),
    /// Stop, at the latest then.
    Stop(Time),
}

/// What a broker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<J> {
    /// Work.
    Request(Token, J),
    /// Work that cannot be read.
    Unreadable(Token, String),
    /// Nobody wants the answer of that id any more.
    Cancel(u64),
    /// The caller answers what was asked in the middle of the request of that id.
    Told(u64, Box<Told>),
    /// It lives.
    Heartbeat,
    /// HELLO.
    Hello {
        /// How often it wants to be shown that the worker lives.
        keepalive: Option<Keepalive>,
        /// What it takes.
        takes: Taken,
    },
    /// DRAIN, as the echo of ours.
    Drained,
    /// It stops soon. What it sent is to be finished.
    Stopping,
    /// The worker is none any more, by DISCONNECT or BYE; or what it said was refused.
    Dismissed {
        /// What was said about it, for people.
        why: String,
    },
    /// What was published went to so many subscriptions.
    Published {
        /// As it was published.
        id: u64,
        /// How many.
        subscriptions: u64,
    },
    /// What was published was not taken.
    Refused {
        /// As it was published.
        id: u64,
        /// What is wrong, by name.
        code: String,
        /// The same for people.
        message: String,
    },
    /// Something that asks for nothing.
    Other,
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<J, A> {
    /// Begin to connect.
    Dial,
    /// End the connection, or the attempt.
    Close,
    /// Say it to the broker.
    Say(Say<A>),
    /// Begin to handle a request.
    Begin(Job, J),
    /// Tell a handler that nobody wants its answer any more.
    Cancel(Job),
    /// Tell a handler what its caller answers.
    Tell(Job, Box<Told>),
    /// The end. What was said has to be written, then the connection ends.
    Stopped(Report),
}

/// What a worker says.
#[derive(Debug, PartialEq, Eq)]
pub enum Say<A> {
    /// It offers its service.
    Ready,
    /// It handles so many at a time.
    Credit(u16),
    /// It lives.
    Heartbeat,
    /// A part of an answer.
    Part(Token, A),
    /// What happens.
    Event(Token, Box<Talk>),
    /// A question to the caller.
    Ask(Token, Box<Talk>),
    /// An answer.
    Last(Token, A),
    /// A request is not begun, as it was taken back.
    Cancelled(Token),
    /// A request is not begun, as it cannot be read; and why.
    Unreadable(Token, String),
    /// No more work, please.
    Drain,
    /// Goodbye: DISCONNECT or BYE.
    Goodbye,
}

/// What a stop left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Requests answered after the stop was asked for.
    pub answered: u64,
    /// Requests without an answer, which the broker has again: it gives them to other workers.
    pub given_back: u64,
}

/// A worker, decided.
///
/// Hand it what happens with [`Self::handle`], and time with [`Self::handle_timeout`]; carry out
/// [`Self::poll_output`] until there is none.
#[derive(Debug)]
pub struct Serve<J, A> {
    settings: Settings,
    /// As told by the broker, or as set.
    keepalive: Keepalive,
    state: State,
    held: Held<J>,
    /// When something was last said, and last heard.
    sent: Time,
    heard: Time,
    /// The broker beats to a worker that holds something.
    beats_while_busy: bool,
    /// The connection has been of use.
    proven: bool,
    answered: u64,
    outputs: VecDeque<Output<J, A>>,
}

impl<J, A> Serve<J, A> {
    /// A worker that begins to connect when [`Self::handle_timeout`] is called first.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            keepalive: settings.keepalive,
            settings,
            state: State::Away { until: Time::default() },
            held: Held::new(),
            sent: Time::default(),
            heard: Time::default(),
            beats_while_busy: false,
            proven: false,
            answered: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Requests that are being handled, those included whose answers nobody wants any more.
    #[must_use]
    pub fn running(&self) -> usize {
        self.held.running()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<J, A>> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called, if nothing happens before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let connected = self.state.is_connected();
        let beat = connected.then(|| self.sent.after(self.keepalive.interval));
        [self.state.deadline(), beat, self.silent_at()].into_iter().flatten().min()
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Time, input: Input<J, A>) {
        match input {
            Input::Connected => {
                (self.sent, self.heard) = (now, now);
                (self.beats_while_busy, self.proven) = (self.settings.native, false);
                self.keepalive = self.settings.keepalive;
                self.step(now, Event::Connected);
            }
            Input::Lost => self.step(now, Event::Lost),
            Input::Heard(heard) => self.hear(now, heard),
            Input::Hearing => self.heard = now,
            Input::Part(job, part) => {
                if let Some(token) = self.held.token(job).cloned() {
                    self.say(now, Say::Part(token, part));
                }
            }
            Input::Event(job, talk) => {
                if let Some(token) = self.held.token(job).cloned() {
                    self.say(now, Say::Event(token, talk));
                }
            }
            Input::Ask(job, talk) => {
                if let Some(token) = self.held.token(job).cloned() {
                    self.say(now, Say::Ask(token, talk));
                }
            }
            Input::Last(job, answer) => self.finish(now, job, answer),
            Input::Credit(credit) => {
                self.settings.credit = credit;
                if self.settings.native && self.state == State::Serving {
                    self.say(now, Say::Credit(credit));
                }
                self.begin();
            }
            Input::Stop(deadline) => {
                let drains = self.settings.native;
                self.step(now, Event::Stop { deadline, drains });
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        // Who was stopped himself could hear nobody.
        let late = self.next_timeout().map(|at| now.since(at)).unwrap_or_default();
        if late >= Clock::STALL_MIN {
            self.heard = self.heard.after(late).min(now);
        }
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.state.deadline()) {
            let away = matches!(self.state, State::Away { .. });
            self.step(now, if away { Event::Due } else { Event::TimeUp });
        }
        if due(self.silent_at()) {
            self.step(now, Event::Silent);
        }
        if self.state.is_connected() && self.sent.after(self.keepalive.interval) <= now {
            self.say(now, Say::Heartbeat);
        }
    }

    /// When the broker will have been silent for too long.
    fn silent_at(&self) -> Option<Time> {
        let judged = self.held.is_empty() || self.beats_while_busy;
        (judged && self.state.is_connected()).then(|| self.heard.after(self.keepalive.expiry()))
    }

    fn hear(&mut self, now: Time, heard: Heard<J>) {
        if !self.state.is_connected() {
            return;
        }
        self.heard = now;
        match heard {
            Heard::Request(token, request) => {
                self.prove();
                if self.takes_work() {
                    self.held.take(token, request);
                    self.begin();
                } else {
                    self.held.refuse();
                }
            }
            Heard::Unreadable(token, why) => self.say(now, Say::Unreadable(token, why)),
            Heard::Cancel(id) => match self.held.cancel(id) {
                Cancelled::Begun(job) => self.outputs.push_back(Output::Cancel(job)),
                Cancelled::Waiting(token) => {
                    self.say(now, Say::Cancelled(token));
                    self.settle(now);
                }
                Cancelled::Unknown => {}
            },
            Heard::Told(id, told) => {
                if let Some(job) = self.held.job(id) {
                    self.outputs.push_back(Output::Tell(job, told));
                }
            }
            Heard::Heartbeat => {
                self.prove();
                self.beats_while_busy |= !self.held.is_empty();
            }
            Heard::Hello { keepalive, .. } => self.keepalive = keepalive.unwrap_or(self.keepalive),
            Heard::Drained => self.step(now, Event::Echo),
            Heard::Dismissed { .. } => self.step(now, Event::Dismissed),
            Heard::Stopping | Heard::Published { .. } | Heard::Refused { .. } | Heard::Other => {}
        }
    }

    /// The broker has taken us for a worker: the next connection need not wait long.
    fn prove(&mut self) {
        if !self.proven {
            self.proven = true;
            self.settings.backoff.reset();
        }
    }

    fn takes_work(&self) -> bool {
        match self.state {
            State::Serving | State::Draining { .. } => true,
            State::Away { .. } | State::Dialling | State::Leaving { .. } | State::Stopped => false,
        }
    }

    fn begin(&mut self) {
        while self.held.running() < usize::from(self.settings.credit) {
            let Some((job, request)) = self.held.begin() else { return };
            self.outputs.push_back(Output::Begin(job, request));
        }
    }

    fn finish(&mut self, now: Time, job: Job, answer: A) {
        if let Some(token) = self.held.end(job) {
            self.say(now, Say::Last(token, answer));
            self.answered += u64::from(self.state != State::Serving);
            if self.held.is_empty() && !self.beats_while_busy {
                // Its silence was not held against it until now.
                self.heard = now;
            }
        }
        self.begin();
        self.settle(now);
    }

    /// Whether nothing is left to be finished.
    fn settle(&mut self, now: Time) {
        if self.held.is_empty() && matches!(self.state, State::Leaving { .. }) {
            self.step(now, Event::Idle);
        }
    }

    fn say(&mut self, now: Time, say: Say<A>) {
        self.sent = now;
        self.outputs.push_back(Output::Say(say));
    }

    fn step(&mut self, now: Time, event: Event) {
        #[cfg(test)]
        super::witness::saw("serve", self.state.label(), event.label());
        let (state, action) = self.state.on(event);
        self.state = state;
        match action {
            Action::Nothing => {}
            Action::Dial => self.outputs.push_back(Output::Dial),
            Action::Register => self.say(now, Say::Ready),
            Action::Abandon => self.abandon(now),
            Action::Close => {
                self.outputs.push_back(Output::Close);
                self.abandon(now);
            }
            Action::Drain => self.say(now, Say::Drain),
            Action::Settle => self.settle(now),
            Action::Part => {
                self.say(now, Say::Goodbye);
                self.stop();
            }
            Action::End => self.stop(),
        }
    }

    fn abandon(&mut self, now: Time) {
        let begun = self.held.abandon();
        self.outputs.extend(begun.into_iter().map(Output::Cancel));
        self.state = State::Away { until: now.after(self.settings.backoff.next_wait()) };
    }

    fn stop(&mut self) {
        let report = Report { answered: self.answered, given_back: self.held.unanswered() };
        let begun = self.held.abandon();
        self.outputs.extend(begun.into_iter().map(Output::Cancel));
        self.outputs.push_back(Output::Stopped(report));
    }
}

impl Settings {
    /// The settings of a worker that handles one request at a time; jitter by `seed`.
    #[must_use]
    pub fn new(native: bool, seed: u64) -> Self {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
        Self {
            credit: 1,
            keepalive: Keepalive::default(),
            backoff: Backoff::new(base, cap, seed),
            native,
        }
    }
}
