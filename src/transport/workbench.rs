//! A thread for the arithmetic of handshakes, so that who is connected already does not wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

type Work = Box<dyn FnOnce() + Send>;

/// A thread that does one piece of work after the other; dropping all clones of it ends it.
#[derive(Debug, Clone)]
pub struct Workbench {
    queue: mpsc::Sender<Work>,
}

impl Workbench {
    /// A thread of that name, for which at most `queue_max` pieces wait, at least 1.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(name: &str, queue_max: usize) -> io::Result<Self> {
        let (queue, mut waiting) = mpsc::channel::<Work>(queue_max.max(1));
        thread::Builder::new().name(name.into()).spawn(move || {
            while let Some(work) = waiting.blocking_recv() {
                // A panic ends that piece, not those that wait.
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_elsewhere_and_in_order() {
        let bench = Workbench::start("test-bench", 1).unwrap();
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
}
