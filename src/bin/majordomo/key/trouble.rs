//! What went wrong with keys, and the exit code.

use majordomo::client::CallError;
use majordomo::keys::{EditError, KeyError, RingError};
use majordomo::wire::mjp::Code;

use crate::failure::{CliError, Exit};
use crate::manage::Desk;
use crate::output::harmless;

/// A file of keys that cannot be used.
pub(crate) fn of_key(error: &KeyError) -> CliError {
    let said = |exit, code| CliError::new(exit, code, error.to_string());
    match error {
        KeyError::Missing { .. } => said(Exit::NotFound, "no_file")
            .hint("`majordomo key new NAME` makes NAME.secret and NAME.pub"),
        KeyError::BadName { .. } => said(Exit::Usage, "usage"),
        KeyError::Exists { .. } => said(Exit::Failed, "exists"),
        KeyError::Exposed { .. } | KeyError::NotOurs { .. } => said(Exit::Failed, "exposed"),
        _ => said(Exit::Failed, "key"),
    }
}

/// A file of authorized keys that cannot be used.
pub(super) fn of_ring(error: &RingError) -> CliError {
    match error {
        RingError::File(KeyError::Missing { path }) => {
            let message = format!("{}: there is no such file", path.display());
            CliError::new(Exit::NotFound, "no_file", message)
                .hint("`majordomo key approve KEY.pub --file FILE` makes one")
        }
        RingError::File(error) => of_key(error),
        error => CliError::new(Exit::Configuration, "configuration", error.to_string()),
    }
}

/// A change that was not made.
pub(super) fn of_edit(error: &EditError) -> CliError {
    let said = |exit, code| CliError::new(exit, code, error.to_string());
    match error {
        EditError::Ring(error) => of_ring(error),
        EditError::NotFound { .. } => said(Exit::NotFound, "not_found"),
        EditError::Wrong(_) => said(Exit::Usage, "usage"),
        EditError::Taken { .. } => said(Exit::Failed, "taken"),
        _ => said(Exit::Failed, "failed"),
    }
}

/// What the broker has against it; `what` was asked about.
pub(crate) fn of_broker(desk: &Desk, what: &str, error: &CallError) -> CliError {
    let CallError::Refused { code, message, .. } = error else {
        return desk.trouble(what, error);
    };
    let said = |exit| CliError::new(exit, code.as_str(), harmless(message));
    match Code::from_name(code) {
        Some(Code::NotFound) => said(Exit::NotFound),
        Some(Code::BadRequest) => said(Exit::Usage),
        Some(Code::Failed) => said(Exit::Failed),
        Some(Code::Unsupported) => {
            said(Exit::Failed).hint("a broker older than this command does not know it")
        }
        _ => desk.trouble(what, error),
    }
}
