//! What is known of services from outside: who leads, what the leader says, their messages.

use std::collections::BTreeMap;

use majordomo::container::{Operator, OperatorError, ServiceSeen};
use majordomo::wire::nuropb::KeyNames;
use serde_json::{Value, json};

use super::servers::{LeasesAt, QueuesAt, WhereArgs};
use crate::failure::{CliError, Exit};

/// What is known of a service.
#[derive(Default)]
pub(super) struct Known {
    pub(super) leader: Option<(String, u64)>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) waiting: Option<u64>,
    pub(super) in_work: Option<u64>,
    pub(super) consumers: Option<u64>,
    pub(super) dead: Option<u64>,
}

pub(super) type Services = BTreeMap<String, Known>;

impl Known {
    pub(super) fn json(&self, name: &str) -> Value {
        json!({
            "service": name,
            "leader": self.leader.as_ref().map(|(leader, _)| leader),
            "epoch": self.leader.as_ref().map(|(_, epoch)| epoch),
            "configured": self.properties.get(KeyNames::CONFIGURED).map(|it| it == "True"),
            "properties": self.properties,
            "waiting": self.waiting,
            "in_work": self.in_work,
            "consumers": self.consumers,
            "dead_letters": self.dead,
        })
    }

    fn led(&mut self, seen: &ServiceSeen) {
        self.leader.clone_from(&seen.leader);
        self.properties.clone_from(&seen.properties);
    }

    fn numbers(&mut self, seen: &ServiceSeen) {
        (self.waiting, self.in_work) = (Some(seen.waiting), Some(seen.in_work));
        (self.consumers, self.dead) = (Some(seen.instances), Some(seen.dead));
    }
}

/// Asks whoever is said to know: of all services, or of one.
pub(super) async fn ask(home: &WhereArgs, one: Option<&str>) -> Result<Services, CliError> {
    let mut services = Services::new();
    if home.leases() == LeasesAt::Etcd {
        #[cfg(feature = "etcd")]
        in_etcd::ask(home, one, &mut services).await?;
        #[cfg(not(feature = "etcd"))]
        return Err(crate::etcd::not_built("etcd", "etcd"));
    }
    if home.queues.at() == QueuesAt::Rabbitmq {
        #[cfg(feature = "rabbitmq")]
        at_rabbit::ask(home, one, &mut services).await?;
        #[cfg(not(feature = "rabbitmq"))]
        return Err(crate::etcd::not_built("RabbitMQ", "rabbitmq"));
    }
    let (leases, queues) =
        (home.leases() == LeasesAt::Embedded, home.queues.at() == QueuesAt::Embedded);
    if leases || queues {
        let operator = operator(home).await?;
        at_broker(&operator, (leases, queues), one, &mut services).await?;
        operator.close().await;
    }
    Ok(services)
}

/// Whoever looks after services at our broker.
pub(super) async fn operator(home: &WhereArgs) -> Result<Operator, CliError> {
    Operator::connect(&home.queues.embedded()?).await.map_err(|error| of_operator(&error))
}

async fn at_broker(
    operator: &Operator,
    (leases, queues): (bool, bool),
    one: Option<&str>,
    services: &mut Services,
) -> Result<(), CliError> {
    let failed = |error: OperatorError| of_operator(&error);
    let mut seen = match one {
        Some(service) => {
            let seen = operator.service(service).await.map_err(failed)?;
            seen.map(|seen| (service.to_owned(), seen)).into_iter().collect()
        }
        None if leases => operator.services().await.map_err(failed)?,
        None => BTreeMap::new(),
    };
    // Those whose leaders are elsewhere.
    for service in services.keys() {
        if queues
            && !seen.contains_key(service)
            && let Some(found) = operator.service(service).await.map_err(failed)?
        {
            seen.insert(service.clone(), found);
        }
    }
    for (service, seen) in seen {
        let known = services.entry(service).or_default();
        if leases {
            known.led(&seen);
        }
        if queues {
            known.numbers(&seen);
        }
    }
    Ok(())
}

pub(super) fn of_operator(error: &OperatorError) -> CliError {
    let (exit, code) = match error {
        OperatorError::NoService(_) => (Exit::NotFound, "no_service"),
        OperatorError::NotSaid { .. } => (Exit::TimedOut, "timeout"),
        OperatorError::NotConnected(_) => (Exit::CannotConnect, "cannot_connect"),
        OperatorError::Lease(majordomo::lease::LeaseError::Denied { .. }) => {
            (Exit::NotAllowed, "denied")
        }
        _ => (Exit::Failed, "failed"),
    };
    CliError::new(exit, code, error.to_string())
}

