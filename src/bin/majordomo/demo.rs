//! `majordomo demo`: what this is for, in a few seconds.
//!
//! Nothing is played: a broker, two workers and a client of the library talk over real sockets.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use majordomo::broker::Broker;
use majordomo::client::Client;
use majordomo::config::BrokerConfig;
use majordomo::worker::{Failure, Request, Worker};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::output::{millis, paint, print};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Print one JSON object for each event
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo demo
  majordomo demo --json

It needs no configuration and leaves nothing behind: the broker listens on a free port of this
machine for as long as the demo runs, about four seconds.";

const SERVICE: &str = "thumbnail";
const WORKERS: [&str; 2] = ["anna", "ben"];
const PICTURES: [&str; 6] = ["cat.jpg", "dog.jpg", "owl.jpg", "fox.jpg", "elk.jpg", "bee.jpg"];
/// Whoever works on this one is killed.
const FATAL: &str = "fox.jpg";
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(400);
/// What a thumbnail takes.
const WORK: Duration = Duration::from_millis(700);
/// From the begin of the work to the death of the worker.
const DOOM: Duration = Duration::from_millis(350);
/// Everything ends by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// Something that happened.
#[derive(Debug, Clone)]
enum Event {
    Called { picture: &'static str },
    Begun { worker: usize, picture: String, attempt: u32 },
    Killed { worker: usize },
    Replied { picture: &'static str, reply: String, took: Duration },
    Failed { picture: &'static str, why: String },
}

pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stage = Stage::build(args.json).await?;
        tokio::time::timeout(PATIENCE, stage.play()).await.unwrap_or_else(|_| {
            Err(anyhow!("the demo did not end within {PATIENCE:?}; is this machine very busy?"))
        })
    })
}

struct Stage {
    json: bool,
    broker: Broker,
    workers: [Option<Worker>; 2],
    client: Client,
    says: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    began: Instant,
}

impl Stage {
    async fn build(json: bool) -> Result<Self> {
        let mut config = BrokerConfig::default();
        config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
        let broker = Broker::bind(config)?;
        let endpoint = broker.local_addrs().first().map(ToString::to_string).unwrap_or_default();
        let (says, events) = mpsc::channel(64);
        let mut workers = [None, None];
        for (number, place) in workers.iter_mut().enumerate() {
            let says = says.clone();
            let handler = move |request| thumbnail(number, says.clone(), request);
            let worker = Worker::builder(&endpoint, SERVICE)?.start(handler)?;
            worker.registered().await;
            *place = Some(worker);
        }
        let client = Client::connect(&endpoint).await?;
        print(if json {
            format!("{}\n", json!({"v": 1, "event": "ready", "endpoint": endpoint}))
        } else {
            format!(
                "A broker at {endpoint}, two workers, {}, that offer the service `{SERVICE}`,\n\
                 and a client that calls it. One of the workers will not live long.\n\n",
                WORKERS.join(" and "),
            )
        })?;
        let began = Instant::now();
        Ok(Self { json, broker, workers, client, says, events, began })
    }

    async fn play(mut self) -> Result<ExitCode> {
        let mut calls = JoinSet::new();
        for (number, picture) in (0..).zip(PICTURES) {
            let (client, says) = (self.client.clone(), self.says.clone());
            calls.spawn(call(client, says, self.began + PAUSE * number, picture));
        }
        let (mut doomed, mut replied, mut ended, mut saved) = (None, 0, 0, None);
        while ended < PICTURES.len() {
            let event = tokio::select! {
                Some(event) = self.events.recv() => event,
                worker = doom(doomed) => {
                    doomed = None;
                    // Its connection is cut and its work is dropped: this is no stop.
                    drop(self.workers.get_mut(worker).and_then(Option::take));
                    Event::Killed { worker }
                }
            };
            match &event {
                Event::Begun { worker, picture, attempt } if picture == FATAL => {
                    if *attempt == 1 {
                        doomed = Some((*worker, Instant::now() + DOOM));
                    } else {
                        saved = Some(*worker);
                    }
                }
                Event::Replied { .. } => (replied, ended) = (replied + 1, ended + 1),
                Event::Failed { .. } => ended += 1,
                Event::Called { .. } | Event::Begun { .. } | Event::Killed { .. } => {}
            }
            self.show(&event)?;
        }
        self.end(replied, saved).await
    }

    fn show(&self, event: &Event) -> Result<()> {
        let at = self.began.elapsed();
        print(if self.json { event.json(at) } else { event.line(at) })
    }

