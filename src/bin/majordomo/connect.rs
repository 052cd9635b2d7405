//! Which broker a command talks to, and how: flags before the context before the defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use majordomo::config::{CurveFiles, ServerKey, Text};
use majordomo::transport::endpoint::Endpoint;
use majordomo::wire::Protocol;

use crate::context::{self, Context};
use crate::failure::CliError;
use crate::key::of_key;

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
    /// Our key, if it speaks CURVE: NAME.secret of `majordomo key new`
    #[arg(long, value_name = "FILE")]
    curve_key: Option<PathBuf>,
    /// The key of the broker, or a file that has it
    #[arg(long, value_name = "Z85|FILE", value_parser = server_key)]
    server_key: Option<ServerKey>,
}

/// A broker, and how to speak with it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) protocol: Protocol,
    /// How long a call may take, if the context says so.
    pub(crate) timeout: Option<Duration>,
    /// Whose keys, if it speaks CURVE. They were readable when they were looked at.
    pub(crate) curve: Option<CurveFiles>,
}

impl ConnectArgs {
    pub(crate) fn target(&self) -> Result<Target, CliError> {
        // A variable that is empty is as good as none.
        let chosen = match &self.context {
            Some(name) if !name.is_empty() => Some(name.clone()),
            _ => context::selected()?,
        };
        let context = chosen.map_or_else(|| Ok(Context::default()), |name| context::read(&name))?;
        let curve = self.curve(&context)?;
        let endpoint = self.endpoint.clone().or(context.endpoint);
        let endpoint = endpoint.unwrap_or_else(|| Endpoint::Tcp(([127, 0, 0, 1], 5555).into()));
        let file = matches!(endpoint, Endpoint::Ipc(_));
        if file && (self.curve_key.is_some() || self.server_key.is_some()) {
            let error = CliError::usage(format!("{endpoint} is a file, and speaks no CURVE"));
            return Err(error.hint("leave --curve-key and --server-key out there"));
        }
        let curve = curve.filter(|_| !file);
        if let Some(curve) = &curve {
            curve.load().map_err(|error| of_key(&error))?;
        }
        Ok(Target {
            curve,
            endpoint,
            protocol: self.protocol.or(context.protocol).unwrap_or_default(),
            timeout: context.timeout,
        })
    }
}

impl ConnectArgs {
    /// Both keys, or none.
    fn curve(&self, context: &Context) -> Result<Option<CurveFiles>, CliError> {
        let secret = self.curve_key.clone().or_else(|| context.curve_key.clone());
        let server = self.server_key.clone().or_else(|| context.server_key.clone());
        let missing = |what, hint| {
            let error = CliError::usage(format!("CURVE takes two keys, and {what} is missing"));
            Err(error.hint(hint))
        };
        match (secret, server) {
            (None, None) => Ok(None),
            (Some(secret), Some(server)) => Ok(Some(CurveFiles { secret, server })),
            (Some(_), None) => missing(
                "that of the broker",
                "say it with --server-key; `majordomo key broker` prints it there",
            ),
            (None, Some(_)) => {
                missing("our own", "name it with --curve-key; `majordomo key new` makes one")
            }
        }
    }
}

/// Reads the key of a broker, or the name of its file.
pub(crate) fn server_key(text: &str) -> Result<ServerKey, String> {
    ServerKey::read(text)
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
