//! The task of a worker: one `select!` loop that drives [`Serve`] over one session.

use std::collections::HashMap;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::config::{CurveFiles, WorkerConfig};
use crate::id::{Identity, ServiceName};
use crate::keys::KeyError;
use crate::proto::backoff::Backoff;
use crate::proto::clock::Time;
use crate::proto::policy::Keepalive;
use crate::proto::serve::words::{Delivery, Failure, Offer, Reply, Told};
use crate::proto::serve::{Heard, Input, Job, Output, Report, Say, Serve, Settings};
use crate::transport::endpoint::Endpoint;
use crate::transport::session::{Session, SessionConfig, SessionError};
use crate::wire::Protocol;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::Code;

use super::limits::AnswerLimits;
use super::publish::{PublishError, Publishing};
use super::request::{Request, Said};

/// Answers taken in one turn, and answers that may wait for a turn.
const BATCH: usize = 256;
/// How long the broker may take to hang up after the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Without anything to do the loop looks again then.
const FOREVER: Duration = Duration::from_secs(3600);

/// What the holder of a worker wants.
#[derive(Debug)]
pub(super) enum Control {
    Credit(u16),
    Stop { deadline: Duration, done: oneshot::Sender<Report> },
}

type Dial = Pin<Box<dyn Future<Output = Result<Box<Session>, DialError>> + Send>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

pub(super) struct Task<H> {
    endpoint: Endpoint,
    session_config: SessionConfig,
    curve: Option<CurveFiles>,
    offer: Offer,
    serve: Serve<Box<Delivery>, Reply>,
    epoch: Instant,
    handler: Arc<H>,
    dial: Option<Dial>,
    session: Option<Box<Session>>,
    /// Of the requests that are being handled.
    tokens: HashMap<Job, CancellationToken>,
    /// Questions that their handlers may still wait for.
    asks: HashMap<(Job, u64), oneshot::Sender<Box<Told>>>,
    handlers: JoinSet<()>,
    limits: Arc<AnswerLimits>,
    said: mpsc::Sender<Said>,
    answers: mpsc::Receiver<Said>,
    publishing: Publishing,
    registered: watch::Sender<bool>,
    /// Until when a stop may take, and who waits for it.
    stop: Option<(Option<Instant>, oneshot::Sender<Report>)>,
    /// Failed attempts to connect in a row.
    failures: u32,
}

/// What one round of the loop brings.
enum Turn {
    Talked(Result<(), SessionError>),
    Dialled(Result<Box<Session>, DialError>),
    Answered,
    Controlled(Option<Control>),
    Time,
}

