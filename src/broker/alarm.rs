//! A clock beside the runtime.
//!
//! A runtime that waits for a timer as well as for its sockets has the system set a timer whenever it
//! waits, which is each time that it has read what there was. Without one it does not.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::shared::now;

/// Rings once at the time that it was last set to. Dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Alarm {
    clock: Arc<Clock>,
}

#[derive(Debug)]
struct Clock {
    due: Mutex<Due>,
    changed: Condvar,
    ringing: Notify,
}

/// When it rings.
#[derive(Debug, Clone, Copy)]
enum Due {
    Never,
    At(Instant),
    /// Nobody would hear it.
    Over,
}

impl Alarm {
    /// An alarm that is not set, and its thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start() -> io::Result<(Self, JoinHandle<()>)> {
        let (due, changed, ringing) = (Mutex::new(Due::Never), Condvar::new(), Notify::new());
        let clock = Arc::new(Clock { due, changed, ringing });
        let alarm = Self { clock: clock.clone() };
        let thread =
            thread::Builder::new().name("majordomo-time".into()).spawn(move || clock.run())?;
        Ok((alarm, thread))
    }

    /// Has it ring after `wait`, and not when it was to ring before.
    pub(super) fn set(&self, wait: Duration) {
        self.clock.change(Due::At(now() + wait));
    }

    /// Waits until it rings.
    ///
    /// # Cancel safety
    /// What rings meanwhile is heard next time.
    pub(super) async fn rings(&self) {
        self.clock.ringing.notified().await;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clock.change(Due::Over);
    }
}

impl Clock {
    fn change(&self, due: Due) {
        *self.lock() = due;
        self.changed.notify_one();
    }

    fn run(&self) {
        let mut due = self.lock();
        loop {
            due = match *due {
                Due::Over => return,
                Due::Never => self.changed.wait(due).unwrap_or_else(PoisonError::into_inner),
                Due::At(at) => {
                    let wait = at.saturating_duration_since(now());
                    if wait.is_zero() {
                        *due = Due::Never;
                        self.ringing.notify_one();
                        continue;
                    }
                    let waited = self.changed.wait_timeout(due, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        // It is whole between any two statements: a panic elsewhere cannot harm it.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_when_it_was_last_set_to_and_ends_with_its_owner() {
        let (alarm, thread) = Alarm::start().unwrap();
        let start = now();
        alarm.set(Duration::from_secs(3600));
        alarm.set(Duration::from_millis(20));
        alarm.rings().await;
        assert!(start.elapsed() >= Duration::from_millis(20));
        let again = tokio::time::timeout(Duration::from_millis(50), alarm.rings()).await;
        assert!(again.is_err(), "it rings once");
        alarm.set(Duration::from_secs(3600));
        drop(alarm);
        thread.join().unwrap();
    }
}
