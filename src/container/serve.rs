//! One message: to the function that it is for, and what becomes of it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::client::Caller;
use super::counts::{Counters, Fate, Kind as Counted};
use super::describe::describe;
use super::handler::{Call, Emitted, Event, Failure, Hearer, Method};
use super::queues::{Incoming, Line, Outgoing, SendError, Sent, Settle, Settlement};
use super::seal::{Seal, ServiceKey};
use crate::proto::backoff::Backoff;
use crate::proto::container::Tally;
use crate::wire::nuropb::{
    Bad, Body, Call as CallBody, DESCRIBE, ErrorBody, Event as EventBody, Kind, Response, class,
    decode, topic_matches,
};

/// The queue of a caller that has just lost its connection may come back.
const ANSWER_TRIES: u32 = 6;
const ANSWER_WAIT: Duration = Duration::from_millis(200);
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);

/// The key of the context whose value is a token.
const TOKEN: &str = "Authorization";

/// What may be done about a message that asks to be tried again.
#[derive(Debug, Clone, Copy)]
struct Tries {
    /// It may be given back, for whoever gets it next.
    elsewhere: bool,
    /// How often it may be tried again here.
    here: u32,
}

fn rejected(class: impl Into<String>, text: impl Into<String>) -> Settlement {
    Settlement::Rejected { class: class.into(), text: text.into() }
}

/// What all messages share.
pub(super) struct Shop {
    pub(super) service: String,
    pub(super) version: String,
    pub(super) description: Option<String>,
    pub(super) methods: BTreeMap<String, Method>,
    pub(super) hearers: Vec<(String, Hearer)>,
    /// How often a message is tried again after a [`Failure::CallAgain`].
    pub(super) call_again_max: u32,
    pub(super) call_again_wait: Duration,
    pub(super) counters: Arc<Counters>,
    /// To read what is encrypted.
    pub(super) key: Option<ServiceKey>,
    /// Whose messages have failed since the leader was told, if it wants to know.
    pub(super) tally: Option<Mutex<Tally>>,
}

impl Shop {
    /// Handles a message, and settles it.
    pub(super) async fn handle(
        self: Arc<Self>,
        incoming: Incoming,
        line: Arc<dyn Line>,
        caller: Caller,
    ) {
        let Incoming { body, reply_to, caller: from, redelivered, attempt, settle } = incoming;
        let (_work, began) = (self.counters.taken(), Instant::now());
        let tries = self.tries(redelivered, attempt);
        let (body, seal) = self.open(body).await;
        let kind = counted(&body);
        self.counters.begun(kind);
        let how = match body {
            Ok((kind @ (Kind::Request | Kind::Command), Body::Call(call))) => {
                let command = kind == Kind::Command;
                let outcome = match self.refusal(&call, seal.is_some()) {
                    Some(refusal) => Err(refusal),
                    None => self.call(&call, command, (redelivered, tries), &caller).await,
                };
                let reply_to = reply_to.filter(|_| !command).map(|to| (to, seal));
                self.conclude(&call, outcome, reply_to, tries, &*line).await
            }
            Ok((_, Body::Event(event))) => match self.event(event, redelivered, &caller).await {
                Ok(()) => Settlement::Done,
                Err(failure) => self.failed(failure, tries),
            },
            // An answer in the queue of a service is as good as one that cannot be read.
            Ok((_, Body::Response(_) | Body::Call(_) | Body::Sealed(_))) => {
                tracing::warn!("an answer among the requests; rejected");
                rejected(class::HANDLING, "an answer among the requests")
            }
            Err(error) => {
                tracing::warn!(%error, "a message that cannot be read; rejected");
                rejected(class::VALIDATION, error.to_string())
            }
        };
        if let Some(from) = from {
            self.dealt_with(&from, &how);
        }
        let fate = self.settle(settle, how).await;
        self.counters.ended(kind, fate, began.elapsed());
    }

    /// Reads what is encrypted, and says how the answer is to be; the key is found out beside
    /// everything else, since that takes milliseconds.
    async fn open(
        &self,
        body: Result<(Kind, Body), Bad>,
    ) -> (Result<(Kind, Body), Bad>, Option<Seal>) {
        let (kind, sealed) = match body {
            Ok((kind, Body::Sealed(sealed))) => (kind, sealed),
            other => return (other, None),
        };
        let Some(key) = self.key.clone() else { return (Err(Bad::Encrypted), None) };
        let found = tokio::task::spawn_blocking(move || key.open(&sealed)).await;
        match found {
            Ok(Ok((seal, plain))) => (decode(kind, &plain).map(|body| (kind, body)), Some(seal)),
            Ok(Err(error)) => (Err(Bad::Body(error.to_string())), None),
            // It has panicked, or the runtime ends.
            Err(error) => (Err(Bad::Body(error.to_string())), None),
        }
    }

