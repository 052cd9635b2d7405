//! Leases over MJP/1: the broker is the arbiter (SPEC 9.14).

mod seat;
mod watch;

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::call::Guard;
use super::error::CallError;
use super::pending::{Ask, Pending, Sink};
use super::{Client, FOREVER};
use crate::lease::{Candidacy, Coordinator, Granted, Lease, LeaseError, Page, Row};
use crate::wire::message::Message;
use crate::wire::mjp::{Code, LeaseHeader, LeaseReport, LeaseVerb, Packed};

pub use seat::ClientSeat;
pub(super) use seat::{After, Campaign, Sink as SeatSink};
pub use watch::Observation;
pub(super) use watch::Sink as WatchSink;

/// A lease of the broker that is held.
pub type Held = crate::lease::Held<ClientSeat>;

impl Client {
    /// A lease of the broker, 1 to 255 octets: to be campaigned for, or observed. Nothing happens
    /// before that. Needs MJP/1.
    pub fn lease(&self, name: impl Into<String>) -> Lease<Self> {
        Lease::new(self.clone(), name)
    }

    /// All leases whose names begin with `prefix`, by name; each with who holds it, and how many
    /// wait for it and observe it.
    ///
    /// # Errors
    /// As [`Coordinator::list`].
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn leases(&self, prefix: &str) -> Result<Vec<Row>, LeaseError> {
        let mut page = self.list(prefix, None).await?;
        let mut rows = std::mem::take(&mut page.rows);
        while let Some(after) = page.next.take() {
            page = self.list(prefix, Some(&after)).await?;
            rows.append(&mut page.rows);
        }
        Ok(rows)
    }

    /// LEASE that is answered once.
    async fn ask_lease(&self, says: &LeaseHeader<'_>) -> Result<Message, CallError> {
        let packed = Packed::new(says);
        let (to, answer) = oneshot::channel();
        let pending = Box::new(Pending {
            ask: Ask::Lease(Message::from(packed.octets().to_vec())),
            timeout: self.config().timeout,
            sink: Sink::Whole(to, Vec::new()),
        });
        let guard = Guard::submit(self.clone(), 1, pending)?;
        let answer = answer.await.unwrap_or(Err(CallError::Closed));
        guard.ended();
        answer
    }
}

impl Coordinator for Client {
    type Seat = ClientSeat;
    type Watch = Observation;

    async fn campaign(&self, candidacy: &Candidacy) -> Result<Granted<ClientSeat>, LeaseError> {
        candidacy.validate()?;
        let (to, granted) = oneshot::channel();
        let until = candidacy.wait.map(|wait| super::after(now(), wait));
        let campaign = Campaign { candidacy: candidacy.clone(), until };
        let pending = Box::new(Pending {
            ask: Ask::Campaign(Box::new(campaign)),
            timeout: FOREVER,
            sink: Sink::Seat(Box::new(SeatSink::new(to, candidacy.terms.grace))),
        });
        let guard = Guard::submit(self.clone(), 1, pending).map_err(|error| of_call(error, ""))?;
        // The broker counts the patience from when it hears of it, and answers.
        let patience = candidacy.wait.map(|wait| wait.saturating_add(self.config().timeout));
        let granted = match patience {
            Some(patience) => match tokio::time::timeout(patience, granted).await {
                Ok(granted) => granted,
                Err(_) => {
                    let because = "the broker did not answer the campaign".into();
                    return Err(LeaseError::Unreachable { because, after: Some(patience) });
                }
            },
            None => granted.await,
        };
        let granted = granted.unwrap_or(Err(CallError::Closed));
        let seat::Given { epoch, ttl, asked, news } = granted.map_err(|it| of_call(it, ""))?;
        let seat = ClientSeat::new(self.clone(), guard, &candidacy.lease, epoch);
        Ok(Granted { seat, news, asked, ttl })
    }

    fn observe(&self, lease: &str) -> Result<Observation, LeaseError> {
        let (sink, queue) = WatchSink::new();
        let pending = Box::new(Pending {
            ask: Ask::Observe(lease.into()),
            timeout: FOREVER,
            sink: Sink::Watch(sink),
        });
        let guard = Guard::submit(self.clone(), 1, pending).map_err(|error| of_call(error, ""))?;
        Ok(Observation::new(queue, guard))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, LeaseError> {
        let verb = LeaseVerb::List.as_str();
        let says = LeaseHeader { verb, prefix: Some(prefix), after, ..LeaseHeader::default() };
        let answer = self.ask_lease(&says).await.map_err(|error| of_call(error, ""))?;
        let report = LeaseReport::decode(answer.first()).map_err(|why| LeaseError::Refused {
            code: "malformed_answer".into(),
            message: why.to_string(),
        })?;
        let rows = report.leases.unwrap_or_default();
        let rows = rows.iter().map(|row| Row {
            lease: row.lease.to_owned(),
            epoch: row.epoch,
            name: row.name.map(str::to_owned),
            held: row.held.map(Duration::from_millis),
            left: row.left.map(Duration::from_millis),
            waiting: row.waiting,
            observers: row.observers,
        });
        Ok(Page { rows: rows.collect(), next: report.next.map(str::to_owned) })
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What a failed call means for a lease; `name` is whom it was to go to.
fn of_call(error: CallError, name: &str) -> LeaseError {
    match error {
        CallError::Held { current } => LeaseError::Held { current },
        CallError::Stale { current } => LeaseError::Stale { current },
        CallError::Refused { code, message, .. } => match Code::from_name(&code) {
            Some(Code::Denied | Code::Forbidden) => LeaseError::Denied { message },
            Some(Code::NotFound) => LeaseError::NoCandidate { name: name.to_owned() },
            _ => LeaseError::Refused { code, message },
        },
        CallError::Closed => LeaseError::Closed,
        CallError::Timeout { after, .. } => {
            LeaseError::Unreachable { because: error.to_string(), after: Some(after) }
        }
        CallError::Disconnected { .. } => {
            LeaseError::Unreachable { because: error.to_string(), after: None }
        }
        error => LeaseError::Refused { code: "failed".into(), message: error.to_string() },
    }
}
