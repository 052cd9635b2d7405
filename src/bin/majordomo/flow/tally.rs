//! How much has gone through a flow, shown while it does and said when it has.

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use majordomo::flow::FlowMessage;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::output::complain;

/// Messages and octets of payload, and since when.
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) octets: u64,
    begun: Instant,
    bar: ProgressBar,
}

impl Tally {
    /// Counts from now on, of so many octets if that is known.
    pub(super) fn new(all: Option<u64>, hidden: bool) -> Self {
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            // It draws on terminals alone.
            ProgressDrawTarget::stderr()
        };
        let template = match all {
            Some(_) => "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {bytes} {bytes_per_sec} {elapsed}",
        };
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(all, target).with_style(style);
        Self { messages: 0, octets: 0, begun: Instant::now(), bar }
    }

    pub(super) fn count(&mut self, octets: usize) {
        self.messages += 1;
        self.octets += octets as u64;
        self.bar.set_position(self.octets);
    }

    /// Both counts, as EOT says them.
    pub(super) fn eot(&self) -> Result<FlowMessage, majordomo::flow::AttributeError> {
        FlowMessage::default().with("messages", self.messages)?.with("octets", self.octets)
    }

    /// Both counts of an EOT, if it says them.
    pub(super) fn of(eot: &FlowMessage) -> Option<(u64, u64)> {
        Some((eot.get("messages")?, eot.get("octets")?))
    }

    /// Takes the bar away; how long it has taken.
    pub(super) fn finish(&self) -> Duration {
        self.bar.finish_and_clear();
        self.begun.elapsed()
    }

    /// Says what has gone and how fast, to people.
    pub(super) fn say(&self, what: &str, took: Duration) {
        let Self { messages, octets, .. } = self;
        let plural = if *messages == 1 { "" } else { "s" };
        let seconds = took.as_secs_f64().max(1e-6);
        let (each, octets_each) = (*messages as f64 / seconds, *octets as f64 / seconds);
        complain(&format_args!(
            "{what} {messages} message{plural}, {} in {seconds:.3} s: {each:.0} messages/s, {}/s",
            HumanBytes(*octets),
            HumanBytes(whole(octets_each)),
        ));
    }

    /// The same for programs.
    pub(super) fn json(&self, took: Duration) -> Value {
        let Self { messages, octets, .. } = self;
        let seconds = took.as_secs_f64().max(1e-6);
        json!({
            "v": 1, "messages": messages, "octets": octets, "seconds": seconds,
            "messages_per_s": *messages as f64 / seconds,
            "octets_per_s": *octets as f64 / seconds,
        })
    }
}

/// A rate without its fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a rate")]
fn whole(rate: f64) -> u64 {
    rate as u64
}