    /// Why a call is not carried out, whatever it says.
    fn refusal(&self, call: &CallBody, encrypted: bool) -> Option<Failure> {
        let method = self.methods.get(&call.method)?;
        let text = || format!("calls of {} have to be encrypted", call.method);
        (method.encrypted && !encrypted).then(|| Failure::rejected(class::AUTHORIZATION, text()))
    }

    /// Counts for the leader whose messages fail.
    fn dealt_with(&self, from: &str, how: &Settlement) {
        let failed = match how {
            Settlement::Done => false,
            Settlement::Rejected { .. } => true,
            // Nobody knows yet.
            Settlement::Again { .. } => return,
        };
        if let Some(tally) = &self.tally {
            tally.lock().unwrap_or_else(PoisonError::into_inner).count(from, failed);
        }
    }

    async fn settle(&self, settle: Box<dyn Settle>, how: Settlement) -> Fate {
        let fate = match how {
            Settlement::Done => Fate::Done,
            Settlement::Again { .. } => Fate::Again,
            Settlement::Rejected { .. } => Fate::Rejected,
        };
        self.counters.decided(fate);
        settle.settle(how).await.map_or_else(
            |why| {
                tracing::warn!(why, "a message is not settled, and comes again if it is wanted");
                Fate::Unsettled
            },
            |()| fate,
        )
    }

    /// Calls the method, as often as it asks for.
    async fn call(
        &self,
        body: &CallBody,
        command: bool,
        (redelivered, tries): (bool, Tries),
        caller: &Caller,
    ) -> Result<(Value, Vec<(String, Value)>), Failure> {
        if body.method == DESCRIBE {
            let Self { service, version, description, methods, key, .. } = self;
            let (text, key) = (description.as_deref(), key.as_ref().map(ServiceKey::public_pem));
            return Ok((describe(service, version, text, methods, key), Vec::new()));
        }
        let known = self.methods.get(&body.method).filter(|_| !body.method.starts_with('_'));
        let Some(method) = known else {
            let text = format!("Unknown method {}", body.method);
            return Err(Failure::rejected(class::HANDLING, text));
        };
        let claims = authorize(method, &body.context).await?;
        let Tries { here: mut left, .. } = tries;
        let mut waits = Backoff::new(self.call_again_wait, ANSWER_WAIT_MAX, 0);
        loop {
            let emitted = Emitted::default();
            let call = Call {
                args: Value::Object(body.params.clone()),
                context: body.context.clone(),
                claims: claims.clone(),
                trace_id: body.trace_id.clone(),
                correlation_id: body.correlation_id.clone(),
                redelivered,
                command,
                caller: caller.clone(),
                emitted: emitted.clone(),
            };
            let done = AssertUnwindSafe((method.handler)(call)).catch_unwind().await;
            let done = done.unwrap_or_else(|_| {
                Err(Failure::rejected(class::EXCEPTION, "the method has panicked"))
            });
            match done {
                Err(Failure::CallAgain(_)) if left > 0 => {
                    left -= 1;
                    self.counters.retried();
                    sleep(waits.next_wait()).await;
                }
                done => return done.map(|value| (value, emitted.take())),
            }
        }
    }

    /// What may be done about a message that asks to be tried again.
    fn tries(&self, redelivered: bool, attempt: Option<u32>) -> Tries {
        let max = self.call_again_max;
        match attempt {
            Some(attempt) => Tries { elsewhere: attempt <= max, here: 0 },
            // A message that has come once is tried again by whoever gets it next, and after that
            // only here, where it is known how often.
            None if redelivered => Tries { elsewhere: false, here: max.saturating_sub(1) },
            None => Tries { elsewhere: max > 0, here: 0 },
        }
    }

    /// What becomes of a message that has failed.
    fn failed(&self, failure: Failure, tries: Tries) -> Settlement {
        match failure {
            Failure::CallAgain(why) if tries.elsewhere => {
                Settlement::Again { wait: self.call_again_wait, why }
            }
            Failure::CallAgain(text) => rejected(class::CALL_AGAIN_REJECT, text),
            Failure::Rejected { class, text } => rejected(class, text),
        }
    }

