//! What went wrong with files, what that means for the exit code, and what to do.

use majordomo::client::CallError;
use majordomo::file::{FetchError, FileError, RemoteError};

use super::Asked;
use crate::call::{nobody_serves, of_call};
use crate::failure::{CliError, Exit};
use crate::output::harmless;

/// A question without an answer.
pub(super) async fn of_remote(asked: &Asked, error: &RemoteError) -> CliError {
    match error {
        RemoteError::Call(CallError::Refused { code, message, .. }) if is_file(code) => {
            CliError::new(exit(code), code.clone(), harmless(message))
        }
        RemoteError::Call(CallError::Refused { code, .. }) if code == "unserved" => nobody(asked),
        RemoteError::Call(CallError::Timeout { .. })
            if nobody_serves(&asked.client, &asked.service).await =>
        {
            nobody(asked)
        }
        RemoteError::Call(error) => of_call(&asked.service, asked.timeout, error, false),
        error => CliError::new(Exit::Failed, "no_answer", harmless(&error.to_string())),
    }
}

fn nobody(asked: &Asked) -> CliError {
    let service = harmless(&asked.service);
    let hint = format!("serve a folder with `majordomo file serve DIR --service {service}`");
    CliError::new(Exit::NotFound, "unserved", format!("nobody offers `{service}`")).hint(hint)
}

/// A file that did not come.
pub(super) async fn of_fetch(asked: &Asked, error: &FetchError) -> CliError {
    let said = |code| CliError::new(Exit::Failed, code, harmless(&error.to_string()));
    match error {
        FetchError::Remote(error) => of_remote(asked, error).await,
        FetchError::Changed { .. } => said("changed"),
        FetchError::Digest { .. } => said("digest"),
        FetchError::Busy { .. } => said("busy"),
        _ => said("io"),
    }
}

/// A folder that cannot be served.
pub(super) fn of_folder(error: &FileError) -> CliError {
    CliError::new(Exit::Failed, "no_folder", harmless(&error.to_string()))
}

/// Codes of the file service itself.
fn is_file(code: &str) -> bool {
    matches!(code, "bad_url" | "not_found" | "not_allowed" | "too_many")
}

fn exit(code: &str) -> Exit {
    match code {
        "not_found" => Exit::NotFound,
        "not_allowed" => Exit::NotAllowed,
        _ => Exit::Failed,
    }
}
