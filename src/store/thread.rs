//! The thread of a store: it commits what the core orders, and tells what has become of it.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{error, info, warn};

use crate::proto::durable::{Event, Order, Write};
use crate::proto::stats::Histogram;
use crate::proto::titanic::RecordError;

use super::StoreOptions;
use super::check::{Census, copy};
use super::disk::{Disk, DiskError, Range, Snapshot, hex};
use super::error::StoreError;
use super::files::Place;
use super::group::{Group, Moment};

/// How often to look at the free space.
const LOOK: Duration = Duration::from_secs(1);
/// So many octets may be stored without looking, or an eighth of what is to stay free.
const UNSEEN: u64 = 64 << 10;

/// What is told outside of a store.
#[derive(Debug, Default)]
pub struct Figures {
    /// Commits.
    pub commits: AtomicU64,
    /// Records committed.
    pub records: AtomicU64,
    /// Time that commits took.
    pub commit_time: Mutex<Histogram>,
    /// Commits and reads that failed.
    pub errors: AtomicU64,
    /// Octets of the file.
    pub bytes: AtomicU64,
    /// Free octets of its file system.
    pub free: AtomicU64,
    /// 1 while nothing new is taken.
    pub full: AtomicU64,
}

/// Who wants to read all of it, as it is then.
type Reader = mpsc::Sender<Result<Box<dyn Snapshot>, DiskError>>;

/// What comes from outside.
#[derive(Debug, Default)]
struct Inbox {
    orders: VecDeque<Order>,
    readers: Vec<Reader>,
    stopping: bool,
}

#[derive(Debug, Default)]
struct Desk {
    inbox: Mutex<Inbox>,
    changed: Condvar,
    figures: Figures,
}

/// A store that is open, and does nothing yet.
pub struct Opened {
    place: Place,
    disk: Box<dyn Disk>,
    min_free: u64,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Opened {
    /// Opens the store, or makes one where there is none. Everything in the file is checked.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    pub fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let place = Place::take(&options.path)?;
        let disk = Box::new(place.open(options.cache)?);
        Ok(Self { place, disk, min_free: options.min_free })
    }

    /// Reads all records of a space.
    ///
    /// # Errors
    /// [`StoreError`], or one for a record that `each` cannot read.
    pub fn scan(
        &mut self,
        space: u8,
        mut each: impl FnMut(&[u8], &Bytes) -> Result<(), RecordError>,
    ) -> Result<(), StoreError> {
        let mut bad = None;
        let scanned = self.disk.scan(Some(space), &mut |key, value| {
            each(key, &value).map_err(|error| {
                bad = Some((hex(key), error));
                DiskError::Damaged(error.to_string())
            })
        });
        super::fail::point("recover.mid");
        super::fail::point("store.recovering");
        match (scanned, bad) {
            (Err(_), Some((key, source))) => {
                let (path, dir) = (self.place.path().into(), self.place.dir().into());
                Err(StoreError::Record { path, dir, key, source })
            }
            (scanned, _) => scanned.map_err(|error| self.place.why(error)),
        }
    }

    /// Keeps something before the store starts to work.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    pub fn put(&mut self, write: &Write) -> Result<(), StoreError> {
        let done = self.disk.commit(&mut std::iter::once(write));
        done.map_err(|error| self.place.why(error))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Starts to work; `tell` is told what comes of it, on the thread of the store. Of a failure that
    /// is for good `fail` is told why, after that.
    ///
    /// # Errors
    /// [`StoreError::Thread`].
    pub fn start(
        self,
        tell: impl FnMut(&Event) + Send + 'static,
        fail: impl FnOnce(StoreError) + Send + 'static,
    ) -> Result<Store, StoreError> {
        let desk = Arc::new(Desk::default());
        let Self { place, disk, min_free } = self;
        let found = Some(place.clone());
        let keeper = Keeper {
            disk,
            min_free,
            free: Box::new({
                let place = place.clone();
                move || place.free()
            }),
            desk: desk.clone(),
            tell,
            full: false,
            looked: None,
            unseen: 0,
        };
        let run = move || {
            if let Some(error) = keeper.run() {
                fail(place.why(error));
            }
        };
        let thread = std::thread::Builder::new().name("majordomo-store".into()).spawn(run);
        let thread = Mutex::new(Some(thread.map_err(StoreError::Thread)?));
        Ok(Store { place: found, desk, thread })
    }
}

/// A store at work.
#[derive(Debug)]
pub struct Store {
    place: Option<Place>,
    desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Orders something. Whoever orders keeps within bounds what is not done.
    pub fn order(&self, orders: Vec<Order>) {
        let mut inbox = self.desk.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.orders.extend(orders);
        self.desk.changed.notify_one();
    }

