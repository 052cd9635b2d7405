//! `majordomo ping`: whether a broker is there, what it is, and how far away.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use majordomo::config::{CurveFiles, Text};
use majordomo::transport::session::{Session, SessionConfig};
use majordomo::wire::Protocol;
use majordomo::wire::mdp::{self, ToClient, Version};
use majordomo::wire::message::{Frames, Message};
use majordomo::wire::mjp::{FromBroker, PeerHello, ToBroker, Versions};
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::call::no_session;
use crate::connect::{ConnectArgs, Target, duration, protocol_name, some_time};
use crate::failure::{CliError, Exit};
use crate::key::of_key;
use crate::output::{harmless, millis, print};

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// How often to ask
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    count: u32,
    /// Time between two questions
    #[arg(long, short, value_name = "DURATION", default_value = "200ms", value_parser = duration)]
    interval: Duration,
    /// How long to wait for the connection, and for each answer
    #[arg(long, short, value_name = "DURATION", default_value = "5s", value_parser = some_time)]
    timeout: Duration,
    /// Print one JSON object for each answer
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo ping
  majordomo ping --endpoint tcp://10.0.0.5:5555 --protocol mdp01 --count 10

By mjp it says HELLO, by mdp01 and mdp02 it asks mmi.service. Exit codes: 0 ok, 3 cannot connect,
4 the broker does not answer.";

pub(crate) fn run(args: &PingArgs) -> Result<ExitCode> {
    let target = args.connect.target()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ping(args, &target))
}

async fn ping(args: &PingArgs, target: &Target) -> Result<ExitCode> {
    let curve = target.curve.as_ref().map(CurveFiles::load).transpose();
    let curve = curve.map_err(|error| of_key(&error))?;
    let config = SessionConfig { connect_timeout: args.timeout, curve, ..SessionConfig::default() };
    let session = Session::connect(&target.endpoint, &config).await;
    let mut session = session.map_err(|error| no_session(target, &error))?;
    let (endpoint, protocol) = (&target.endpoint, protocol_name(target.protocol));
    for number in 1..=args.count {
        let asked = Instant::now();
        let agent = ask(&mut session, args, target).await?;
        let ms = millis(asked.elapsed());
        print(if args.json {
            let answer = json!({
                "v": 1, "endpoint": endpoint.to_string(), "protocol": protocol, "ping": number,
                "ms": ms, "agent": agent,
            });
            format!("{answer}\n")
        } else {
            let agent = agent.map(|agent| format!(" ({})", harmless(&agent))).unwrap_or_default();
            format!("{endpoint}{agent} answers by {protocol}: {ms:.2} ms\n")
        })?;
        if number < args.count {
            sleep_until(asked + args.interval).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks once; the name of the broker's program, if it says that.
async fn ask(session: &mut Session, args: &PingArgs, target: &Target) -> Result<Option<String>> {
    let until = Instant::now() + args.timeout;
    let body = Message::from("majordomo.ping");
    let request = |version| mdp::Request {
        version,
        envelope: Frames::default(),
        service: b"mmi.service",
        body: body.frames(),
    };
    session.send(|out| match target.protocol {
        Protocol::Mjp => {
            let agent = Some(concat!("majordomo/", env!("CARGO_PKG_VERSION")));
            ToBroker::Hello(PeerHello { agent, versions: Versions::ONE }).encode(out);
        }
        Protocol::Mdp01 => request(Version::V01).encode(out),
        Protocol::Mdp02 => request(Version::V02).encode(out),
    });
    let mut answer = None;
    while answer.is_none() {
        let turn =
            session.turn(|frames| answer = answer.take().or_else(|| read(target.protocol, frames)));
        match timeout_at(until, turn).await {
            Ok(turned) => turned.map_err(|error| no_session(target, &error))?,
            Err(_) => return Err(silent(args, target).into()),
        }
    }
    Ok(answer.flatten())
}

/// An answer is `Some`, whatever it says.
fn read(protocol: Protocol, frames: Frames<'_>) -> Option<Option<String>> {
    match protocol {
        Protocol::Mjp => match FromBroker::decode(frames) {
            Ok(FromBroker::Hello(hello)) => Some(hello.agent.map(str::to_owned)),
            _ => None,
        },
        Protocol::Mdp01 | Protocol::Mdp02 => ToClient::decode(frames).ok().map(|_| None),
    }
}

fn silent(args: &PingArgs, target: &Target) -> CliError {
    let Target { endpoint, protocol, .. } = target;
    let (protocol, after) = (protocol_name(*protocol), args.timeout.write());
    let message = format!("{endpoint} is there, and did not answer by {protocol} within {after}");
    CliError::new(Exit::TimedOut, "timeout", message)
        .hint("if it is a broker of another kind, try another --protocol")
}
