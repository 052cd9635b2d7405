//! Threads for arithmetic that takes its time, so that who is connected does not wait for it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::{io, thread};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

type Work = Box<dyn FnOnce() + Send>;

/// Threads that take pieces of work in order; dropping all clones of it ends them.
#[derive(Debug, Clone)]
pub struct Workbench {
    queue: mpsc::Sender<Work>,
}

impl Workbench {
    /// By so much (`nice`) modest threads step back: of a processor that others want as well they
    /// get a quarter.
    const MODEST: i32 = 5;

    /// A thread of that name, for which at most `queue_max` pieces wait, at least 1.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(name: &str, queue_max: usize) -> io::Result<Self> {
        Self::start_all(name, 1, queue_max, 0)
    }

    /// So many threads, which step back for all others of the machine.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start_modest(name: &str, threads: usize, queue_max: usize) -> io::Result<Self> {
        Self::start_all(name, threads, queue_max, Self::MODEST)
    }

    fn start_all(name: &str, threads: usize, queue_max: usize, nice: i32) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel::<Work>(queue_max.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads.max(1) {
            let waiting = waiting.clone();
            // One waits for work, and the others for it. Nothing panics in between.
            let next =
                move || waiting.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            thread::Builder::new().name(name.into()).spawn(move || {
                step_back(nice);
                while let Some(work) = next() {
                    // A panic ends that piece, not those that wait.
                    let _ = catch_unwind(AssertUnwindSafe(work));
                }
            })?;
        }
        Ok(Self { queue })
    }

    /// Does `work` there, when it is its turn. `None`: the work ended in a panic, or the thread
    /// has ended.
    ///
    /// # Cancel safety
    /// Work that waits or runs is done, and its result dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let work = Box::new(move || {
            // Who no longer waits does not need it.
            if !done.is_closed() {
                let _ = done.send(work());
            }
        });
        self.queue.send(work).await.ok()?;
        result.await.ok()
    }
}

/// Gives the calling thread a lower priority; where that would be the whole process, nothing.
fn step_back(nice: i32) {
    #[cfg(target_os = "linux")]
    if nice > 0
        && let Err(error) = rustix::process::setpriority_process(None, nice)
    {
        tracing::debug!(%error, nice, "a thread keeps its priority");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

/// A tool that is here, or away at a workbench where something is made with it.
pub(super) enum Lent<T, R> {
    /// It can be used.
    Here(T),
    /// It comes back with what was made.
    Away(BoxFuture<'static, Option<(T, R)>>),
    /// The work has ended in a panic.
    Lost,
}

impl<T: Send + 'static, R: Send + 'static> Lent<T, R> {
    /// Works with it at the bench, when it is its turn. One that is not here stays where it is.
    pub(super) fn lend(
        &mut self,
        bench: &Workbench,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Here(mut tool) => {
                let bench = bench.clone();
                let work = move || {
                    let made = work(&mut tool);
                    (tool, made)
                };
                Self::Away(async move { bench.run(work).await }.boxed())
            }
            elsewhere => elsewhere,
        };
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Waits until it is back, and hands over what was made. `None`: nothing was, or it is lost.
    pub(super) fn poll_back(&mut self, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let Self::Away(work) = self else { return Poll::Ready(None) };
        let (tool, made) = ready!(work.poll_unpin(cx)).unzip();
        *self = tool.map_or(Self::Lost, Self::Here);
        Poll::Ready(made)
    }
}

impl<T, R> fmt::Debug for Lent<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here",
            Self::Away(_) => "Away",
            Self::Lost => "Lost",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_each_has_its_own_result() {
        let bench = Workbench::start_modest("test-bench", 2, 1).unwrap();
        let here = thread::current().id();
        let results = futures::future::join_all((0..20).map(|number| {
            let bench = bench.clone();
            async move { bench.run(move || (number, thread::current().id())).await }
        }));
        for (number, result) in results.await.into_iter().enumerate() {
            let (done, there) = result.unwrap();
            assert!(done == number && there != here);
        }
    }

    #[tokio::test]
    async fn a_tool_comes_back_with_what_was_made_or_is_lost() {
        let bench = Workbench::start("test-bench", 1).unwrap();
        let mut tool = Lent::Here(1);
        tool.lend(&bench, |tool| {
            *tool += 1;
            thread::current().id()
        });
        tool.lend(&bench, |_| panic!("it is away"));
        assert!(tool.is_away());
        assert_ne!(poll_fn(|cx| tool.poll_back(cx)).await, Some(thread::current().id()));
        assert!(matches!(tool, Lent::Here(2)));
        assert_eq!(poll_fn(|cx| tool.poll_back(cx)).await, None, "nothing more was made");
        tool.lend(&bench, |_| panic!("for the test"));
        assert_eq!(poll_fn(|cx| tool.poll_back(cx)).await, None);
        assert!(matches!(tool, Lent::Lost));
    }
}
