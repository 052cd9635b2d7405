//! `majordomo dlq ls|show|requeue|edit|drop`.

mod editor;

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::client::DeadAnswered;
use majordomo::wire::message::Message;
use majordomo::wire::mjp::{DeadHeader, LetterReport, Verb};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{AskArgs, Desk, age, block_on, text};
use crate::connect::some_time;
use crate::failure::{CliError, Exit};
use crate::output::{Table, harmless, octets_json, print, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum DlqAction {
    /// List dead letters: requests that ended without an answer and were kept
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Show a dead letter, its body, and the workers that had it
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Put dead letters back into their queues
    #[command(after_help = REQUEUE_EXAMPLES)]
    Requeue(ChangeArgs),
    /// Give a dead letter another body or service
    #[command(after_help = EDIT_EXAMPLES)]
    Edit(EditArgs),
    /// Forget dead letters
    #[command(after_help = DROP_EXAMPLES)]
    Drop(ChangeArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo dlq ls --endpoint ipc:///run/majordomo.sock
  majordomo dlq show 000000010000002a
  majordomo dlq requeue --service 'pay.*' --dry-run
  majordomo dlq drop --cause poison

They need the right `admin` (ipc://). Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect,
4 timed out, 5 not allowed, 6 no such letter, 9 no room in the queue";

const LS_EXAMPLES: &str = "\
Examples:
  majordomo dlq ls
  majordomo dlq ls --service 'pay.*' --cause poison --older 1h --json";

const SHOW_EXAMPLES: &str = "\
Examples:
  majordomo dlq show 000000010000002a
  majordomo dlq show 000000010000002a --json
  majordomo dlq show 000000010000002a --raw > body

With --raw the frames of the body are written and nothing else.";

const REQUEUE_EXAMPLES: &str = "\
Examples:
  majordomo dlq requeue 000000010000002a
  majordomo dlq requeue --service pay --dry-run
  majordomo dlq requeue --all

A letter that is put back is a new request: it waits behind the others and has all attempts again.
Nobody waits for its answer. With --dry-run nothing is done and the number is told.";

const EDIT_EXAMPLES: &str = "\
Examples:
  majordomo dlq edit 000000010000002a
  majordomo dlq edit 000000010000002a --body better.json --requeue
  majordomo dlq edit 000000010000002a --to pay.retry

Without --body and --to the body is opened in $VISUAL or $EDITOR, and kept as it is if that ends
with an error or changes nothing. Each --body is a frame of its own; - is the standard input.";

const DROP_EXAMPLES: &str = "\
Examples:
  majordomo dlq drop 000000010000002a
  majordomo dlq drop --older 7d --dry-run
  majordomo dlq drop --all";

#[derive(Debug, Args)]
struct Filter {
    /// Those of this service; a final * stands for anything
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Those that died so
    #[arg(long, value_name = "CAUSE", value_parser = CAUSES)]
    cause: Option<String>,
    /// Those that have been dead for so long
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    older: Option<Duration>,
}

const CAUSES: [&str; 8] =
    ["failed", "exhausted", "poison", "lost", "expired", "timeout", "rejected", "overflow"];

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The id of the letter
    id: String,
    /// Write the frames of the body as they are, and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The id of the letter
    #[arg(required_unless_present_any = ["service", "cause", "older", "all"])]
    #[arg(conflicts_with_all = ["service", "cause", "older", "all"])]
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Whoever they are
    #[arg(long, conflicts_with_all = ["service", "cause", "older"])]
    all: bool,
    /// Only say how many it would be
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The id of the letter
    id: String,
    /// A frame of the new body, from a file
    #[arg(long, value_name = "FILE")]
    body: Vec<PathBuf>,
    /// The service that it asks for from now on
    #[arg(long, value_name = "SERVICE")]
    to: Option<String>,
    /// Put it back into its queue, too
    #[arg(long)]
    requeue: bool,
    /// Only see whether it could be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    ask: AskArgs,
}

impl DlqAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Ls(args) => args.ask.json,
            Self::Show(args) => args.ask.json,
            Self::Requeue(args) | Self::Drop(args) => args.ask.json,
            Self::Edit(args) => args.ask.json,
        }
    }
}

pub(crate) fn run(action: DlqAction) -> Result<ExitCode> {
    block_on(async {
        match action {
            DlqAction::Ls(args) => list(&args).await,
            DlqAction::Show(args) => show(&args).await,
            DlqAction::Requeue(args) => change(&args, true).await,
            DlqAction::Drop(args) => change(&args, false).await,
            DlqAction::Edit(args) => edit(&args).await,
        }
    })
}

