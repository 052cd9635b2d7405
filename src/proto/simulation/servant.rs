//! A worker that is the library's: its state machine, and handlers that take their time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::ServiceName;
use crate::proto::backoff::Backoff;
use crate::proto::clock::Time;
use crate::proto::policy::Keepalive;
use crate::proto::serve::state::State;
use crate::proto::serve::words::{Delivery, Failure, Offer, Reply, Talk};
use crate::proto::serve::{Heard, Input, Job, Output, Report, Say, Serve, Settings, Token};
use crate::proto::witness;
use crate::wire::Protocol;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{AskHeader, Packed};

use super::actor::{Act, Context, encoded};
use super::plan::MS;
use super::rng::Rng;
use super::tag::{Kind, Piece, Tag};

/// A handler at work.
#[derive(Debug)]
struct Work {
    tag: Tag,
    parts: u8,
    said: u8,
    next_at: u64,
}

#[derive(Debug)]
pub(super) struct Servant {
    offer: Offer,
    keepalive: Keepalive,
    pace: u64,
    serve: Serve<Box<Delivery>, Reply>,
    work: BTreeMap<Job, Work>,
    /// What it has heard on this connection and not answered.
    owed: BTreeSet<Token>,
    connecting: bool,
    connected: bool,
    stop_at: u64,
    /// It has stopped, and another one starts in its place.
    again_at: Option<u64>,
}

impl Servant {
    pub(super) fn new(service: &str, interval: Duration, rng: &mut Rng) -> Self {
        let offer = Offer {
            protocol: rng.pick(&[Protocol::Mdp01, Protocol::Mdp02, Protocol::Mjp, Protocol::Mjp]),
            service: ServiceName::try_from(service.as_bytes()).unwrap(),
            credit: rng.pick(&[1, 2, 4]),
            labels: BTreeMap::new(),
            version: None,
            description: None,
            fence: None,
        };
        let keepalive = Keepalive { interval, liveness: 4 };
        Self {
            serve: start(&offer, keepalive, rng),
            offer,
            keepalive,
            pace: rng.pick(&[2 * MS, 40 * MS, 150 * MS]),
            work: BTreeMap::new(),
            owed: BTreeSet::new(),
            connecting: false,
            connected: false,
            stop_at: rng.within(100, 2_000) * MS,
            again_at: None,
        }
    }

    pub(super) fn calm_down(&mut self) {
        self.pace = self.pace.min(20 * MS);
    }

    /// The handlers hang until then; the worker itself goes on.
    pub(super) fn hang(&mut self, until: u64) {
        self.work.values_mut().for_each(|work| work.next_at = work.next_at.max(until));
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        if let Some(again_at) = self.again_at {
            return (!self.connecting).then_some(again_at);
        }
        let timeout = self.serve.next_timeout().map(micros);
        let work = self.work.values().map(|work| work.next_at).min();
        [timeout, work, Some(self.stop_at)].into_iter().flatten().min()
    }

    pub(super) fn connected(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        (self.connecting, self.connected) = (false, true);
        if self.again_at.is_some() {
            self.connected = false;
            cx.act(Act::Close);
            return Ok(());
        }
        self.serve.handle(time(cx.now), Input::Connected);
        self.carry_out(cx)
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.connected = false;
        if self.again_at.is_some() {
            return Ok(());
        }
        self.serve.handle(time(cx.now), Input::Lost);
        let done = self.carry_out(cx);
        self.owed.clear();
        done
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        let now = time(cx.now);
        if let Some(again_at) = self.again_at {
            if again_at > cx.now || self.connecting {
                return Ok(());
            }
            self.serve = start(&self.offer, self.keepalive, cx.rng);
            self.again_at = None;
            self.stop_at = cx.now + cx.rng.within(100, 3_000) * MS;
        }
        if self.stop_at <= cx.now {
            self.stop_at = u64::MAX;
            let patience = cx.rng.pick(&[0, 20, 2_000]);
            self.serve.handle(now, Input::Stop(now.after(Duration::from_millis(patience))));
            self.carry_out(cx)?;
        }
        if cx.rng.one_in(40) {
            self.offer.credit = cx.rng.pick(&[1, 2, 4]);
            self.serve.handle(now, Input::Credit(self.offer.credit));
        }
        let due = self.work.iter().filter(|(_, work)| work.next_at <= cx.now);
        for job in due.map(|(job, _)| *job).collect::<Vec<_>>() {
            self.work(job, cx);
        }
        if self.serve.next_timeout().is_some_and(|at| at <= now) {
            let before = self.serve.state();
            self.serve.handle_timeout(now);
            let after = self.serve.state();
            cx.deaf |= before.is_connected() && matches!(after, State::Away { .. });
        }
        self.carry_out(cx)
    }

    /// Says the next part of an answer, or its end.
    fn work(&mut self, job: Job, cx: &mut Context<'_>) {
        let Some(work) = self.work.get_mut(&job) else { return };
        let last = work.said >= work.parts;
        let kind = if last { Kind::End(work.parts) } else { Kind::Part(work.said) };
        let mut frames = vec![Piece { tag: work.tag, kind }.encode()];
        if cx.rng.one_in(12) {
            frames.push(vec![3; cx.rng.pick(&[0, 100, 4_500])]);
        }
        let fails = last && self.offer.protocol == Protocol::Mjp && !cx.calm && cx.rng.one_in(20);
        let reply = match fails {
            true => Reply::Failure(Failure::new("failed", "it was drawn")),
            false => Reply::body(Message::new(frames)),
        };
        let now = time(cx.now);
        if last {
            self.work.remove(&job);
            self.serve.handle(now, Input::Last(job, reply));
        } else {
            work.said += 1;
            work.next_at = cx.now + cx.rng.within(MS / 4, self.pace);
            let tag = work.tag;
            self.serve.handle(now, Input::Part(job, reply));
            if cx.rng.one_in(3) {
                self.talk(job, tag, cx);
            }
        }
    }

