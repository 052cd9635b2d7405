//! `majordomo call`: a request from the shell, or many of them.

pub(crate) mod body;
mod scatter;
mod talk;
mod trouble;

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use futures::future::join_all;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use majordomo::client::{Accepted, CallError, Client, Reply, To};
use majordomo::config::ClientConfig;
use majordomo::wire::Protocol;
use majordomo::wire::message::Message;
use majordomo::wire::mjp::Level;
use serde_json::{Value, json};
use tokio::time::Instant as Clock;

use crate::connect::{ConnectArgs, Target, some_time};
use crate::failure::{CliError, Exit};
use crate::fence::FenceArgs;
use crate::output::{complain, complain_of, millis, octets_json, print};
pub(crate) use trouble::{cannot_connect, no_session, nobody_serves, of_call};

/// Errors that are said one by one; more of them are only counted.
const SAID_MAX: u64 = 10;

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The service to call
    service: String,
    /// A frame of the body: text, `-` for standard input, `@FILE` for a file [default: one, empty]
    #[arg(allow_negative_numbers = true)]
    body: Vec<OsString>,
    /// Take each BODY as it is, also `-` and what begins with `@`
    #[arg(long)]
    literal: bool,
    /// Write the frames of a reply octet by octet, with no line end behind each
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Ask several workers at once: all, NAME[,NAME...] or LABEL=VALUE[,LABEL=VALUE...] (mjp)
    #[arg(long, value_name = "WORKERS", value_parser = scatter::recipients)]
    #[arg(conflicts_with_all = ["raw", "count", "concurrency", "attempts"])]
    to: Option<To>,
    /// Show what happens meanwhile: on standard error, or with --json in its place (mjp)
    #[arg(long)]
    events: bool,
    /// Answer what the worker asks, in this order; a person at a terminal is asked (mjp)
    #[arg(long, value_name = "TEXT", conflicts_with = "to", allow_hyphen_values = true)]
    answer: Vec<String>,
    /// How often to call
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    count: u64,
    /// Calls in flight at a time; with MDP each has a connection of its own
    #[arg(long, short, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// How long a call may take [default: as the context says, or 30s]
    #[arg(long, short, value_name = "DURATION", value_parser = some_time)]
    timeout: Option<Duration>,
    /// How often a request may be sent; with 1 it is delivered once at most (mjp)
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    /// Idempotency key: the same call with the same key is carried out once (mjp)
    #[arg(long, value_name = "KEY", conflicts_with_all = ["to", "count"])]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// Calls with the same order are carried out one at a time, in the order of coming (mjp)
    #[arg(long, value_name = "ORDER", conflicts_with = "to")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    order: Option<String>,
    /// No worker gets it before so much time has passed; the timeout has to be longer (mjp)
    #[arg(long, value_name = "DURATION", conflicts_with = "to", value_parser = some_time)]
    delay: Option<Duration>,
    /// What the request is to survive: memory (workers), disk (the broker, too) [default: as the
    /// service has it] (mjp)
    #[arg(long, value_name = "LEVEL", value_parser = level, conflicts_with = "to")]
    level: Option<Level>,
    /// Hand the request in at level disk and do not wait: prints its key, for a later call (mjp)
    #[arg(long, conflicts_with_all = ["to", "count", "events", "answer", "raw", "level"])]
    hand_in: bool,
    #[command(flatten)]
    fence: FenceArgs,
    /// Print one JSON object for each part of a reply
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo call shout hello
  majordomo call thumbnail @cat.jpg --raw > cat.png
  echo '{\"n\": 3}' | majordomo call sum - --timeout 2s --json
  majordomo call shout hello --count 10000 --concurrency 100 > replies
  majordomo call shout hello --to all
  majordomo call update now --to zone=a --events
  majordomo call delete old --events --answer yes
  majordomo call pay 'order 7' --key order-7
  majordomo call book 'minus 7' --order account-12
  majordomo call remind tea --delay 5s
  majordomo call pay 'order 8' --key order-8 --hand-in --timeout 1d
  majordomo lease campaign billing -- sh -c 'majordomo call pay 9 --lease billing --epoch $MAJORDOMO_EPOCH'

