//! What went wrong with a client, what that means for its exit code, and what to do.

use std::io;
use std::time::Duration;

use majordomo::client::{CallError, Client, ClientError, ConnectError};
use majordomo::config::Text;
use majordomo::proto::handshake::HandshakeError;
use majordomo::transport::greet::GreetError;
use majordomo::transport::session::SessionError;
use majordomo::wire::greeting::GreetingError;

use crate::connect::Target;
use crate::failure::{CliError, Exit};
use crate::key::of_key;
use crate::output::harmless;

/// Nobody could be reached.
pub(crate) fn cannot_connect(target: &Target, error: &ClientError) -> CliError {
    match error {
        ClientError::Connect(ConnectError::Session(error)) => no_session(target, error),
        ClientError::Connect(ConnectError::NoHello { timeout, .. }) => {
            let Target { endpoint, .. } = target;
            let message = format!("{endpoint} did not answer HELLO of MJP/1 within {timeout:?}");
            CliError::new(Exit::CannotConnect, "no_hello", message)
                .hint("a Majordomo broker without MJP is called with --protocol mdp02 or mdp01")
        }
        ClientError::Connect(ConnectError::Keys(error)) => of_key(error),
        error => CliError::new(Exit::CannotConnect, "refused", harmless(&error.to_string())),
    }
}

/// The same, for a connection without a client.
pub(crate) fn no_session(target: &Target, error: &SessionError) -> CliError {
    let Target { endpoint, .. } = target;
    let said = |code, message: String| CliError::new(Exit::CannotConnect, code, message);
    match error {
        SessionError::Dial { source, .. } => {
            let hint = "start one with `majordomo broker`, or say where it is with --endpoint";
            match source.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                    said("nobody_listens", format!("no broker listens at {endpoint}")).hint(hint)
                }
                _ => {
                    let message = format!("cannot connect to {endpoint}: {}", plain(source));
                    said("cannot_connect", message).hint("check the endpoint and the network")
                }
            }
        }
        SessionError::TimedOut { timeout, .. } => {
            let message = format!("{endpoint} did not shake hands within {timeout:?}");
            said("no_handshake", message).hint("check that it is the endpoint of a ZeroMQ broker")
        }
        SessionError::Greet(GreetError::HungUp) if target.curve.is_some() => {
            let message = format!("{endpoint} hung up in the handshake");
            let hint = "it has another key than --server-key says, or has not approved ours yet: \
                        look there with `majordomo key pending`";
            said("hung_up", message).hint(hint)
        }
        SessionError::Greet(GreetError::Handshake(error)) => refused_handshake(target, error),
        error => {
            let message = format!("{endpoint}: {}", harmless(&error.to_string()));
            said("no_handshake", message).hint("check that it is the endpoint of a ZeroMQ broker")
        }
    }
}

/// A handshake that has failed for something that was said in it.
fn refused_handshake(target: &Target, error: &HandshakeError) -> CliError {
    let Target { endpoint, curve, .. } = target;
    match error {
        HandshakeError::Refused { .. } if curve.is_some() => {
            let message = format!("{endpoint} denies our key: {}", harmless(&error.to_string()));
            CliError::new(Exit::NotAllowed, "denied", message)
                .hint("it has to be approved there: `majordomo key approve`")
        }
        HandshakeError::Greeting(GreetingError::MechanismDiffers { .. }) => {
            let message = format!("{endpoint}: {}", harmless(&error.to_string()));
            let hint = if curve.is_some() {
                "leave --curve-key and --server-key out if it speaks no CURVE"
            } else {
                "if it speaks CURVE, name keys with --curve-key and --server-key"
            };
            CliError::new(Exit::CannotConnect, "mechanism", message).hint(hint)
        }
        error => {
            let message = format!("{endpoint}: {}", harmless(&error.to_string()));
            CliError::new(Exit::CannotConnect, "no_handshake", message)
                .hint("check that it is the endpoint of a ZeroMQ broker")
        }
    }
}

/// What the system says, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Whether the broker says that nobody offers the service.
pub(crate) async fn nobody_serves(client: &Client, service: &str) -> bool {
    const PATIENCE: Duration = Duration::from_millis(500);
    let asked = client.call("mmi.service", service.to_owned()).timeout(PATIENCE);
    asked.attempts(1).await.is_ok_and(|answer| answer.frames().eq([b"404"]))
}

/// No answer. `unserved`: the broker says that nobody offers the service.
pub(crate) fn of_call(
    service: &str,
    timeout: Duration,
    error: &CallError,
    unserved: bool,
) -> CliError {
    let service = harmless(service);
    match error {
        CallError::Timeout { .. } if unserved => {
            let after = timeout.write();
            nobody(&service, &format!("nobody offered `{service}` within {after}"))
        }
        CallError::Timeout { sent: false, because: Some(because), .. } => {
            let message =
                format!("`{service}` was not called within {}: {because}", timeout.write());
            CliError::new(Exit::CannotConnect, "not_sent", message)
                .hint("look at the broker: `majordomo ping`")
        }
        CallError::Timeout { sent, .. } => {
            let message = format!("`{service}` did not reply within {}", timeout.write());
            let hint = if *sent {
                "it may still have been executed; give it more with --timeout, or look at `majordomo status`"
            } else {
                "it was not sent, as others were before it; give it more with --timeout"
            };
            CliError::new(Exit::TimedOut, "timeout", message).hint(hint)
        }
        CallError::Refused { code, message, retry } => {
            refused(&service, &harmless(code), &harmless(message), *retry)
        }
        CallError::Disconnected { because } => {
            let message = format!("the broker was lost with the request on its way: {because}");
            CliError::new(Exit::CannotConnect, "disconnected", harmless(&message))
                .hint("it may have been executed; call again only if that does no harm")
        }
        CallError::Stale { current } => stale(&service, *current),
        CallError::LeaseName { .. } => CliError::usage(error.to_string()),
        CallError::Unsupported { what: "a fence" } => CliError::usage("MDP cannot say a lease")
            .hint("use --protocol mjp, or leave --lease out"),
        CallError::Service(error) => CliError::usage(format!("the service: {error}")),
        CallError::Key { .. } => CliError::usage(error.to_string()),
        CallError::Unsupported { what: "a key" } => {
            CliError::usage("MDP cannot say a key").hint("use --protocol mjp, or leave --key out")
        }
        CallError::TooMany { .. } => CliError::new(Exit::Overloaded, "too_many", error.to_string()),
        error => CliError::new(Exit::Failed, "failed", harmless(&error.to_string())),
    }
}

