//! The management interface: HTTP and JSON, a connection for each question.

use std::pin::{Pin, pin};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::RabbitError;
use super::url::{percent_decoded, percent_encoded};
use crate::engine::Secret;

/// Octets of one answer.
const ANSWER_MAX: usize = 16 << 20;

/// The interface of one server: `http://USER:PASSWORD@HOST:PORT/api`.
#[derive(Debug, Clone)]
pub struct Management {
    server: String,
    base: String,
    authorization: Secret,
    timeout: Duration,
}

/// A queue, as the server counts; up to 5 s old.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// Messages in it.
    pub messages: u64,
    /// Of those, the ones that wait.
    pub messages_ready: u64,
    /// Of those, the ones that are in work.
    pub messages_unacknowledged: u64,
    /// Who takes from it.
    pub consumers: u64,
    /// What has happened to its messages.
    pub message_stats: MessageStats,
}

/// What has happened to the messages of a queue since it is there; nothing of a kind, nothing said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MessageStats {
    /// Those that were settled as done.
    pub ack: Option<u64>,
}

/// Whoever takes from a queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ConsumerInfo {
    /// The queue.
    pub queue: QueueName,
    /// How it is connected.
    pub channel_details: ChannelDetails,
}

/// The name of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct QueueName {
    /// It.
    pub name: String,
}

/// The channel of a consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ChannelDetails {
    /// The connection, by the name that the server gave it.
    pub connection_name: String,
}

