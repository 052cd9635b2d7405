//! Where etcd is, for what may be there instead of at our broker.

use std::path::PathBuf;

use clap::Args;

use crate::failure::CliError;

/// etcd, for service containers: it may be said in the environment.
#[derive(Debug, Args)]
pub(crate) struct EtcdArgs {
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

/// etcd, for what is at the broker unless somebody says so each time.
#[derive(Debug, Args)]
pub(crate) struct InEtcdArgs {
    /// Not at the broker, but in etcd: http://HOST:PORT; further members of the cluster after commas
    #[arg(long, value_name = "URL", value_delimiter = ',', conflicts_with = "endpoint")]
    etcd: Vec<String>,
    /// A user of etcd
    #[arg(long, value_name = "NAME", requires_all = ["etcd", "etcd_password_file"])]
    etcd_user: Option<String>,
    /// The file with the password of that user
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    etcd_password_file: Option<PathBuf>,
}

#[cfg(not(all(feature = "rabbitmq", feature = "etcd")))]
pub(crate) fn not_built(what: &str, feature: &str) -> CliError {
    let error = CliError::usage(format!("this majordomo was built without {what}"));
    error.hint(format!("build it with --features {feature}"))
}

#[cfg(feature = "etcd")]
mod client {
    use std::path::PathBuf;

    use majordomo::engine::etcd::{Etcd, EtcdConfig};

    use super::{CliError, EtcdArgs, InEtcdArgs};

    impl EtcdArgs {
        /// The store; somebody has to say where it is.
        pub(crate) fn needed(&self) -> Result<Etcd, CliError> {
            let Self { etcd, etcd_user, etcd_password_file } = self;
            client(etcd, etcd_user.as_ref(), etcd_password_file.as_ref())?.ok_or_else(|| {
                let error = CliError::usage("say where etcd is");
                error.hint("give --etcd, or set MAJORDOMO_ETCD")
            })
        }
    }

    impl InEtcdArgs {
        /// The store, if it is that one.
        pub(crate) fn client(&self) -> Result<Option<Etcd>, CliError> {
            let Self { etcd, etcd_user, etcd_password_file } = self;
            client(etcd, etcd_user.as_ref(), etcd_password_file.as_ref())
        }
    }

    fn client(
        endpoints: &[String],
        user: Option<&String>,
        password: Option<&PathBuf>,
    ) -> Result<Option<Etcd>, CliError> {
        if endpoints.is_empty() {
            return Ok(None);
        }
        let mut config = EtcdConfig::new("");
        config.endpoints = endpoints.to_vec();
        if let (Some(user), Some(path)) = (user, password) {
            let password = std::fs::read_to_string(path).map_err(|error| {
                CliError::usage(format!("cannot read {}: {error}", path.display()))
            })?;
            config.user = Some((user.clone(), password.trim_end().to_owned().into()));
        }
        Etcd::new(config).map(Some).map_err(|error| CliError::usage(error.to_string()))
    }
}

#[cfg(not(feature = "etcd"))]
impl InEtcdArgs {
    /// That nobody wants it, or an error.
    pub(crate) fn none(&self) -> Result<(), CliError> {
        if self.etcd.is_empty() { Ok(()) } else { Err(not_built("etcd", "etcd")) }
    }
}
