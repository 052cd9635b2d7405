//! Handlers that take and give values instead of frames.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::proto::serve::words::Failure;
use crate::wire::message::Message;
use crate::wire::mjp::Code;

use super::Request;

/// A handler whose requests and answers are one frame of JSON each.
///
/// A body that cannot be read is answered with `bad_request`, and the handler is not called.
///
/// ```no_run
/// use majordomo::worker::{Failure, Worker, json};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let sum = json(|terms: Vec<f64>, _| async move { Ok::<_, Failure>(terms.iter().sum::<f64>()) });
/// Worker::builder("tcp://127.0.0.1:5555", "sum")?.serve(sum).await?;
/// # Ok(())
/// # }
/// ```
pub fn json<F, Fut, T, R, E>(
    handler: F,
) -> impl Fn(Request) -> BoxFuture<'static, Result<Message, Failure>> + Send + Sync + 'static
where
    F: Fn(T, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    T: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
    E: Into<Failure> + 'static,
{
    typed(
        handler,
        |octets| serde_json::from_slice(octets).map_err(bad_request),
        |value| serde_json::to_vec(value).map_err(Failure::from),
    )
}

/// As [`json`], with MessagePack; structs are maps with the names of their fields.
pub fn msgpack<F, Fut, T, R, E>(
    handler: F,
) -> impl Fn(Request) -> BoxFuture<'static, Result<Message, Failure>> + Send + Sync + 'static
where
    F: Fn(T, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    T: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
    E: Into<Failure> + 'static,
{
    typed(
        handler,
        |octets| rmp_serde::from_slice(octets).map_err(bad_request),
        |value| rmp_serde::to_vec_named(value).map_err(Failure::from),
    )
}

fn bad_request(error: impl std::error::Error) -> Failure {
    Failure::known(Code::BadRequest, format!("the body cannot be read: {error}"))
}

fn typed<F, Fut, T, R, E>(
    handler: F,
    read: fn(&[u8]) -> Result<T, Failure>,
    write: fn(&R) -> Result<Vec<u8>, Failure>,
) -> impl Fn(Request) -> BoxFuture<'static, Result<Message, Failure>> + Send + Sync + 'static
where
    F: Fn(T, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    T: Send + 'static,
    R: 'static,
    E: Into<Failure> + 'static,
{
    let handler = Arc::new(handler);
    move |request| {
        let handler = handler.clone();
        Box::pin(async move {
            let value = read(request.first())?;
            let answer = handler(value, request).await.map_err(Into::into)?;
            write(&answer).map(Message::from)
        })
    }
}
