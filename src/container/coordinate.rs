//! Who leads: the lease of a service in any store, as the runtime asks for it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::instance::Properties;
use crate::lease::{Candidacy, Coordinator, Granted, LeaseError, Lost, News, Seat as _, Seen};
use crate::proto::container::{Refusal, Seat};

/// A future that can be named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A session, or why there is none.
pub(super) type Opened = Result<Arc<dyn Session>, String>;

/// What is seen in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Observation {
    /// Who has the seat of the leader.
    Seat(Seat),
    /// All properties of the service.
    Properties(Properties),
    /// The session is broken.
    Broken(String),
}

/// A store of leases, whatever it is.
pub(super) trait Store: fmt::Debug + Send + Sync {
    /// Begins to watch. Observations come for as long as the session is kept; the first ones say
    /// how things are.
    fn open(&self, ttl: Duration, seen: mpsc::Sender<Observation>) -> BoxFuture<'_, Opened>;
}

/// What can be done about the lease of a service.
pub(super) trait Session: fmt::Debug + Send + Sync {
    /// Takes the seat if it is free, and says who has it.
    fn campaign(&self) -> BoxFuture<'_, Result<Seat, Refusal>>;

    /// Renews the lease of the seat; without one, asks whether the store is there.
    fn renew(&self) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Gives up the seat.
    fn resign(&self) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Says something to all instances, if the seat is still held with that epoch.
    fn put_if_leader<'a>(
        &'a self,
        epoch: u64,
        name: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), Refusal>>;
}

/// How a store is reached: again, whenever there is a new session.
pub(super) type Reach<C> = Box<dyn Fn() -> BoxFuture<'static, Result<C, String>> + Send + Sync>;

/// The lease of one service, for one instance.
pub(super) struct Post<C> {
    pub(super) reach: Reach<C>,
    pub(super) lease: String,
    pub(super) instance: String,
    /// The store keeps what a leader does not name when it says something.
    pub(super) merges: bool,
}

impl<C> fmt::Debug for Post<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lease, instance, .. } = self;
        f.debug_struct("Post").field("lease", lease).field("instance", instance).finish()
    }
}

impl<C: Coordinator + fmt::Debug> Store for Post<C> {
    fn open(&self, ttl: Duration, seen: mpsc::Sender<Observation>) -> BoxFuture<'_, Opened> {
        Box::pin(async move {
            let store = (self.reach)().await?;
            // Whether it is there, and if not, why: an observer would only say that it waits.
            store.list(&self.lease, None).await.map_err(|error| error.to_string())?;
            let watch = store.observe(&self.lease).map_err(|error| error.to_string())?;
            let known = Arc::new(Known::default());
            let (lease, instance) = (self.lease.clone(), self.instance.clone());
            let watching = Watching {
                store: store.clone(),
                lease: lease.clone(),
                known: known.clone(),
                seen: seen.clone(),
            };
            let watching = tokio::spawn(watching.run(watch));
            let (merges, chair) = (self.merges, Mutex::new(None));
            let session =
                LeaseSession { store, lease, instance, merges, ttl, known, seen, chair, watching };
            Ok(Arc::new(session) as Arc<dyn Session>)
        })
    }
}

/// What is known of the lease, by whatever has come last.
#[derive(Debug, Default)]
struct Known {
    /// The newest epoch that somebody was given.
    newest: AtomicU64,
    /// Holders up to that epoch hold no more.
    over: AtomicU64,
    /// The epoch that is this session's own, or was.
    own: AtomicU64,
    properties: std::sync::Mutex<Properties>,
}

impl Known {
    fn given(&self, epoch: u64) {
        self.newest.fetch_max(epoch, Ordering::SeqCst);
    }

