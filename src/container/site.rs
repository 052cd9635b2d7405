//! `/livez`, `/readyz` and `/metrics` of an instance.

use std::io;
use std::net::TcpListener;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::meter::Meter;
use crate::http::{answer, measured, unavailable};

/// Serves until `ended`.
pub(super) fn start(
    listener: TcpListener,
    meter: Meter,
    ended: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let app = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .fallback(nothing)
        .with_state(meter);
    crate::http::start(listener, app, ended)
}

async fn nothing() -> Response {
    answer(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics")
}

async fn livez(State(meter): State<Meter>) -> Response {
    meter.live().map_or_else(unavailable, |()| answer(StatusCode::OK, "live"))
}

async fn readyz(State(meter): State<Meter>) -> Response {
    meter.ready().map_or_else(unavailable, |()| answer(StatusCode::OK, "ready"))
}

async fn scrape(State(meter): State<Meter>) -> Response {
    measured(meter.text())
}
