//! Where RabbitMQ and etcd are.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
#[cfg(feature = "rabbitmq")]
use majordomo::container::{Client, RabbitQueues, RabbitQueuesConfig};

use crate::failure::CliError;

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

/// The coordination store.
#[derive(Debug, Args)]
pub(super) struct EtcdArgs {
    /// etcd: http://HOST:PORT; further members of the cluster after commas
    #[arg(long, value_name = "URL", env = "MAJORDOMO_ETCD", value_delimiter = ',')]
    etcd: Vec<String>,
    /// A user of etcd
    #[arg(long, value_name = "NAME", requires = "etcd_password_file")]
    etcd_user: Option<String>,
    /// The file with the password of that user
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    etcd_password_file: Option<PathBuf>,
}

#[cfg(not(all(feature = "rabbitmq", feature = "etcd")))]
fn not_built(what: &str, feature: &str) -> CliError {
    let error = CliError::usage(format!("this majordomo was built without {what}"));
    error.hint(format!("build it with --features {feature}"))
}

#[cfg(feature = "rabbitmq")]
impl RabbitArgs {
    /// How to reach it; the address is needed.
    pub(super) fn config(&self) -> Result<RabbitQueuesConfig, CliError> {
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
    pub(super) fn management(
        &self,
    ) -> Result<Option<majordomo::engine::rabbitmq::Management>, CliError> {
        use majordomo::engine::rabbitmq::Management;
        let timeout = std::time::Duration::from_secs(5);
        let management = self.amqp_api.as_ref().map(|url| Management::new(url, timeout));
        management.transpose().map_err(usage)
    }

    /// A client of services.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let config = self.config()?;
        let instance = format!("cli-{}", std::process::id());
        Ok(Client::start(std::sync::Arc::new(RabbitQueues::client(config, &instance))))
    }

    /// The virtual host.
    pub(super) fn vhost(&self) -> Result<String, CliError> {
        Ok(self.config()?.rabbit.url.vhost().to_owned())
    }
}

#[cfg(not(feature = "rabbitmq"))]
impl RabbitArgs {
    pub(super) fn client(&self) -> Result<majordomo::container::Client, CliError> {
        Err(not_built("RabbitMQ", "rabbitmq"))
    }
}

#[cfg(feature = "etcd")]
impl EtcdArgs {
    /// The store, if somebody has said where it is.
    pub(super) fn client(&self) -> Result<Option<majordomo::engine::etcd::Etcd>, CliError> {
        use majordomo::engine::etcd::{Etcd, EtcdConfig};
        if self.etcd.is_empty() {
            return Ok(None);
        }
        let mut config = EtcdConfig::new("");
        config.endpoints.clone_from(&self.etcd);
        if let (Some(user), Some(path)) = (&self.etcd_user, &self.etcd_password_file) {
            let password = std::fs::read_to_string(path).map_err(|error| {
                CliError::usage(format!("cannot read {}: {error}", path.display()))
            })?;
            config.user = Some((user.clone(), password.trim_end().to_owned().into()));
        }
        Etcd::new(config).map(Some).map_err(usage)
    }
}

#[cfg(not(feature = "etcd"))]
impl EtcdArgs {
    /// That nobody wants it, or an error.
    pub(super) fn none(&self) -> Result<(), CliError> {
        if self.etcd.is_empty() { Ok(()) } else { Err(not_built("etcd", "etcd")) }
    }
}

#[cfg(any(feature = "rabbitmq", feature = "etcd"))]
fn usage(error: impl std::fmt::Display) -> CliError {
    CliError::usage(error.to_string())
}
