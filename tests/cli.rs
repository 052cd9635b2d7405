//! The command `majordomo`, as a user and a service manager see it.
#![expect(clippy::disallowed_methods, reason = "real sockets, real time")]

#[path = "cli/broker.rs"]
mod broker;
#[path = "cli/config.rs"]
mod config;
#[path = "cli/container.rs"]
mod container;
#[path = "cli/context.rs"]
mod context;
#[path = "cli/dlq.rs"]
mod dlq;
#[path = "cli/docs.rs"]
mod docs;
#[path = "cli/failures.rs"]
mod failures;
#[path = "cli/file.rs"]
mod file;
#[path = "cli/flow.rs"]
mod flow;
#[path = "cli/group.rs"]
mod group;
#[path = "cli/key.rs"]
mod key;
#[path = "cli/lease.rs"]
mod lease;
#[cfg(feature = "etcd")]
#[path = "cli/lease_etcd.rs"]
mod lease_etcd;
#[path = "cli/look.rs"]
mod look;
#[path = "cli/manage.rs"]
mod manage;
#[path = "common/peer.rs"]
mod peer;
#[path = "cli/process.rs"]
mod process;
#[path = "cli/scatter.rs"]
mod scatter;
#[path = "cli/shell.rs"]
mod shell;
#[path = "cli/store.rs"]
mod store;
#[path = "cli/talk.rs"]
mod talk;
#[path = "cli/topics.rs"]
mod topics;

use std::path::Path;

use assert_cmd::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_majordomo");

/// An empty directory, which is also the home.
fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The command in a directory, with no environment but a home there.
fn majordomo(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("HOME", home).current_dir(home).args(arguments);
    command
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
