//! The health of a service: when it wants more instances or fewer, and what is done then.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use majordomo::container::{Builder, CallerSettings, HealthSettings};
use majordomo::proto::rights::Pattern;
use serde_json::json;

use super::command::Command;
use crate::connect::{duration, some_time};
use crate::failure::CliError;

/// Signals that there are.
const SIGNALS: [&str; 4] = ["scale_up", "scale_down", "dead_letters", "end_caller"];

/// Health of a service. All its instances should be told the same.
#[derive(Debug, Args)]
#[command(next_help_heading = "Health")]
pub(super) struct CareArgs {
    /// Messages waiting above which more instances are wanted
    #[arg(long, value_name = "COUNT")]
    hw_mark: Option<u64>,
    /// Messages waiting up to which fewer may do [default: a quarter of --hw-mark]
    #[arg(long, value_name = "COUNT")]
    lw_mark: Option<u64>,
    /// Age of the oldest waiting message above which more instances are wanted
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    age_max: Option<Duration>,
    /// Start and stop instances here as they are wanted, and keep at least so many [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    min: Option<u16>,
    /// The same, and at most so many [default: 8]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    max: Option<u16>,
    /// Time between two looks at the queue
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    interval: Duration,
    /// Too much waits for so long before more instances are wanted
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    hold: Duration,
    /// Little waits for so long before one fewer is wanted
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    calm: Duration,
    /// Time from one signal to the next of its kind
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    cool_down: Duration,
    /// Dead letters within --window that are too many
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    dead_max: u64,
    /// Time over which dead letters and failures are counted
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    window: Duration,
    /// End the connections of callers of whose messages so many in a hundred fail
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    end_callers: Option<u8>,
    /// Fewer messages of a caller within --window say nothing
    #[arg(long, value_name = "COUNT", default_value_t = 20, requires = "end_callers")]
    messages_min: u64,
    /// A caller that is never ended, or the beginning of names with `*`; may be given again
    #[arg(long, value_name = "PATTERN", requires = "end_callers")]
    exempt: Vec<Pattern>,
    /// A command that the leader runs for a signal: scale_up, scale_down, dead_letters or
    /// end_caller; may be given again
    #[arg(long = "on-signal", value_name = "SIGNAL=COMMAND", value_parser = on_signal)]
    hooks: Vec<(String, String)>,
}

/// Reads `scale_up=notify-send more`.
fn on_signal(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(_, command)| !command.is_empty());
    let (name, command) = pair.ok_or("write SIGNAL=COMMAND")?;
    if !SIGNALS.contains(&name) {
        return Err(format!("there is no signal `{name}`; write one of {}", SIGNALS.join(", ")));
    }
    Ok((name.to_owned(), command.to_owned()))
}

impl CareArgs {
    /// The fewest and the most instances, if they are to be started and stopped here.
    pub(super) fn supervised(&self) -> Result<Option<(u64, u64)>, CliError> {
        if self.min.is_none() && self.max.is_none() {
            return Ok(None);
        }
        self.range().map(Some)
    }

    fn range(&self) -> Result<(u64, u64), CliError> {
        let min = self.min.unwrap_or(1);
        let max = self.max.unwrap_or_else(|| min.max(8));
        if min > max {
            let error = CliError::usage(format!("--min {min} is more than --max {max}"));
            return Err(error.hint("the fewest instances cannot be more than the most"));
        }
        Ok((min.into(), max.into()))
    }

    /// Has the leader look after the health of the service so.
    pub(super) fn apply(
        self,
        builder: Builder,
        command: impl Fn(String) -> Arc<Command>,
    ) -> Result<Builder, CliError> {
        let (min, max) = self.range()?;
        let mut builder = builder.health(HealthSettings {
            interval: self.interval,
            hw_mark: self.hw_mark,
            lw_mark: self.lw_mark,
            age_max: self.age_max,
            hold: self.hold,
            calm: self.calm,
            cool_down: self.cool_down,
            instances: min..=max,
            dead_max: Some(self.dead_max),
            window: self.window,
            ..HealthSettings::default()
        });
        if let Some(percent) = self.end_callers {
            let Self { messages_min, exempt, .. } = self;
            builder = builder.end_callers(CallerSettings { percent, messages_min, exempt });
        }
        if self.hooks.is_empty() {
            return Ok(builder);
        }
        let hooks = self.hooks.into_iter().map(|(name, text)| (name, command(text)));
        let hooks: Arc<[_]> = hooks.collect();
        Ok(builder.on_signal(move |signal, figures| {
            let hooks = hooks.clone();
            async move {
                let name = signal.name();
                let told = json!({"signal": signal, "figures": figures});
                for (_, command) in hooks.iter().filter(|(wanted, _)| wanted == name) {
                    if let Err(error) = command.run("SIGNAL", name, "", &told).await {
                        tracing::warn!(
                            signal = name,
                            ?error,
                            "the command for a signal has failed"
                        );
                    }
                }
            }
        }))
    }
}