    /// Copies all that is stored now into a new directory, while the store works, and reads the copy
    /// again. It takes its time: not to be called where nothing may wait.
    ///
    /// # Errors
    /// [`StoreError`]; what is there of the copy is of no use then.
    pub fn backup(&self, to: &Path) -> Result<Census, StoreError> {
        let failed = |error| match &self.place {
            Some(place) => place.why(error),
            None => StoreError::Failed { path: to.into(), what: error.to_string() },
        };
        let snapshot = self.snapshot().map_err(failed)?;
        copy(to, |each| snapshot.scan(each)).map_err(|error| error.of(failed))
    }

    /// What is stored now.
    pub(super) fn snapshot(&self) -> Result<Box<dyn Snapshot>, DiskError> {
        let (reader, comes) = mpsc::channel();
        {
            let mut inbox = self.desk.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.readers.push(reader);
            self.desk.changed.notify_one();
        }
        comes.recv().unwrap_or_else(|_| Err(DiskError::Fatal("the store is closed".into())))
    }

    /// What is told of it.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.desk.figures
    }

    /// Does what was ordered, leaves the file so that it is opened fast, and ends.
    pub fn stop(&self) {
        self.desk.inbox.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        self.desk.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why the thread ends.
enum End {
    Stopped,
    Failed(DiskError),
}

pub(super) struct Keeper<T> {
    disk: Box<dyn Disk>,
    min_free: u64,
    free: Box<dyn Fn() -> Option<u64> + Send>,
    desk: Arc<Desk>,
    tell: T,
    full: bool,
    looked: Option<Instant>,
    /// Octets stored since then.
    unseen: u64,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<T: FnMut(&Event)> Keeper<T> {
    /// Works until it is told to stop, or nothing can be stored any more: then, why.
    fn run(mut self) -> Option<DiskError> {
        let ended = loop {
            match self.turn() {
                Ok(()) => {}
                Err(ended) => break ended,
            }
        };
        match ended {
            End::Stopped => {
                match self.disk.close() {
                    Ok(()) => info!("the store is closed"),
                    Err(error) => warn!(%error, "the store is closed, and is checked at the start"),
                }
                None
            }
            End::Failed(error) => {
                error!(%error, "the store failed; nothing is stored any more");
                (self.tell)(&Event::Failed);
                Some(error)
            }
        }
    }

    /// One group, or a moment without one.
    fn turn(&mut self) -> Result<(), End> {
        self.look_at_space();
        let mut group = Group::default();
        loop {
            let waits = group.waits(now());
            if waits == Some(Duration::ZERO) {
                break;
            }
            let (order, stopping) = self.next(waits.unwrap_or(LOOK));
            self.serve_readers();
            match order {
                Some(Order::Store(batch)) => group.add(now(), batch),
                Some(order) => match self.read(&order)? {
                    Some(event) => (self.tell)(&event),
                    // Nobody waits for it any more.
                    None if stopping => {}
                    None => {
                        self.put_off(order, &group);
                        return Ok(());
                    }
                },
                None if stopping && group.is_empty() => return Err(End::Stopped),
                None if stopping || group.is_empty() => break,
                None => {}
            }
        }
        if group.is_empty() { Ok(()) } else { self.commit(&group) }
    }

    /// Gives those who asked what the last commit has left.
    fn serve_readers(&mut self) {
        let mut inbox = self.desk.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let readers = std::mem::take(&mut inbox.readers);
        drop(inbox);
        for reader in readers {
            // Who has gone needs none.
            let _ = reader.send(self.disk.snapshot());
        }
    }

    /// What is to be told of something that is to be read. `None`: the disk has no room for what has
    /// to be written before, and nobody knows what is there.
    fn read(&mut self, order: &Order) -> Result<Option<Event>, End> {
        let errors = &self.desk.figures.errors;
        match order {
            Order::Load { ticket, key } => {
                let value = self.disk.load(key);
                Ok(self.value_of(value)?.map(|value| Event::Loaded(*ticket, value)))
            }
            Order::Range { ticket, prefix, from, count, bytes } => {
                let range = Range { prefix, from, count: *count, bytes: *bytes };
                let found = self.disk.range(&range, &mut |error| {
                    errors.fetch_add(1, Ordering::Relaxed);
                    error!(%error, "a record of the store cannot be read");
                });
                Ok(self.value_of(found)?.map(|found| Event::Ranged(*ticket, found)))
            }
            Order::Store(_) => Ok(None),
        }
    }

    fn value_of<V: Default>(&mut self, value: Result<V, DiskError>) -> Result<Option<V>, End> {
        let error = match value {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        self.desk.figures.errors.fetch_add(1, Ordering::Relaxed);
        match error {
            DiskError::Full(what) => {
                self.note_full(&what);
                Ok(None)
            }
            // The other records may be as they were; this one is told to be lost.
            DiskError::Damaged(what) => {
                error!(what, "a record of the store cannot be read");
                Ok(Some(V::default()))
            }
            error => Err(End::Failed(error)),
        }
    }

    /// Has what is to be read wait for room. Nothing is stored before that; the group, and the
    /// batches that were ordered after it, are dropped.
    fn put_off(&mut self, order: Order, group: &Group) {
        let mut inbox = self.desk.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = (!group.is_empty()).then(|| group.up_to());
        inbox.orders.retain(|order| match order {
            Order::Store(batch) => {
                dropped = Some(batch.number);
                false
            }
            Order::Load { .. } | Order::Range { .. } => true,
        });
        inbox.orders.push_front(order);
        drop(inbox);
        (self.tell)(&Event::Full(dropped));
        let inbox = self.desk.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |inbox: &mut Inbox| inbox.readers.is_empty() && !inbox.stopping;
        drop(self.desk.changed.wait_timeout_while(inbox, LOOK, waits));
    }

    /// The next order, or none within that time; and whether to stop.
    fn next(&self, within: Duration) -> (Option<Order>, bool) {
        let inbox = self.desk.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |inbox: &mut Inbox| {
            inbox.orders.is_empty() && inbox.readers.is_empty() && !inbox.stopping
        };
        let waited = self.desk.changed.wait_timeout_while(inbox, within, waits);
        let (mut inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (inbox.orders.pop_front(), inbox.stopping)
    }

    fn commit(&mut self, group: &Group) -> Result<(), End> {
        let begun = now();
        group.pass(Moment::Before);
        let mut writes = group.batches().iter().flat_map(|batch| &batch.writes);
        let done = self.disk.commit(&mut writes);
        let figures = &self.desk.figures;
        match done {
            Ok(()) => {
                let took = now().saturating_duration_since(begun).as_micros();
                figures.commits.fetch_add(1, Ordering::Relaxed);
                figures.records.fetch_add(group.records() as u64, Ordering::Relaxed);
                let took = u64::try_from(took).unwrap_or(u64::MAX);
                figures.commit_time.lock().unwrap_or_else(PoisonError::into_inner).record(took);
                figures.bytes.store(self.disk.len(), Ordering::Relaxed);
                group.pass(Moment::Stored);
                self.unseen = self.unseen.saturating_add(group.bytes() as u64);
                (self.tell)(&Event::Stored(group.up_to()));
                group.pass(Moment::Told);
                super::fail::point("store.after_told");
                Ok(())
            }
            Err(DiskError::Full(what)) => {
                figures.errors.fetch_add(1, Ordering::Relaxed);
                self.note_full(&what);
                (self.tell)(&Event::Full(Some(group.up_to())));
                Ok(())
            }
            Err(error) => {
                figures.errors.fetch_add(1, Ordering::Relaxed);
                Err(End::Failed(error))
            }
        }
    }

    fn note_full(&mut self, what: &str) {
        self.full = true;
        self.looked = Some(now());
        self.desk.figures.full.store(1, Ordering::Relaxed);
        warn!(what, "there is no room for the store; what is new is refused");
    }

    /// Looks from time to time whether there is room, and before much of it can have been used: a
    /// fast disk could be full before the time has come.
    fn look_at_space(&mut self) {
        let at = now();
        let recent = self.looked.is_some_and(|looked| at.saturating_duration_since(looked) < LOOK);
        if recent && (self.full || self.unseen < (self.min_free / 8).max(UNSEEN)) {
            return;
        }
        (self.looked, self.unseen) = (Some(at), 0);
        let Some(free) = (self.free)() else { return };
        self.desk.figures.free.store(free, Ordering::Relaxed);
        self.desk.figures.bytes.store(self.disk.len(), Ordering::Relaxed);
        match (self.full, free >= self.min_free) {
            (false, false) => {
                self.note_full(&format!(
                    "{free} octets are free, store.min_free is {}",
                    self.min_free
                ));
                (self.tell)(&Event::Full(None));
            }
            (true, true) => {
                self.full = false;
                self.desk.figures.full.store(0, Ordering::Relaxed);
                info!(free, "there is room for the store again");
                (self.tell)(&Event::Room);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A store over any disk.
    pub(in crate::store) fn start(
        disk: Box<dyn Disk>,
        free: impl Fn() -> Option<u64> + Send + 'static,
        tell: impl FnMut(&Event) + Send + 'static,
        fail: impl FnOnce(DiskError) + Send + 'static,
    ) -> Store {
        let desk = Arc::new(Desk::default());
        let free = Box::new(free);
        let keeper = Keeper {
            disk,
            min_free: 1,
            free,
            desk: desk.clone(),
            tell,
            full: false,
            looked: None,
            unseen: 0,
        };
        let thread = std::thread::spawn(move || {
            if let Some(error) = keeper.run() {
                fail(error);
            }
        });
        Store { place: None, desk, thread: Mutex::new(Some(thread)) }
    }
}
