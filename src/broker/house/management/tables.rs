//! `show_workers`, `show_services`, `show_clients`: the tables, walked in pages.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::broker::shared::{Shared, now};
use crate::id::{Identity, ServiceName};
use crate::proto::core::{ClientRow, Core, Page, WorkerRow};
use crate::proto::stats::Outcome;

use super::super::Asked;
use super::listing::Listing;

/// Rows of a look, so that others wait for the tables no longer than that takes.
const PAGE: usize = 1024;
/// From one page to the next: see `survey.rs`.
const BETWEEN: Duration = Duration::from_millis(1);

pub(super) const BUSY: &str = "the broker is too busy to be asked; ask again";

/// Gives `take` every row.
pub(super) async fn walk<T>(
    shared: &Shared,
    page: impl Fn(&mut Core, u32, usize) -> Page<T>,
    mut take: impl FnMut(T),
) -> Result<(), String> {
    let mut next = Some(0);
    while let Some(from) = next {
        let looked = shared.look(|core| page(core, from, PAGE)).await.ok_or(BUSY)?;
        looked.rows.into_iter().for_each(&mut take);
        next = looked.next;
        if next.is_some() {
            sleep(BETWEEN).await;
        }
    }
    Ok(())
}

/// Every worker.
pub(super) async fn walk_workers(
    shared: &Shared,
    take: impl FnMut(WorkerRow),
) -> Result<(), String> {
    walk(shared, |core, from, max| core.worker_rows(now(), from, max), take).await
}

pub(super) fn text(name: &Identity) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}

pub(super) fn service(name: &ServiceName) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}

/// Seconds with one decimal.
pub(super) fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// A row of NorFab's table, its columns in NorFab's order.
#[derive(serde::Serialize)]
struct Shown {
    name: String,
    service: String,
    status: &'static str,
    holdtime: String,
    #[serde(rename = "keepalives tx/rx")]
    keepalives: String,
    #[serde(rename = "alive (s)")]
    alive: String,
}

/// NorFab's table, all of it text.
pub(super) async fn workers(shared: &Shared, asked: &Asked, max: usize) -> Result<Vec<u8>, String> {
    let of = asked.text("service")?.filter(|of| !matches!(*of, "" | "all"));
    // Whoever is listed lives: the dead are not kept. Other words are no filter, as with NorFab.
    let nobody = asked.text("status")? == Some("dead");
    let mut listing = Listing::new(max);
    let list = |row: WorkerRow| {
        let service = service(&row.service);
        if nobody || of.is_some_and(|of| of != service) {
            return;
        }
        listing.push(&Shown {
            name: text(&row.name),
            service,
            status: "alive",
            holdtime: format!("{:.1}", row.hold_left.as_secs_f64()),
            keepalives: format!("{} / {}", row.beats_sent, row.beats_heard),
            alive: row.registered.as_secs().to_string(),
        });
    };
    walk_workers(shared, list).await?;
    let placeholder = |status: String| json!({"name": "", "service": "", "status": status});
    let last = match listing.left_out() {
        0 => listing.is_empty().then(|| placeholder(String::new())),
        more => Some(placeholder(format!("{more} more workers find no room; name a service"))),
    };
    Ok(listing.finish(last.as_ref()))
}

/// Services that somebody offers or asks for.
pub(super) async fn services(shared: &Shared, max: usize) -> Result<Vec<u8>, String> {
    let page = |core: &mut Core, from, max| {
        let (mut rows, mut next) = (Vec::new(), None);
        for (slot, _, view) in core.router().services_from(from) {
            if rows.len() >= max {
                next = Some(slot);
                break;
            }
            let ended: u64 = view.stats.ended.iter().sum();
            let replied = view.stats.ended_with(Outcome::Replied);
            rows.push(json!({
                "name": service(view.name),
                "workers": view.workers,
                "waiting": view.waiting,
                "in_flight": view.in_flight,
                "accepted": view.stats.accepted,
                "replied": replied,
                "failed": ended.saturating_sub(replied),
            }));
        }
        Page { rows, next }
    };
    let mut listing = Listing::new(max);
    walk(shared, page, |row| listing.push(&row)).await?;
    Ok(finished(listing))
}

/// Peers that ask for services.
pub(super) async fn clients(shared: &Shared, max: usize) -> Result<Vec<u8>, String> {
    let mut listing = Listing::new(max);
    let page = |core: &mut Core, from, max| core.client_rows(now(), from, max);
    walk(shared, page, |row| listing.push(&client(&row))).await?;
    Ok(finished(listing))
}

fn client(row: &ClientRow) -> Value {
    json!({
        "name": text(&row.name),
        "dialect": row.dialect,
        "connected_seconds": tenths(row.connected),
        "silent_seconds": tenths(row.silent),
        "requests": row.requests,
        "jobs": row.jobs,
        "admin": row.admin,
    })
}

fn finished(listing: Listing) -> Vec<u8> {
    let left_out = listing.left_out();
    let last = (left_out > 0).then(|| json!({"name": "", "left_out": left_out}));
    listing.finish(last.as_ref())
}