impl Filter {
    fn says(&self, verb: Verb) -> DeadHeader<'_> {
        DeadHeader {
            service: self.service.as_ref().map(String::as_bytes),
            cause: self.cause.as_deref(),
            older: self.older.map(millis),
            max: NonZeroU16::new(1000),
            ..DeadHeader::new(verb)
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Desk {
    async fn dead(
        &self,
        says: &DeadHeader<'_>,
        body: Option<Message>,
        what: &str,
    ) -> Result<DeadAnswered, CliError> {
        let answer = self.client.dead_admin(says, body).await;
        answer.map_err(|error| self.trouble(what, &error))
    }
}

fn letter_json(letter: &LetterReport<'_>) -> Value {
    let mut object = json!({
        "id": letter.uuid,
        "service": octets_json(letter.service),
        "queue": octets_json(letter.queue),
        "cause": letter.cause,
        "attempts": letter.attempts,
        "deaths": letter.deaths,
        "age_ms": letter.age,
        "dead_ms": letter.dead,
        "bytes": letter.bytes,
    });
    let more = [
        ("message", letter.message.map(Value::from)),
        ("identity", letter.identity.map(octets_json)),
        ("fingerprint", letter.fingerprint.map(Value::from)),
        ("name", letter.name.map(Value::from)),
        ("order", letter.order.map(octets_json)),
    ];
    if let Some(object) = object.as_object_mut() {
        for (key, value) in more {
            if let Some(value) = value {
                object.insert(key.into(), value);
            }
        }
    }
    object
}

/// Who asked, as far as that is known.
fn asker(letter: &LetterReport<'_>) -> String {
    let name = letter.name.or(letter.fingerprint).map(ToOwned::to_owned);
    name.or_else(|| letter.identity.map(text)).unwrap_or_default()
}

async fn list(args: &LsArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let mut says = args.filter.says(Verb::DeadList);
    let columns = ["ID", "SERVICE", "CAUSE", "ATTEMPTS", "DEAD", "BYTES", "CALLER", "MESSAGE"];
    let (mut table, mut letters) = (Table::new(columns), Vec::new());
    loop {
        let answer = desk.dead(&says, None, "dead letters").await?;
        let report = answer.report();
        for letter in report.letters.iter().flatten() {
            table.row([
                letter.uuid,
                &text(letter.service),
                letter.cause,
                &letter.attempts.to_string(),
                &age(letter.dead),
                &letter.bytes.to_string(),
                &asker(letter),
                letter.message.unwrap_or_default(),
            ]);
            letters.push(letter_json(letter));
        }
        says.after = report.next;
        if says.after.is_none() {
            break;
        }
    }
    if args.ask.json {
        return print_json(json!({"v": 1, "letters": letters}));
    }
    if table.is_empty() {
        print("no dead letters\n")?;
    } else {
        print(table.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The frames of the body of a letter, without its header.
fn frames_of(answer: &DeadAnswered) -> Vec<Vec<u8>> {
    let report = answer.report();
    let has_header = report.letters.iter().flatten().any(|letter| letter.header.is_some());
    answer.body().skip(usize::from(has_header)).map(<[u8]>::to_vec).collect()
}

async fn show(args: &ShowArgs) -> Result<ExitCode> {
    let desk = args.ask.connect().await?;
    let says = DeadHeader { uuid: Some(&args.id), ..DeadHeader::new(Verb::DeadShow) };
    let answer = desk.dead(&says, None, &args.id).await?;
    let frames = frames_of(&answer);
    if args.raw {
        print(frames.concat())?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = answer.report();
    let Some(letter) = report.letters.iter().flatten().next() else {
        return Err(super::not_found(&args.id, "the broker told nothing of it").into());
    };
    let seen = || report.seen.iter().flatten();
    if args.ask.json {
        let workers: Vec<Value> = seen()
            .map(|seen| json!({"worker": seen.worker, "end": seen.end, "ago_ms": seen.ago}))
            .collect();
        let frames: Vec<Value> = frames.iter().map(|frame| octets_json(frame)).collect();
        return print_json(json!({
            "v": 1, "letter": letter_json(letter), "seen": workers, "frames": frames,
        }));
    }
    let mut said = format!(
        "{} of {}: {} after {} deliveries, {} ago\n",
        letter.uuid,
        harmless(&text(letter.service)),
        letter.cause,
        letter.attempts,
        age(letter.dead)
    );
    for (what, value) in [
        ("message", letter.message.map(ToOwned::to_owned)),
        ("caller", Some(asker(letter)).filter(|name| !name.is_empty())),
        ("order", letter.order.map(text)),
        ("queue", Some(text(letter.queue)).filter(|_| letter.queue != letter.service)),
    ] {
        if let Some(value) = value {
            said += &format!("{what}: {}\n", harmless(&value));
        }
    }
    for seen in seen() {
        said += &format!("{} at {}, {} ago\n", seen.end, harmless(seen.worker), age(seen.ago));
    }
    for frame in &frames {
        said += &format!("> {}\n", harmless(&text(frame)));
    }
    print(said)?;
    Ok(ExitCode::SUCCESS)
}

async fn change(args: &ChangeArgs, requeue: bool) -> Result<ExitCode> {
    let (verb, did) =
        if requeue { (Verb::DeadRequeue, "requeued") } else { (Verb::DeadDrop, "dropped") };
    let desk = args.ask.connect().await?;
    let began = Instant::now();
    let dry = args.dry_run.then_some(true);
    let all = args.id.is_none().then_some(true);
    let mut says = DeadHeader { uuid: args.id.as_deref(), all, dry, ..args.filter.says(verb) };
    let what = args.id.as_deref().unwrap_or("dead letters");
    let (mut done, mut left, mut why) = (0, 0, String::new());
    loop {
        // What dies of being put back is not meant: it is not as old as this command.
        says.older = match args.id {
            Some(_) => None,
            None => Some(millis(args.filter.older.unwrap_or_default().max(began.elapsed()))),
        };
        let answer = desk.dead(&says, None, what).await?;
        let report = answer.report();
        done += report.done.unwrap_or(0);
        left += report.left.unwrap_or(0);
        why = report.because.map_or(why, ToOwned::to_owned);
        says.after = report.next;
        // What found no room will find none a moment later.
        if says.after.is_none() || left > 0 {
            break;
        }
    }
    let dry_run = args.dry_run;
    if args.ask.json {
        print_json(json!({"v": 1, did: done, "left": left, "dry_run": dry_run}))?;
    } else if dry_run {
        print(format!("would have {did} {done}\n"))?;
    } else {
        print(format!("{did} {done}\n"))?;
    }
    no_room(left, &why)
}

fn no_room(left: u64, why: &str) -> Result<ExitCode> {
    if left == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let message = format!("{left} found no room and are dead as before: {}", harmless(why));
    Err(CliError::new(Exit::Overloaded, "no_room", message).into())
}

async fn edit(args: &EditArgs) -> Result<ExitCode> {
    let given = args.body.iter().map(|path| editor::read(path));
    let given = given.collect::<Result<Vec<_>, CliError>>()?;
    let desk = args.ask.connect().await?;
    let body = if !given.is_empty() {
        Some(given)
    } else if args.to.is_some() {
        None
    } else {
        let says = DeadHeader { uuid: Some(&args.id), ..DeadHeader::new(Verb::DeadShow) };
        let frames = frames_of(&desk.dead(&says, None, &args.id).await?);
        let [frame] = &frames[..] else {
            let count = frames.len();
            let message = format!("the body has {count} frames, and an editor takes one file");
            return Err(CliError::usage(message).hint("give each frame with --body FILE").into());
        };
        let edited = editor::edit(frame)?;
        if edited == *frame && !args.requeue {
            print("nothing was changed\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(vec![edited])
    };
    let says = DeadHeader {
        uuid: Some(&args.id),
        service: args.to.as_ref().map(String::as_bytes),
        requeue: args.requeue.then_some(true),
        dry: args.dry_run.then_some(true),
        ..DeadHeader::new(Verb::DeadEdit)
    };
    let answer = desk.dead(&says, body.map(Message::new), &args.id).await?;
    let report = answer.report();
    let did = if args.requeue { "edited and requeued" } else { "edited" };
    let left = report.left.unwrap_or(0);
    let dry_run = args.dry_run;
    if args.ask.json {
        let requeued = args.requeue && left == 0 && !dry_run;
        print_json(json!({
            "v": 1, "edited": args.id, "requeued": requeued, "dry_run": dry_run,
        }))?;
    } else if dry_run {
        print(format!("would have {did} {}\n", harmless(&args.id)))?;
    } else if left == 0 {
        print(format!("{did} {}\n", harmless(&args.id)))?;
    }
    no_room(left, report.because.unwrap_or_default())
}
