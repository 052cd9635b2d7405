//! `container ls|pause|resume`: what the servers know of services.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::servers::{EtcdArgs, RabbitArgs};
#[cfg(not(all(feature = "rabbitmq", feature = "etcd")))]
use crate::failure::CliError;

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo container ls
  majordomo container ls --amqp-api http://guest:guest@127.0.0.1:15672/api --json

Who leads, and what the leader says, comes from etcd; the numbers of messages come from the
management interface of RabbitMQ, and are up to 5 s old. What is not asked is left out.";

pub(super) const PAUSE_EXAMPLES: &str = "\
Examples:
  majordomo container pause sums
  majordomo container resume sums

Messages wait in the queue meanwhile. Instances of NuroPb's Python package do not listen to it.";

pub(super) const RESUME_EXAMPLES: &str = "\
Examples:
  majordomo container resume sums";

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    rabbit: RabbitArgs,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    /// The service
    service: String,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(not(all(feature = "rabbitmq", feature = "etcd")))]
fn not_built() -> CliError {
    let error = CliError::usage("this majordomo was built without etcd and RabbitMQ");
    error.hint("build it with --features etcd,rabbitmq")
}

#[cfg(not(all(feature = "rabbitmq", feature = "etcd")))]
pub(super) async fn list(_: &ListArgs) -> Result<ExitCode> {
    std::future::ready(Err(not_built().into())).await
}

#[cfg(not(all(feature = "rabbitmq", feature = "etcd")))]
pub(super) async fn switch(_: &SwitchArgs, _: bool) -> Result<ExitCode> {
    std::future::ready(Err(not_built().into())).await
}

#[cfg(all(feature = "rabbitmq", feature = "etcd"))]
pub(super) use asked::{list, switch};

#[cfg(all(feature = "rabbitmq", feature = "etcd"))]
mod asked {
    use std::collections::BTreeMap;

    use majordomo::engine::etcd::{Etcd, EtcdError};
    use majordomo::engine::rabbitmq::{QueueInfo, RabbitError};
    use majordomo::wire::nuropb::{KeyNames, Topology};
    use serde_json::{Value, json};

    use super::{ExitCode, ListArgs, Result, SwitchArgs};
    use crate::failure::{CliError, Exit};
    use crate::output::{Table, print, print_json};

    /// What all keys of services begin with.
    const KEYS: &str = "/nuropb/";

    /// What is known of a service.
    #[derive(Default)]
    struct Known {
        leader: Option<(String, i64)>,
        properties: BTreeMap<String, String>,
        queue: Option<QueueInfo>,
        dead: Option<u64>,
    }

    /// What a server says.
    fn server_failed(error: &dyn std::fmt::Display, reached: bool) -> CliError {
        let (exit, code) = if reached {
            (Exit::Failed, "failed")
        } else {
            (Exit::CannotConnect, "cannot_connect")
        };
        CliError::new(exit, code, error.to_string())
    }

    fn of_etcd(error: &EtcdError) -> CliError {
        let reached = !matches!(error, EtcdError::Unreachable { .. } | EtcdError::TimedOut { .. });
        if matches!(error, EtcdError::NotAllowed(_)) {
            return CliError::new(Exit::NotAllowed, "not_allowed", error.to_string());
        }
        server_failed(error, reached)
    }

    fn of_rabbit(error: &RabbitError) -> CliError {
        let reached =
            !matches!(error, RabbitError::Unreachable { .. } | RabbitError::TimedOut { .. });
        if matches!(error, RabbitError::NotAllowed(_)) {
            return CliError::new(Exit::NotAllowed, "not_allowed", error.to_string());
        }
        server_failed(error, reached)
    }

    pub(in super::super) async fn list(args: &ListArgs) -> Result<ExitCode> {
        let etcd = args.etcd.client()?;
        let management = args.rabbit.management()?;
        if etcd.is_none() && management.is_none() {
            let error = CliError::usage("say whom to ask");
            return Err(error.hint("give --etcd, or --amqp and --amqp-api, or both").into());
        }
        let mut services: BTreeMap<String, Known> = BTreeMap::new();
        if let Some(etcd) = etcd {
            of_keys(&etcd, &mut services).await?;
        }
        if let Some(management) = management {
            let queues = management.queues(&args.rabbit.vhost()?).await;
            for queue in queues.map_err(|error| of_rabbit(&error))? {
                of_queue(queue, &mut services);
            }
        }
        show(&services, args.json)
    }

