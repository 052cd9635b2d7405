//! Questions to etcd, each with a time limit.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use tokio::sync::Mutex;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, IntoStreamingRequest, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::wire::{
    AuthenticateRequest, AuthenticateResponse, DeleteRangeRequest, DeleteRangeResponse, KeyValue,
    LeaseGrantRequest, LeaseGrantResponse, LeaseId, LeaseKeepAliveResponse, LeaseRevokeResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnResponse,
    WatchRequest, WatchResponse,
};
use super::{EtcdConfig, EtcdError, EtcdTls, Txn};

/// A silent connection is asked after so long (etcd allows no more often than each 5 s) ...
const PING_EVERY: Duration = Duration::from_secs(10);
/// ... and closed after so long without an answer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets of one answer.
const ANSWER_MAX: usize = 4 << 20;
/// Keys of one answer.
const PAGE: i64 = 1_000;
/// Keys with one beginning; a service has a handful.
const KEYS_MAX: usize = 100_000;

/// What a question shows to be allowed.
type Token = Option<MetadataValue<Ascii>>;

/// A client; clones share it. It connects when it is asked something, and again when it has to.
#[derive(Debug, Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EtcdConfig,
    channels: Vec<Channel>,
    /// Who is asked now.
    at: AtomicUsize,
    /// What a user was given.
    token: Mutex<Token>,
}

/// A lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub id: i64,
    /// Its life, as etcd grants it.
    pub ttl: Duration,
}

/// Keys and values at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// By key.
    pub kvs: Vec<KeyValue>,
    /// Of the whole store.
    pub revision: i64,
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct TxnOutcome {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// Of the store, after it.
    pub revision: i64,
    /// What its reads have found, in their order.
    pub ranges: Vec<Vec<KeyValue>>,
}

/// The end of the range of all keys with that beginning.
pub(super) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // To the end of all keys.
    vec![0]
}

impl EtcdTls {
    fn client(&self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        match &self.identity {
            Some((certificate, key)) => {
                config.identity(Identity::from_pem(certificate, key.expose()))
            }
            None => config,
        }
    }
}

impl Etcd {
    /// A client; nothing is sent yet. To be called within a runtime of tokio.
    ///
    /// # Errors
    ///
    /// [`EtcdError::Endpoint`]: one of them cannot be read, or there is none.
    pub fn new(config: EtcdConfig) -> Result<Self, EtcdError> {
        let channel = |endpoint: &String| {
            let wrong = |reason: String| EtcdError::Endpoint { endpoint: endpoint.clone(), reason };
            let parsed = Endpoint::from_shared(endpoint.clone());
            let mut parsed = parsed.map_err(|error| wrong(error.to_string()))?;
            match &config.tls {
                Some(tls) if endpoint.starts_with("https://") => {
                    let secured = parsed.tls_config(tls.client());
                    parsed = secured.map_err(|error| wrong(error.to_string()))?;
                }
                None if endpoint.starts_with("https://") => {
                    return Err(wrong("nobody says which authority is to vouch for it".into()));
                }
                // What others may read is not sent where somebody wanted it to be secret.
                Some(_) => return Err(wrong("it does not begin with https://".into())),
                None if endpoint.starts_with("http://") => {}
                None => return Err(wrong("it does not begin with http://".into())),
            }
            let channel = parsed
                .connect_timeout(config.timeout)
                .http2_keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(true)
                .connect_lazy();
            Ok(channel)
        };
        let channels = config.endpoints.iter().map(channel).collect::<Result<Vec<_>, _>>()?;
        if channels.is_empty() {
            let reason = "there is none".into();
            return Err(EtcdError::Endpoint { endpoint: String::new(), reason });
        }
        let given = config.token.as_ref().map(|token| token.expose().parse());
        let given = given.transpose().map_err(|_| EtcdError::NotAllowed("a bad token".into()))?;
        let (at, token) = (AtomicUsize::new(0), Mutex::new(given));
        Ok(Self { inner: Arc::new(Inner { config, channels, at, token }) })
    }

