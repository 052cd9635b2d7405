//! What went wrong with a flow, what that means for the exit code, and what to do.

use majordomo::config::Text;
use majordomo::flow::{AttributeError, FlowError};
use majordomo::proto::handshake::HandshakeError;
use majordomo::transport::greet::GreetError;
use majordomo::transport::session::SessionError;

use crate::call::no_session;
use crate::connect::Target;
use crate::failure::{CliError, Exit};
use crate::key::of_key;
use crate::output::harmless;

/// A flow that there is not, or no longer.
pub(super) fn of_flow(target: &Target, error: &FlowError) -> CliError {
    let said = |exit, code| CliError::new(exit, code, harmless(&error.to_string()));
    match error {
        FlowError::Connect(SessionError::Greet(GreetError::Handshake(
            HandshakeError::Incompatible { .. },
        ))) => {
            let message = format!("{} does not speak with a CLIENT", target.endpoint);
            CliError::new(Exit::CannotConnect, "no_flows", message)
                .hint("flows need a broker of flows: `majordomo broker`")
        }
        FlowError::Connect(error) => no_session(target, error),
        FlowError::Keys(error) => of_key(error),
        FlowError::Refused { .. } => said(Exit::Failed, "refused").hint(
            "a rule of the broker has to name somebody for these attributes, and he has to come: \
             look at [flow] of its configuration",
        ),
        FlowError::NoAnswer { timeout } => {
            let message = format!("nobody came for the flow within {}", timeout.write());
            CliError::new(Exit::TimedOut, "no_answer", message)
                .hint("start a handler for it, or give it more with --timeout")
        }
        FlowError::Lost(_) => said(Exit::CannotConnect, "lost")
            .hint("what was on its way may have arrived, or not: begin again"),
        FlowError::Violated(_) => said(Exit::Failed, "violated")
            .hint("the program at the other end does not keep to the protocol"),
        FlowError::NoEnd { .. } => said(Exit::TimedOut, "no_end")
            .hint("what was sent may have arrived, or not: look at the other end"),
        FlowError::TooBig { .. } => said(Exit::Failed, "too_big").hint("take a smaller --chunk"),
        FlowError::Attribute(error) => of_label(error),
        _ => said(Exit::Failed, "failed"),
    }
}

/// An attribute that cannot be said.
pub(super) fn of_label(error: &AttributeError) -> CliError {
    CliError::usage(harmless(&error.to_string()))
}