impl<H, Fut, M, E> Task<H>
where
    H: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<M, E>> + Send + 'static,
    M: Into<Message> + 'static,
    E: Into<Failure> + 'static,
{
    /// A worker as `config`, which is valid, has it.
    pub(super) fn new(
        config: WorkerConfig,
        service: ServiceName,
        seed: u64,
        handler: H,
        registered: watch::Sender<bool>,
    ) -> Self {
        let limits = config.wire_limits();
        let identity = config.identity.and_then(|it| Identity::try_from(it.as_bytes()).ok());
        let settings = Settings {
            credit: config.credit,
            keepalive: Keepalive { interval: config.heartbeat, liveness: config.liveness },
            backoff: Backoff::new(config.reconnect_min, config.reconnect_max, seed),
            native: config.protocol == Protocol::Mjp,
        };
        let (said, answers) = mpsc::channel(BATCH);
        Self {
            endpoint: config.endpoint,
            curve: config.curve,
            session_config: SessionConfig {
                identity,
                limits,
                connect_timeout: config.connect_timeout,
                outbox_bytes_max: config.outbox,
                ..SessionConfig::default()
            },
            offer: Offer {
                protocol: config.protocol,
                service,
                credit: config.credit,
                labels: config.labels,
                version: config.version,
                description: config.description,
                fence: config.fence,
            },
            serve: Serve::new(settings),
            epoch: Instant::now(),
            handler: Arc::new(handler),
            dial: None,
            session: None,
            tokens: HashMap::new(),
            asks: HashMap::new(),
            handlers: JoinSet::new(),
            limits: Arc::new(AnswerLimits::new(limits)),
            said,
            answers,
            publishing: Publishing::default(),
            registered,
            stop: None,
            failures: 0,
        }
    }

    /// Runs until it is stopped, or nobody holds the worker any more.
    pub(super) async fn run(self, control: mpsc::Receiver<Control>) {
        let span = info_span!("worker", service = %self.offer.service, endpoint = %self.endpoint);
        self.drive(control).instrument(span).await;
    }

    async fn drive(mut self, mut control: mpsc::Receiver<Control>) {
        let (mut heard, mut said) = (Vec::new(), Vec::with_capacity(BATCH));
        let mut timer = pin!(sleep_until(self.epoch));
        self.serve.handle_timeout(self.now());
        loop {
            if let Some(report) = self.carry_out() {
                return self.part(report).await;
            }
            let next = self.next_timeout();
            if next < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(next);
            }
            let offer = &self.offer;
            let has_room = self.session.as_ref().is_none_or(|session| session.has_room());
            let turn = tokio::select! {
                talked = talk(&mut self.session, offer, &mut heard) => Turn::Talked(talked),
                dialled = dialled(&mut self.dial) => Turn::Dialled(dialled),
                1.. = self.answers.recv_many(&mut said, BATCH), if has_room => Turn::Answered,
                control = control.recv() => Turn::Controlled(control),
                () = &mut timer => Turn::Time,
            };
            let now = self.now();
            for heard in heard.drain(..) {
                self.hear(now, heard);
            }
            match turn {
                Turn::Talked(Ok(())) => {}
                Turn::Talked(Err(error)) => self.lose(now, &error),
                Turn::Dialled(dialled) => self.on_dialled(now, dialled),
                Turn::Answered => {
                    for said in said.drain(..) {
                        self.answer(now, said);
                    }
                    while self.handlers.try_join_next().is_some() {}
                }
                Turn::Controlled(None) => return,
                Turn::Controlled(Some(control)) => self.control(now, control),
                Turn::Time => self.on_time(now),
            }
        }
    }

    fn now(&self) -> Time {
        Time::default().after(self.epoch.elapsed())
    }

    fn next_timeout(&self) -> Instant {
        let next = self.serve.next_timeout().map(|at| at.since(Time::default()));
        next.and_then(|after| self.epoch.checked_add(after))
            .unwrap_or_else(|| Instant::now() + FOREVER)
    }

    fn hear(&mut self, now: Time, heard: Heard<Box<Delivery>>) {
        match &heard {
            Heard::Dismissed { why } => {
                warn!(why, "the broker has dismissed this worker; it will register anew");
            }
            Heard::Hello { takes, .. } => self.limits.set(*takes),
            Heard::Drained => drop(self.registered.send_replace(false)),
            Heard::Published { id, subscriptions } => self.publishing.done(*id, Ok(*subscriptions)),
            Heard::Refused { id, code, message } => {
                let (code, message) = (code.clone(), message.clone());
                self.publishing.done(*id, Err(PublishError::Refused { code, message }));
            }
            _ => {}
        }
        self.serve.handle(now, Input::Heard(heard));
    }

    fn lose(&mut self, now: Time, error: &SessionError) {
        warn!(%error, "the broker is lost; connecting again");
        self.session = None;
        self.publishing.lost();
        self.registered.send_replace(false);
        self.serve.handle(now, Input::Lost);
    }

    fn on_dialled(&mut self, now: Time, dialled: Result<Box<Session>, DialError>) {
        self.dial = None;
        match dialled {
            Ok(session) => {
                self.failures = 0;
                self.session = Some(session);
                self.serve.handle(now, Input::Connected);
            }
            Err(error) => {
                // The first of a row is news; the rest of it is not.
                if self.failures == 0 {
                    warn!(%error, "no connection; trying again");
                } else {
                    debug!(%error, failures = self.failures, "no connection yet");
                }
                self.failures = self.failures.saturating_add(1);
                self.serve.handle(now, Input::Lost);
            }
        }
    }

    fn answer(&mut self, now: Time, said: Said) {
        let input = match said {
            Said::Last(job, reply) => {
                self.tokens.remove(&job);
                if !self.asks.is_empty() {
                    self.asks.retain(|(asker, _), _| *asker != job);
                }
                Input::Last(job, reply)
            }
            Said::Part(job, reply) => Input::Part(job, reply),
            Said::Event(job, talk) => Input::Event(job, talk),
            Said::Ask(job, number, talk, to) => {
                // Of those who have asked before, some do not wait any more.
                self.asks.retain(|_, to| !to.is_closed());
                self.asks.insert((job, number), to);
                Input::Ask(job, talk)
            }
            Said::Publish(publication) => {
                return self.publishing.say(publication, self.session.as_deref_mut());
            }
        };
        self.serve.handle(now, input);
    }

    fn control(&mut self, now: Time, control: Control) {
        match control {
            Control::Credit(credit) => {
                self.offer.credit = credit;
                self.serve.handle(now, Input::Credit(credit));
            }
            Control::Stop { deadline, done } => {
                self.stop = Some((Instant::now().checked_add(deadline), done));
                self.serve.handle(now, Input::Stop(now.after(deadline)));
            }
        }
    }

    fn on_time(&mut self, now: Time) {
        // Octets of a message under way show as much life as a message.
        if self.session.as_ref().is_some_and(|session| session.in_message()) {
            self.serve.handle(now, Input::Hearing);
        }
        self.serve.handle_timeout(now);
    }

    /// Does what was decided. The report is that of the end.
    fn carry_out(&mut self) -> Option<Report> {
        let mut end = None;
        while let Some(output) = self.serve.poll_output() {
            match output {
                Output::Dial => {
                    let (endpoint, curve) = (self.endpoint.clone(), self.curve.clone());
                    let mut config = self.session_config.clone();
                    let dial = async move {
                        // A key may be another one by now, as that of a broker after a rotation.
                        config.curve = curve.as_ref().map(CurveFiles::load).transpose()?;
                        Ok(Box::new(Session::connect(&endpoint, &config).await?))
                    };
                    self.dial = Some(Box::pin(dial));
                }
                Output::Close => {
                    (self.session, self.dial) = (None, None);
                    self.publishing.lost();
                    self.registered.send_replace(false);
                }
                Output::Say(say) => self.say(&say),
                Output::Begin(job, delivery) => self.begin(job, *delivery),
                Output::Cancel(job) => {
                    if let Some(token) = self.tokens.get(&job) {
                        token.cancel();
                    }
                }
                Output::Tell(job, told) => {
                    if let Some(to) = self.asks.remove(&(job, told.ask)) {
                        // Whoever does not wait any more wants nothing.
                        let _ = to.send(told);
                    }
                }
                Output::Stopped(report) => end = Some(report),
            }
        }
        end
    }

    fn say(&mut self, say: &Say<Reply>) {
        let Some(session) = &mut self.session else { return };
        // Never more than one beat in an outbox: what waits there shows as much.
        if *say == Say::Heartbeat && session.waiting() > 0 {
            return;
        }
        session.send(|out| self.offer.say(say, out));
        if *say == Say::Ready {
            info!("registered");
            self.registered.send_replace(true);
        }
    }

    fn begin(&mut self, job: Job, delivery: Delivery) {
        let token = CancellationToken::new();
        self.tokens.insert(job, token.clone());
        let (handler, said) = (self.handler.clone(), self.said.clone());
        let limits = self.limits.clone();
        let protocol = self.offer.protocol;
        let request = Request::new(job, delivery, token, said.clone(), protocol, limits.clone());
        self.handlers.spawn(async move {
            let answer = async {
                match handler(request).await {
                    Ok(body) => {
                        let body = body.into();
                        let fits = limits.check(&body).map(|()| Reply::body(body));
                        fits.unwrap_or_else(|too_big| Reply::Failure(too_big.failure()))
                    }
                    Err(failure) => Reply::Failure(failure.into()),
                }
            };
            let reply = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|panic| {
                error!(panic = message_of(&*panic), "a handler panicked");
                Reply::Failure(Failure::known(Code::Failed, "the handler panicked"))
            });
            // Nobody is there to take it when the worker has ended.
            let _ = said.send(Said::Last(job, reply)).await;
        });
    }

    /// The end: what was said is written, then the connection ends.
    async fn part(mut self, report: Report) {
        self.registered.send_replace(false);
        self.handlers.abort_all();
        let (until, done) = self.stop.take().unzip();
        if let Some(mut session) = self.session.take() {
            let until = until.flatten().max(Some(Instant::now() + LAST_WORDS));
            let until = until.unwrap_or_else(Instant::now);
            let written = tokio::time::timeout_at(until, session.flush()).await;
            let closed = timeout(LAST_WORDS, session.close()).await;
            match written {
                Ok(Ok(())) => debug!(?closed, "closed"),
                _ => warn!("the last answers may not have arrived; the broker has them again"),
            }
        }
        let Report { answered, given_back } = report;
        info!(answered, given_back, "stopped");
        if let Some(done) = done {
            let _ = done.send(report);
        }
    }
}

/// Writes what waits and reads what comes.
async fn talk(
    session: &mut Option<Box<Session>>,
    offer: &Offer,
    heard: &mut Vec<Heard<Box<Delivery>>>,
) -> Result<(), SessionError> {
    let on_message = |frames: Frames<'_>| match offer.hear(frames) {
        Ok(said) => heard.push(said),
        Err(why) => debug!(why, "the broker says something that is not for a worker"),
    };
    match session {
        Some(session) => session.turn(on_message).await,
        None => pending().await,
    }
}

async fn dialled(dial: &mut Option<Dial>) -> Result<Box<Session>, DialError> {
    match dial {
        Some(dial) => dial.await,
        None => pending().await,
    }
}

/// What a panic says.
fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
