//! `majordomo call --events` and `--answer`: what happens meanwhile, and what the worker asks.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use anyhow::Result;
use majordomo::client::{Call, CallError, Event, Question, Update};
use majordomo::wire::Protocol;
use majordomo::wire::message::Message;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant as Clock;

use super::{CallArgs, Run, is_empty};
use crate::connect::Target;
use crate::failure::CliError;
use crate::output::{complain, harmless, millis, octets_json, print};

/// Whether more than the answer is of interest, and whether there is somebody to be asked.
pub(super) fn wanted(args: &CallArgs, target: &Target) -> Result<bool, CliError> {
    let said = args.events || !args.answer.is_empty();
    if said && target.protocol != Protocol::Mjp {
        let error = CliError::usage("MDP has no events and no questions, so there are none to see");
        return Err(error.hint("use --protocol mjp, or leave --events and --answer out"));
    }
    Ok(said || target.protocol == Protocol::Mjp && asks_people(args))
}

/// Standard input is a person's, and there is one call that it can be about.
fn asks_people(args: &CallArgs) -> bool {
    args.count == 1 && args.to.is_none() && !args.body_is_stdin() && io::stdin().is_terminal()
}

/// What is asked, and has no answer yet.
struct Questions<'a> {
    answers: std::slice::Iter<'a, String>,
    people: bool,
    open: VecDeque<Question>,
    /// The line that a person is writing.
    line: Option<oneshot::Receiver<Option<String>>>,
}

impl Questions<'_> {
    fn take(&mut self, question: Question) -> Result<(), CallError> {
        if let Some(answer) = self.answers.next() {
            return question.answer(answer.clone());
        }
        if self.people {
            self.open.push_back(question);
            self.read();
        } else {
            question.decline("declined", "majordomo call has no answer to it; see --answer");
        }
        Ok(())
    }

    /// Asks the next question, one at a time.
    fn read(&mut self) {
        let Some(question) = self.open.front().filter(|_| self.line.is_none()) else { return };
        let mut err = io::stderr();
        // Whoever cannot see it may answer all the same.
        let _ = write!(err, "{} ", text_of(question.message.as_deref(), &question.body));
        let _ = err.flush();
        let (to, line) = oneshot::channel();
        self.line = Some(line);
        // Nobody can be kept from writing a line: when the call has ended the process does, too.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line).is_ok_and(|octets| octets > 0);
            let _ = to.send(read.then(|| line.trim_end_matches(['\r', '\n']).to_owned()));
        });
    }

    /// The line is there; `None`: there will be no more.
    fn answer(&mut self, line: Option<String>) -> Result<(), CallError> {
        self.line = None;
        self.people &= line.is_some();
        match (self.open.pop_front(), line) {
            (Some(question), Some(line)) => question.answer(line)?,
            (Some(question), None) => question.decline("declined", "nobody answers"),
            (None, _) => {}
        }
        if !self.people {
            self.open.clear();
        }
        self.read();
        Ok(())
    }
}

async fn written(line: &mut Option<oneshot::Receiver<Option<String>>>) -> Option<String> {
    match line {
        Some(line) => line.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

impl Run<'_> {
    /// Makes a call, and says all that comes of it in its order.
    pub(super) async fn follow(
        &self,
        call: Call,
        number: u64,
        began: Instant,
    ) -> Result<Result<(), CallError>> {
        let mut questions = Questions {
            answers: self.args.answer.iter(),
            people: asks_people(self.args),
            open: VecDeque::new(),
            line: None,
        };
        let (mut updates, mut parts) = (call.updates(), 0_u64);
        loop {
            let update = tokio::select! {
                update = updates.next() => update,
                line = written(&mut questions.line) => {
                    if let Err(error) = questions.answer(line) {
                        return Ok(Err(error));
                    }
                    continue;
                }
            };
            match update {
                None => return Ok(Ok(())),
                Some(Err(error)) => return Ok(Err(error)),
                Some(Ok(Update::Event(event))) => {
                    self.say_event(&event, ("call", number.into()), began)?;
                }
                Some(Ok(Update::Question(question))) => {
                    self.say_question(&question, number, began)?;
                    if let Err(error) = questions.take(question) {
                        return Ok(Err(error));
                    }
                }
                Some(Ok(Update::Partial(part))) => {
                    parts += 1;
                    self.say("partial", number, began, &part)?;
                }
                // The end of parts need not say anything more.
                Some(Ok(Update::Final(rest)))
                    if parts > 0 && !self.args.json && is_empty(&rest) => {}
                Some(Ok(Update::Final(reply))) => self.say("final", number, began, &reply)?,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Says what happens in a call of that number, or at a worker of that name.
    pub(super) fn say_event(
        &self,
        event: &Event,
        whose: (&str, Value),
        began: Instant,
    ) -> Result<()> {
        if !self.args.events {
            return Ok(());
        }
        if !self.args.json {
            let name = whose.1.as_str().map(|name| format!("{}: ", harmless(name)));
            let name = name.unwrap_or_default();
            let severity = event.severity.as_deref().filter(|it| *it != "info");
            let severity = severity.map(|it| format!("{}: ", harmless(it))).unwrap_or_default();
            let progress = event.progress.map(|it| format!("{it}% ")).unwrap_or_default();
            let text = text_of(event.message.as_deref(), &event.body);
            self.progress.suspend(|| complain(&format_args!("{name}{progress}{severity}{text}")));
            return Ok(());
        }
        let mut said = self.said("event", whose, began, event.message.as_deref(), &event.body);
        for (key, value) in [
            ("severity", event.severity.as_deref().map(Value::from)),
            ("status", event.status.as_deref().map(Value::from)),
            ("progress", event.progress.map(Value::from)),
            ("resource", event.resource.as_deref().map(Value::from)),
            ("task", event.task.as_deref().map(Value::from)),
            ("missed", Some(event.missed).filter(|missed| *missed > 0).map(Value::from)),
        ] {
            if let (Some(said), Some(value)) = (said.as_object_mut(), value) {
                said.insert(key.into(), value);
            }
        }
        self.progress.suspend(|| print(format!("{said}\n")))
    }

    fn say_question(&self, question: &Question, call: u64, began: Instant) -> Result<()> {
        if self.args.json {
            let message = question.message.as_deref();
            let said = self.said("question", ("call", call.into()), began, message, &question.body);
            return self.progress.suspend(|| print(format!("{said}\n")));
        }
        // A person is shown the question when it can be answered.
        if !asks_people(self.args) && self.args.events {
            let text = text_of(question.message.as_deref(), &question.body);
            self.progress.suspend(|| complain(&text));
        }
        Ok(())
    }

    fn said(
        &self,
        event: &str,
        (whose, of): (&str, Value),
        began: Instant,
        message: Option<&str>,
        body: &Message,
    ) -> Value {
        let frames: Vec<Value> = body.frames().map(octets_json).collect();
        let ms = millis(Clock::now().into_std() - began);
        json!({
            "v": 1, "event": event, whose: of, "ms": ms, "message": message, "frames": frames,
        })
    }
}

/// What is for people, or else the body.
fn text_of(message: Option<&str>, body: &Message) -> String {
    match message {
        Some(message) => harmless(message),
        None => {
            let frames = body.frames().map(|frame| harmless(&String::from_utf8_lossy(frame)));
            frames.collect::<Vec<_>>().join(" ")
        }
    }
}
