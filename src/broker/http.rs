//! `/livez`, `/readyz` and `/metrics` of a broker. Nothing here waits for the core's lock.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::Mutex;

use crate::http::{answer, measured, unavailable};
use crate::id::ServiceName;

use super::BrokerError;
use super::metrics;
use super::shared::Shared;
use super::survey::Ledger;

/// What the requests share.
#[derive(Debug)]
struct Site {
    shared: Arc<Shared>,
    /// What earlier scrapes have shown; one scrape at a time.
    ledger: Mutex<Ledger>,
}

/// Binds, so that a port in use is known before anything is answered.
pub(super) fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    crate::http::bind(address)
        .map_err(|source| BrokerError::Bind { endpoint: format!("http://{address}"), source })
}

/// Serves until the broker has ended.
pub(super) fn start(
    listener: TcpListener,
    shared: Arc<Shared>,
) -> Result<JoinHandle<()>, BrokerError> {
    let ended = shared.running.clone();
    let site = Site { shared, ledger: Mutex::default() };
    let app = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .fallback(nothing)
        .with_state(Arc::new(site));
    crate::http::start(listener, app, ended).map_err(BrokerError::Thread)
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
    measured(metrics::write(site.shared.clone(), survey))
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
