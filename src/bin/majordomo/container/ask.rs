//! `container call|event|describe`: what others offer.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use majordomo::container::{CallError, Caller, class};
use serde_json::{Map, Value, json};

use super::known;
use super::list::table;
use super::servers::{QueueArgs, WhereArgs};
use crate::connect::some_time;
use crate::failure::{CliError, Exit};
use crate::output::{Table, harmless, print, print_json};

pub(super) const CALL_EXAMPLES: &str = "\
Examples:
  majordomo container call sums add '{\"a\": 1, \"b\": 2}'
  majordomo container call mail send '{\"to\": \"joe\"}' --command
  majordomo container call bank pay '{}' --with '{\"Authorization\": \"'$TOKEN'\"}'

The value is printed as JSON. A command is not waited for: it is done when the broker, or RabbitMQ,
has it.";

pub(super) const EVENT_EXAMPLES: &str = "\
Examples:
  majordomo container event orders.17.paid '{\"amount\": 3}'";

pub(super) const DESCRIBE_EXAMPLES: &str = "\
Examples:
  majordomo container describe sums
  majordomo container describe sums --json";

/// A method and its arguments.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The service
    service: String,
    /// The method
    method: String,
    /// The arguments, by name
    #[arg(default_value = "{}", value_name = "JSON", value_parser = object)]
    params: Map<String, Value>,
    /// Do not wait for a value
    #[arg(long)]
    command: bool,
    #[command(flatten)]
    seal: SealArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// A topic and what has happened.
#[derive(Debug, Args)]
pub(crate) struct EventArgs {
    /// The topic: words between dots
    topic: String,
    /// What has happened
    #[arg(default_value = "null", value_name = "JSON", value_parser = value)]
    event: Value,
    #[command(flatten)]
    how: HowArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// A service.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The service
    service: String,
    /// What the service is to know besides, such as a token
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    with: Map<String, Value>,
    /// How long it may take
    #[arg(long, short, value_name = "DURATION", default_value = "30s", value_parser = some_time)]
    timeout: Duration,
    #[command(flatten)]
    home: WhereArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
struct HowArgs {
    /// What the service is to know besides, such as a token
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    with: Map<String, Value>,
    /// How long it may take
    #[arg(long, short, value_name = "DURATION", default_value = "30s", value_parser = some_time)]
    timeout: Duration,
    #[command(flatten)]
    queues: QueueArgs,
}

/// What a call may be besides.
#[derive(Debug, Args)]
struct SealArgs {
    /// Encrypt the call, so that only the service can read it, and its answer
    #[cfg(feature = "encryption")]
    #[arg(long)]
    encrypted: bool,
}

impl SealArgs {
    fn apply(&self, caller: Caller) -> Caller {
        #[cfg(feature = "encryption")]
        if self.encrypted {
            return caller.encrypted();
        }
        caller
    }
}

impl HowArgs {
    async fn ask<T>(
        &self,
        work: impl AsyncFnOnce(Caller) -> Result<T, CallError>,
    ) -> Result<T, CliError> {
        ask(&self.queues, &self.with, self.timeout, work).await
    }
}

/// Does something with a client, and ends it in good order.
async fn ask<T>(
    queues: &QueueArgs,
    with: &Map<String, Value>,
    timeout: Duration,
    work: impl AsyncFnOnce(Caller) -> Result<T, CallError>,
) -> Result<T, CliError> {
    let client = queues.client()?;
    let caller = client.caller().with_context(with.clone()).with_timeout(timeout);
    let done = work(caller).await;
    client.close().await;
    done.map_err(|error| failed(&error))
}

fn value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match value(text)? {
        Value::Object(object) => Ok(object),
        _ => Err("write an object: {\"name\": value}".into()),
    }
}

fn failed(error: &CallError) -> CliError {
    let (exit, code) = match error {
        CallError::NoService(_) => (Exit::NotFound, "no_service".to_owned()),
        CallError::TimedOut(_) => (Exit::TimedOut, "timeout".into()),
        CallError::NotConnected { .. } => (Exit::CannotConnect, "cannot_connect".into()),
        CallError::Remote { class: name, .. }
            if [class::AUTHENTICATION, class::AUTHORIZATION].contains(&name.as_str()) =>
        {
            (Exit::NotAllowed, name.clone())
        }
        CallError::Remote { class, .. } => (Exit::Failed, class.clone()),
        CallError::Name(_) => (Exit::Usage, "usage".into()),
        _ => (Exit::Failed, "failed".into()),
    };
    CliError::new(exit, code, error.to_string())
}

pub(super) async fn call(args: &CallArgs) -> Result<ExitCode> {
    let CallArgs { service, method, params, command, seal, how, json } = args;
    if *command {
        how.ask(async |caller| seal.apply(caller).command(service, method, params).await).await?;
        return if *json {
            print_json(json!({"v": 1, "taken": true}))
        } else {
            Ok(ExitCode::SUCCESS)
        };
    }
    let asked = async |caller| seal.apply(caller).request(service, method, params).await;
    let result = how.ask(asked).await?;
    if *json {
        return print_json(json!({"v": 1, "result": result}));
    }
    print(format!("{result}\n"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn event(args: &EventArgs) -> Result<ExitCode> {
    let EventArgs { topic, event, how, json } = args;
    how.ask(async |caller| caller.publish_event(topic, event).await).await?;
    if *json { print_json(json!({"v": 1, "taken": true})) } else { Ok(ExitCode::SUCCESS) }
}

pub(super) async fn describe(args: &DescribeArgs) -> Result<ExitCode> {
    let DescribeArgs { service, with, timeout, home, json } = args;
    let asked = async |caller: Caller| caller.describe_service(service).await;
    let description = ask(&home.queues, with, *timeout, asked).await?;
    // Who leads is another question, and to others: without an answer it is not shown.
    let services = known::ask(home, Some(service)).await.unwrap_or_default();
    if *json {
        let known = services.get(service).map(|known| known.json(service));
        return print_json(json!({"v": 1, "description": description, "service": known}));
    }
    if !services.is_empty() {
        print(table(&services))?;
        for (name, value) in services.values().flat_map(|known| &known.properties) {
            print(format!("{}\t{}\n", harmless(name), harmless(value)))?;
        }
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut table = Table::new(["METHOD", "PARAMETERS", "DESCRIPTION"]);
    for (name, method) in description["methods"].as_object().into_iter().flatten() {
        let pairs = method["parameters"]["properties"].as_array().into_iter().flatten();
        let parameters: Vec<_> = pairs
            .map(|pair| match text(&pair[1]["type"]) {
                kind if kind.is_empty() => text(&pair[0]),
                kind => format!("{}: {kind}", text(&pair[0])),
            })
            .collect();
        table.row([name, &parameters.join(", "), &text(&method["description"])]);
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}
