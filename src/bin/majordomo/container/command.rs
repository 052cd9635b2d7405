//! One call, one process.

use std::process::{Output, Stdio};
use std::time::Duration;

use majordomo::container::Failure;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command as Process;
use tokio::time::timeout;

use crate::output::harmless;

/// `EX_TEMPFAIL` of sysexits.
const TEMPFAIL: i32 = 75;
/// A line of standard error in an answer, characters.
const LINE_MAX: usize = 1 << 10;

/// What is run.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) text: String,
    pub(super) service: String,
    pub(super) instance: String,
    pub(super) timeout: Duration,
}

/// A process group that is killed when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left: that is what was wanted.
        let _ = self.0.map(|pid| kill_process_group(pid, Signal::KILL));
    }
}

impl Command {
    /// Runs it for a call or an event.
    pub(super) async fn run(
        &self,
        what: &str,
        name: &str,
        correlation_id: &str,
        args: &Value,
    ) -> Result<Value, Failure> {
        let mut process = Process::new("sh");
        process.arg("-c").arg(&self.text).kill_on_drop(true).process_group(0);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.env("MAJORDOMO_SERVICE", &self.service);
        process.env("MAJORDOMO_INSTANCE", &self.instance);
        process.env(format!("MAJORDOMO_{what}"), plain(name));
        process.env("MAJORDOMO_CORRELATION_ID", plain(correlation_id));
        // Whoever runs this has them, but no command needs them.
        for secret in ["MAJORDOMO_AMQP", "MAJORDOMO_AMQP_API"] {
            process.env_remove(secret);
        }
        let failed = |text: String| Failure::rejected("CommandFailed", text);
        let mut child =
            process.spawn().map_err(|error| failed(format!("cannot run it: {error}")))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut group = Group(pid);
        let input = format!("{args}\n");
        let stdin = child.stdin.take();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A command need not read what it is given.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = timeout(self.timeout, both).await;
        let output = output.map_err(|_| failed("it took too long and was killed".into()))?;
        let output = output.map_err(|error| failed(format!("cannot wait for it: {error}")))?;
        group.0 = None;
        answer(&output)
    }
}

/// Whatever a caller says here, nothing in it looks like anything else.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(255).collect()
}

fn answer(output: &Output) -> Result<Value, Failure> {
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        let said = said.trim_end();
        return Ok(serde_json::from_str(said).unwrap_or_else(|_| said.into()));
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let last: String = harmless(last).chars().take(LINE_MAX).collect();
    let how = output
        .status
        .code()
        .map_or_else(|| "ended by a signal".into(), |code| format!("exit code {code}"));
    let text = if last.is_empty() { how } else { format!("{how}: {last}") };
    if output.status.code() == Some(TEMPFAIL) {
        Err(Failure::CallAgain(text))
    } else {
        Err(Failure::rejected("CommandFailed", text))
    }
}
