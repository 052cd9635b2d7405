//! `container ls|pause|resume`: what is known of services, and what operators want of them.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
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
    let mut table =
        Table::new(["SERVICE", "LEADER", "CONSUME", "WAITING", "IN WORK", "INSTANCES", "DEAD"]);
    let number = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
    for (name, known) in services {
        table.row([
            name,
            known.leader.as_ref().map_or("", |(leader, _)| leader),
            known.properties.get("consume").map_or("", String::as_str),
            &number(known.waiting),
            &number(known.in_work),
            &number(known.consumers),
            &number(known.dead),
        ]);
    }
    table.to_string()
}

pub(super) async fn switch(args: &SwitchArgs, consume: bool) -> Result<ExitCode> {
    let said = ("consume", if consume { "True" } else { "False" });
    match args.home.leases() {
        LeasesAt::Embedded => {
            let operator = known::operator(&args.home).await?;
            let set = operator.set(&args.service, said.0, said.1).await;
            operator.close().await;
            set.map_err(|error| known::of_operator(&error))?;
        }
        #[cfg(feature = "etcd")]
        LeasesAt::Etcd => known::in_etcd::say(&args.home, &args.service, said).await?,
        #[cfg(not(feature = "etcd"))]
        LeasesAt::Etcd => return Err(crate::etcd::not_built("etcd", "etcd").into()),
        LeasesAt::None => {
            let error = CliError::usage("without a leader nobody says it to all instances");
            return Err(error.hint("say where the lease is: --leases embedded, or etcd").into());
        }
    }
    if args.json {
        return print_json(json!({"v": 1, "service": args.service, "consume": consume}));
    }
    Ok(ExitCode::SUCCESS)
}
