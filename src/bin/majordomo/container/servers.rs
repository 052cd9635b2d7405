//! Where services are at home: at our broker, on RabbitMQ, in etcd.

use anyhow::Result;
use clap::{Args, ValueEnum};
use majordomo::config::ClientConfig;
use majordomo::container::{BrokerQueues, Client, Embedded};
#[cfg(feature = "rabbitmq")]
use majordomo::container::{RabbitQueues, RabbitQueuesConfig};
use majordomo::wire::Protocol;
use majordomo::wire::mjp::Level;

use crate::connect::ConnectArgs;
use crate::etcd::EtcdArgs;
#[cfg(not(feature = "rabbitmq"))]
use crate::etcd::not_built;
use crate::failure::CliError;

/// Where requests, commands and events travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum QueuesAt {
    // Through our broker.
    Embedded,
    // Through RabbitMQ, in the layout of NuroPb.
    Rabbitmq,
}

/// Where it is decided who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LeasesAt {
    // Nowhere: each instance sets up what it needs.
    None,
    // At our broker.
    Embedded,
    // In etcd, with the keys of NuroPb.
    Etcd,
}

/// The home of requests, commands and events.
#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    /// Where requests, commands and events travel: our broker, or RabbitMQ as NuroPb has it
    #[arg(long, value_enum, env = "MAJORDOMO_QUEUES", hide_env_values = true)]
    #[arg(default_value_t = QueuesAt::Embedded)]
    queues: QueuesAt,
    /// What commands and events survive once our broker has them: memory, the loss of instances;
    /// disk, that of the broker, too [default: as the broker has it for the service]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<Level>,
    #[command(flatten)]
    rabbit: RabbitArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// The home of services, whole.
#[derive(Debug, Args)]
pub(super) struct WhereArgs {
    /// Where it is decided who leads: nowhere, at our broker, or in etcd as NuroPb has it
    #[arg(long, value_enum, env = "MAJORDOMO_LEASES", hide_env_values = true)]
    #[arg(default_value_t = LeasesAt::Embedded)]
    leases: LeasesAt,
    #[command(flatten)]
    pub(super) etcd: EtcdArgs,
    #[command(flatten)]
    pub(super) queues: QueueArgs,
}

impl WhereArgs {
    pub(super) fn leases(&self) -> LeasesAt {
        self.leases
    }
}

fn level(text: &str) -> Result<Level, String> {
    Level::from_name(text).ok_or_else(|| "write memory or disk".into())
}

impl QueueArgs {
    pub(super) fn at(&self) -> QueuesAt {
        self.queues
    }

    /// Our broker.
    pub(super) fn embedded(&self) -> Result<Embedded, CliError> {
        let mut home = embedded(&self.connect)?;
        home.level = self.level;
        Ok(home)
    }

    #[cfg(feature = "rabbitmq")]
    pub(super) fn rabbit(&self) -> Result<RabbitQueuesConfig, CliError> {
        self.rabbit.config()
    }

    /// The management interface of RabbitMQ, if somebody has said where it is.
    #[cfg(feature = "rabbitmq")]
    pub(super) fn management(
        &self,
    ) -> Result<Option<majordomo::engine::rabbitmq::Management>, CliError> {
        self.rabbit.management()
    }

    /// The virtual host.
    #[cfg(feature = "rabbitmq")]
    pub(super) fn vhost(&self) -> Result<String, CliError> {
        Ok(self.rabbit()?.rabbit.url.vhost().to_owned())
    }

    /// A client of services.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let instance = format!("cli-{}", std::process::id());
        match self.queues {
            QueuesAt::Embedded => {
                let queues = BrokerQueues::client(self.embedded()?, &instance);
                let queues = queues.map_err(|error| CliError::usage(error.to_string()))?;
                Ok(Client::start(std::sync::Arc::new(queues)))
            }
            QueuesAt::Rabbitmq => self.rabbit.client(&instance),
        }
    }
}

/// Our broker, as the flags and the context say.
pub(super) fn embedded(connect: &ConnectArgs) -> Result<Embedded, CliError> {
    let target = connect.target()?;
    if target.protocol != Protocol::Mjp {
        let error = CliError::usage("service containers speak MJP/1 with the broker");
        return Err(error.hint("leave --protocol out, or use --protocol mjp"));
    }
    let mut home = Embedded::default();
    home.client = ClientConfig { endpoint: target.endpoint, curve: target.curve, ..home.client };
    Ok(home)
}

/// The queue server.
#[derive(Debug, Args)]
pub(super) struct RabbitArgs {
    /// RabbitMQ: amqp://USER:PASSWORD@HOST:PORT/VHOST; in the environment nobody else sees it
    #[arg(long, value_name = "URL", env = "MAJORDOMO_AMQP", hide_env_values = true)]
    amqp: Option<String>,
    /// Its management interface: http://USER:PASSWORD@HOST:PORT/api
    #[arg(long, value_name = "URL", env = "MAJORDOMO_AMQP_API", hide_env_values = true)]
    amqp_api: Option<String>,
}

#[cfg(feature = "rabbitmq")]
impl RabbitArgs {
    /// How to reach it; the address is needed.
    fn config(&self) -> Result<RabbitQueuesConfig, CliError> {
        use majordomo::engine::rabbitmq::{AmqpUrl, RabbitConfig};
        let Some(url) = &self.amqp else {
            let error = CliError::usage("say where RabbitMQ is");
            return Err(error.hint("give --amqp, or set MAJORDOMO_AMQP"));
        };
        let url: AmqpUrl = url.parse().map_err(usage)?;
        let mut config = RabbitQueuesConfig::new(RabbitConfig::new(url));
        config.management = self.management()?;
        Ok(config)
    }

    /// The management interface, if somebody has said where it is.
    fn management(&self) -> Result<Option<majordomo::engine::rabbitmq::Management>, CliError> {
        use majordomo::engine::rabbitmq::Management;
        let timeout = std::time::Duration::from_secs(5);
        let management = self.amqp_api.as_ref().map(|url| Management::new(url, timeout));
        management.transpose().map_err(usage)
    }

    /// A client of services.
    fn client(&self, instance: &str) -> Result<Client, CliError> {
        let config = self.config()?;
        Ok(Client::start(std::sync::Arc::new(RabbitQueues::client(config, instance))))
    }
}

#[cfg(not(feature = "rabbitmq"))]
impl RabbitArgs {
    fn client(&self, _: &str) -> Result<Client, CliError> {
        Err(not_built("RabbitMQ", "rabbitmq"))
    }
}

#[cfg(feature = "rabbitmq")]
fn usage(error: impl std::fmt::Display) -> CliError {
    CliError::usage(error.to_string())
}
