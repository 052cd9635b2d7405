//! Which broker a command talks to, and how: flags before the context before the defaults.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use majordomo::config::Text;
use majordomo::transport::endpoint::Endpoint;
use majordomo::wire::Protocol;

use crate::context::{self, Context};
use crate::failure::CliError;

/// What every command that talks to a broker can be told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct ConnectArgs {
    /// Where it listens [default: as the context says, or tcp://127.0.0.1:5555]
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<Endpoint>,
    /// Use this context instead of the selected one
    #[arg(long, value_name = "NAME", env = context::VARIABLE, hide_env_values = true)]
    context: Option<String>,
    /// How to speak with it [default: as the context says, or mjp]
    #[arg(long, value_parser = protocol_parser())]
    protocol: Option<Protocol>,
}

/// A broker, and how to speak with it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) protocol: Protocol,
    /// How long a call may take, if the context says so.
    pub(crate) timeout: Option<Duration>,
}

impl ConnectArgs {
    pub(crate) fn target(&self) -> Result<Target, CliError> {
        // A variable that is empty is as good as none.
        let chosen = match &self.context {
            Some(name) if !name.is_empty() => Some(name.clone()),
            _ => context::selected()?,
        };
        let context = chosen.map_or_else(|| Ok(Context::default()), |name| context::read(&name))?;
        let endpoint = self.endpoint.clone().or(context.endpoint);
        Ok(Target {
            endpoint: endpoint.unwrap_or_else(|| Endpoint::Tcp(([127, 0, 0, 1], 5555).into())),
            protocol: self.protocol.or(context.protocol).unwrap_or_default(),
            timeout: context.timeout,
        })
    }
}

pub(crate) fn protocol_parser() -> impl TypedValueParser<Value = Protocol> {
    PossibleValuesParser::new(["mjp", "mdp01", "mdp02"]).map(|name| match name.as_str() {
        "mdp01" => Protocol::Mdp01,
        "mdp02" => Protocol::Mdp02,
        _ => Protocol::Mjp,
    })
}

/// As on the command line.
pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Mjp => "mjp",
        Protocol::Mdp01 => "mdp01",
        Protocol::Mdp02 => "mdp02",
    }
}

/// Reads `2500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    Duration::read(text)
}

/// Reads a time that is not zero.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() {
        Err("0 is no time; write such as 500ms or 5s".into())
    } else {
        Ok(duration)
    }
}