    async fn end(self, replied: usize, saved: Option<usize>) -> Result<ExitCode> {
        let calls = PICTURES.len();
        let saviour = saved.and_then(|worker| WORKERS.get(worker).copied()).unwrap_or("nobody");
        print(if self.json {
            let summary = json!({
                "v": 1, "event": "summary", "calls": calls, "replied": replied, "killed": 1,
                "taken_over_by": saviour,
            });
            format!("{summary}\n")
        } else {
            format!(
                "\n{calls} calls, {replied} replies. A worker was killed in the middle of its \
                 work; the broker gave\nits request to {saviour}, and the client never noticed.\n\n{}",
                next(),
            )
        })?;
        self.client.close(Duration::from_secs(1)).await;
        for worker in self.workers.into_iter().flatten() {
            worker.stop(Duration::from_secs(1)).await;
        }
        self.broker.shutdown(Duration::from_secs(1)).await;
        ensure!(replied == calls && saved.is_some(), "the demo went wrong: please report it");
        Ok(ExitCode::SUCCESS)
    }
}

/// What to try, with the command's name as it was called: it need not be where a shell finds it.
fn next() -> String {
    let me = std::env::args().next().unwrap_or_else(|| "majordomo".into());
    let lines = [
        ("broker", "a broker that stays"),
        ("work shout -- tr a-z A-Z", "a command becomes a service"),
        ("call shout hello", "and is called"),
        ("status --watch", "what is going on"),
    ];
    let lines = lines.map(|(what, why)| format!("  {me} {what:26}  {why}\n"));
    format!("Try next, each in a terminal of its own:\n{}", lines.concat())
}

/// The work of a worker.
async fn thumbnail(
    worker: usize,
    says: mpsc::Sender<Event>,
    request: Request,
) -> Result<String, Failure> {
    let picture = String::from_utf8_lossy(request.first()).into_owned();
    let attempt = request.attempt();
    // Nobody listens any more only when the demo is over.
    let _ = says.send(Event::Begun { worker, picture: picture.clone(), attempt }).await;
    sleep(WORK).await;
    Ok(format!("{picture}, 200 x 200, by {}", WORKERS.get(worker).copied().unwrap_or_default()))
}

/// One call of the client.
async fn call(client: Client, says: mpsc::Sender<Event>, at: Instant, picture: &'static str) {
    sleep_until(at).await;
    let _ = says.send(Event::Called { picture }).await;
    let began = Instant::now();
    let event = match client.call(SERVICE, picture).timeout(PATIENCE).await {
        Ok(reply) => {
            let reply = String::from_utf8_lossy(reply.first()).into_owned();
            Event::Replied { picture, reply, took: began.elapsed() }
        }
        Err(error) => Event::Failed { picture, why: error.to_string() },
    };
    let _ = says.send(event).await;
}

/// Waits until the worker has to die.
async fn doom(doomed: Option<(usize, Instant)>) -> usize {
    match doomed {
        Some((worker, at)) => {
            sleep_until(at).await;
            worker
        }
        None => std::future::pending().await,
    }
}

impl Event {
    fn json(&self, at: Duration) -> String {
        let name = |worker: &usize| WORKERS.get(*worker).copied();
        let mut object = match self {
            Self::Called { picture } => json!({"event": "call", "picture": picture}),
            Self::Begun { worker, picture, attempt } => json!({
                "event": "begin", "worker": name(worker), "picture": picture, "attempt": attempt,
            }),
            Self::Killed { worker } => json!({"event": "killed", "worker": name(worker)}),
            Self::Replied { picture, reply, took } => json!({
                "event": "reply", "picture": picture, "reply": reply, "took_ms": millis(*took),
            }),
            Self::Failed { picture, why } => {
                json!({"event": "failed", "picture": picture, "error": why})
            }
        };
        object["v"] = 1.into();
        object["ms"] = millis(at).into();
        format!("{object}\n")
    }

    fn line(&self, at: Duration) -> String {
        let plain = Style::new();
        let fatal = AnsiColor::Red.on_default().bold();
        let (who, how, what) = match self {
            Self::Called { picture } => ("client", plain, format!("calls `{SERVICE}`: {picture}")),
            Self::Begun { worker, picture, attempt: 1 } => {
                (worker_name(*worker), plain, format!("works on {picture}"))
            }
            Self::Begun { worker, picture, attempt } => {
                let what = format!("takes over {picture} (attempt {attempt})");
                (worker_name(*worker), AnsiColor::Green.on_default().bold(), what)
            }
            Self::Killed { worker } => {
                let what = format!("KILLED in the middle of {FATAL}: its connection is cut");
                (worker_name(*worker), fatal, what)
            }
            Self::Replied { reply, took, .. } => {
                let what = format!("has the reply after {:.1} s: {reply}", took.as_secs_f64());
                ("client", AnsiColor::Green.on_default(), what)
            }
            Self::Failed { picture, why } => ("client", fatal, format!("no {picture}: {why}")),
        };
        let colour = match who {
            "client" => AnsiColor::Cyan,
            "anna" => AnsiColor::Yellow,
            _ => AnsiColor::Magenta,
        };
        let who = paint(colour.on_default(), &format!("{who:6}"));
        format!("{:5.1} s  {who}  {}\n", at.as_secs_f64(), paint(how, &what))
    }
}

fn worker_name(worker: usize) -> &'static str {
    WORKERS.get(worker).copied().unwrap_or_default()
}