Each BODY is a frame of its own. Each frame of the reply is written on a line of its own, and parts
of a reply as they come. With --json a frame that is no text is {\"base64\": \"...\"}.
With --key a call that is made again waits for the answer to the first, or gets what was answered
then; the broker remembers that for limits.key_ttl (10 min).
With --level disk the answer comes once it is on the broker's disk; with --hand-in the same call with
the same --key gets it later, for store.outcomes_for (24 h), also from a broker started anew.
With --lease and --epoch no worker sees a call of who does not hold that lease any more.
With --to each of these workers gets the request once, and there is a line for each: its name, what
became of it (replied, failed, refused, lost, timed_out, cancelled), and what it said.
A worker may ask in the middle of a call. Each --answer answers one question; behind the last a
person at a terminal is asked, and without one the worker is told that there is no answer.

Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 6 nobody offers
the service, 8 the lease is not held by that epoch, 9 overloaded, 78 bad configuration; with --count that of the first call that failed; with --to 1 if
a worker has not replied";

impl CallArgs {
    /// Whether standard input is a frame of the body.
    fn body_is_stdin(&self) -> bool {
        !self.literal && self.body.iter().any(|argument| argument == "-")
    }
}

/// A level of acceptance.
fn level(text: &str) -> Result<Level, String> {
    let known = Level::ALL.map(Level::as_str).join(" or ");
    Level::from_name(text).ok_or_else(|| format!("write {known}"))
}

/// What all calls share.
struct Run<'a> {
    args: &'a CallArgs,
    target: &'a Target,
    client: Client,
    body: Message,
    timeout: Duration,
    /// More than the answer is of interest.
    follows: bool,
    begun: Cell<u64>,
    failed: Cell<u64>,
    first_failure: Cell<Option<Exit>>,
    /// Microseconds.
    latency: RefCell<Histogram<u64>>,
    progress: ProgressBar,
}