    async fn of_keys(etcd: &Etcd, services: &mut BTreeMap<String, Known>) -> Result<(), CliError> {
        let range = etcd.prefix(KEYS).await.map_err(|error| of_etcd(&error))?;
        for kv in range.kvs {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            let Some((service, name)) = key.strip_prefix(KEYS).and_then(|it| it.split_once('/'))
            else {
                continue;
            };
            let known = services.entry(service.to_owned()).or_default();
            let value = String::from_utf8_lossy(&kv.value).into_owned();
            if name == "leader" {
                known.leader = Some((value, kv.create_revision));
            } else {
                known.properties.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    fn of_queue(queue: QueueInfo, services: &mut BTreeMap<String, Known>) {
        let inner = queue.name.strip_prefix("nuropb-").map(str::to_owned);
        let Some(inner) = inner else { return };
        if let Some(service) = inner.strip_suffix("-sq") {
            services.entry(service.to_owned()).or_default().queue = Some(queue);
        } else if let Some(service) = inner.strip_suffix("-dl") {
            services.entry(service.to_owned()).or_default().dead = Some(queue.messages);
        }
    }

    fn show(services: &BTreeMap<String, Known>, json: bool) -> Result<ExitCode> {
        if json {
            let services: Vec<_> =
                services.iter().map(|(name, known)| of_known(name, known)).collect();
            return print_json(json!({"v": 1, "services": services}));
        }
        let mut table =
            Table::new(["SERVICE", "LEADER", "CONSUME", "WAITING", "IN WORK", "INSTANCES", "DEAD"]);
        let number = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
        for (name, known) in services {
            let queue = known.queue.as_ref();
            table.row([
                name,
                known.leader.as_ref().map_or("", |(leader, _)| leader),
                known.properties.get("consume").map_or("", String::as_str),
                &number(queue.map(|it| it.messages_ready)),
                &number(queue.map(|it| it.messages_unacknowledged)),
                &number(queue.map(|it| it.consumers)),
                &number(known.dead),
            ]);
        }
        print(table.to_string())?;
        Ok(ExitCode::SUCCESS)
    }

    fn of_known(name: &str, known: &Known) -> Value {
        let queue = known.queue.as_ref();
        json!({
            "service": name,
            "leader": known.leader.as_ref().map(|(leader, _)| leader),
            "epoch": known.leader.as_ref().map(|(_, epoch)| epoch),
            "configured": known.properties.get(KeyNames::CONFIGURED).map(|it| it == "True"),
            "properties": known.properties,
            "queue": queue.map(|_| Topology::service_queue(name)),
            "waiting": queue.map(|it| it.messages_ready),
            "in_work": queue.map(|it| it.messages_unacknowledged),
            "consumers": queue.map(|it| it.consumers),
            "dead_letters": known.dead,
        })
    }

    pub(in super::super) async fn switch(args: &SwitchArgs, consume: bool) -> Result<ExitCode> {
        let Some(etcd) = args.etcd.client()? else {
            let error = CliError::usage("say where etcd is");
            return Err(error.hint("give --etcd, or set MAJORDOMO_ETCD").into());
        };
        let keys = KeyNames::new(&args.service);
        let known = etcd.prefix(keys.prefix()).await.map_err(|error| of_etcd(&error))?;
        if known.kvs.is_empty() {
            let message = format!("etcd has nothing of a service `{}`", args.service);
            return Err(CliError::new(Exit::NotFound, "no_service", message).into());
        }
        let value = if consume { "True" } else { "False" };
        let put = etcd.put(&keys.property("consume"), value.as_bytes(), 0).await;
        put.map_err(|error| of_etcd(&error))?;
        if args.json {
            return print_json(json!({"v": 1, "service": args.service, "consume": consume}));
        }
        Ok(ExitCode::SUCCESS)
    }
}
