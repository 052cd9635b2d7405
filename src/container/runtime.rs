//! One task drives the machine of [`proto::container`](crate::proto::container), and all that it
//! asks for is done in tasks beside it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{info, warn};

use super::client::Caller;
use super::coordinate::{BoxFuture, Observation, Opened, Session};
use super::instance::{Control, PropertyError, Servers, Tell};
use super::meter::BEAT;
use super::queues::{Incoming, Line, Reply};
use super::serve::Shop;
use crate::proto::container::{Input, Machine, Op, Output, Refusal, State, Status};
use crate::wire::nuropb::KeyNames;

/// What has come back and was not yet told to the machine.
const INPUTS_MAX: usize = 64;
/// Messages that were taken and not yet given to a task.
const INCOMING_MAX: usize = 64;
/// Answers that were not yet handed out.
const ANSWERS_MAX: usize = 256;
/// How long what need not be waited for may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// A question to the store that has no answer by then has failed. A third of the shortest lease.
const ASK_MAX: Duration = Duration::from_secs(5);

/// What comes in.
pub(super) struct Inbox {
    controls: mpsc::Receiver<Control>,
    inputs: mpsc::Receiver<Input>,
    incoming: mpsc::Receiver<Incoming>,
    answers: mpsc::Receiver<Reply>,
}

pub(super) struct Runtime {
    machine: Machine,
    servers: Servers,
    to: Tell,
    shop: Arc<Shop>,
    caller: Caller,
    inputs: mpsc::Sender<Input>,
    incoming: mpsc::Sender<Incoming>,
    answers: mpsc::Sender<Reply>,
    session: Option<(Op, Arc<dyn Session>)>,
    /// What the session sees.
    observing: Option<mpsc::Receiver<Observation>>,
    line: Option<(Op, Arc<dyn Line>)>,
    /// Messages in work.
    work: JoinSet<()>,
    /// What the machine has asked for.
    ops: JoinSet<Made>,
    draining: Option<Op>,
}

/// What came of something that the machine has asked for.
enum Made {
    Nothing,
    Session(Op, mpsc::Receiver<Observation>, Opened),
    Line(Op, Result<Arc<dyn Line>, String>),
}

impl Runtime {
    pub(super) fn new(
        machine: Machine,
        servers: Servers,
        to: Tell,
        shop: Arc<Shop>,
        caller: Caller,
        controls: mpsc::Receiver<Control>,
    ) -> (Self, Inbox) {
        let (inputs_to, inputs) = mpsc::channel(INPUTS_MAX);
        let (incoming_to, incoming) = mpsc::channel(INCOMING_MAX);
        let (answers_to, answers) = mpsc::channel(ANSWERS_MAX);
        let runtime = Self {
            machine,
            servers,
            to,
            shop,
            caller,
            inputs: inputs_to,
            incoming: incoming_to,
            answers: answers_to,
            session: None,
            observing: None,
            line: None,
            work: JoinSet::new(),
            ops: JoinSet::new(),
            draining: None,
        };
        (runtime, Inbox { controls, inputs, incoming, answers })
    }

