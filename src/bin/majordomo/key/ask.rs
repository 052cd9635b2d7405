//! `majordomo key pending|approve|deny|revoke`: asked of a broker, or done in its file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use majordomo::id::{Principal, PublicKey};
use majordomo::keys::ring::edit;
use majordomo::keys::{
    Approval, Changes, EditError, Given, KeyError, KeyRing, RingError, public_from_text,
    read_public, text_of_public,
};
use majordomo::wire::mjp::{ChangeReport, KeyHeader, KeyReport, Verb};
use serde_json::{Value, json};

use super::trouble::{of_broker, of_edit, of_key, of_ring};
use crate::failure::CliError;
use crate::manage::{AskArgs, age, block_on};
use crate::output::{Table, harmless, print, print_json};

pub(super) const PENDING_EXAMPLES: &str = "\
Examples:
  majordomo key pending --endpoint ipc:///run/majordomo.sock
  majordomo key pending --json | jq -r '.pending[].fingerprint'

A key is remembered for a day behind its last attempt, 1,000 of them, and 100 from one address.
Compare the fingerprint with that of `majordomo key show` on the other side.";

pub(super) const APPROVE_EXAMPLES: &str = "\
Examples:
  majordomo key approve q3ds-8kmx-1vn2-7hzc --name anna --role client
  majordomo key approve billing.pub --name billing-1 --role worker --service billing.print
  majordomo key approve audit.pub --service audit --allow 'publish audit.*'
  majordomo key approve anna.pub --name anna --role client --file keys.toml

The next attempt of the key gets in. The roles client, worker and admin are there; [roles.NAME] of
the file makes others. With --file no broker is asked: it reads the file with `admin reload`.";

pub(super) const DENY_EXAMPLES: &str = "\
Examples:
  majordomo key deny q3ds-8kmx-1vn2-7hzc --name mallory
  majordomo key deny mallory --file keys.toml

A key that is denied is told so, and does not come up as pending again.";

pub(super) const REVOKE_EXAMPLES: &str = "\
Examples:
  majordomo key revoke anna
  majordomo key revoke q3ds-8kmx-1vn2-7hzc --file keys.toml

Its connections are closed, and what it held goes to others. If it comes again it is pending;
`key deny` refuses it for good.";

#[derive(Debug, Args)]
pub(crate) struct PendingArgs {
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Its fingerprint, the key in Z85, or its public file
    #[arg(value_name = "KEY")]
    key: String,
    /// What it is to be called [default: key- and the beginning of its fingerprint]
    #[arg(long)]
    name: Option<String>,
    /// A role that it is to have; may be repeated
    #[arg(long, value_name = "ROLE", required_unless_present_any = ["service", "allow"])]
    role: Vec<String>,
    /// A service that it may offer; may be repeated. With --role worker: these and no others
    #[arg(long, value_name = "SERVICE")]
    service: Vec<String>,
    /// Something that it may do besides, as `call billing.*`; may be repeated
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// Its fingerprint, the key in Z85, its public file, or the name of keys that may come in
    #[arg(value_name = "KEY")]
    key: String,
    /// What it is to be called [default: as it was]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The name of the keys, a fingerprint, the key in Z85, or its public file
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Where it is done.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// Change this file of authorized keys, and ask no broker
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["endpoint", "context", "protocol", "curve_key", "server_key", "timeout"])]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) ask: AskArgs,
}

impl PendingArgs {
    pub(super) fn json(&self) -> bool {
        self.ask.json
    }
}

impl ApproveArgs {
    pub(super) fn json(&self) -> bool {
        self.place.ask.json
    }
}

impl DenyArgs {
    pub(super) fn json(&self) -> bool {
        self.place.ask.json
    }
}

impl RevokeArgs {
    pub(super) fn json(&self) -> bool {
        self.place.ask.json
    }
}

