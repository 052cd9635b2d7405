//! HTTP for health and metrics: what those who serve it share. What is answered is theirs.
//!
//! It has a thread and a runtime of its own. A connection is good for one request and lives for
//! [`CONNECTION_MAX`] at most; what it may send is bounded, and so is how many there are.

mod page;
pub(crate) mod process;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub(crate) use page::{Label, NO_LABEL, Page, write};

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

/// Binds, so that a port in use is known before anything is answered.
pub(crate) fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let real = listener.local_addr()?;
    Ok((listener, real))
}

/// Serves until `ended`.
pub(crate) fn start(
    listener: TcpListener,
    app: Router,
    ended: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async {
            tokio::select! {
                () = ended.cancelled() => {}
                () = serve(listener, app) => {}
            }
        });
    };
    std::thread::Builder::new().name("majordomo-http".into()).spawn(run)
}

async fn serve(listener: TcpListener, app: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "cannot serve HTTP"),
    };
    if let Ok(address) = listener.local_addr() {
        info!(endpoint = %format_args!("http://{address}"), "listening");
    }
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

/// What is measured, as text for Prometheus.
pub(crate) fn measured(text: Result<String, fmt::Error>) -> Response {
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, page::CONTENT_TYPE)], text).into_response(),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

pub(crate) fn unavailable(why: String) -> Response {
    answer(StatusCode::SERVICE_UNAVAILABLE, why)
}

pub(crate) fn answer(status: StatusCode, text: impl Into<String>) -> Response {
    (status, text.into() + "\n").into_response()
}
