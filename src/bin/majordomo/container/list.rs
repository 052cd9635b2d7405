//! `container ls|pause|resume`: what is known of services, and what operators want of them.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use majordomo::wire::nuropb::KeyNames;
use serde_json::json;

use super::known::{self, Services};
use super::servers::{LeasesAt, WhereArgs};
use crate::failure::CliError;
use crate::output::{Table, print, print_json};

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo container ls
  majordomo container ls --queues rabbitmq --leases etcd --json

Who leads, and what the leader says, comes from where the lease is. The numbers of messages come
from the broker; with RabbitMQ from its management interface (--amqp-api), and are up to 5 s old.
What is not known is left out.";

pub(super) const PAUSE_EXAMPLES: &str = "\
Examples:
  majordomo container pause sums
  majordomo container resume sums

Messages wait in the queue meanwhile. At our broker the leader is asked to say so to all instances;
in etcd it is written beside the leader. Instances of NuroPb's Python package do not listen to it.";

pub(super) const RESUME_EXAMPLES: &str = "\
Examples:
  majordomo container resume sums";

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    home: WhereArgs,
}

pub(super) const SET_EXAMPLES: &str = "\
Examples:
  majordomo container set sums hw_mark 100
  majordomo container set sums colour blue

It is said as `consume` is by pause and resume. A hw_mark holds from the next look of the leader on.";

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The service
    service: String,
    /// The property, such as hw_mark; not what leaders say of themselves
    #[arg(value_parser = property)]
    name: String,
    /// What it is from now on
    value: String,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    home: WhereArgs,
}

/// A property that an operator may set.
fn property(text: &str) -> Result<String, String> {
    let own = ["leader", KeyNames::CONFIGURED, "wanted", "health"].contains(&text);
    if own || text.is_empty() || text.contains('/') || text.len() > 255 {
        return Err("it is no name of a property, or one that only the leader says".into());
    }
    Ok(text.to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    /// The service
    service: String,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    home: WhereArgs,
}

pub(super) async fn list(args: &ListArgs) -> Result<ExitCode> {
    let services = known::ask(&args.home, None).await?;
    if args.json {
        let services: Vec<_> = services.iter().map(|(name, known)| known.json(name)).collect();
        return print_json(json!({"v": 1, "services": services}));
    }
    print(table(&services))?;
    Ok(ExitCode::SUCCESS)
}

/// A line for each service.
pub(super) fn table(services: &Services) -> String {
    let mut table = Table::new([
        "SERVICE",
        "LEADER",
        "CONSUME",
        "WAITING",
        "IN WORK",
        "INSTANCES",
        "WANTED",
        "DEAD",
    ]);
    let number = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
    for (name, known) in services {
        table.row([
            name,
            known.leader.as_ref().map_or("", |(leader, _)| leader),
            known.properties.get("consume").map_or("", String::as_str),
            &number(known.waiting),
            &number(known.in_work),
            &number(known.consumers),
            known.properties.get("wanted").map_or("", String::as_str),
            &number(known.dead),
        ]);
    }
    table.to_string()
}

pub(super) async fn switch(args: &SwitchArgs, consume: bool) -> Result<ExitCode> {
    say(&args.home, &args.service, ("consume", if consume { "True" } else { "False" })).await?;
    if args.json {
        return print_json(json!({"v": 1, "service": args.service, "consume": consume}));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn set(args: &SetArgs) -> Result<ExitCode> {
    let SetArgs { service, name, value, json, home } = args;
    say(home, service, (name, value)).await?;
    if *json {
        return print_json(json!({"v": 1, "service": service, "name": name, "value": value}));
    }
    Ok(ExitCode::SUCCESS)
}

/// Has something said to all instances.
async fn say(home: &WhereArgs, service: &str, said: (&str, &str)) -> Result<()> {
    match home.leases() {
        LeasesAt::Embedded => {
            let operator = known::operator(home).await?;
            let set = operator.set(service, said.0, said.1).await;
            operator.close().await;
            set.map_err(|error| known::of_operator(&error))?;
        }
        #[cfg(feature = "etcd")]
        LeasesAt::Etcd => known::in_etcd::say(home, service, said).await?,
        #[cfg(not(feature = "etcd"))]
        LeasesAt::Etcd => return Err(crate::etcd::not_built("etcd", "etcd").into()),
        LeasesAt::None => {
            let error = CliError::usage("without a leader nobody says it to all instances");
            return Err(error.hint("say where the lease is: --leases embedded, or etcd").into());
        }
    }
    Ok(())
}
