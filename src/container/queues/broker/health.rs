//! What the leader of a service asks of our broker, and what instances tell it (SPEC 17.6).

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::client::Client;
use crate::container::builder::LEASE_PREFIX;
use crate::proto::container::{Reading, Tally};
use crate::wire::mjp::{AdminHeader, StatusHeader, Verb, What};

/// The subject on which leaders hear whose messages fail.
fn subject(service: &str) -> String {
    format!("{LEASE_PREFIX}{service}.tally")
}

/// Looks at the queue of a service.
pub(super) async fn measure(client: &Client, service: &str) -> Result<Reading, String> {
    let name = Some(service.as_bytes());
    let ask = StatusHeader { what: What::Services, service: name, after: None, max: None };
    let status = client.status(&ask).await.map_err(|error| error.to_string())?;
    let report = status.report();
    let of_it = report.services.iter().flatten().find(|it| it.service == service.as_bytes());
    Ok(of_it.map_or_else(Reading::default, |of_it| Reading {
        waiting: of_it.waiting,
        in_work: Some(of_it.in_flight),
        instances: of_it.workers,
        oldest: of_it.oldest.map(Duration::from_millis),
        done: Some(of_it.replied.saturating_add(of_it.failed)),
        dead: Some(of_it.dead.unwrap_or_default()),
    }))
}

/// Tells whoever leads. Nobody has to listen.
pub(super) async fn tell(client: &Client, service: &str, tally: &Tally) -> Result<(), String> {
    let told = serde_json::to_vec(tally).map_err(|error| error.to_string())?;
    let published = client.publish(&subject(service), told).await;
    published.map(drop).map_err(|error| error.to_string())
}

/// Hands over what instances tell, as long as the handle is kept.
pub(super) async fn hear(
    client: &Client,
    service: &str,
    to: mpsc::Sender<Tally>,
) -> Result<AbortOnDropHandle<()>, String> {
    let mut heard = client.subscribe(&subject(service)).await.map_err(|error| error.to_string())?;
    let listening = tokio::spawn(async move {
        while let Some(told) = heard.next().await {
            let Ok(told) = told else { continue };
            // What is none was told by somebody else.
            let Ok(tally) = serde_json::from_slice(told.body.first()) else { continue };
            if to.send(tally).await.is_err() {
                return;
            }
        }
    });
    Ok(AbortOnDropHandle::new(listening))
}

/// Ends the connection of that name; whether it was there.
pub(super) async fn end_caller(client: &Client, caller: &str) -> Result<usize, String> {
    let ask = AdminHeader { name: Some(caller), ..AdminHeader::new(Verb::Kick) };
    client.admin(&ask).await.map(|_| 1).map_err(|error| error.to_string())
}
