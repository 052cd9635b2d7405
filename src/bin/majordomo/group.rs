//! The processes that a command has started: its group.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tokio::time::timeout;

/// The process group of a command: killed when this is dropped, unless the command has ended by
/// itself. As long as the command is not waited for, its number belongs to nobody else.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// Of a command that was started in a group of its own.
    pub(crate) fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    pub(crate) fn forget(mut self) {
        self.0 = None;
    }

    /// SIGTERM, and SIGKILL for who is left after `grace`.
    pub(crate) async fn end(self, child: &mut Child, grace: Duration) {
        self.signal(Signal::TERM);
        if timeout(grace, child.wait()).await.is_err() {
            return self.kill(child).await;
        }
        self.forget();
    }

    /// SIGKILL at once.
    pub(crate) async fn kill(self, child: &mut Child) {
        self.signal(Signal::KILL);
        let _ = child.wait().await;
        self.forget();
    }

    fn signal(&self, signal: Signal) {
        // Nobody is left: that is what was wanted.
        let _ = self.0.map(|pid| kill_process_group(pid, signal));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