impl Management {
    /// A client of that URL.
    ///
    /// # Errors
    ///
    /// [`RabbitError::Url`].
    pub fn new(url: &str, timeout: Duration) -> Result<Self, RabbitError> {
        let wrong =
            || RabbitError::Url("write http://USER:PASSWORD@HOST:PORT/api for management".into());
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, "api"));
        let (user, server) = authority.rsplit_once('@').ok_or_else(wrong)?;
        let user = percent_decoded(user).filter(|it| it.contains(':')).ok_or_else(wrong)?;
        if server.is_empty() {
            return Err(wrong());
        }
        let port = server.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let server = if port.is_some() { server.to_owned() } else { format!("{server}:15672") };
        let base = format!("/{}", path.trim_end_matches('/'));
        let authorization = format!("Basic {}", base64(user.as_bytes())).into();
        Ok(Self { server, base, authorization, timeout })
    }

    /// Makes a virtual host, if it is not there; whether it was made.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses.
    pub async fn ensure_vhost(&self, name: &str) -> Result<bool, RabbitError> {
        let path = format!("/vhosts/{}", percent_encoded(name));
        match self.ask(Method::GET, &path, None).await {
            Ok(_) => return Ok(false),
            Err(RabbitError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        self.ask(Method::PUT, &path, Some(json!({}))).await?;
        Ok(true)
    }

    /// A queue; none if there is no such.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses.
    pub async fn queue(&self, vhost: &str, name: &str) -> Result<Option<QueueInfo>, RabbitError> {
        let path = format!("/queues/{}/{}", percent_encoded(vhost), percent_encoded(name));
        match self.ask(Method::GET, &path, None).await {
            Ok(value) => read(value).map(Some),
            Err(RabbitError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All queues of a virtual host.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses.
    pub async fn queues(&self, vhost: &str) -> Result<Vec<QueueInfo>, RabbitError> {
        let path = format!("/queues/{}", percent_encoded(vhost));
        read(self.ask(Method::GET, &path, None).await?)
    }

    /// All who take from queues of a virtual host.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses.
    pub async fn consumers(&self, vhost: &str) -> Result<Vec<ConsumerInfo>, RabbitError> {
        let path = format!("/consumers/{}", percent_encoded(vhost));
        read(self.ask(Method::GET, &path, None).await?)
    }

    /// Ends a connection, which is told why; whether it was there.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses.
    pub async fn end_connection(&self, name: &str, why: &str) -> Result<bool, RabbitError> {
        let path = format!("/connections/{}", percent_encoded(name));
        match self.ask_with(Method::DELETE, &path, None, Some(why)).await {
            Ok(_) => Ok(true),
            Err(RabbitError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks, and reads what is answered; nothing at all is `null`.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, RabbitError> {
        self.ask_with(method, path, body, None).await
    }

    /// The same, with a reason.
    async fn ask_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        why: Option<&str>,
    ) -> Result<Value, RabbitError> {
        let what = "the management interface";
        let exchange = self.exchange(method, path, body, why);
        let answer = tokio::time::timeout(self.timeout, exchange).await;
        let (status, octets) =
            answer.map_err(|_| RabbitError::TimedOut { what, timeout: self.timeout })??;
        let said = || String::from_utf8_lossy(octets.get(..200).unwrap_or(&octets)).into_owned();
        match status {
            StatusCode::NOT_FOUND => Err(RabbitError::NotFound(path.into())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(RabbitError::NotAllowed(said()))
            }
            status if !status.is_success() => {
                Err(RabbitError::Refused(format!("{status}: {}", said())))
            }
            _ if octets.is_empty() => Ok(Value::Null),
            _ => serde_json::from_slice(&octets)
                .map_err(|error| RabbitError::Refused(format!("{what}: {error}"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        why: Option<&str>,
    ) -> Result<(StatusCode, Vec<u8>), RabbitError> {
        let unreachable = |reason: String| {
            let server = self.server.clone();
            RabbitError::Unreachable { server, reason }
        };
        let stream = TcpStream::connect(&self.server).await;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut request = Request::builder();
        if let Some(why) = why {
            request = request.header("X-Reason", why);
        }
        let request = request
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(HOST, &self.server)
            .header(AUTHORIZATION, self.authorization.expose())
            .header(CONTENT_TYPE, "application/json")
            .body(body.map(|body| body.to_string()).unwrap_or_default())
            .map_err(|error| RabbitError::Url(error.to_string()))?;
        let mut exchange = pin!(async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, collect(answer.into_body()).await?))
        });
        let mut connection = pin!(connection);
        let mut open = true;
        loop {
            tokio::select! {
                done = &mut exchange => {
                    return done.map_err(|error| unreachable(error.to_string()));
                }
                _ = &mut connection, if open => open = false,
            }
        }
    }
}

/// The octets of a body; what is above the limit is not kept, so that it cannot be read as JSON.
async fn collect(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut octets = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        if let Ok(data) = frame?.into_data()
            && octets.len() + data.len() <= ANSWER_MAX
        {
            octets.extend_from_slice(&data);
        }
    }
    Ok(octets)
}

fn read<T: for<'a> Deserialize<'a>>(value: Value) -> Result<T, RabbitError> {
    serde_json::from_value(value).map_err(|error| RabbitError::Refused(error.to_string()))
}

/// RFC 4648, section 4.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for chunk in octets.chunks(3) {
        let octet = |at| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for at in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * at) & 63) as usize).copied();
            text.push(digit.filter(|_| at <= chunk.len()).map_or('=', char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_needs_a_user_and_its_password_is_not_shown() {
        let timeout = Duration::from_secs(1);
        let api = Management::new("http://guest:s%40@h:15673/api/", timeout).unwrap();
        assert_eq!((api.server.as_str(), api.base.as_str()), ("h:15673", "/api"));
        assert_eq!(api.authorization.expose(), "Basic Z3Vlc3Q6c0A=");
        assert!(!format!("{api:?}").contains("Basic"));
        assert_eq!(Management::new("http://a:b@h", timeout).unwrap().server, "h:15672");
        for wrong in ["", "https://a:b@h", "http://h/api", "http://a@h", "http://a:b@"] {
            assert!(Management::new(wrong, timeout).is_err(), "{wrong}");
        }
    }
}