    pub(super) async fn drive(mut self, mut inbox: Inbox) {
        self.tell(Input::Start);
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.carry_out() {
                break;
            }
            if self.drained(&inbox.incoming) {
                continue;
            }
            let timeout = self.machine.next_timeout().map(Instant::from_std);
            tokio::select! {
                Some(control) = inbox.controls.recv() => self.control(control),
                Some(input) = inbox.inputs.recv() => self.tell(input),
                Some(seen) = observed(&mut self.observing) => self.observe(seen),
                Some(made) = self.ops.join_next() => self.made(made),
                Some(incoming) = inbox.incoming.recv() => self.begin(incoming),
                Some(answer) = inbox.answers.recv() => self.caller.pending.answered(answer),
                Some(_) = self.work.join_next() => {}
                _ = beats.tick() => self.to.pulse.beat(),
                () = until(timeout) => self.machine.handle_timeout(Instant::now().into_std()),
            }
        }
        // Dropped here: what is still in work comes again, to somebody else.
        self.work.shutdown().await;
        while let Ok(Some(_)) = timeout(FAREWELL, self.ops.join_next()).await {}
    }

    fn tell(&mut self, input: Input) {
        self.machine.handle(Instant::now().into_std(), input);
    }

    fn control(&mut self, control: Control) {
        // Who was frozen may lead no more.
        self.machine.handle_timeout(Instant::now().into_std());
        match control {
            Control::Stop(drain) => self.tell(Input::Stop(drain)),
            Control::Leads { epoch, done } => {
                let status = self.machine.status();
                let _ = done.send(status.leading && status.epoch == epoch);
            }
            Control::Put { name, value, done } => {
                let status = self.machine.status();
                let outcome = match (&self.session, status.epoch.filter(|_| status.leading)) {
                    _ if self.servers.store.is_none() => PropertyError::NoCoordination,
                    (Some((_, session)), Some(epoch)) => {
                        let session = session.clone();
                        self.ops.spawn(async move {
                            let put = ask(session.put_if_leader(epoch, &name, &value)).await;
                            let put = put.map_err(|refusal| match refusal {
                                Refusal::Gone => PropertyError::NotLeader(None),
                                Refusal::Failed(why) => PropertyError::Failed(why),
                            });
                            let _ = done.send(put);
                            Made::Nothing
                        });
                        return;
                    }
                    _ => PropertyError::NotLeader(status.leader),
                };
                let _ = done.send(Err(outcome));
            }
        }
    }

    fn observe(&mut self, seen: Observation) {
        let Some((op, _)) = self.session else { return };
        match seen {
            Observation::Seat(seat) => self.tell(Input::Seen(op, seat)),
            Observation::Properties(properties) => {
                let configured =
                    properties.get(KeyNames::CONFIGURED).is_some_and(|it| it == "True");
                let consume = properties.get("consume").is_none_or(|it| says_yes(it));
                self.to.properties.send_replace(properties);
                self.tell(Input::SeenConfigured(op, configured));
                self.tell(Input::SeenConsume(op, consume));
            }
            Observation::Broken(why) => self.tell(Input::Broken(op, why)),
        }
    }

    /// A message goes into work.
    fn begin(&mut self, incoming: Incoming) {
        // Without a line it comes again.
        if let Some((_, line)) = &self.line {
            let (shop, line, caller) = (self.shop.clone(), line.clone(), self.caller.clone());
            self.work.spawn(shop.handle(incoming, line, caller));
        }
    }

    fn made(&mut self, made: Result<Made, tokio::task::JoinError>) {
        match made {
            Ok(Made::Nothing) | Err(_) => {}
            Ok(Made::Session(op, observing, outcome)) => {
                if outcome.is_err() {
                    self.shop.counters.not_connected(false);
                }
                let outcome = outcome.map(|session| {
                    self.session = Some((op, session));
                    self.observing = Some(observing);
                    self.servers.ttl
                });
                self.tell(Input::Opened(op, outcome));
            }
            Ok(Made::Line(op, outcome)) => {
                if outcome.is_err() {
                    self.shop.counters.not_connected(true);
                }
                let outcome = outcome.map(|line| self.line_up(op, line));
                self.tell(Input::Connected(op, outcome));
            }
        }
    }

    fn line_up(&mut self, op: Op, line: Arc<dyn Line>) {
        let _ = self.to.line.send_replace(Ok(line.clone()));
        self.line = Some((op, line.clone()));
        let inputs = self.inputs.clone();
        self.ops.spawn(async move {
            let why = line.broken().await;
            let _ = inputs.send(Input::Disconnected(op, why)).await;
            Made::Nothing
        });
    }

    /// Whether nothing is in work any more, and that was waited for.
    fn drained(&mut self, incoming: &mpsc::Receiver<Incoming>) -> bool {
        if !self.work.is_empty() || !incoming.is_empty() {
            return false;
        }
        let Some(op) = self.draining.take() else { return false };
        self.tell(Input::Drained(op));
        true
    }

    /// Does what the machine wants. Whether that was all for ever.
    fn carry_out(&mut self) -> bool {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Status(status) => self.say(status),
                Output::Finished => return true,
                Output::Open(op) => self.open(op),
                Output::Campaign(op) => self.with_session(op, Input::Campaigned, |session| {
                    Box::pin(async move { session.campaign().await })
                }),
                Output::Renew(op) => self.with_session(op, Input::Renewed, |session| {
                    Box::pin(async move { session.renew().await })
                }),
                Output::Resign(op) => {
                    let resigned = |op, _| Input::Resigned(op);
                    self.with_session(op, resigned, |session| {
                        Box::pin(async move { session.resign().await })
                    });
                }
                Output::Signal(op, epoch) => {
                    let hw_mark = self.servers.hw_mark.map(|mark| mark.to_string());
                    self.with_session(op, Input::Signalled, move |session| {
                        Box::pin(async move {
                            if let Some(mark) = hw_mark {
                                session.put_if_leader(epoch, "hw_mark", &mark).await?;
                            }
                            session.put_if_leader(epoch, KeyNames::CONFIGURED, "True").await
                        })
                    });
                }
                Output::DropSession(op) => self.drop_session(op),
                Output::SetUp(op, _) => {
                    let queues = self.servers.queues.clone();
                    self.later(async move { Input::SetUp(op, queues.set_up().await) });
                }
                Output::Connect(op) => {
                    let (queues, answers) = (self.servers.queues.clone(), self.answers.clone());
                    self.ops.spawn(async move { Made::Line(op, queues.connect(answers).await) });
                }
                Output::Tap(op, prefetch) => self.tap(op, prefetch),
                Output::DropLine(op) => self.drop_line(op),
                Output::Drain(op) => self.draining = Some(op),
            }
        }
        false
    }

    fn say(&mut self, status: Status) {
        let before = self.to.status.borrow().clone();
        self.shop.counters.changed(&before, &status);
        if before.state != status.state {
            let (from, to) = (before.state.as_str(), status.state.as_str());
            let leader = status.leader.as_deref();
            info!(service = self.shop.service, from, to, leader, epoch = status.epoch, "state");
        }
        if before.coordination != status.coordination || before.queues != status.queues {
            let (coordination, queues) = (&status.coordination, &status.queues);
            info!(service = self.shop.service, ?coordination, ?queues, "servers");
        }
        if before.set_up_error != status.set_up_error
            && let Some(error) = &status.set_up_error
        {
            warn!(service = self.shop.service, error, "the queues cannot be set up");
        }
        if status.state == State::Shutdown {
            let _ = self.to.line.send_replace(Err("the container has stopped".into()));
        }
        self.to.status.send_replace(status);
    }

    fn open(&mut self, op: Op) {
        let Some(store) = self.servers.store.clone() else { return };
        let (seen, observing) = mpsc::channel(16);
        let ttl = self.servers.ttl;
        self.ops.spawn(async move {
            let opened = timeout(ASK_MAX, store.open(ttl, seen)).await;
            let opened = opened.unwrap_or_else(|_| Err("no answer in time".into()));
            Made::Session(op, observing, opened)
        });
    }

    fn with_session<T: Send + 'static>(
        &mut self,
        op: Op,
        input: impl FnOnce(Op, Result<T, Refusal>) -> Input + Send + 'static,
        question: impl FnOnce(Arc<dyn Session>) -> BoxFuture<'static, Result<T, Refusal>>,
    ) {
        match &self.session {
            Some((_, session)) => {
                let question = question(session.clone());
                self.later(async move { input(op, ask(question).await) });
            }
            None => {
                let input = input(op, Err(Refusal::Gone));
                self.later(async move { input });
            }
        }
    }

    fn later(&mut self, work: impl Future<Output = Input> + Send + 'static) {
        let inputs = self.inputs.clone();
        self.ops.spawn(async move {
            let _ = inputs.send(work.await).await;
            Made::Nothing
        });
    }

    fn drop_session(&mut self, op: Op) {
        if let Some((_, session)) = self.session.take_if(|(own, _)| *own == op) {
            self.observing = None;
            self.ops.spawn(async move {
                // What cannot be given up runs out.
                let _ = timeout(FAREWELL, session.resign()).await;
                Made::Nothing
            });
        }
    }

    fn tap(&mut self, op: Op, prefetch: Option<u16>) {
        let Some((_, line)) = self.line.clone() else {
            self.later(async move { Input::Tapped(op, Err("there is no line".into())) });
            return;
        };
        let incoming = self.incoming.clone();
        self.later(async move { Input::Tapped(op, line.tap(prefetch, incoming).await) });
    }

    fn drop_line(&mut self, op: Op) {
        if let Some((_, line)) = self.line.take_if(|(own, _)| *own == op) {
            let why = "the connection is broken; it is tried again".to_owned();
            let _ = self.to.line.send_replace(Err(why));
            self.ops.spawn(async move {
                let _ = timeout(FAREWELL, line.close()).await;
                Made::Nothing
            });
        }
    }
}

/// A question to the store, with a limit.
async fn ask<T>(question: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let answer = timeout(ASK_MAX, question).await;
    answer.unwrap_or_else(|_| Err(Refusal::Failed("no answer in time".into())))
}

/// The next thing that is seen, if there is a session.
async fn observed(observing: &mut Option<mpsc::Receiver<Observation>>) -> Option<Observation> {
    match observing {
        Some(receiver) => match receiver.recv().await {
            Some(seen) => Some(seen),
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What Python and people write for no.
fn says_yes(text: &str) -> bool {
    !["false", "no", "0", "off"].contains(&text.to_ascii_lowercase().as_str())
}