    async fn event(
        &self,
        body: EventBody,
        redelivered: bool,
        caller: &Caller,
    ) -> Result<(), Failure> {
        let mut heard = false;
        for (pattern, hearer) in &self.hearers {
            if !topic_matches(pattern, &body.topic) {
                continue;
            }
            heard = true;
            let event = Event {
                topic: body.topic.clone(),
                event: body.event.clone(),
                context: body.context.clone(),
                trace_id: body.trace_id.clone(),
                correlation_id: body.correlation_id.clone(),
                redelivered,
                caller: caller.clone(),
            };
            let done = AssertUnwindSafe(hearer(event)).catch_unwind().await;
            done.unwrap_or_else(|_| {
                Err(Failure::rejected(class::EXCEPTION, "the subscription has panicked"))
            })?;
        }
        if heard {
            return Ok(());
        }
        let text = format!("nobody here listens to {}", body.topic);
        Err(Failure::rejected(class::HANDLING, text))
    }

    /// What becomes of a message that was carried out, and of which that cannot be said.
    fn unsaid(&self, error: SendError, tries: Tries) -> Settlement {
        match error {
            // The server is lost, and who comes back does not know whose fault that was.
            SendError::Unknown(why) => Settlement::Again { wait: self.call_again_wait, why },
            SendError::NotSent(why) => self.failed(Failure::CallAgain(why), tries),
        }
    }

    /// Answers, and says what becomes of the message: it is settled after its answer is sent.
    async fn conclude(
        &self,
        call: &CallBody,
        outcome: Result<(Value, Vec<(String, Value)>), Failure>,
        reply_to: Option<(String, Option<Seal>)>,
        tries: Tries,
        line: &dyn Line,
    ) -> Settlement {
        let (result, how) = match outcome {
            Ok((value, events)) => match publish(call, events, line).await {
                Ok(()) => (value, Settlement::Done),
                Err(error) => (Value::Null, self.unsaid(error, tries)),
            },
            Err(failure) => (Value::Null, self.failed(failure, tries)),
        };
        let error = match &how {
            Settlement::Done => None,
            // Nobody is told yet.
            Settlement::Again { .. } => return how,
            Settlement::Rejected { class, text } => {
                Some(ErrorBody { error: class.clone(), description: text.clone() })
            }
        };
        let Some((to, seal)) = reply_to else { return how };
        let response = Response {
            result,
            error,
            warning: None,
            correlation_id: call.correlation_id.clone(),
            trace_id: call.trace_id.clone(),
            // Not the whole context: what is secret in it came from the caller, and need not be
            // sent through a queue once more.
            context: without_token(&call.context),
            reply_to: to.clone(),
        };
        match self.answer(to, response, seal, line).await {
            Ok(()) => how,
            Err(error) => self.unsaid(error, tries),
        }
    }

    async fn answer(
        &self,
        to: String,
        response: Response,
        seal: Option<Seal>,
        line: &dyn Line,
    ) -> Result<(), SendError> {
        let mut waits = Backoff::new(ANSWER_WAIT, ANSWER_WAIT_MAX, 0);
        for attempt in 1..=ANSWER_TRIES {
            let answer = Outgoing::Response(to.clone(), response.clone(), seal.clone());
            if line.send(answer).await? == Sent::Taken {
                return Ok(());
            }
            if attempt < ANSWER_TRIES {
                sleep(waits.next_wait()).await;
            }
        }
        self.counters.answer_lost();
        tracing::info!(to, "nobody is there for an answer; dropped");
        Ok(())
    }
}

/// As what a message is counted.
fn counted(body: &Result<(Kind, Body), Bad>) -> Counted {
    match body {
        Ok((Kind::Command, Body::Call(_))) => Counted::Command,
        Ok((Kind::Request, Body::Call(_))) => Counted::Request,
        Ok((_, Body::Event(_))) => Counted::Event,
        Ok(_) | Err(_) => Counted::Unreadable,
    }
}

/// Publishes what a method has emitted.
async fn publish(
    call: &CallBody,
    events: Vec<(String, Value)>,
    line: &dyn Line,
) -> Result<(), SendError> {
    for (topic, event) in events {
        let event = EventBody {
            topic,
            event,
            context: call.context.clone(),
            trace_id: call.trace_id.clone(),
            correlation_id: call.correlation_id.clone(),
            target: Value::Null,
        };
        line.send(Outgoing::Event(event)).await?;
    }
    Ok(())
}

async fn authorize(method: &Method, context: &Map<String, Value>) -> Result<Value, Failure> {
    let Some(authorizer) = &method.authorizer else { return Ok(Value::Null) };
    let token = context.get(TOKEN).and_then(Value::as_str).map(str::to_owned);
    let Some(token) = token else {
        let text = format!("the context has no text under `{TOKEN}`");
        return Err(Failure::rejected(class::AUTHENTICATION, text));
    };
    let done = AssertUnwindSafe(async { authorizer(token).await }).catch_unwind().await;
    done.unwrap_or_else(|_| {
        Err(Failure::rejected(class::EXCEPTION, "the authorisation has panicked"))
    })
}

