//! Messages that come: a request of a worker becomes a message, and is answered as that is settled.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::container::coordinate::BoxFuture;
use crate::container::queues::{Incoming, Settle, Settlement};
use crate::wire::message::Message;
use crate::wire::mjp::Code;
use crate::wire::nuropb::{Bad, Body, Headers, Kind, PROTOCOL, class};
use crate::worker::{Failure, Request};

/// The frame behind a body that is encrypted.
const ENCRYPTED: &[u8] = b"yes";

/// Answers that were made and whose messages are not yet settled, by the number of the message.
#[derive(Debug, Default)]
pub(super) struct Answered {
    answers: Mutex<HashMap<String, Message>>,
    count: AtomicU64,
}

impl Answered {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Message>) -> T) -> T {
        work(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An answer to the message of that number.
    pub(super) fn put(&self, to: &str, answer: Message) {
        self.with(|answers| answers.insert(to.to_owned(), answer));
    }
}

/// The place of an answer, left when it is dropped.
struct Place {
    answered: Arc<Answered>,
    number: String,
}

impl Place {
    fn take(&self) -> Option<Message> {
        self.answered.with(|answers| answers.remove(&self.number))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.take();
    }
}

/// Hands a request on as a message, and answers it as that is settled.
pub(super) async fn serve(
    request: Request,
    to: mpsc::Sender<Incoming>,
    answered: Arc<Answered>,
) -> Result<Message, Failure> {
    let number = answered.count.fetch_add(1, Ordering::Relaxed).to_string();
    let place = Place { answered, number };
    let (settle, settled) = oneshot::channel();
    let (body, attempt) = (read(&request.body), request.attempt());
    let reply_to = matches!(body, Ok((Kind::Request, _))).then(|| place.number.clone());
    let caller = request.identity().and_then(known_as).map(str::to_owned);
    let unwanted = request.cancelled().clone();
    let settle = Box::new(Duty { settle, request });
    let (redelivered, attempt) = (attempt > 1, Some(attempt));
    let incoming = Incoming { body, reply_to, caller, redelivered, attempt, settle };
    let settled = match to.send(incoming).await {
        Ok(()) => settled.await.ok(),
        Err(_) => None,
    };
    // What cannot be handed on, or is not settled, is held until the worker ends, and comes again.
    // What nobody wants any more does not, and its place is free when the broker is told so.
    let Some(settled) = settled else {
        unwanted.cancelled().await;
        return Err(Failure::known(Code::Cancelled, "nobody waits for it"));
    };
    match settled {
        Settlement::Done => Ok(place.take().unwrap_or_else(|| Message::new(["done"]))),
        Settlement::Again { wait, why } => {
            Err(Failure::new(class::CALL_AGAIN_REJECT, why).retry_after(wait).again())
        }
        Settlement::Rejected { class, text } => Err(Failure::new(class, text)),
    }
}

/// What the broker calls a caller with that identity. Names with `~` are those of peers that have
/// none: whoever says one of itself means another one.
fn known_as(identity: &[u8]) -> Option<&str> {
    str::from_utf8(identity).ok().filter(|name| !name.starts_with('~'))
}

/// Two frames: the type, and the body as NuroPb has it; behind one that is encrypted, `yes`.
pub(super) fn frames(kind: Kind, body: Vec<u8>, encrypted: bool) -> Message {
    let mut frames = vec![kind.as_str().as_bytes().to_vec(), body];
    if encrypted {
        frames.push(ENCRYPTED.to_vec());
    }
    Message::new(frames)
}

/// What such frames say.
pub(super) fn read(message: &Message) -> Result<(Kind, Body), Bad> {
    let mut frames = message.frames();
    let said = String::from_utf8_lossy(frames.take_first().unwrap_or_default());
    let body = frames.take_first().ok_or_else(|| Bad::Body("there is none".into()))?;
    let encrypted = frames.take_first() == Some(ENCRYPTED);
    let kind = Some(said.into_owned());
    let headers = Headers { protocol: Some(PROTOCOL.into()), kind, trace_id: None, encrypted };
    headers.read(body)
}

/// The duty to settle a message.
struct Duty {
    settle: oneshot::Sender<Settlement>,
    request: Request,
}

impl Settle for Duty {
    fn settle(self: Box<Self>, how: Settlement) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            let Self { settle, request } = *self;
            if request.cancelled().is_cancelled() {
                return Err("nobody waits for it: the connection or its caller has gone".into());
            }
            settle.send(how).map_err(|_| "the worker has ended".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_taken_for_a_peer_without_a_name() {
        assert_eq!(
            known_as(b"container-client-joe-01234567"),
            Some("container-client-joe-01234567")
        );
        assert_eq!(known_as(b"~0000000100000001"), None);
        assert_eq!(known_as(b"\xff"), None);
    }
}