    /// Takes out a lease.
    ///
    /// # Errors
    ///
    /// etcd cannot be reached, or refuses.
    pub async fn grant(&self, ttl: Duration) -> Result<Lease, EtcdError> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let request = LeaseGrantRequest { ttl: seconds, id: 0 };
        let answer: LeaseGrantResponse =
            self.unary("/etcdserverpb.Lease/LeaseGrant", request).await?;
        if !answer.error.is_empty() {
            return Err(EtcdError::Refused(answer.error));
        }
        let ttl = Duration::from_secs(u64::try_from(answer.ttl).unwrap_or_default());
        Ok(Lease { id: answer.id, ttl })
    }

    /// Renews a lease; its life from now on.
    ///
    /// # Errors
    ///
    /// [`EtcdError::LeaseGone`], or etcd cannot be reached.
    pub async fn keep_alive(&self, lease: i64) -> Result<Duration, EtcdError> {
        let ask = move |channel, token| async move {
            let asked = futures::stream::once(async move { LeaseId { id: lease } });
            let answers = streaming(channel, token, "/etcdserverpb.Lease/LeaseKeepAlive", asked);
            let mut answers: Streaming<LeaseKeepAliveResponse> = answers.await?;
            answers.message().await
        };
        match self.ask(ask).await? {
            Some(LeaseKeepAliveResponse { ttl, .. }) if ttl > 0 => {
                Ok(Duration::from_secs(u64::try_from(ttl).unwrap_or_default()))
            }
            Some(_) => Err(EtcdError::LeaseGone),
            None => Err(EtcdError::Refused("the stream ended without an answer".into())),
        }
    }

    /// Gives up a lease and all keys that hang on it.
    ///
    /// # Errors
    ///
    /// [`EtcdError::LeaseGone`], or etcd cannot be reached.
    pub async fn revoke(&self, lease: i64) -> Result<(), EtcdError> {
        let request = LeaseId { id: lease };
        let path = "/etcdserverpb.Lease/LeaseRevoke";
        self.unary::<_, LeaseRevokeResponse>(path, request).await.map(|_| ())
    }

    /// Carries out a transaction.
    ///
    /// # Errors
    ///
    /// [`EtcdError::LeaseGone`] if it puts something on a lease that is gone, or etcd cannot be
    /// reached.
    pub async fn txn(&self, txn: Txn) -> Result<TxnOutcome, EtcdError> {
        let answer: TxnResponse = self.unary("/etcdserverpb.KV/Txn", txn.request).await?;
        let ranges = answer.responses.into_iter().filter_map(|it| it.response_range);
        let ranges = ranges.map(|it| it.kvs).collect();
        let revision = revision(answer.header.as_ref());
        Ok(TxnOutcome { succeeded: answer.succeeded, revision, ranges })
    }

    /// All keys with that beginning, as they are at one moment; 100,000 at most.
    ///
    /// # Errors
    ///
    /// etcd cannot be reached, or refuses; there are more.
    pub async fn prefix(&self, prefix: &str) -> Result<Range, EtcdError> {
        let range_end = prefix_end(prefix.as_bytes());
        let mut ask = RangeRequest { key: prefix.into(), range_end, limit: PAGE, revision: 0 };
        let mut kvs: Vec<KeyValue> = Vec::new();
        loop {
            let page: RangeResponse = self.unary("/etcdserverpb.KV/Range", ask.clone()).await?;
            if ask.revision == 0 {
                ask.revision = revision(page.header.as_ref());
            }
            kvs.extend(page.kvs);
            let Some(last) = kvs.last().filter(|_| page.more) else {
                return Ok(Range { kvs, revision: ask.revision });
            };
            if kvs.len() >= KEYS_MAX {
                let why = format!("more than {KEYS_MAX} keys begin with {prefix}");
                return Err(EtcdError::Refused(why));
            }
            ask.key = [&*last.key, &[0]].concat();
        }
    }

    /// One key.
    ///
    /// # Errors
    ///
    /// etcd cannot be reached, or refuses.
    pub async fn get(&self, key: &str) -> Result<Option<KeyValue>, EtcdError> {
        let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
        let mut answer: RangeResponse = self.unary("/etcdserverpb.KV/Range", request).await?;
        Ok(answer.kvs.pop())
    }

    /// Puts a key; 0 is no lease. The revision after it.
    ///
    /// # Errors
    ///
    /// [`EtcdError::LeaseGone`], or etcd cannot be reached.
    pub async fn put(&self, key: &str, value: &[u8], lease: i64) -> Result<i64, EtcdError> {
        let request = PutRequest { key: key.into(), value: value.into(), lease };
        let answer: PutResponse = self.unary("/etcdserverpb.KV/Put", request).await?;
        Ok(revision(answer.header.as_ref()))
    }

    /// Deletes a key; whether it was there.
    ///
    /// # Errors
    ///
    /// etcd cannot be reached, or refuses.
    pub async fn delete(&self, key: &str) -> Result<bool, EtcdError> {
        let request = DeleteRangeRequest { key: key.into(), range_end: Vec::new() };
        let answer: DeleteRangeResponse =
            self.unary("/etcdserverpb.KV/DeleteRange", request).await?;
        Ok(answer.deleted > 0)
    }

    /// A stream of what happens from a revision on.
    pub(super) async fn watch_stream(
        &self,
        request: WatchRequest,
    ) -> Result<Streaming<WatchResponse>, EtcdError> {
        self.ask(|channel, token| {
            // The stream of questions stays open, or etcd ends that of answers.
            let request = request.clone();
            let asked = futures::stream::once(async move { request });
            let asked = futures::StreamExt::chain(asked, futures::stream::pending());
            streaming(channel, token, "/etcdserverpb.Watch/Watch", asked)
        })
        .await
    }

    async fn unary<Q, A>(&self, path: &'static str, request: Q) -> Result<A, EtcdError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.ask(|channel, token| unary(channel, token, path, request.clone())).await
    }

    /// Asks, within the time limit; once more if a token has expired. Whoever cannot be reached is
    /// not asked next.
    async fn ask<A, F>(&self, ask: impl Fn(Channel, Token) -> F) -> Result<A, EtcdError>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let inner = &self.inner;
        let at = inner.at.load(Ordering::Relaxed) % inner.channels.len();
        let (Some(channel), Some(endpoint)) =
            (inner.channels.get(at), inner.config.endpoints.get(at))
        else {
            return Err(EtcdError::Refused("there is no endpoint".into()));
        };
        let next = || inner.at.store(at + 1, Ordering::Relaxed);
        let timeout = inner.config.timeout;
        let asked = self.with_token(channel, &ask);
        match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => {
                let error = explain(endpoint, &status, timeout);
                if matches!(error, EtcdError::Unreachable { .. } | EtcdError::TimedOut { .. }) {
                    next();
                }
                Err(error)
            }
            Err(_) => {
                next();
                Err(EtcdError::TimedOut { endpoint: endpoint.clone(), timeout })
            }
        }
    }

    async fn with_token<A, F>(
        &self,
        channel: &Channel,
        ask: &impl Fn(Channel, Token) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let known = self.token(channel, false).await?;
        match ask(channel.clone(), known).await {
            Err(status) if self.inner.config.user.is_some() && is_outdated(&status) => {
                let fresh = self.token(channel, true).await?;
                ask(channel.clone(), fresh).await
            }
            answer => answer,
        }
    }

    /// What a user shows; a new one if the old one is not taken any more.
    async fn token(&self, channel: &Channel, fresh: bool) -> Result<Token, Status> {
        let Some((name, password)) = &self.inner.config.user else {
            return Ok(self.inner.token.lock().await.clone());
        };
        let mut token = self.inner.token.lock().await;
        if token.is_none() || fresh {
            let (name, password) = (name.clone(), password.expose().clone());
            let request = AuthenticateRequest { name, password };
            let path = "/etcdserverpb.Auth/Authenticate";
            let answer: AuthenticateResponse = unary(channel.clone(), None, path, request).await?;
            let given = answer.token.parse();
            *token = Some(given.map_err(|_| Status::internal("a token that cannot be sent"))?);
        }
        Ok(token.clone())
    }
}

