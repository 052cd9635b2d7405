//! `container run --min --max`: starts and stops instances here, as many as the leader wants.
//!
//! Each instance is a process of its own: the same command again, with a name of its own. It tells
//! how it stands by lines of JSON on its standard output, and ends when its standard input does, so
//! that none is left when this one is killed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use majordomo::proto::backoff::Backoff;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::output::{complain, print};
use crate::signals::Signals;

/// Longest wait before an instance is started anew.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// One that has lived so long was all right.
const HEALTHY: Duration = Duration::from_secs(10);
/// What instances have said and was not yet read.
const NEWS_MAX: usize = 64;

/// An instance.
struct Instance {
    name: String,
    pid: Option<Pid>,
    began: Instant,
    leading: bool,
    stopping: bool,
    /// It ends when this does.
    _stdin: Option<ChildStdin>,
}

/// What has become of an instance.
enum News {
    /// It says something.
    Said(u64, Value),
    /// It has ended, well or not.
    Ended(u64, bool),
}

/// All instances here.
struct Crew {
    name: String,
    /// This program, where it was when it began: it may be replaced by another one meanwhile.
    program: PathBuf,
    json: bool,
    range: (u64, u64),
    wanted: u64,
    instances: BTreeMap<u64, Instance>,
    count: u64,
    waits: Backoff,
    /// Nobody is started before.
    not_before: Option<Instant>,
    stopping: bool,
    news: mpsc::Sender<News>,
}

/// Keeps so many instances; each has that name and a number.
pub(super) async fn supervise(name: String, range: (u64, u64), json: bool) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let (sender, mut news) = mpsc::channel(NEWS_MAX);
    let waits = Backoff::new(Duration::from_millis(200), AGAIN_MAX, u64::from(std::process::id()));
    let program = std::env::current_exe().context("where is this program?")?;
    let mut crew = Crew {
        name,
        program,
        json,
        range,
        wanted: range.0,
        instances: BTreeMap::new(),
        count: 0,
        waits,
        not_before: None,
        stopping: false,
        news: sender,
    };
    loop {
        crew.settle()?;
        if crew.stopping && crew.instances.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let wake = crew.not_before;
        tokio::select! {
            () = signals.next() => {
                if crew.stopping {
                    // What they have comes again, to others.
                    return Ok(ExitCode::FAILURE);
                }
                crew.stopping = true;
            }
            Some(news) = news.recv() => crew.hear(news),
            () = until(wake) => crew.not_before = None,
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Crew {
    /// Starts or stops instances until there are as many as there should be.
    fn settle(&mut self) -> Result<()> {
        let target = if self.stopping { 0 } else { self.wanted.clamp(self.range.0, self.range.1) };
        let target = usize::try_from(target)?;
        while self.there() > target {
            self.stop_one();
        }
        while self.there() < target && self.not_before.is_none() {
            if let Err(error) = self.start_one() {
                // Those that are there go on.
                complain(&format_args!("majordomo: cannot start an instance: {error}"));
                self.not_before = Some(Instant::now() + self.waits.next_wait());
            }
        }
        Ok(())
    }

    /// Those that were not told to stop.
    fn there(&self) -> usize {
        self.instances.values().filter(|instance| !instance.stopping).count()
    }

    /// Stops the youngest, but the leader last: its place would have to be taken.
    fn stop_one(&mut self) {
        let all = self.instances.values_mut().rev().filter(|instance| !instance.stopping);
        let Some(instance) = all.min_by_key(|instance| instance.leading) else { return };
        instance.stopping = true;
        // One that has ended by itself is heard of.
        let _ = instance.pid.map(|pid| kill_process(pid, Signal::TERM));
        let (name, pid) = (instance.name.clone(), instance.pid);
        self.say("stopping", &name, pid);
    }

    fn start_one(&mut self) -> io::Result<()> {
        let number = self.count + 1;
        let name = format!("{}-{number}", self.name);
        let mut command = Command::new(&self.program);
        // The words that have begun this one, and a name.
        command.args(std::env::args_os().skip(1)).arg("--supervised").arg(&name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut child = command.spawn()?;
        self.count = number;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let lines = stdout.map(|stdout| BufReader::new(stdout).lines());
        tokio::spawn(follow(number, child, lines, self.news.clone()));
        let began = Instant::now();
        self.say("starting", &name, pid);
        let instance =
            Instance { name, pid, began, leading: false, stopping: false, _stdin: stdin };
        self.instances.insert(number, instance);
        Ok(())
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Said(number, said) => self.said(number, said),
            News::Ended(number, well) => {
                let Some(gone) = self.instances.remove(&number) else { return };
                self.say(if well { "ended" } else { "died" }, &gone.name, gone.pid);
                if !gone.stopping {
                    if gone.began.elapsed() >= HEALTHY {
                        self.waits.reset();
                    }
                    self.not_before = Some(Instant::now() + self.waits.next_wait());
                }
            }
        }
    }

    fn said(&mut self, number: u64, mut said: Value) {
        let Some(instance) = self.instances.get_mut(&number) else { return };
        if let Some(leading) = said["leading"].as_bool() {
            instance.leading = leading;
        }
        let wanted = said["wanted"].as_u64().filter(|wanted| *wanted != self.wanted);
        if let Some(wanted) = wanted {
            self.wanted = wanted;
        }
        if self.json {
            said["instance"] = json!(instance.name);
            // Nobody need read it.
            let _ = print(format!("{said}\n"));
        }
        if let Some(wanted) = wanted
            && !self.json
        {
            complain(&format_args!("majordomo: instances wanted: {wanted}"));
        }
    }

    fn say(&self, what: &str, name: &str, pid: Option<Pid>) {
        if self.json {
            let pid = pid.map(Pid::as_raw_pid);
            let told = json!({"v": 1, "event": what, "instance": name, "pid": pid});
            let _ = print(format!("{told}\n"));
        } else {
            complain(&format_args!("majordomo: {name}: {what}"));
        }
    }
}

/// Passes on what an instance says, until it has ended.
async fn follow(
    number: u64,
    mut child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    news: mpsc::Sender<News>,
) {
    if let Some(mut lines) = lines {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(said) = serde_json::from_str(&line)
                && news.send(News::Said(number, said)).await.is_err()
            {
                return;
            }
        }
    }
    let ended = child.wait().await.is_ok_and(|status| status.success());
    let _ = news.send(News::Ended(number, ended)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_cannot_be_started_is_tried_again_later_and_the_others_go_on() {
        let (news, _heard) = mpsc::channel(1);
        let mut crew = Crew {
            name: "crew".into(),
            program: "/nonexistent/majordomo".into(),
            json: false,
            range: (2, 2),
            wanted: 2,
            instances: BTreeMap::new(),
            count: 1,
            waits: Backoff::new(Duration::from_millis(200), AGAIN_MAX, 0),
            not_before: None,
            stopping: false,
            news,
        };
        let (name, began) = ("crew-1".to_owned(), Instant::now());
        let other =
            Instance { name, pid: None, began, leading: false, stopping: false, _stdin: None };
        crew.instances.insert(1, other);
        crew.settle().unwrap();
        assert_eq!((crew.instances.len(), crew.count), (1, 1));
        assert!(crew.not_before.is_some_and(|at| at > began));
    }
}