pub(crate) fn run(args: &CallArgs) -> Result<ExitCode> {
    let target = args.connect.target()?;
    if args.to.is_some() {
        scatter::check(&target)?;
    }
    let follows = talk::wanted(args, &target)?;
    let body = body::read(&args.body, args.literal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(call(args, &target, body, follows))
}

async fn call(args: &CallArgs, target: &Target, body: Message, follows: bool) -> Result<ExitCode> {
    let config = ClientConfig::default();
    let timeout = args.timeout.or(target.timeout).unwrap_or(config.timeout);
    let at_a_time = usize::try_from(u64::from(args.concurrency).min(args.count))?;
    if target.protocol != Protocol::Mjp && at_a_time > 1024 {
        let error = CliError::usage(
            "MDP has one call in flight on a connection, and at most 1,024 of them",
        );
        return Err(error.hint("use --concurrency 1024 or less, or --protocol mjp").into());
    }
    let config = ClientConfig {
        endpoint: target.endpoint.clone(),
        curve: target.curve.clone(),
        protocol: target.protocol,
        connections: if target.protocol == Protocol::Mjp { 1 } else { at_a_time },
        in_flight_max: at_a_time.max(1),
        connect_timeout: config.connect_timeout.min(timeout.max(Duration::from_millis(10))),
        timeout,
        attempts: args.attempts,
        ..config
    };
    let builder = majordomo::client::ClientBuilder::from(config);
    let client = builder.connect().await.map_err(|error| cannot_connect(target, &error))?;
    let run = Run {
        args,
        target,
        client,
        body,
        timeout,
        follows,
        begun: Cell::new(0),
        failed: Cell::new(0),
        first_failure: Cell::new(None),
        latency: RefCell::new(Histogram::new_with_bounds(1, 86_400_000_000, 3)?),
        progress: progress(args),
    };
    if let Some(to) = &args.to {
        return run.scatter(to).await;
    }
    let began = Clock::now().into_std();
    let lanes = join_all((0..at_a_time).map(|_| run.lane())).await;
    lanes.into_iter().collect::<Result<()>>()?;
    run.finish(Clock::now().into_std() - began)
}

/// On a terminal only, and only for many calls.
fn progress(args: &CallArgs) -> ProgressBar {
    if args.count == 1 {
        return ProgressBar::hidden();
    }
    let style = "{bar:30} {pos}/{len} calls, {per_sec}, {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    // Draws nothing where standard error is no terminal.
    let target = ProgressDrawTarget::stderr();
    ProgressBar::with_draw_target(Some(args.count), target).with_style(style)
}

impl Run<'_> {
    /// Calls, one after the other, as long as calls are left.
    async fn lane(&self) -> Result<()> {
        while self.begun.get() < self.args.count {
            let number = self.begun.get() + 1;
            self.begun.set(number);
            let began = Clock::now().into_std();
            match self.one(number, began).await? {
                Ok(()) => self.note(began),
                Err(error) => self.fail(number, error).await?,
            }
            self.progress.inc(1);
        }
        Ok(())
    }

    async fn one(&self, number: u64, began: Instant) -> Result<Result<(), CallError>> {
        let call = self.client.call(&self.args.service, self.body.clone());
        let call = if self.args.attempts == 1 { call.attempts(1) } else { call };
        let call = match &self.args.order {
            Some(order) => call.order(order),
            None => call,
        };
        let call = match self.args.delay {
            Some(delay) => call.delay(delay),
            None => call,
        };
        let call = match self.args.level {
            Some(level) => call.level(level),
            None => call,
        };
        let call = match self.args.fence.fence() {
            Some(fence) => call.fence(fence),
            None => call,
        };
        if self.follows {
            return self.follow(call, number, began).await;
        }
        let call = match &self.args.key {
            Some(key) => call.key(key),
            None => call,
        };
        if self.args.hand_in {
            return match call.hand_in().await {
                Ok(accepted) => self.say_accepted(number, began, &accepted).map(Ok),
                Err(error) => Ok(Err(error)),
            };
        }
        let mut replies = call.stream();
        let mut parts = 0_u64;
        while let Some(reply) = replies.next().await {
            match reply {
                Ok(Reply::Partial(part)) => {
                    parts += 1;
                    self.say("partial", number, began, &part)?;
                }
                // The end of parts need not say anything more.
                Ok(Reply::Final(rest)) if parts > 0 && !self.args.json && is_empty(&rest) => {}
                Ok(Reply::Final(reply)) => self.say("final", number, began, &reply)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    fn say(&self, event: &str, call: u64, began: Instant, reply: &Message) -> Result<()> {
        let data = if self.args.json {
            let frames: Vec<Value> = reply.frames().map(octets_json).collect();
            let ms = millis(Clock::now().into_std() - began);
            let said = json!({"v": 1, "event": event, "call": call, "ms": ms, "frames": frames});
            format!("{said}\n").into_bytes()
        } else {
            body::show(reply.frames(), self.args.raw)
        };
        self.progress.suspend(|| print(data))
    }

    fn say_accepted(&self, call: u64, began: Instant, accepted: &Accepted) -> Result<()> {
        let level = accepted.level.as_str();
        if self.args.json {
            let ms = millis(Clock::now().into_std() - began);
            let (key, repeat) = (octets_json(&accepted.key), accepted.repeat);
            let said = json!({"v": 1, "event": "accepted", "call": call, "ms": ms, "level": level,
                "repeat": repeat, "key": key});
            return print(format!("{said}\n"));
        }
        print(body::show(Message::new([accepted.key.to_vec()]).frames(), false))
    }

    fn note(&self, began: Instant) {
        let micros = (Clock::now().into_std() - began).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.latency.borrow_mut().saturating_record(micros);
    }

    async fn fail(&self, number: u64, error: CallError) -> Result<()> {
        let failed = self.failed.get() + 1;
        self.failed.set(failed);
        if failed > SAID_MAX && !self.args.json {
            return Ok(());
        }
        // Asked once only: with many calls each would ask again.
        let alone = failed == 1 && matches!(error, CallError::Timeout { .. });
        let unserved = alone && nobody_serves(&self.client, &self.args.service).await;
        let error = of_call(&self.args.service, self.timeout, &error, unserved);
        if self.first_failure.get().is_none() {
            self.first_failure.set(Some(error.exit));
        }
        if self.args.json {
            let CliError { code, message, hint, .. } = &error;
            let what = json!({"code": code, "message": message, "hint": hint});
            let said = json!({"v": 1, "event": "error", "call": number, "error": what});
            self.progress.suspend(|| print(format!("{said}\n")))?;
        }
        self.progress.suspend(|| complain_of(&format!("majordomo: {error}")));
        Ok(())
    }

    fn finish(&self, took: Duration) -> Result<ExitCode> {
        self.progress.finish_and_clear();
        let (count, failed) = (self.args.count, self.failed.get());
        let exit = self.first_failure.get().map_or(ExitCode::SUCCESS, ExitCode::from);
        if count == 1 {
            return Ok(exit);
        }
        let latency = self.latency.borrow();
        let [p50, p99, p999] =
            [0.5, 0.99, 0.999].map(|q| latency.value_at_quantile(q) as f64 / 1e3);
        let rate = (count - failed) as f64 / took.as_secs_f64();
        if self.args.json {
            let summary = json!({
                "v": 1, "event": "summary", "calls": count, "replied": count - failed,
                "failed": failed, "seconds": took.as_secs_f64(), "per_second": rate,
                "ms": {"p50": p50, "p99": p99, "p99.9": p999},
            });
            print(format!("{summary}\n"))?;
        } else {
            if failed > SAID_MAX {
                complain(&format_args!("majordomo: ... and {} more errors", failed - SAID_MAX));
            }
            complain(&format_args!(
                "{count} calls to `{}` at {}: {} replied, {failed} failed, {rate:.0}/s, \
                 p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms",
                self.args.service,
                self.target.endpoint,
                count - failed
            ));
        }
        Ok(exit)
    }
}

fn is_empty(reply: &Message) -> bool {
    reply.frames().all(<[u8]>::is_empty)
}