    /// Something happens, or is asked; nobody waits for the answer.
    fn talk(&mut self, job: Job, tag: Tag, cx: &mut Context<'_>) {
        let says = AskHeader { ask: cx.rng.within(1, 1000), message: None };
        let header = Packed::new(&says).octets().into();
        let talk = Box::new(Talk { header, body: Message::new([tag.encode()]) });
        let ask = cx.rng.one_in(2);
        let input = if ask { Input::Ask(job, talk) } else { Input::Event(job, talk) };
        self.serve.handle(time(cx.now), input);
    }

    /// # Errors
    /// The broker or the worker said something wrong.
    pub(super) fn heard(
        &mut self,
        message: Frames<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let heard = self.offer.hear(message).map_err(|e| format!("a servant heard: {e}"))?;
        match &heard {
            Heard::Unreadable(token, why) => {
                return Err(format!("a servant cannot read {token:?}: {why}"));
            }
            Heard::Dismissed { .. } => cx.dismissed = true,
            Heard::Request(token, _) => {
                self.owed.insert(token.clone());
            }
            _ => {}
        }
        let dismissed = cx.dismissed;
        self.serve.handle(time(cx.now), Input::Heard(heard));
        let done = self.carry_out(cx);
        if dismissed {
            self.owed.clear();
        }
        done
    }

    /// A message has begun to come.
    pub(super) fn hearing(&mut self, now: u64) {
        self.serve.handle(time(now), Input::Hearing);
    }

    /// Does what was decided.
    fn carry_out(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        while let Some(output) = self.serve.poll_output() {
            match output {
                Output::Dial => {
                    self.connecting = true;
                    cx.act(Act::Connect);
                }
                Output::Close => self.close(Act::Close, cx),
                Output::Say(say) => self.say(&say, cx)?,
                Output::Begin(job, delivery) => {
                    let tag = delivery.body.frames().next().and_then(Tag::decode);
                    let tag = tag.ok_or("a request without a tag")?;
                    if tag.poison {
                        return self.crash(cx);
                    }
                    self.begin(job, tag, cx);
                }
                Output::Cancel(job) => {
                    // Some handlers look, others do not. By its own clock the time of a request may
                    // be up before the broker's, which stands still now and then.
                    if cx.rng.one_in(2)
                        && let Some(work) = self.work.get_mut(&job)
                    {
                        (work.parts, work.next_at) = (work.said, cx.now);
                    }
                }
                Output::Tell(job, told) => {
                    if !self.work.contains_key(&job) {
                        return Err(format!("a handler that has ended is told {told:?}"));
                    }
                }
                Output::Stopped(report) => self.stopped(report, cx)?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, job: Job, tag: Tag, cx: &mut Context<'_>) {
        let parts = match self.offer.protocol {
            Protocol::Mdp01 => 0,
            Protocol::Mdp02 | Protocol::Mjp => u8::try_from(cx.rng.within(0, 3)).unwrap(),
        };
        let next_at = cx.now + cx.rng.within(MS / 4, self.pace);
        self.work.insert(job, Work { tag, parts, said: 0, next_at });
    }

    fn say(&mut self, say: &Say<Reply>, cx: &mut Context<'_>) -> Result<(), String> {
        if !self.connected {
            return Err(format!("a servant says {say:?} to nobody"));
        }
        if let Say::Last(token, _) | Say::Cancelled(token) | Say::Unreadable(token, _) = say
            && !self.owed.remove(token)
        {
            return Err(format!("a servant answers {token:?}, which it does not owe"));
        }
        cx.act(Act::Say(encoded(|out| self.offer.say(say, out))));
        Ok(())
    }

    fn close(&mut self, act: Act, cx: &mut Context<'_>) {
        self.connected = false;
        self.owed.clear();
        cx.act(act);
    }

    fn stopped(&mut self, report: Report, cx: &mut Context<'_>) -> Result<(), String> {
        let owed = self.owed.len() as u64;
        if report.given_back != owed {
            return Err(format!("a servant owes {owed} answers and says {report:?}"));
        }
        let how = if report.given_back == 0 { "with nothing" } else { "given back" };
        witness::saw("servant", "stopped", how);
        if self.connected {
            self.close(Act::Finish, cx);
        }
        self.work.clear();
        self.again_at = Some(cx.now + cx.rng.within(MS, 300 * MS));
        Ok(())
    }

    /// The process is no more, and another one starts in its place.
    fn crash(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        witness::saw("servant", "crashed", "by poison");
        self.close(Act::Close, cx);
        self.work.clear();
        self.again_at = Some(cx.now + cx.rng.within(MS, 300 * MS));
        Ok(())
    }
}

fn start(offer: &Offer, keepalive: Keepalive, rng: &mut Rng) -> Serve<Box<Delivery>, Reply> {
    let (base, cap) = (Duration::from_millis(2), Duration::from_millis(200));
    Serve::new(Settings {
        credit: offer.credit,
        keepalive,
        backoff: Backoff::new(base, cap, rng.next()),
        native: offer.protocol == Protocol::Mjp,
    })
}

fn time(micros: u64) -> Time {
    Time::default().after(Duration::from_micros(micros))
}

fn micros(time: Time) -> u64 {
    u64::try_from(time.since(Time::default()).as_micros()).unwrap()
}
