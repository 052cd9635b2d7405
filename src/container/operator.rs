//! What an operator asks of services at our broker: who leads, what they say, and that they say
//! something else (SPEC 17.5).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::builder::LEASE_PREFIX;
use super::embedded::{Connection, Embedded};
use super::instance::{Control, Properties};
use crate::client::{CallError, Client};
use crate::lease::{LeaseError, Seen};
use crate::proto::container::Status;
use crate::wire::mjp::{StatusHeader, What};

/// How long a leader may take until it has said what somebody wants.
const SAID_MAX: Duration = Duration::from_secs(5);
/// How long it is waited before wishes are listened for again.
const AGAIN: Duration = Duration::from_secs(1);

/// A service at our broker, as it is seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceSeen {
    /// The instance that leads, and its epoch.
    pub leader: Option<(String, u64)>,
    /// What the leader says.
    pub properties: Properties,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that instances have.
    pub in_work: u64,
    /// Instances that take messages.
    pub instances: u64,
    /// Dead letters in its queue.
    pub dead: u64,
}

/// Why an operator has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// No instance of the service hears it.
    #[error("no instance of a service `{0}` is at this broker")]
    NoService(String),
    /// It was heard, and no leader has said it in time.
    #[error("no leader of `{service}` has said it within {} ms", .after.as_millis())]
    NotSaid {
        /// The service.
        service: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The broker is not reached.
    #[error("{0}")]
    NotConnected(String),
    /// The broker says no.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The broker says no.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

/// The subject on which leaders hear what is wanted of them.
fn subject(service: &str) -> String {
    format!("{LEASE_PREFIX}{service}.set")
}

/// An operator at our broker.
#[derive(Debug, Clone)]
pub struct Operator {
    client: Client,
}

impl Operator {
    /// Connects.
    ///
    /// # Errors
    /// [`OperatorError::NotConnected`].
    pub async fn connect(home: &Embedded) -> Result<Self, OperatorError> {
        let client = Connection::new(home).client().await;
        Ok(Self { client: client.map_err(OperatorError::NotConnected)? })
    }

    /// The services that somebody leads, by name.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub async fn services(&self) -> Result<BTreeMap<String, ServiceSeen>, OperatorError> {
        let mut services = BTreeMap::new();
        for row in self.client.leases(LEASE_PREFIX).await? {
            let Some(service) = row.lease.strip_prefix(LEASE_PREFIX) else { continue };
            if let Some(seen) = self.service(service).await? {
                services.insert(service.to_owned(), seen);
            }
        }
        Ok(services)
    }

    /// A service, if it has a leader or instances.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub async fn service(&self, service: &str) -> Result<Option<ServiceSeen>, OperatorError> {
        let mut seen = ServiceSeen::default();
        let lease = self.client.lease(format!("{LEASE_PREFIX}{service}"));
        let mut watch = lease.observe()?;
        if let Some(first) = watch.next().await
            && let Seen::Held { epoch, name, value } = first?
        {
            seen.leader = Some((name.unwrap_or_default(), epoch));
            seen.properties = serde_json::from_slice(&value).unwrap_or_default();
        }
        let name = Some(service.as_bytes());
        let ask = StatusHeader { what: What::Services, service: name, after: None, max: None };
        let status = self.client.status(&ask).await?;
        let report = status.report();
        let of_it = report.services.iter().flatten().find(|it| it.service == service.as_bytes());
        if let Some(of_it) = of_it {
            (seen.waiting, seen.in_work) = (of_it.waiting, of_it.in_flight);
            seen.instances = of_it.workers;
            seen.dead = of_it.dead.unwrap_or_default();
        }
        if seen.leader.is_none() && seen.instances == 0 {
            return Ok(None);
        }
        Ok(Some(seen))
    }

    /// Has the leader of a service say something to all instances, and waits until it has.
    ///
    /// # Errors
    /// See [`OperatorError`].
    ///
    /// # Cancel safety
    /// It may be said, or not.
    pub async fn set(&self, service: &str, name: &str, value: &str) -> Result<(), OperatorError> {
        let wish = Properties::from([(name.to_owned(), value.to_owned())]);
        let lease = self.client.lease(format!("{LEASE_PREFIX}{service}"));
        let mut watch = lease.observe()?;
        let began = Instant::now();
        let said = async {
            loop {
                // A leader that has just come hears it the next time.
                let wish = serde_json::to_vec(&wish).unwrap_or_default();
                if self.client.publish(&subject(service), wish).await? == 0 {
                    return Err(OperatorError::NoService(service.into()));
                }
                while let Ok(Some(seen)) = timeout(AGAIN, watch.next()).await {
                    if let Seen::Held { value: says, .. } = seen?
                        && says_so(&says, name, value)
                    {
                        return Ok(());
                    }
                }
            }
        };
        timeout(SAID_MAX, said).await.unwrap_or_else(|_| {
            Err(OperatorError::NotSaid { service: service.into(), after: began.elapsed() })
        })
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.client.close(AGAIN).await;
    }
}

fn says_so(says: &[u8], name: &str, value: &str) -> bool {
    let properties: Properties = serde_json::from_slice(says).unwrap_or_default();
    properties.get(name).is_some_and(|it| it == value)
}

/// What operators want to be said, as an instance hears it.
#[derive(Debug)]
pub(super) struct Wishes {
    pub(super) connection: Connection,
    pub(super) service: String,
}

impl Wishes {
    /// Hears them, and passes them on while this instance leads.
    pub(super) async fn run(self, control: mpsc::Sender<Control>, status: watch::Receiver<Status>) {
        loop {
            if let Ok(client) = self.connection.client().await
                && let Ok(mut heard) = client.subscribe(&subject(&self.service)).await
            {
                while let Some(wish) = heard.next().await {
                    let Ok(wish) = wish else { continue };
                    let wish: Properties =
                        serde_json::from_slice(wish.body.first()).unwrap_or_default();
                    for (name, value) in wish {
                        if status.borrow().leading && !pass(&control, name, value).await {
                            return;
                        }
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }
}

/// Has it said. Whether the instance goes on.
async fn pass(control: &mpsc::Sender<Control>, name: String, value: String) -> bool {
    let (done, outcome) = oneshot::channel();
    tracing::info!(name, value, "an operator wants something to be said");
    if control.send(Control::Put { name, value, done }).await.is_err() {
        return false;
    }
    if let Ok(Err(error)) = outcome.await {
        tracing::warn!(%error, "it is not said");
    }
    true
}
