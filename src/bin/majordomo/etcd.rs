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
    #[command(flatten)]
    access: EtcdAccess,
}

/// etcd, for what is at the broker unless somebody says so each time.
#[derive(Debug, Args)]
pub(crate) struct InEtcdArgs {
    /// Not at the broker, but in etcd: http://HOST:PORT; further members of the cluster after commas
    #[arg(long, value_name = "URL", value_delimiter = ',', conflicts_with = "endpoint")]
    etcd: Vec<String>,
    #[command(flatten)]
    access: EtcdAccess,
}

/// How to prove to etcd who one is, and etcd to us.
#[derive(Debug, Args)]
struct EtcdAccess {
    /// A user of etcd
    #[arg(long, value_name = "NAME", requires_all = ["etcd", "etcd_password_file"])]
    etcd_user: Option<String>,
    /// The file with the password of that user
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    etcd_password_file: Option<PathBuf>,
    /// The certificate of the authority that vouches for etcd at https://, in PEM
    #[arg(long, value_name = "FILE", requires = "etcd")]
    etcd_ca: Option<PathBuf>,
    /// Our own certificate, in PEM, if etcd wants one
    #[arg(long, value_name = "FILE", requires_all = ["etcd_ca", "etcd_key"])]
    etcd_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM; nobody else may read the file
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    etcd_key: Option<PathBuf>,
}

#[cfg(not(all(feature = "rabbitmq", feature = "etcd")))]
pub(crate) fn not_built(what: &str, feature: &str) -> CliError {
    let error = CliError::usage(format!("this majordomo was built without {what}"));
    error.hint(format!("build it with --features {feature}"))
}

#[cfg(feature = "etcd")]
mod client {
    use std::path::Path;

    use majordomo::engine::etcd::{Etcd, EtcdConfig, EtcdTls};

    use super::{CliError, EtcdAccess, EtcdArgs, InEtcdArgs};

    /// Octets of a file with a certificate or a key.
    const FILE_MAX: usize = 1 << 20;

    impl EtcdArgs {
        /// The store; somebody has to say where it is.
        pub(crate) fn needed(&self) -> Result<Etcd, CliError> {
            self.access.client(&self.etcd)?.ok_or_else(|| {
                let error = CliError::usage("say where etcd is");
                error.hint("give --etcd, or set MAJORDOMO_ETCD")
            })
        }
    }

    impl InEtcdArgs {
        /// The store, if it is that one.
        pub(crate) fn client(&self) -> Result<Option<Etcd>, CliError> {
            self.access.client(&self.etcd)
        }
    }

    impl EtcdAccess {
        fn client(&self, endpoints: &[String]) -> Result<Option<Etcd>, CliError> {
            if endpoints.is_empty() {
                return Ok(None);
            }
            let mut config = EtcdConfig::new("");
            config.endpoints = endpoints.to_vec();
            config.tls = self.tls()?;
            if let (Some(user), Some(path)) = (&self.etcd_user, &self.etcd_password_file) {
                let password = String::from_utf8_lossy(&read(path)?).trim_end().to_owned();
                config.user = Some((user.clone(), password.into()));
            }
            Etcd::new(config).map(Some).map_err(|error| CliError::usage(error.to_string()))
        }

        fn tls(&self) -> Result<Option<EtcdTls>, CliError> {
            let Some(ca) = &self.etcd_ca else { return Ok(None) };
            let identity = match (&self.etcd_cert, &self.etcd_key) {
                (Some(certificate), Some(key)) => {
                    let key = majordomo::keys::read_private(key, FILE_MAX);
                    let key = key.map_err(|error| CliError::usage(error.to_string()))?;
                    let key = String::from_utf8_lossy(&key).into_owned();
                    Some((read(certificate)?, key.into()))
                }
                _ => None,
            };
            Ok(Some(EtcdTls { ca: read(ca)?, identity }))
        }
    }

    fn read(path: &Path) -> Result<Vec<u8>, CliError> {
        std::fs::read(path)
            .map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))
    }
}

#[cfg(not(feature = "etcd"))]
impl InEtcdArgs {
    /// That nobody wants it, or an error.
    pub(crate) fn none(&self) -> Result<(), CliError> {
        if self.etcd.is_empty() { Ok(()) } else { Err(not_built("etcd", "etcd")) }
    }
}