/// What a server says.
#[cfg(any(feature = "etcd", feature = "rabbitmq"))]
fn server_failed(error: &dyn std::fmt::Display, reached: bool, allowed: bool) -> CliError {
    let (exit, code) = match (allowed, reached) {
        (false, _) => (Exit::NotAllowed, "not_allowed"),
        (true, true) => (Exit::Failed, "failed"),
        (true, false) => (Exit::CannotConnect, "cannot_connect"),
    };
    CliError::new(exit, code, error.to_string())
}

#[cfg(feature = "etcd")]
pub(super) mod in_etcd {
    use majordomo::engine::etcd::EtcdError;
    use majordomo::wire::nuropb::KeyNames;

    use super::super::servers::WhereArgs;
    use super::{CliError, Exit, Services, server_failed};

    /// What all keys of services begin with.
    const KEYS: &str = "/nuropb/";

    fn failed(error: &EtcdError) -> CliError {
        let reached = !matches!(error, EtcdError::Unreachable { .. } | EtcdError::TimedOut { .. });
        server_failed(error, reached, !matches!(error, EtcdError::NotAllowed(_)))
    }

    pub(super) async fn ask(
        home: &WhereArgs,
        one: Option<&str>,
        services: &mut Services,
    ) -> Result<(), CliError> {
        let etcd = home.etcd.needed()?;
        let prefix = one.map(KeyNames::new);
        let prefix = prefix.as_ref().map_or(KEYS, |names| names.prefix());
        let range = etcd.prefix(prefix).await.map_err(|error| failed(&error))?;
        for kv in range.kvs {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            let Some((service, name)) = key.strip_prefix(KEYS).and_then(|it| it.split_once('/'))
            else {
                continue;
            };
            let known = services.entry(service.to_owned()).or_default();
            let value = String::from_utf8_lossy(&kv.value).into_owned();
            if name == "leader" {
                let epoch = u64::try_from(kv.create_revision).unwrap_or_default();
                known.leader = Some((value, epoch));
            } else {
                known.properties.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// Says something as the operator, beside the leader.
    pub(in super::super) async fn say(
        home: &WhereArgs,
        service: &str,
        (name, value): (&str, &str),
    ) -> Result<(), CliError> {
        let etcd = home.etcd.needed()?;
        let keys = KeyNames::new(service);
        let known = etcd.prefix(keys.prefix()).await.map_err(|error| failed(&error))?;
        if known.kvs.is_empty() {
            let message = format!("etcd has nothing of a service `{service}`");
            return Err(CliError::new(Exit::NotFound, "no_service", message));
        }
        let put = etcd.put(&keys.property(name), value.as_bytes(), 0).await;
        put.map(drop).map_err(|error| failed(&error))
    }
}

#[cfg(feature = "rabbitmq")]
mod at_rabbit {
    use majordomo::engine::rabbitmq::{QueueInfo, RabbitError};

    use super::super::servers::WhereArgs;
    use super::{CliError, Services, server_failed};

    fn failed(error: &RabbitError) -> CliError {
        let reached =
            !matches!(error, RabbitError::Unreachable { .. } | RabbitError::TimedOut { .. });
        server_failed(error, reached, !matches!(error, RabbitError::NotAllowed(_)))
    }

    /// Without the management interface nothing is known of queues.
    pub(super) async fn ask(
        home: &WhereArgs,
        one: Option<&str>,
        services: &mut Services,
    ) -> Result<(), CliError> {
        let Some(management) = home.queues.management()? else { return Ok(()) };
        let queues = management.queues(&home.queues.vhost()?).await;
        for queue in queues.map_err(|error| failed(&error))? {
            of_queue(&queue, one, services);
        }
        Ok(())
    }

    fn of_queue(queue: &QueueInfo, one: Option<&str>, services: &mut Services) {
        let Some(inner) = queue.name.strip_prefix("nuropb-") else { return };
        let of_service =
            |end| inner.strip_suffix(end).filter(|it| one.is_none_or(|one| one == *it));
        if let Some(service) = of_service("-sq") {
            let known = services.entry(service.to_owned()).or_default();
            known.waiting = Some(queue.messages_ready);
            known.in_work = Some(queue.messages_unacknowledged);
            known.consumers = Some(queue.consumers);
        } else if let Some(service) = of_service("-dl") {
            services.entry(service.to_owned()).or_default().dead = Some(queue.messages);
        }
    }
}