    fn properties(&self) -> Properties {
        self.properties.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn say(&self, properties: Properties) {
        *self.properties.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = properties;
    }
}

/// The seat, while this instance has it.
#[derive(Debug)]
struct Chair<S> {
    seat: S,
    standing: watch::Receiver<Standing>,
    listening: JoinHandle<()>,
    /// What this leader has said, and what was there before.
    properties: Properties,
}

impl<S> Drop for Chair<S> {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What the store has said of the seat.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// When the newest renewal was sent that was acknowledged.
    renewed: Option<std::time::Instant>,
    lost: Option<Lost>,
}

#[derive(Debug)]
struct LeaseSession<C: Coordinator> {
    store: C,
    lease: String,
    instance: String,
    merges: bool,
    ttl: Duration,
    known: Arc<Known>,
    seen: mpsc::Sender<Observation>,
    chair: Mutex<Option<Chair<C::Seat>>>,
    watching: JoinHandle<()>,
}

impl<C: Coordinator> Drop for LeaseSession<C> {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn failed(error: &LeaseError) -> Refusal {
    match error {
        LeaseError::Stale { .. } | LeaseError::Lost(_) => Refusal::Gone,
        other => Refusal::Failed(other.to_string()),
    }
}

impl<C: Coordinator + fmt::Debug> Session for LeaseSession<C> {
    fn campaign(&self) -> BoxFuture<'_, Result<Seat, Refusal>> {
        Box::pin(async move {
            let mut place = self.chair.lock().await;
            if let Some(chair) = &*place {
                let (epoch, by) = (chair.seat.epoch(), self.instance.clone());
                let lost = chair.standing.borrow().lost.is_some();
                if !lost && epoch > self.known.over.load(Ordering::SeqCst) {
                    return Ok(Seat::Held { by, epoch, ours: true });
                }
                *place = None;
            }
            let properties = self.known.properties();
            let granted = match self.store.campaign(&self.candidacy(&properties)).await {
                Ok(granted) => granted,
                Err(LeaseError::Held { .. }) => return self.who().await,
                Err(error) => return Err(Refusal::Failed(error.to_string())),
            };
            let epoch = granted.seat.epoch();
            *place = Some(self.sit_down(granted, properties).await?);
            self.known.given(epoch);
            self.known.own.store(epoch, Ordering::SeqCst);
            Ok(Seat::Held { by: self.instance.clone(), epoch, ours: true })
        })
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let place = self.chair.lock().await;
            let Some(chair) = &*place else {
                let listed = self.store.list(&self.lease, None).await;
                return listed.map(drop).map_err(|error| Refusal::Failed(error.to_string()));
            };
            renewed(chair).await
        })
    }

    fn resign(&self) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let Some(chair) = self.chair.lock().await.take() else { return Ok(()) };
            let resigned = chair.seat.resign(None).await;
            chair.seat.release();
            resigned.map_err(|error| failed(&error))
        })
    }

    fn put_if_leader<'a>(
        &'a self,
        epoch: u64,
        name: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let mut place = self.chair.lock().await;
            let Some(chair) = place.as_mut().filter(|chair| chair.seat.epoch() == epoch) else {
                return Err(Refusal::Gone);
            };
            let mut properties =
                if self.merges { Properties::new() } else { chair.properties.clone() };
            properties.insert(name.into(), value.into());
            let said = chair.seat.proclaim(&written(&properties)).await;
            said.map_err(|error| failed(&error))?;
            chair.properties = properties;
            Ok(())
        })
    }
}

/// Has the lease renewed, and waits for that.
async fn renewed<S: crate::lease::Seat>(chair: &Chair<S>) -> Result<(), Refusal> {
    let asked = Instant::now().into_std();
    let mut standing = chair.standing.clone();
    loop {
        let before = standing.borrow_and_update().renewed;
        chair.seat.renew();
        let heard = standing.wait_for(|now| now.lost.is_some() || now.renewed > before).await;
        match heard.map(|now| *now) {
            Ok(Standing { lost: None, renewed, .. }) if renewed >= Some(asked) => return Ok(()),
            // One that was sent before somebody asked for it counts from when it was sent.
            Ok(Standing { lost: None, .. }) => {}
            Ok(Standing { lost: Some(_), .. }) | Err(_) => return Err(Refusal::Gone),
        }
    }
}

impl<C: Coordinator> LeaseSession<C> {
    fn candidacy(&self, properties: &Properties) -> Candidacy {
        let mut candidacy = Candidacy::new(&self.lease);
        candidacy.name = Some(self.instance.clone());
        candidacy.terms.ttl = self.ttl;
        candidacy.wait = Some(Duration::ZERO);
        if !self.merges {
            // What was said of the service holds on.
            candidacy.value = written(properties);
        }
        candidacy
    }

    /// Who has it, if it was not to be had.
    async fn who(&self) -> Result<Seat, Refusal> {
        let asked = self.known.newest.load(Ordering::SeqCst);
        let page = self.store.list(&self.lease, None).await;
        let page = page.map_err(|error| Refusal::Failed(error.to_string()))?;
        let row = page.rows.into_iter().find(|row| row.lease == self.lease);
        match row.and_then(|row| row.epoch.map(|epoch| (epoch, row.name))) {
            Some((epoch, name)) => {
                self.known.given(epoch);
                Ok(Seat::Held { by: name.unwrap_or_default(), epoch, ours: false })
            }
            None => Ok(Seat::Vacant { after: asked }),
        }
    }

