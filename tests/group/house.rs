//! A broker with members, each over a connection of its own.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use majordomo::broker::Broker;
use majordomo::config::BrokerConfig;
use majordomo::group::{Event, Events, Group, GroupKind, Groups, GroupsBuilder};
use tokio::time::timeout;

pub(crate) const GROUP: &str = "Escort.1";
/// What does not happen within that does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A group with a leader that a busy machine does not take for silent.
pub(crate) fn led() -> GroupKind {
    GroupKind::default()
        .leader(true)
        .ttl(ms(10_000))
        .peer_timeout(ms(30_000))
        .election_max(ms(20_000))
        .consensus_timeout(ms(10_000))
}

pub(crate) struct House {
    broker: Option<Broker>,
    config: BrokerConfig,
    pub(crate) endpoint: String,
    pub(crate) office: String,
    _dir: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let office = format!("ipc://{}", dir.path().join("office").display());
        let mut config = BrokerConfig::default();
        config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap(), office.parse().unwrap()];
        change(&mut config);
        let broker = Broker::bind(config.clone()).unwrap();
        let endpoint = broker.local_addrs()[0].to_string();
        Self { broker: Some(broker), config, endpoint, office, _dir: dir }
    }

    /// The broker ends without a word, and another one begins at its place.
    pub(crate) fn restart(&mut self) {
        drop(self.broker.take());
        let mut config = self.config.clone();
        config.broker.bind[0] = self.endpoint.parse().unwrap();
        let until = Instant::now() + PATIENCE;
        // Its place may be taken for as long as its last connections end.
        self.broker = loop {
            match Broker::bind(config.clone()) {
                Ok(broker) => break Some(broker),
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(ms(10));
        };
    }

    pub(crate) fn builder(&self) -> GroupsBuilder {
        Groups::builder(&self.endpoint).unwrap().backoff(ms(5), ms(50))
    }

    pub(crate) async fn connect(&self) -> Groups {
        self.builder().connect().await.unwrap()
    }

    pub(crate) async fn member(&self, name: &str, kind: GroupKind) -> Member {
        Member::join(self.connect().await, name, kind).await
    }

    /// A member in a thread of its own, and what it does there.
    pub(crate) fn apart(&self, name: &'static str, kind: GroupKind) -> Apart {
        let endpoint = self.endpoint.clone();
        let (work, works) = mpsc::channel::<Work>();
        let (told, tell) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let mut member = runtime.block_on(async {
                let groups = Groups::connect(&endpoint).await.unwrap();
                Member::join(groups, name, kind).await
            });
            told.send(()).unwrap();
            loop {
                match works.try_recv() {
                    Ok(work) => work(&runtime, &mut member),
                    Err(mpsc::TryRecvError::Empty) => {
                        runtime.block_on(async { tokio::time::sleep(ms(5)).await });
                    }
                    // As if the process had been killed: nobody says goodbye.
                    Err(mpsc::TryRecvError::Disconnected) => return runtime.shutdown_background(),
                }
            }
        });
        tell.recv().unwrap();
        Apart { work: Some(work), thread: Some(thread) }
    }
}

type Work = Box<dyn FnOnce(&tokio::runtime::Runtime, &mut Member) + Send>;

/// A member in a thread of its own.
pub(crate) struct Apart {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Apart {
    /// Has it do something; nothing else goes on there meanwhile but what that waits for.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&tokio::runtime::Runtime, &mut Member) -> T + Send + 'static,
    ) -> T {
        let (done, result) = tokio::sync::oneshot::channel();
        let work: Work = Box::new(move |runtime, member| {
            let _ = done.send(work(runtime, member));
        });
        self.work.as_ref().unwrap().send(work).unwrap();
        result.await.unwrap()
    }

    /// Its connection ends without a word.
    pub(crate) fn kill(mut self) {
        self.work = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) struct Member {
    pub(crate) groups: Groups,
    pub(crate) group: Group,
    pub(crate) events: Events,
}

impl Member {
    pub(crate) async fn join(groups: Groups, name: &str, kind: GroupKind) -> Self {
        let group = groups.group(GROUP).member(name).kind(kind).join().await.unwrap();
        let events = group.events();
        Self { groups, group, events }
    }

    pub(crate) async fn next(&mut self) -> Event {
        timeout(PATIENCE, self.events.next()).await.expect("an event").expect("a member")
    }

    /// Reads until something has happened, and gives it.
    pub(crate) async fn until<T>(&mut self, mut find: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = find(self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn until_led_by(&mut self, name: &str) -> u64 {
        self.until(|event| match event {
            Event::LeaderElected(leader) if leader.member.name() == name => Some(leader.epoch),
            Event::Joined(view) => {
                let leader = view.leader.clone().filter(|leader| leader.member.name() == name);
                leader.map(|leader| leader.epoch)
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn until_size(&mut self, wanted: usize) {
        if self.group.size() == wanted {
            return;
        }
        self.until(|event| match event {
            Event::MemberJoined { size, .. } | Event::MemberLeft { size, .. } => {
                (size == wanted).then_some(())
            }
            Event::Joined(view) => (view.members.len() == wanted).then_some(()),
            _ => None,
        })
        .await;
    }
}