pub(super) fn pending(args: &PendingArgs) -> Result<ExitCode> {
    block_on(async {
        let desk = args.ask.connect().await?;
        let (mut objects, mut rows) = (Vec::new(), Vec::new());
        let mut says = KeyHeader::new(Verb::KeyPending);
        loop {
            let answer = desk.client.key_admin(&says).await;
            let answer = answer.map_err(|error| of_broker(&desk, "pending keys", &error))?;
            let report = answer.report();
            for key in report.pending.iter().flatten() {
                objects.push(json!({
                    "fingerprint": key.fingerprint, "key": key.key, "address": key.address,
                    "first_ms": key.first, "last_ms": key.last, "attempts": key.attempts,
                }));
                rows.push([
                    key.fingerprint.to_owned(),
                    key.address.to_owned(),
                    age(key.first),
                    age(key.last),
                    key.attempts.to_string(),
                ]);
            }
            says.after = report.next;
            if says.after.is_none() {
                break;
            }
        }
        if args.ask.json {
            return print_json(json!({"v": 1, "pending": objects}));
        }
        let mut table = Table::new(["FINGERPRINT", "FROM", "FIRST", "LAST", "ATTEMPTS"]);
        for row in &rows {
            table.row(row.each_ref().map(String::as_str));
        }
        print(table.to_string())?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn approve(args: &ApproveArgs) -> Result<ExitCode> {
    let ApproveArgs { key, name, role, service, allow, place } = args;
    if let Some(file) = &place.file {
        let key = only_one(file, key)?;
        let name = name.clone().unwrap_or_else(|| majordomo::keys::default_name(&key));
        let [roles, services, allow] = [role, service, allow].map(Clone::clone);
        let approval = Approval { key, name, given: Given { roles, services, allow } };
        return place.change(file, |file| edit::approve(file, &approval));
    }
    let key = spelled(key)?;
    let says = KeyHeader {
        key: Some(&key),
        name: name.as_deref(),
        roles: role.iter().map(String::as_str).collect(),
        services: service.iter().map(String::as_str).collect(),
        allow: allow.iter().map(String::as_str).collect(),
        ..KeyHeader::new(Verb::KeyApprove)
    };
    place.have_changed(&says)
}

pub(super) fn deny(args: &DenyArgs) -> Result<ExitCode> {
    let DenyArgs { key, name, place } = args;
    if let Some(file) = &place.file {
        let keys = named(file, key)?;
        return place.change(file, |file| edit::deny(file, &keys, name.as_deref()));
    }
    let key = spelled(key)?;
    let says =
        KeyHeader { key: Some(&key), name: name.as_deref(), ..KeyHeader::new(Verb::KeyDeny) };
    place.have_changed(&says)
}

pub(super) fn revoke(args: &RevokeArgs) -> Result<ExitCode> {
    let RevokeArgs { key, place } = args;
    let key = spelled(key)?;
    if let Some(file) = &place.file {
        return place.change(file, |file| edit::revoke(file, &key));
    }
    place.have_changed(&KeyHeader { key: Some(&key), ..KeyHeader::new(Verb::KeyRevoke) })
}

impl PlaceArgs {
    /// Has a broker change something.
    fn have_changed(&self, says: &KeyHeader<'_>) -> Result<ExitCode> {
        block_on(async {
            let desk = self.ask.connect().await?;
            let answer = desk.client.key_admin(says).await;
            let what = says.key.unwrap_or_default();
            let answer = answer.map_err(|error| of_broker(&desk, what, &error))?;
            told(&self.ask, &answer.report())
        })
    }

    /// Changes a file, and tells what is different then.
    fn change<T>(
        &self,
        file: &Path,
        change: impl FnOnce(&Path) -> Result<T, EditError>,
    ) -> Result<ExitCode> {
        let before = ring(file)?;
        change(file).map_err(|error| of_edit(&error))?;
        let changes = before.diff(&ring(file)?);
        told_changes(&self.ask, &changes)
    }
}

/// The ring of a file; of none, if there is none.
fn ring(file: &Path) -> Result<KeyRing, CliError> {
    match KeyRing::read(file) {
        Err(RingError::File(KeyError::Missing { .. })) => {
            KeyRing::parse(b"", file).map_err(|error| of_ring(&error))
        }
        ring => ring.map_err(|error| of_ring(&error)),
    }
}

/// As a broker understands it: what names a file becomes the key in there.
pub(super) fn spelled(key: &str) -> Result<String, CliError> {
    let path = Path::new(key);
    // A name or a fingerprint may be that of a file, too, but hardly of one with an ending.
    if public_from_text(key).is_some() || path.extension().is_none() || !path.exists() {
        return Ok(key.to_owned());
    }
    let certificate = read_public(path).map_err(|error| of_key(&error))?;
    Ok(text_of_public(&certificate.public))
}

/// The keys that go by that, of those that the file knows.
fn named(file: &Path, who: &str) -> Result<Vec<PublicKey>, CliError> {
    let who = spelled(who)?;
    if let Some(key) = public_from_text(&who) {
        return Ok(vec![key]);
    }
    let keys = ring(file)?.named(&who).into_iter().filter_map(|principal| match principal {
        Principal::Key(key) => Some(key),
        _ => None,
    });
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() {
        let error = of_edit(&EditError::NotFound { who });
        return Err(error.hint("without a broker a new key is named by its public file, or in Z85"));
    }
    Ok(keys)
}

fn only_one(file: &Path, who: &str) -> Result<PublicKey, CliError> {
    match named(file, who)?.as_slice() {
        [key] => Ok(*key),
        keys => Err(CliError::usage(format!("{} keys have that name", keys.len()))
            .hint("say the fingerprint of one")),
    }
}

/// What is different now, as a broker tells it.
pub(super) fn told(ask: &AskArgs, report: &KeyReport<'_>) -> Result<ExitCode> {
    let rows = report.changes.iter().flatten();
    let mut rows: Vec<_> = rows.map(|row| of_report(row, ask.json)).collect();
    if report.broker_key == Some(true) {
        let key =
            ChangeReport { change: "changed", what: "broker key", name: "", fingerprint: None };
        rows.push(of_report(&key, ask.json));
    }
    tell(ask, rows, report.more.unwrap_or(0), report.closed.unwrap_or(0))
}

fn of_report(row: &ChangeReport<'_>, json: bool) -> Value {
    let ChangeReport { change, what, name, fingerprint } = *row;
    if json {
        return json!({
            "change": change, "what": what, "name": name, "fingerprint": fingerprint,
        });
    }
    let name = if name.is_empty() { String::new() } else { format!(" {}", harmless(name)) };
    let fingerprint = fingerprint.map_or_else(String::new, |it| format!(" ({})", harmless(it)));
    json!(format!("{} {}{name}{fingerprint}", harmless(change), harmless(what)))
}

fn told_changes(ask: &AskArgs, changes: &Changes) -> Result<ExitCode> {
    let rows = changes.list.iter().map(|change| {
        let row = ChangeReport {
            change: change.kind.as_str(),
            what: change.what,
            name: &change.name,
            fingerprint: change.fingerprint.as_deref(),
        };
        of_report(&row, ask.json)
    });
    tell(ask, rows.collect(), changes.more as u64, 0)
}

fn tell(ask: &AskArgs, rows: Vec<Value>, more: u64, closed: u64) -> Result<ExitCode> {
    if ask.json {
        return print_json(json!({"v": 1, "changes": rows, "more": more, "closed": closed}));
    }
    let mut text: String =
        rows.iter().filter_map(Value::as_str).map(|line| format!("{line}\n")).collect();
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    if text.is_empty() {
        text.push_str("nothing has changed\n");
    }
    if closed > 0 {
        text.push_str(&format!("connections closed: {closed}\n"));
    }
    print(text)?;
    Ok(ExitCode::SUCCESS)
}
