//! `/livez`, `/readyz` and `/metrics`, on a thread and a runtime of their own.
//!
//! A connection is good for one request and lives for [`CONNECTION_MAX`] at most; what it may send
//! is bounded, and so is how many there are. Nothing here waits for the core's lock.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::id::ServiceName;

use super::BrokerError;
use super::metrics;
use super::shared::Shared;
use super::survey::Ledger;

/// Connections at a time; more wait in the system's backlog.
const CONNECTIONS_MAX: usize = 32;
/// From accept to the end of the request's head.
const HEAD_MAX: Duration = Duration::from_secs(2);
/// From accept to the last octet of the answer.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Octets of a request's head, and its fields.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_FIELDS_MAX: usize = 64;
/// How long to wait when the system cannot accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the requests share.
#[derive(Debug)]
struct Site {
    shared: Arc<Shared>,
    /// What earlier scrapes have shown; one scrape at a time.
    ledger: Mutex<Ledger>,
}

/// Binds, so that a port in use is known before anything is answered.
pub(super) fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let real = listener.local_addr()?;
        Ok((listener, real))
    };
    bind().map_err(|source| BrokerError::Bind { endpoint: format!("http://{address}"), source })
}

/// Serves until the broker has ended.
pub(super) fn start(
    listener: TcpListener,
    shared: Arc<Shared>,
) -> Result<JoinHandle<()>, BrokerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BrokerError::Thread)?;
    let run = move || {
        runtime.block_on(async {
            let ended = shared.running.clone();
            tokio::select! {
                () = ended.cancelled() => {}
                () = serve(listener, shared) => {}
            }
        });
    };
    std::thread::Builder::new()
        .name("majordomo-http".into())
        .spawn(run)
        .map_err(BrokerError::Thread)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "cannot serve HTTP"),
    };
    if let Ok(address) = listener.local_addr() {
        info!(endpoint = %format_args!("http://{address}"), "listening");
    }
    let site = Site { shared, ledger: Mutex::default() };
    let app = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .fallback(nothing)
        .with_state(Arc::new(site));
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = open.join_next() => {}
            accepted = listener.accept(), if open.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    open.spawn(converse(stream, app.clone()));
                }
                Err(error) => {
                    debug!(%error, "cannot accept; trying again");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
}

/// One request, one answer.
async fn converse(stream: tokio::net::TcpStream, app: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .keep_alive(false)
        .max_headers(HEAD_FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let conversation = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    match timeout(CONNECTION_MAX, conversation).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an HTTP connection broke"),
        Err(_) => debug!("an HTTP client was too slow; closed"),
    }
}

async fn nothing() -> Response {
    answer(StatusCode::NOT_FOUND, "there are /livez, /readyz, /readyz?service=NAME and /metrics")
}

async fn livez(State(site): State<Arc<Site>>) -> Response {
    match site.shared.stuck() {
        None => answer(StatusCode::OK, "live"),
        Some(silence) => unavailable(format!("the core has not run for {silence:?}")),
    }
}

async fn readyz(State(site): State<Arc<Site>>, RawQuery(query): RawQuery) -> Response {
    let service = match query.as_deref().filter(|query| !query.is_empty()).map(service_of) {
        None => None,
        Some(Ok(name)) => Some(name),
        Some(Err(why)) => return answer(StatusCode::BAD_REQUEST, why),
    };
    if let Some(why) = site.shared.unready() {
        return unavailable(why.to_string());
    }
    let Some(name) = service else { return answer(StatusCode::OK, "ready") };
    match site.shared.look(|core| core.router().is_served(name.as_bytes())).await {
        Some(true) => answer(StatusCode::OK, "ready"),
        Some(false) => unavailable(format!("no worker offers `{name}`")),
        None => unavailable("the core is too busy to be asked".into()),
    }
}

async fn scrape(State(site): State<Arc<Site>>) -> Response {
    let mut ledger = site.ledger.lock().await;
    let Some(survey) = ledger.survey(&site.shared).await else {
        return unavailable("the core is too busy to be asked".into());
    };
    drop(ledger);
    match metrics::write(site.shared.clone(), survey) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn unavailable(why: String) -> Response {
    answer(StatusCode::SERVICE_UNAVAILABLE, why)
}

fn answer(status: StatusCode, text: impl Into<String>) -> Response {
    (status, text.into() + "\n").into_response()
}

/// The service in `service=NAME`. Names are octets, so any octet may be written as `%XX`; `+` is a
/// space, as forms have it.
fn service_of(query: &str) -> Result<ServiceName, String> {
    const LIKE: &str = "write ?service=NAME, with %XX for octets that a URL cannot hold";
    let name = query.strip_prefix("service=").filter(|name| !name.contains('&'));
    let name = name.ok_or_else(|| format!("unknown query; {LIKE}"))?;
    let octets = percent_decoded(name).ok_or_else(|| format!("`%` without two digits; {LIKE}"))?;
    ServiceName::try_from(octets.as_slice()).map_err(|error| error.to_string())
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let digit =
        |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            b'+' => b' ',
            _ => octet,
        });
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_in_a_query_octet_by_octet() {
        let name = |query| service_of(query).map(|name| name.as_bytes().to_vec());
        assert_eq!(name("service=echo"), Ok(b"echo".to_vec()));
        assert_eq!(name("service=%00%ff%2B+%C3%a9="), Ok(b"\x00\xff+ \xc3\xa9=".to_vec()));
        for bad in ["service", "servce=x", "service=", "service=%4", "service=%zz", "service=a&b=c"]
        {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert!(name(&format!("service={}", "x".repeat(256))).is_err());
    }
}
