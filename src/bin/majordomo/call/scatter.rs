//! `majordomo call --to`: a request to several workers, and what became of it at each.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use majordomo::client::{CallError, Outcome, Scatter, ScatterUpdate, TargetError, To};
use majordomo::wire::Protocol;
use majordomo::wire::message::Message;
use majordomo::wire::mjp::Tally;
use serde_json::{Value, json};
use tokio::time::Instant as Clock;

use super::{Run, of_call};
use crate::connect::Target;
use crate::failure::{CliError, Exit};
use crate::output::{complain, harmless, millis, octets_json, print};

/// Reads `all`, `a,b` or `zone=a,gpu=yes`.
pub(super) fn recipients(text: &str) -> Result<To, String> {
    let items: Vec<&str> = text.split(',').collect();
    if items.iter().any(|item| item.is_empty()) {
        return Err("a name is empty; write all, NAME,NAME or LABEL=VALUE,LABEL=VALUE".into());
    }
    let labels: Vec<_> = items.iter().filter_map(|item| item.split_once('=')).collect();
    match labels.len() {
        0 if items == ["all"] => Ok(To::All),
        0 => Ok(To::names(items)),
        count if count == items.len() => Ok(To::labels(labels)),
        _ => Err("names and labels cannot be mixed".into()),
    }
}

/// Scatters are of MJP alone.
pub(super) fn check(target: &Target) -> Result<(), CliError> {
    if target.protocol == Protocol::Mjp {
        return Ok(());
    }
    let error = CliError::usage("MDP has no word for several workers, so --to cannot work");
    Err(error.hint("use --protocol mjp, or leave --to out"))
}

impl Run<'_> {
    /// Asks once, and says what becomes of it.
    pub(super) async fn scatter(&self, to: &To) -> Result<ExitCode> {
        let began = Clock::now().into_std();
        let asked = self.client.scatter(&self.args.service, to.clone(), self.body.clone());
        let asked = asked.events(self.args.events);
        let asked = match self.args.fence.fence() {
            Some(fence) => asked.fence(fence),
            None => asked,
        };
        let done = match asked.await {
            Ok(mut scatter) => self.outcomes(&mut scatter, began).await?,
            Err(error) => Err(error),
        };
        match done {
            Ok(tally) => self.say_tally(&tally),
            Err(error) => Err(of_call(&self.args.service, self.timeout, &error, false).into()),
        }
    }

    async fn outcomes(
        &self,
        scatter: &mut Scatter,
        began: Instant,
    ) -> Result<Result<Tally, CallError>> {
        if self.args.json {
            print(format!(
                "{}\n",
                json!({"v": 1, "event": "targets", "targets": scatter.targets()})
            ))?;
        }
        while let Some(update) = scatter.update().await {
            match update {
                Ok(ScatterUpdate::Event { target, event }) => {
                    self.say_event(&event, ("target", target.into()), began)?;
                }
                Ok(ScatterUpdate::Outcome(outcome)) => {
                    print(if self.args.json { object(&outcome, began) } else { line(&outcome) })?
                }
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(scatter.tally().unwrap_or_default()))
    }

    fn say_tally(&self, tally: &Tally) -> Result<ExitCode> {
        let Tally { replied, failed, refused, lost, timed_out, cancelled } = *tally;
        let all = replied + failed + refused + lost + timed_out + cancelled;
        if self.args.json {
            let said = json!({
                "v": 1, "event": "tally", "targets": all, "replied": replied, "failed": failed,
                "refused": refused, "lost": lost, "timed_out": timed_out, "cancelled": cancelled,
            });
            print(format!("{said}\n"))?;
        } else {
            let misses = [
                (failed, "failed"),
                (refused, "refused"),
                (lost, "lost"),
                (timed_out, "timed out"),
                (cancelled, "cancelled"),
            ];
            let misses = misses.into_iter().filter(|(count, _)| *count > 0);
            let misses: String = misses.map(|(count, what)| format!(", {count} {what}")).collect();
            let workers = if all == 1 { "worker" } else { "workers" };
            let service = harmless(&self.args.service);
            complain(&format_args!("{all} {workers} of `{service}`: {replied} replied{misses}"));
        }
        Ok(if replied == all { ExitCode::SUCCESS } else { Exit::Failed.into() })
    }
}

/// One line: who, how, and what it said, the frames one behind the other.
fn line(outcome: &Outcome) -> String {
    let (how, said) = match &outcome.result {
        Ok(reply) => ("replied", text(reply)),
        Err(TargetError { miss, code, message, .. }) => {
            let said = if message.is_empty() { code.clone() } else { format!("{code}: {message}") };
            (miss.as_str(), harmless(&said))
        }
    };
    let target = harmless(&outcome.target);
    if io::stdout().is_terminal() {
        format!("{target}  {how}  {said}\n")
    } else {
        format!("{target}\t{how}\t{said}\n")
    }
}

/// The end of a line in a frame is not the end of ours; one at its end is no part of the text.
fn text(reply: &Message) -> String {
    let frames = reply.frames().map(|frame| {
        let text = String::from_utf8_lossy(frame);
        harmless(text.strip_suffix('\n').unwrap_or(&text))
    });
    frames.collect::<Vec<_>>().join(" ")
}

fn object(outcome: &Outcome, began: Instant) -> String {
    let ms = millis(Clock::now().into_std() - began);
    let target = &outcome.target;
    let said = match &outcome.result {
        Ok(reply) => {
            let frames: Vec<Value> = reply.frames().map(octets_json).collect();
            json!({
                "v": 1, "event": "outcome", "target": target, "outcome": "replied", "ms": ms,
                "frames": frames,
            })
        }
        Err(TargetError { miss, code, message, epoch }) => {
            let mut error = json!({"code": code, "message": message});
            if let Some(epoch) = epoch {
                error["epoch"] = json!(epoch);
            }
            json!({
                "v": 1, "event": "outcome", "target": target, "outcome": miss.as_str(), "ms": ms,
                "error": error,
            })
        }
    };
    format!("{said}\n")
}

#[cfg(test)]
mod tests {
    use majordomo::client::Miss;

    use super::*;

    #[test]
    fn recipients_are_all_names_or_labels() {
        assert_eq!(recipients("all"), Ok(To::All));
        assert_eq!(recipients("a"), Ok(To::names(["a"])));
        assert_eq!(recipients("a,all"), Ok(To::names(["a", "all"])));
        assert_eq!(recipients("zone=a"), Ok(To::labels([("zone", "a")])));
        assert_eq!(recipients("zone=a,gpu=x=y"), Ok(To::labels([("zone", "a"), ("gpu", "x=y")])));
        for wrong in ["", "a,", ",a", "a,,b", "a,zone=b"] {
            assert!(recipients(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_outcome_is_one_line_whatever_a_worker_says() {
        let of = |result| line(&Outcome { target: "a\u{7}".into(), result });
        assert_eq!(
            of(Ok(Message::new([&b"one\ntwo\n"[..], b"\xff"]))),
            "a\\u{7}\treplied\tone\\ntwo \u{fffd}\n"
        );
        let (code, message) = ("timeout".into(), "l\nate".into());
        let error = TargetError { miss: Miss::TimedOut, code, message, epoch: None };
        assert_eq!(of(Err(error)), "a\\u{7}\ttimed_out\ttimeout: l\\nate\n");
    }
}
