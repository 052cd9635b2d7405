//! The queues of our broker, over MJP/1 (SPEC 17.5).

mod events;
mod health;
mod line;
mod taking;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Line, Queues, Reply};
use crate::client::{Answer, CallError, Client};
use crate::container::BuildError;
use crate::container::coordinate::BoxFuture;
use crate::container::embedded::{Connection, Embedded};
use crate::wire::message::Message;
use events::Ears;
use line::BrokerLine;

/// Services that were there once, at most.
const KNOWN_MAX: usize = 10_000;
/// Events that were heard and have not been dealt with, at most.
const EVENTS_MAX: usize = 10_000;

/// The queues of one instance, or of a client, at our broker.
#[derive(Debug, Clone)]
pub struct BrokerQueues {
    home: Embedded,
    /// None for a client.
    service: Option<String>,
    instance: String,
    connection: Connection,
    /// The topics that the service hears, and whoever listens for them.
    topics: Vec<String>,
    ears: Arc<OnceCell<Ears>>,
    hearing: Connection,
    /// Services that have been there: their requests wait if they are away for a while.
    known: Arc<Mutex<HashSet<String>>>,
    calls: Arc<Calls>,
}

/// Calls whose answers are waited for, over whichever line they have gone.
#[derive(Debug)]
struct Calls {
    tracker: TaskTracker,
    cancel: CancellationToken,
    _guard: DropGuard,
}

impl Default for Calls {
    fn default() -> Self {
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        Self { tracker: TaskTracker::new(), cancel, _guard: guard }
    }
}

impl Calls {
    /// Does that beside everything else, until it is done or nobody needs it any more.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            let _ = cancel.run_until_cancelled(work).await;
        });
    }
}

/// The answer to what the broker has taken: it is carried out, whether or not somebody waits.
struct Taken(Option<Answer>);

impl Taken {
    async fn outcome(mut self) -> Result<Message, CallError> {
        let Some(answer) = &mut self.0 else { return Err(CallError::Closed) };
        let outcome = answer.await;
        self.0 = None;
        outcome
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer.leave();
        }
    }
}

impl BrokerQueues {
    /// For an instance of a service, which hears these topics.
    ///
    /// # Errors
    /// [`BuildError::Config`]; [`BuildError::Topic`]: our broker has no such subjects.
    pub fn service(
        home: Embedded,
        service: &str,
        instance: &str,
        topics: Vec<String>,
    ) -> Result<Self, BuildError> {
        for topic in &topics {
            events::patterns(topic)?;
        }
        Self::new(home, Some(service.into()), instance, topics)
    }

    /// For a client.
    ///
    /// # Errors
    /// [`BuildError::Config`].
    pub fn client(home: Embedded, instance: &str) -> Result<Self, BuildError> {
        Self::new(home, None, instance, Vec::new())
    }

    fn new(
        home: Embedded,
        service: Option<String>,
        instance: &str,
        topics: Vec<String>,
    ) -> Result<Self, BuildError> {
        home.validate()?;
        let own = format!("{}-{instance}", service.as_deref().unwrap_or("client"));
        let connection = Connection::new(&home).named(&own);
        let hearing = Connection::new(&home).in_flight(EVENTS_MAX);
        Ok(Self {
            home,
            service,
            instance: instance.into(),
            connection,
            topics,
            ears: Arc::default(),
            hearing,
            known: Arc::default(),
            calls: Arc::default(),
        })
    }

    /// Whether somebody offers a service, or has done so before; it may take so long to find out.
    async fn is_known(
        &self,
        client: &Client,
        service: &str,
        wait: Duration,
    ) -> Result<bool, CallError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(service) {
            return Ok(true);
        }
        let asked = client.call("mmi.service", [service.to_owned()]).timeout(wait);
        if asked.await?.first() == b"404" {
            return Ok(false);
        }
        let mut known = known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(service.into());
        Ok(true)
    }
}

impl Queues for BrokerQueues {
    /// There is nothing to be made: a queue is there when somebody asks for it. So this asks
    /// whether the broker is.
    fn set_up(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.reached().await.map(drop) })
    }

    fn connect(
        &self,
        answers: mpsc::Sender<Reply>,
    ) -> BoxFuture<'_, Result<Arc<dyn Line>, String>> {
        Box::pin(async move {
            let client = self.reached().await?;
            if let Some(service) = &self.service
                && !self.topics.is_empty()
            {
                let listen = || async {
                    let client = self.hearing.client().await?;
                    Ears::open(client, service, &self.topics, self.home.level).await
                };
                self.ears.get_or_try_init(listen).await?;
            }
            let line: Arc<dyn Line> = Arc::new(BrokerLine::new(self.clone(), client, answers));
            Ok(line)
        })
    }
}

impl BrokerQueues {
    /// A client whose broker answers.
    async fn reached(&self) -> Result<Client, String> {
        let client = self.connection.client().await?;
        let service = self.service.clone().unwrap_or_else(|| "mmi".into());
        let asked = client.call("mmi.service", [service]);
        let asked = asked.timeout(self.home.client.connect_timeout);
        asked.await.map_err(|error| error.to_string())?;
        Ok(client)
    }
}