/// Whether a token is not taken any more: it has expired, or (a JWT) users or roles were changed
/// since it was given.
fn is_outdated(status: &Status) -> bool {
    match status.code() {
        Code::Unauthenticated => true,
        Code::InvalidArgument => status.message().contains("revision of auth store is old"),
        _ => false,
    }
}

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

async fn ready(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_MAX);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(reason_of(&error)))?;
    Ok(grpc)
}

async fn unary<Q, A>(
    channel: Channel,
    token: Token,
    path: &'static str,
    request: Q,
) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut request = Request::new(request);
    if let Some(token) = token {
        request.metadata_mut().insert("token", token);
    }
    let mut grpc = ready(channel).await?;
    let path = PathAndQuery::from_static(path);
    let answer = grpc.unary(request, path, ProstCodec::<Q, A>::default()).await?;
    Ok(answer.into_inner())
}

fn streaming<Q, A>(
    channel: Channel,
    token: Token,
    path: &'static str,
    requests: impl futures::Stream<Item = Q> + Send + 'static,
) -> impl Future<Output = Result<Streaming<A>, Status>>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut request = requests.into_streaming_request();
    async move {
        if let Some(token) = token {
            request.metadata_mut().insert("token", token);
        }
        // A member that is cut off from the others ends the stream, and does not fall silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let mut grpc = ready(channel).await?;
        let path = PathAndQuery::from_static(path);
        let answer = grpc.streaming(request, path, ProstCodec::<Q, A>::default()).await?;
        Ok(answer.into_inner())
    }
}