fn without_token(context: &Map<String, Value>) -> Map<String, Value> {
    let mut context = context.clone();
    context.remove(TOKEN);
    context
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;

    use tokio::sync::{mpsc, oneshot, watch};

    use super::super::coordinate::BoxFuture;
    use super::*;
    use crate::proto::container::Reading;

    /// Nothing can be said on it, for that reason; the queue is as it is told.
    #[derive(Debug)]
    pub(in crate::container) struct Mute {
        why: SendError,
        readings: Mutex<VecDeque<Reading>>,
    }

    impl Mute {
        pub(in crate::container) fn measured(readings: impl Into<VecDeque<Reading>>) -> Self {
            let readings = Mutex::new(readings.into());
            Self { why: SendError::NotSent("mute".into()), readings }
        }
    }

    impl Line for Mute {
        fn broken(&self) -> BoxFuture<'_, String> {
            Box::pin(std::future::pending())
        }

        fn tap(
            &self,
            _: Option<u16>,
            _: mpsc::Sender<Incoming>,
        ) -> BoxFuture<'_, Result<(), String>> {
            Box::pin(async { Ok(()) })
        }

        fn send(&self, _: Outgoing) -> BoxFuture<'_, Result<Sent, SendError>> {
            Box::pin(async { Err(self.why.clone()) })
        }

        fn measure(&self) -> BoxFuture<'_, Result<Reading, String>> {
            let reading = self.readings.lock().unwrap().pop_front();
            Box::pin(async move { reading.ok_or_else(|| "nothing is there".into()) })
        }

        fn tell<'a>(&'a self, _: &'a str, _: &'a Tally) -> BoxFuture<'a, Result<(), String>> {
            Box::pin(async { Ok(()) })
        }

        fn hear(&self, _: mpsc::Sender<Tally>) -> BoxFuture<'_, Result<(), String>> {
            Box::pin(async { Ok(()) })
        }

        fn end_caller<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<usize, String>> {
            Box::pin(async { Ok(0) })
        }

        fn close(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    /// A service without methods.
    pub(in crate::container) fn shop() -> Shop {
        Shop {
            service: "svc".into(),
            version: String::new(),
            description: None,
            methods: BTreeMap::new(),
            hearers: Vec::new(),
            call_again_max: 3,
            call_again_wait: Duration::from_millis(100),
            counters: Arc::default(),
            key: None,
            tally: None,
        }
    }

    struct Noted(oneshot::Sender<Settlement>);

    impl Settle for Noted {
        fn settle(self: Box<Self>, how: Settlement) -> BoxFuture<'static, Result<(), String>> {
            let _ = self.0.send(how);
            Box::pin(async { Ok(()) })
        }
    }

    /// What becomes of a request whose answer cannot be sent.
    async fn unanswered(redelivered: bool, why: SendError) -> Settlement {
        let call = CallBody {
            service: "svc".into(),
            method: DESCRIBE.into(),
            params: Map::new(),
            correlation_id: "1".into(),
            context: Map::new(),
            trace_id: None,
        };
        let (noted, settled) = oneshot::channel();
        let incoming = Incoming {
            body: Ok((Kind::Request, Body::Call(call))),
            reply_to: Some("caller".into()),
            caller: None,
            redelivered,
            attempt: None,
            settle: Box::new(Noted(noted)),
        };
        let (_line, line) = watch::channel(Err("none".into()));
        let caller = Caller::new(line, Arc::default());
        let line = Mute { why, readings: Mutex::default() };
        Arc::new(shop()).handle(incoming, Arc::new(line), caller).await;
        settled.await.expect("it is settled")
    }

    #[tokio::test]
    async fn a_message_is_settled_though_its_answer_cannot_be_sent() {
        let refused = || SendError::NotSent("refused".into());
        let lost = || SendError::Unknown("lost".into());
        let again =
            |why: &str| Settlement::Again { wait: Duration::from_millis(100), why: why.into() };
        assert_eq!(unanswered(false, refused()).await, again("refused"));
        let last = rejected(class::CALL_AGAIN_REJECT, "refused");
        assert_eq!(unanswered(true, refused()).await, last, "not for ever");
        for redelivered in [false, true] {
            assert_eq!(unanswered(redelivered, lost()).await, again("lost"));
        }
    }
}
