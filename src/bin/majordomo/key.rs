//! `majordomo key`: keys on disk, and who may come in.

pub(crate) mod acl;
pub(crate) mod admin;
mod ask;
mod broker;
mod pair;
pub(crate) mod trouble;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

pub(crate) use trouble::of_key;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Make a pair of keys: NAME.secret, which nobody else can read, and NAME.pub
    #[command(after_help = pair::NEW_EXAMPLES)]
    New {
        /// Its name: letters, digits, `-`, `_` and `.`
        name: String,
        /// Write the files there [default: the current folder]
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show a public key and its fingerprint; of a secret file, too, no more than that
    #[command(after_help = pair::SHOW_EXAMPLES)]
    Show {
        /// A file, or NAME of NAME.pub or NAME.secret
        #[arg(value_name = "FILE|NAME")]
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show the public key of the broker, and how its clients keep it
    #[command(after_help = broker::BROKER_EXAMPLES)]
    Broker(broker::BrokerKeyArgs),
    /// Give the broker a new key; the present one is good for some time still
    #[command(after_help = broker::ROTATE_EXAMPLES)]
    Rotate {
        /// The secret file of the broker
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List keys that wanted to come in and may not yet
    #[command(after_help = ask::PENDING_EXAMPLES)]
    Pending(ask::PendingArgs),
    /// Let a key in
    #[command(after_help = ask::APPROVE_EXAMPLES)]
    Approve(Box<ask::ApproveArgs>),
    /// Refuse a key for good
    #[command(after_help = ask::DENY_EXAMPLES)]
    Deny(ask::DenyArgs),
    /// Take a key out again, and close its connections
    #[command(after_help = ask::REVOKE_EXAMPLES)]
    Revoke(ask::RevokeArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo key new broker
  majordomo broker --curve-secret broker.secret --authorized-keys keys.toml
  majordomo key pending
  majordomo key approve q3ds-8kmx-1vn2-7hzc --name anna --role client

Pending, approve, deny and revoke are for those who come in by an administration listener (ipc://),
or have the right `admin`. A secret key is in its file and nowhere else: no command prints one, or
takes one as an argument.
Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 6 no such key";

impl KeyAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::New { json, .. } | Self::Show { json, .. } | Self::Rotate { json, .. } => *json,
            Self::Broker(args) => args.json,
            Self::Pending(args) => args.json(),
            Self::Approve(args) => args.json(),
            Self::Deny(args) => args.json(),
            Self::Revoke(args) => args.json(),
        }
    }
}

pub(crate) fn run(action: KeyAction) -> Result<ExitCode> {
    match action {
        KeyAction::New { name, dir, json } => pair::new(&dir.unwrap_or_default(), &name, json),
        KeyAction::Show { file, json } => pair::show(&file, json),
        KeyAction::Broker(args) => broker::show(&args),
        KeyAction::Rotate { file, json } => broker::rotate(&file, json),
        KeyAction::Pending(args) => ask::pending(&args),
        KeyAction::Approve(args) => ask::approve(&args),
        KeyAction::Deny(args) => ask::deny(&args),
        KeyAction::Revoke(args) => ask::revoke(&args),
    }
}