pub(super) fn explain(endpoint: &str, status: &Status, timeout: Duration) -> EtcdError {
    let endpoint = endpoint.to_owned();
    let said = status.message().to_owned();
    match status.code() {
        Code::NotFound if said.contains("lease") => EtcdError::LeaseGone,
        Code::Unauthenticated | Code::PermissionDenied => EtcdError::NotAllowed(said),
        // etcd says so of a wrong password, too.
        Code::InvalidArgument if said.contains("authentication failed") => {
            EtcdError::NotAllowed(said)
        }
        Code::DeadlineExceeded | Code::Cancelled => EtcdError::TimedOut { endpoint, timeout },
        // A transport that breaks in the middle of an answer is unknown, or internal.
        Code::Unavailable => {
            let reason = if said.is_empty() { reason_of(status) } else { said };
            EtcdError::Unreachable { endpoint, reason: format!("{reason}{}", behind(status)) }
        }
        Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => {
            EtcdError::Unreachable { endpoint, reason: reason_of(status) }
        }
        _ => EtcdError::Refused(said),
    }
}

/// The last reason of a chain: that of the system.
fn reason_of(error: &dyn std::error::Error) -> String {
    let mut last = error;
    // Chains of errors are short; this one is bounded all the same.
    for _ in 0..16 {
        match last.source() {
            Some(source) => last = source,
            None => break,
        }
    }
    last.to_string()
}

fn behind(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(_) => format!(": {}", reason_of(error)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_outdated_when_it_has_expired_or_users_were_changed() {
        let old = "etcdserver: revision of auth store is old";
        assert!(is_outdated(&Status::unauthenticated("etcdserver: invalid auth token")));
        assert!(is_outdated(&Status::invalid_argument(old)));
        let wrong = "etcdserver: authentication failed, invalid user ID or password";
        assert!(!is_outdated(&Status::invalid_argument(wrong)));
        assert!(!is_outdated(&Status::unavailable(old)));
    }

    #[test]
    fn the_end_of_a_prefix_is_right_behind_its_last_key() {
        assert_eq!(prefix_end(b"/nuropb/s/"), b"/nuropb/s0");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff\xff"), b"\0");
        assert_eq!(prefix_end(b""), b"\0");
    }
}
