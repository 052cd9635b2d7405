//! A folder as a service: a handler for a [`Worker`](crate::worker::Worker).

use futures::future::BoxFuture;

use crate::folder::words::Ask;
use crate::folder::{FileError, Store};
use crate::wire::message::Message;
use crate::worker::{Failure, Request};

/// A handler that serves a folder.
///
/// ```no_run
/// use majordomo::file::{Store, serve};
/// use majordomo::worker::Worker;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::open("/srv/files")?;
/// let worker = Worker::builder("tcp://127.0.0.1:5555", "filesharing")?.credit(16);
/// worker.serve(serve(store)).await?;
/// # Ok(())
/// # }
/// ```
pub fn serve(
    store: Store,
) -> impl Fn(Request) -> BoxFuture<'static, Result<Message, Failure>> + Send + Sync + 'static {
    move |request| {
        let store = store.clone();
        Box::pin(async move {
            let ask = ask(request.first())?;
            tokio::select! {
                answer = answer(&store, ask) => answer,
                // Nobody hears it.
                () = request.cancelled().cancelled() => {
                    Err(Failure::new("cancelled", "the caller does not wait any more"))
                }
            }
        })
    }
}

fn ask(body: &[u8]) -> Result<Ask, Failure> {
    Ask::read(body).map_err(|reason| {
        let message = format!("{reason}; send such as {{\"task\": \"list\", \"url\": \"nf://\"}}");
        Failure::new("bad_request", message)
    })
}

async fn answer(store: &Store, ask: Ask) -> Result<Message, Failure> {
    ask.answer(store).await.map(Message::new).map_err(|error| failure(&error))
}

fn failure(error: &FileError) -> Failure {
    tracing::debug!(%error, "a file was refused");
    Failure::new(error.code(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::words::REQUEST_MAX;

    #[test]
    fn a_request_is_json_with_a_task_and_a_url() {
        let url = || "nf://a".to_owned();
        for (body, expected) in [
            (r#"{"task":"list","url":"nf://a"}"#, Some(Ask::List { url: url() })),
            (r#"{"url":"nf://a","task":"details","new":1}"#, Some(Ask::Details { url: url() })),
            (r#"{"task":"walk","url":"nf://a"}"#, Some(Ask::Walk { url: url() })),
            (
                r#"{"task":"read","url":"nf://a"}"#,
                Some(Ask::Read { url: url(), offset: 0, length: 262_144 }),
            ),
            (
                r#"{"task":"read","url":"nf://a","offset":7,"length":1}"#,
                Some(Ask::Read { url: url(), offset: 7, length: 1 }),
            ),
            (r#"{"task":"read","url":"nf://a","offset":-1}"#, None),
            (r#"{"task":"remove","url":"nf://a"}"#, None),
            (r#"{"task":"list"}"#, None),
            ("", None),
            ("[]", None),
        ] {
            match (ask(body.as_bytes()), expected) {
                (Ok(ask), Some(expected)) => assert_eq!(ask, expected),
                (Err(failure), None) => assert_eq!(failure.code, "bad_request", "{body}"),
                (got, _) => panic!("{body}: {got:?}"),
            }
        }
        let long = format!(r#"{{"task":"list","url":"{}"}}"#, "x".repeat(REQUEST_MAX));
        assert!(ask(long.as_bytes()).is_err());
    }
}
