//! `majordomo acl test`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::keys::KeyRing;
use majordomo::wire::mjp::{DecisionReport, KeyHeader, Verb};
use serde_json::{Value, json};

use super::ask::{PlaceArgs, spelled};
use super::trouble::{of_broker, of_edit, of_ring};
use crate::failure::Exit;
use crate::manage::block_on;
use crate::output::{harmless, print};

#[derive(Debug, Subcommand)]
pub(crate) enum AclAction {
    /// Tell whether somebody may do something, and which line decides
    #[command(after_help = TEST_EXAMPLES)]
    Test(TestArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo acl test --key anna call billing.invoice
  majordomo acl test --key q3ds-8kmx-1vn2-7hzc serve billing --file keys.toml";

const TEST_EXAMPLES: &str = "\
Examples:
  majordomo acl test --key anna call billing.invoice
  majordomo acl test --key q3ds-8kmx-1vn2-7hzc serve billing --file keys.toml

What denies beats what allows, and what no line allows is denied. If several keys have the name,
each is told, and all have to be allowed.
Exit codes: 0 allowed, 5 denied (or you may not ask), 6 no such key";

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Whose rights: a fingerprint, a key in Z85, a public file, or a name
    #[arg(long, value_name = "KEY")]
    key: String,
    /// What is done: call, serve, publish, subscribe, admin, group, group.lead,
    /// group.send, group.poll, lease, flow or file
    right: String,
    /// With what: the name of a service, a subject, a command
    name: String,
    #[command(flatten)]
    place: PlaceArgs,
}

impl AclAction {
    pub(crate) fn json(&self) -> bool {
        let Self::Test(args) = self;
        args.place.ask.json
    }
}

pub(crate) fn run(action: AclAction) -> Result<ExitCode> {
    let AclAction::Test(args) = action;
    let key = spelled(&args.key)?;
    let rule = format!("{} {}", args.right, args.name);
    let rows = match &args.place.file {
        Some(file) => offline(file, &key, &rule)?,
        None => return block_on(online(&args, &key, &rule)),
    };
    tell(&args, rows)
}

fn offline(file: &Path, key: &str, rule: &str) -> Result<Vec<Row>> {
    let ring = KeyRing::read(file).map_err(|error| of_ring(&error))?;
    let found = ring.test(key, rule).map_err(|error| of_edit(&error))?;
    Ok(found.iter().map(|why| Row::from(why.report())).collect())
}

async fn online(args: &TestArgs, key: &str, rule: &str) -> Result<ExitCode> {
    let desk = args.place.ask.connect().await?;
    let says = KeyHeader { key: Some(key), rule: Some(rule), ..KeyHeader::new(Verb::AclTest) };
    let answer = desk.client.key_admin(&says).await;
    let answer = answer.map_err(|error| of_broker(&desk, &args.key, &error))?;
    tell(args, answer.report().decisions.into_iter().flatten().map(Row::from).collect())
}

/// What is decided about one key.
struct Row {
    allowed: bool,
    line: String,
    json: Value,
}

impl From<DecisionReport<'_>> for Row {
    fn from(said: DecisionReport<'_>) -> Self {
        let DecisionReport { allowed, fingerprint, name, because, line, rule } = said;
        let json = json!({
            "allowed": allowed, "fingerprint": fingerprint, "name": name, "because": because,
            "line": line, "rule": rule,
        });
        let mut text = String::from(if allowed { "allowed" } else { "denied" });
        for who in [name.map(harmless), fingerprint.map(|it| format!("({})", harmless(it)))] {
            text.extend(who.map(|who| format!(" {who}")));
        }
        text.push_str(&format!(": {}", harmless(because)));
        text.extend(line.map(|line| format!(", line {line}")));
        text.extend(rule.map(|rule| format!(": {}", harmless(rule))));
        Self { allowed, line: text, json }
    }
}

fn tell(args: &TestArgs, rows: Vec<Row>) -> Result<ExitCode> {
    let allowed = rows.iter().all(|row| row.allowed);
    if args.place.ask.json {
        let decisions: Vec<_> = rows.into_iter().map(|row| row.json).collect();
        print(format!("{}\n", json!({"v": 1, "allowed": allowed, "decisions": decisions})))?;
    } else {
        print(rows.iter().map(|row| format!("{}\n", row.line)).collect::<String>())?;
    }
    Ok(if allowed { ExitCode::SUCCESS } else { Exit::NotAllowed.into() })
}
