//! `majordomo flow send|recv|ls|peers`: one-way streams of messages, by way of a broker.

mod recv;
mod send;
mod tally;
mod trouble;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::config::{CurveFiles, FlowConfig, Text};
use majordomo::flow::{FlowBuilder, FlowError, Opened};
use majordomo::transport::session::{Session, SessionConfig};
use majordomo::wire::zio::Direction;
use serde_json::Value;

use crate::connect::{ConnectArgs, Target, some_time};
use crate::manage::flow::{self as look, LsArgs, PeersArgs};
use recv::RecvArgs;
use send::SendArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum FlowAction {
    /// Send a file, or standard input, through a flow
    #[command(after_help = send::EXAMPLES)]
    Send(SendArgs),
    /// Receive what somebody gives through a flow
    #[command(after_help = recv::EXAMPLES)]
    Recv(RecvArgs),
    /// List flows, those that wait for somebody included
    #[command(after_help = look::LS_EXAMPLES)]
    Ls(LsArgs),
    /// List peers that are ends of flows, or could be
    #[command(after_help = look::PEERS_EXAMPLES)]
    Peers(PeersArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo flow send run7.raw --attr stream=raw --attr run=7
  majordomo flow recv -o run7.raw --attr stream=raw --attr run=7
  majordomo flow ls

A flow is a one-way stream of messages between two ends, with credit: what is on its way at a time
is bounded. The rules of the broker say by the attributes who comes for a flow.

Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 78 bad
configuration";

impl FlowAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Send(args) => args.flow.json,
            Self::Recv(args) => args.flow.json,
            Self::Ls(args) => args.ask.json,
            Self::Peers(args) => args.ask.json,
        }
    }
}

pub(crate) fn run(action: FlowAction) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match action {
            FlowAction::Send(args) => send::run(&args).await,
            FlowAction::Recv(args) => recv::run(&args).await,
            FlowAction::Ls(args) => look::list(&args).await,
            FlowAction::Peers(args) => look::peers(&args).await,
        }
    })
}

/// Which flow is asked for, and how.
#[derive(Debug, Args)]
struct FlowArgs {
    /// What the flow is about; the value is JSON if it is some, or else a text; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    attr: Vec<(String, Value)>,
    /// Messages that may be on their way at a time; the other end may lower it
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    credit: u32,
    /// Octets that may be on their way at a time, too: goes over MJP/1 and not as a ZIO socket; it
    /// holds if the other end does so, and a message may have half of it
    #[arg(long, value_name = "SIZE", value_parser = credit_bytes)]
    credit_bytes: Option<usize>,
    /// Ask for no flow, and come for one that is given to this flow service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// How long somebody may take to come for the flow [default: as the context says, or 1m; with
    /// --service for ever]
    #[arg(long, short, value_name = "DURATION", value_parser = some_time)]
    timeout: Option<Duration>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl FlowArgs {
    /// An end that has yet to connect, for messages of `size` octets.
    fn builder(&self, size: usize) -> Result<(Target, FlowBuilder)> {
        const SHORTEST: Duration = Duration::from_millis(10);
        let target = self.connect.target()?;
        let config = FlowConfig::default();
        let timeout = self.timeout.or(target.timeout);
        let config = FlowConfig {
            endpoint: target.endpoint.clone(),
            curve: target.curve.clone(),
            credit: self.credit,
            credit_bytes: self.credit_bytes,
            answer_timeout: timeout.map_or(config.answer_timeout, |it| Some(it.max(SHORTEST))),
            connect_timeout: timeout
                .map_or(config.connect_timeout, |it| config.connect_timeout.min(it.max(SHORTEST))),
            message: config.message.max(size.saturating_add(64 << 10)),
            ..config
        };
        let mut builder = FlowBuilder::from(config);
        for (name, value) in &self.attr {
            builder = builder.attribute(name, value).map_err(|error| trouble::of_label(&error))?;
        }
        Ok((target, builder))
    }
}

impl FlowArgs {
    /// A flow in which this end gives or takes.
    async fn open(
        &self,
        mut builder: FlowBuilder,
        direction: Direction,
    ) -> Result<Opened, FlowError> {
        let Some(service) = &self.service else {
            return match direction {
                Direction::Extract => builder.give().await.map(Opened::Gives),
                Direction::Inject => builder.take().await.map(Opened::Takes),
            };
        };
        // A handler goes on trying for ever; here somebody waits to be told.
        let FlowConfig { endpoint, curve, connect_timeout, .. } = builder.config();
        let probe = SessionConfig {
            curve: curve.as_ref().map(CurveFiles::load).transpose()?,
            connect_timeout: *connect_timeout,
            ..SessionConfig::default()
        };
        Session::connect(endpoint, &probe).await.map_err(FlowError::Connect)?;
        let mut handler = builder.handle(service, 1)?;
        let come = async {
            loop {
                let offered = handler.next().await.ok_or(FlowError::Closed)?;
                // One of the other direction is declined.
                if offered.assignment().direction() == direction {
                    return offered.open().await;
                }
            }
        };
        match self.timeout {
            None => come.await,
            Some(timeout) => tokio::time::timeout(timeout, come)
                .await
                .unwrap_or(Err(FlowError::NoAnswer { timeout })),
        }
    }
}

/// Reads `32MiB`.
fn credit_bytes(text: &str) -> Result<usize, String> {
    const RANGE: std::ops::RangeInclusive<usize> = 64 << 10..=1 << 30;
    let size = usize::read(text)?;
    let (low, high) = (RANGE.start().write(), RANGE.end().write());
    if RANGE.contains(&size) { Ok(size) } else { Err(format!("a credit has {low} to {high}")) }
}

/// Reads `run=7` or `name=raw`.
fn attribute(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name is empty; write NAME=VALUE".into());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.into(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_attribute_is_json_or_a_text() {
        for (text, value) in [
            ("a=7", json!(7)),
            ("a=7 K", json!("7 K")),
            ("a=\"7\"", json!("7")),
            ("a=true", json!(true)),
            ("a=[1,2]", json!([1, 2])),
            ("a=x=y", json!("x=y")),
            ("a=", json!("")),
        ] {
            assert_eq!(attribute(text), Ok(("a".into(), value)), "{text}");
        }
        assert!(attribute("a").is_err() && attribute("=1").is_err());
    }
}