    /// It has been given the lease, and listens to what the store says of it.
    async fn sit_down(
        &self,
        granted: Granted<C::Seat>,
        properties: Properties,
    ) -> Result<Chair<C::Seat>, Refusal> {
        let Granted { seat, news, asked, ttl } = granted;
        if ttl < self.ttl {
            let why = format!("the store gives {ttl:?} to live, and not {:?}", self.ttl);
            return Err(Refusal::Failed(why));
        }
        let (to, standing) = watch::channel(Standing { renewed: asked, lost: None });
        let listening = tokio::spawn(listen(news, to, self.seen.clone()));
        let chair = Chair { seat, standing, listening, properties };
        if asked.is_none() {
            renewed(&chair).await?;
        }
        Ok(chair)
    }
}

/// Listens to what the store says of the seat, until that is lost.
async fn listen(
    mut news: mpsc::Receiver<News>,
    to: watch::Sender<Standing>,
    seen: mpsc::Sender<Observation>,
) {
    let lost = loop {
        match news.recv().await {
            Some(News::Renewed(sent)) => {
                to.send_modify(|now| now.renewed = now.renewed.max(Some(sent)));
            }
            // There is no grace.
            Some(News::Parted(_)) => break Lost::Disconnected,
            Some(News::Lost(lost)) => break lost,
            None => break Lost::Closed,
        }
    };
    to.send_modify(|now| now.lost = Some(lost));
    let _ = seen.send(Observation::Broken(format!("the lease is lost: {lost}"))).await;
}

/// What a leader says.
fn written(properties: &Properties) -> Vec<u8> {
    serde_json::to_vec(properties).unwrap_or_default()
}

/// What one session sees.
struct Watching<C> {
    store: C,
    lease: String,
    known: Arc<Known>,
    seen: mpsc::Sender<Observation>,
}

impl<C: Coordinator> Watching<C> {
    async fn run(self, mut watch: C::Watch) {
        loop {
            let observations = match watch.next().await {
                Some(Ok(Seen::Held { epoch, name, value })) => self.held(epoch, name, &value),
                Some(Ok(Seen::Free { last })) => match self.free(last).await {
                    Ok(observation) => vec![observation],
                    Err(error) => vec![Observation::Broken(error.to_string())],
                },
                Some(Ok(Seen::Unknown)) => continue,
                Some(Err(error)) => vec![Observation::Broken(error.to_string())],
                None => vec![Observation::Broken("the store tells no more".into())],
            };
            for observation in observations {
                let broken = matches!(observation, Observation::Broken(_));
                if self.seen.send(observation).await.is_err() || broken {
                    return;
                }
            }
        }
    }

    fn held(&self, epoch: u64, name: Option<String>, value: &[u8]) -> Vec<Observation> {
        self.known.given(epoch);
        self.known.over.fetch_max(epoch.saturating_sub(1), Ordering::SeqCst);
        let ours = self.known.own.load(Ordering::SeqCst) == epoch;
        let seat = Observation::Seat(Seat::Held { by: name.unwrap_or_default(), epoch, ours });
        // What is no object of texts is nothing that a container has said.
        let Ok(properties) = serde_json::from_slice::<BTreeMap<String, String>>(value) else {
            return vec![seat];
        };
        self.known.say(properties.clone());
        vec![Observation::Properties(properties), seat]
    }

    /// Nobody holds it. A store that does not know who did is asked once more, so that what is old
    /// is not taken for new.
    async fn free(&self, last: Option<u64>) -> Result<Observation, LeaseError> {
        let newest = self.known.newest.load(Ordering::SeqCst);
        let after = match last {
            Some(last) if last >= newest => last,
            _ => {
                let page = self.store.list(&self.lease, None).await?;
                let row = page.rows.into_iter().find(|row| row.lease == self.lease);
                if let Some((epoch, by)) = row.and_then(|it| Some((it.epoch?, it.name))) {
                    self.known.given(epoch);
                    let ours = self.known.own.load(Ordering::SeqCst) == epoch;
                    let by = by.unwrap_or_default();
                    return Ok(Observation::Seat(Seat::Held { by, epoch, ours }));
                }
                newest
            }
        };
        self.known.over.fetch_max(after, Ordering::SeqCst);
        Ok(Observation::Seat(Seat::Vacant { after }))
    }
}
