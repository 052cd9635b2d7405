//! What went wrong with a group, what that means for the exit code, and what to do.

use majordomo::config::Text;
use majordomo::group::{ConnectError, GroupError};

use crate::call::no_session;
use crate::connect::Target;
use crate::failure::{CliError, Exit};
use crate::key::of_key;
use crate::output::harmless;

/// Nobody could be reached.
pub(super) fn cannot_connect(target: &Target, error: &ConnectError) -> CliError {
    let said = |code| CliError::new(Exit::CannotConnect, code, harmless(&error.to_string()));
    match error {
        ConnectError::Session(error) => no_session(target, error),
        ConnectError::Keys(error) => of_key(error),
        ConnectError::NoHello { timeout, .. } => {
            let Target { endpoint, .. } = target;
            let message = format!("{endpoint} did not answer HELLO of MJP/1 within {timeout:?}");
            CliError::new(Exit::CannotConnect, "no_hello", message)
                .hint("groups need a broker that speaks MJP: `majordomo broker`")
        }
        ConnectError::NoGroups { .. } => said("no_groups"),
        _ => said("refused"),
    }
}

/// Something that a group, or the broker, does not do.
pub(super) fn of_group(group: &str, error: &GroupError) -> CliError {
    let group = harmless(group);
    let said = |exit, code: &str| {
        CliError::new(exit, code, format!("{group}: {}", harmless(&error.to_string())))
    };
    match error {
        GroupError::NoLeader => said(Exit::Failed, "no_leader")
            .hint("it may have fewer members than it needs: `majordomo group info`"),
        GroupError::NotCoordinated => said(Exit::Failed, "not_coordinated"),
        GroupError::NotMember { .. } => {
            said(Exit::NotFound, "not_member").hint("`majordomo group info` lists the members")
        }
        GroupError::NameTaken { .. } => {
            said(Exit::Conflict, "name_taken").hint("say another one with --member")
        }
        GroupError::Conflict { .. } => said(Exit::Conflict, "group_conflict")
            .hint("`majordomo group info` says what it is; leave out what differs"),
        GroupError::Invalid { message } => {
            CliError::usage(format!("{group}: {}", harmless(message)))
        }
        GroupError::NotLeading => said(Exit::Failed, "not_leading"),
        GroupError::PollTaken => said(Exit::Conflict, "poll_taken"),
        GroupError::TooLate { .. } => {
            said(Exit::Failed, "too_late").hint("choose a later moment, or a shorter --timeout")
        }
        GroupError::Denied { .. } => said(Exit::NotAllowed, "denied"),
        GroupError::Overloaded { .. } => said(Exit::Overloaded, "overloaded")
            .hint("try again later, or look at the limits: `majordomo config default`"),
        GroupError::TooBig { .. } => said(Exit::Failed, "too_big"),
        GroupError::Apart { .. } => said(Exit::CannotConnect, "disconnected"),
        GroupError::Lost { .. } => said(Exit::CannotConnect, "lost"),
        GroupError::NoAnswer { after } => {
            let message = format!("{group}: the broker did not answer within {}", after.write());
            CliError::new(Exit::TimedOut, "timeout", message)
                .hint("it may have done it; give it more with --patience")
        }
        GroupError::NoResult { .. } => said(Exit::TimedOut, "no_result"),
        GroupError::Refused { code, .. } if code == "unsupported" => {
            said(Exit::Failed, code).hint("the broker may be older than this command")
        }
        GroupError::Refused { code, .. } => said(Exit::Failed, &harmless(code)),
        _ => said(Exit::Failed, "failed"),
    }
}
