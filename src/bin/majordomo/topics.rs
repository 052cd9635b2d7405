//! `majordomo publish` and `majordomo subscribe`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use futures::StreamExt;
use futures::stream::select_all;
use majordomo::client::{CallError, Lapse, Published};
use majordomo::wire::mjp::Code;
use serde_json::{Value, json};

use crate::call::body;
use crate::failure::{CliError, Exit};
use crate::fence::FenceArgs;
use crate::manage::{AskArgs, block_on};
use crate::output::{complain, harmless, octets_json, print, print_json};

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// What it is about: tokens with a `.` between them
    subject: String,
    /// A frame of the body: text, `-` for standard input, `@FILE` for a file [default: one, empty]
    #[arg(allow_negative_numbers = true)]
    body: Vec<OsString>,
    /// Take each BODY as it is, also `-` and what begins with `@`
    #[arg(long)]
    literal: bool,
    #[command(flatten)]
    fence: FenceArgs,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SubscribeArgs {
    /// Subjects; `*` stands for one token, `>` for all that follow
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// End behind so many messages [default: go on until interrupted]
    #[arg(long, short = 'n', value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    ask: AskArgs,
}

pub(crate) const PUBLISH_EXAMPLES: &str = "\
Examples:
  majordomo publish weather.oslo.wind '9 m/s'
  date | majordomo publish clock - --json
  majordomo publish orders.closed now --lease orders --epoch $MAJORDOMO_EPOCH

It says how many subscriptions it was for. Nothing is kept for those that come later, and what finds
no room at a slow subscriber is dropped there, and counted.
With --lease and --epoch nobody hears what comes from one who does not hold that lease any more.
Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 8 the lease is
not held by that epoch, 9 overloaded";

pub(crate) const SUBSCRIBE_EXAMPLES: &str = "\
Examples:
  majordomo subscribe 'weather.*.wind'
  majordomo subscribe 'orders.>' alerts --json
  majordomo subscribe 'orders.>' --count 1

Each frame is a line of its own, behind its subject and a tab. What was dropped is told on standard
error, or with --json as an object between the messages. It goes on over lost connections.
Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 9 overloaded";

impl PublishArgs {
    pub(crate) fn json(&self) -> bool {
        self.ask.json
    }
}

impl SubscribeArgs {
    pub(crate) fn json(&self) -> bool {
        self.ask.json
    }
}

pub(crate) fn publish(args: &PublishArgs) -> Result<ExitCode> {
    let body = body::read(&args.body, args.literal)?;
    block_on(async {
        let desk = args.ask.connect().await?;
        let publication = desk.client.publish(&args.subject, body);
        let publication = match args.fence.fence() {
            Some(fence) => publication.fence(fence),
            None => publication,
        };
        let subscriptions = publication.await.map_err(|error| trouble(&args.subject, &error))?;
        if args.ask.json {
            let said = json!({"v": 1, "subject": args.subject, "subscriptions": subscriptions});
            return print_json(said);
        }
        let plural = if subscriptions == 1 { "" } else { "s" };
        print(format!("published to {subscriptions} subscription{plural}\n"))?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) fn subscribe(args: &SubscribeArgs) -> Result<ExitCode> {
    block_on(async {
        let desk = args.ask.connect().await?;
        let mut all = Vec::new();
        for pattern in &args.patterns {
            let subscription = desk.client.subscribe(pattern).await;
            all.push(subscription.map_err(|error| trouble(pattern, &error))?);
        }
        if args.ask.json {
            let said = json!({"v": 1, "event": "subscribed", "patterns": args.patterns});
            print(format!("{said}\n"))?;
        } else {
            complain(&format_args!("subscribed to {}", harmless(&args.patterns.join(" "))));
        }
        let (mut all, mut left) = (select_all(all), args.count);
        while left != Some(0)
            && let Some(next) = all.next().await
        {
            match next {
                Ok(published) => {
                    show(args, &published)?;
                    left = left.map(|left| left - 1);
                }
                Err(Lapse::Ended(error)) => {
                    return Err(trouble(&args.patterns.join(" "), &error).into());
                }
                Err(lapse) => miss(args, &lapse)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn show(args: &SubscribeArgs, published: &Published) -> Result<()> {
    let Published { subject, body, publisher, .. } = published;
    if args.ask.json {
        let frames: Vec<Value> = body.frames().map(octets_json).collect();
        let said = json!({
            "v": 1, "event": "message", "subject": subject, "frames": frames,
            "publisher": publisher.as_deref().map(octets_json),
        });
        return print(format!("{said}\n"));
    }
    for frame in body.frames() {
        let mut line = format!("{}\t", harmless(subject)).into_bytes();
        let frame = majordomo::wire::message::Message::from(frame.to_vec());
        line.extend_from_slice(&body::show(frame.frames(), false));
        print(line)?;
    }
    Ok(())
}

fn miss(args: &SubscribeArgs, lapse: &Lapse) -> Result<()> {
    if !args.ask.json {
        complain(&format_args!("majordomo: {lapse}"));
        return Ok(());
    }
    let missed = match lapse {
        Lapse::Missed(missed) => Some(missed),
        _ => None,
    };
    print(format!("{}\n", json!({"v": 1, "event": "gap", "missed": missed})))
}

/// Why it was not published, or not subscribed to.
fn trouble(subject: &str, error: &CallError) -> CliError {
    let subject = harmless(subject);
    let said = |exit, code: &str, what: &str| {
        CliError::new(exit, code, format!("{subject}: {}", harmless(what)))
    };
    match error {
        CallError::Subject(why) => CliError::usage(format!("{subject}: {why}")),
        CallError::LeaseName { .. } => CliError::usage(error.to_string()),
        CallError::Stale { .. } => said(Exit::Conflict, "stale_epoch", &error.to_string())
            .hint("stop what you do, and campaign again: `majordomo lease campaign`"),
        CallError::Refused { code, message, .. } => match Code::from_name(code) {
            Some(Code::Forbidden | Code::Denied) => said(Exit::NotAllowed, code, message),
            Some(Code::Overloaded | Code::Draining) => said(Exit::Overloaded, code, message)
                .hint("try again later, or look at the limits: `majordomo config default`"),
            Some(Code::Unsupported) => {
                said(Exit::Failed, code, message).hint("the broker may be older than this command")
            }
            _ => said(Exit::Failed, code, message),
        },
        CallError::Timeout { sent: false, because: Some(because), .. } => {
            said(Exit::CannotConnect, "not_sent", because)
        }
        CallError::Timeout { .. } => said(Exit::TimedOut, "timeout", &error.to_string()),
        CallError::Disconnected { .. } | CallError::Closed => {
            said(Exit::CannotConnect, "disconnected", &error.to_string())
        }
        error => said(Exit::Failed, "failed", &error.to_string()),
    }
}