/// Whoever calls does not hold its lease any more.
fn stale(service: &str, current: Option<u64>) -> CliError {
    let who = current.map_or_else(|| "nobody does".into(), |epoch| format!("{epoch} does"));
    let message = format!("`{service}` was not called: this epoch does not hold the lease, {who}");
    CliError::new(Exit::Conflict, "stale_epoch", message)
        .hint("stop what you do, and campaign again: `majordomo lease campaign`")
}

fn nobody(service: &str, message: &str) -> CliError {
    let hint =
        format!("start a worker with `majordomo work {service} -- COMMAND`, or check the name");
    CliError::new(Exit::NotFound, "unserved", message).hint(hint)
}

/// What a broker or a worker said.
fn refused(service: &str, code: &str, said: &str, retry: Option<Duration>) -> CliError {
    let text =
        |what: &str| if said.is_empty() { what.to_owned() } else { format!("{what}: {said}") };
    let error = |exit, what: &str| CliError::new(exit, code, text(what));
    let later = |what: &str| match retry {
        Some(wait) => format!("{what} in {}", wait.write()),
        None => format!("{what} later"),
    };
    match code {
        "overloaded" => error(Exit::Overloaded, &format!("`{service}` is overloaded"))
            .hint(later("send less at a time, or try again")),
        "draining" => error(Exit::Overloaded, &format!("`{service}` takes no requests now"))
            .hint(later("try again")),
        "unserved" => nobody(service, &text(&format!("nobody offers `{service}`"))),
        "no_target" => error(Exit::NotFound, &format!("`{service}` has no such worker"))
            .hint(format!("look who is there: `majordomo status {service}`")),
        "timeout" => error(Exit::TimedOut, &format!("`{service}` did not reply in time"))
            .hint("it may have been executed in part; give it more with --timeout"),
        "denied" => error(Exit::NotAllowed, &format!("`{service}` may not be called by you"))
            .hint("have the right given to your key: `majordomo key approve`, or its file"),
        "not_allowed" => error(Exit::NotAllowed, &format!("`{service}` may not be called")),
        "fence_required" => {
            error(Exit::NotAllowed, &format!("`{service}` wants the holder of a lease"))
                .hint("call with --lease and --epoch, as `majordomo lease campaign` has them")
        }
        "worker_lost" => error(Exit::Failed, &format!("the worker of `{service}` was lost"))
            .hint("it may have been executed in part; call again only if that does no harm"),
        "poison" => error(Exit::Failed, &format!("this request has cost `{service}` its workers"))
            .hint("look at the logs of the workers before you send it again"),
        "failed" => {
            let failed = error(Exit::Failed, &format!("`{service}` failed"));
            if retry.is_some() { failed.hint(later("try again")) } else { failed }
        }
        _ => error(Exit::Failed, &format!("`{service}` refused with `{code}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_exit_code_and_its_advice() {
        let wait = Some(Duration::from_millis(250));
        for (code, retry, exit, text) in [
            ("overloaded", wait, Exit::Overloaded, "send less at a time, or try again in 250ms"),
            (
                "draining",
                None,
                Exit::Overloaded,
                "`s` takes no requests now: said; try again later",
            ),
            ("unserved", None, Exit::NotFound, "start a worker with `majordomo work s -- COMMAND`"),
            ("no_target", None, Exit::NotFound, "look who is there: `majordomo status s`"),
            ("timeout", None, Exit::TimedOut, "give it more with --timeout"),
            (
                "denied",
                None,
                Exit::NotAllowed,
                "`s` may not be called by you: said; have the right",
            ),
            ("not_allowed", None, Exit::NotAllowed, "`s` may not be called: said"),
            ("worker_lost", None, Exit::Failed, "call again only if that does no harm"),
            ("poison", None, Exit::Failed, "look at the logs of the workers"),
            ("failed", None, Exit::Failed, "`s` failed: said"),
            ("failed", wait, Exit::Failed, "`s` failed: said; try again in 250ms"),
            ("own\u{7}", None, Exit::Failed, "`s` refused with `own\\u{7}`: said"),
        ] {
            let (code, message) = (code.to_owned(), "said".to_owned());
            let error = CallError::Refused { code, message, retry };
            let error = of_call("s", Duration::from_secs(1), &error, false);
            assert_eq!(error.exit, exit, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn what_was_not_sent_for_want_of_a_connection_is_no_timeout() {
        let after = Duration::from_secs(2);
        let timeout = |sent, because: Option<&str>, unserved| {
            let error = CallError::Timeout { after, sent, because: because.map(Into::into) };
            of_call("s", after, &error, unserved).exit
        };
        assert_eq!(timeout(false, Some("the other side hung up"), false), Exit::CannotConnect);
        assert_eq!(timeout(false, None, false), Exit::TimedOut);
        assert_eq!(timeout(true, None, false), Exit::TimedOut);
        assert_eq!(timeout(true, None, true), Exit::NotFound);
    }
}
