//! `majordomo key broker|rotate`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use clap::Args;
use majordomo::config::BrokerConfig;
use majordomo::keys::{self, text_of_public};
use majordomo::transport::endpoint::Endpoint;
use serde_json::json;

use super::{of_key, pair};
use crate::args::sources;
use crate::failure::CliError;
use crate::output::{print, print_json};

#[derive(Debug, Args)]
pub(crate) struct BrokerKeyArgs {
    /// A file with the broker's key [default: as auth.secret of its configuration says]
    file: Option<PathBuf>,
    /// Where the broker listens, for the line [default: as its configuration says]
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<Endpoint>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) const BROKER_EXAMPLES: &str = "\
Examples:
  majordomo key broker
  majordomo key broker broker.secret --endpoint tcp://10.0.0.5:5555

The last line is for the clients: with it they know the broker by its key, and nobody can pass for
it. YOURS.secret is the key of the client, made by `majordomo key new YOURS`.";

pub(super) const ROTATE_EXAMPLES: &str = "\
Examples:
  majordomo key rotate broker.secret
  majordomo admin reload --endpoint ipc:///run/majordomo.sock

The present key becomes FILE.old, and the broker answers to both for the time of auth.overlap (7
days) after the rotation, once it has read them: with `admin reload`, SIGHUP or a start. Give your
clients the new public key in that time. What FILE.old was before is gone.";

pub(super) fn show(args: &BrokerKeyArgs) -> Result<ExitCode> {
    let config = match args.file {
        Some(_) => BrokerConfig::default(),
        None => sources(None).load()?.config,
    };
    let Some(file) = args.file.clone().or_else(|| config.auth.secret.clone()) else {
        let error = CliError::usage("the configuration names no key of the broker (auth.secret)");
        return Err(error.hint("name the file: majordomo key broker broker.secret").into());
    };
    let (file, certificate) = pair::find(&file)?;
    let bound = config.broker.bind.iter().find(|endpoint| matches!(endpoint, Endpoint::Tcp(_)));
    let endpoint = args.endpoint.as_ref().or(bound);
    let endpoint = endpoint.map_or_else(|| "tcp://127.0.0.1:5555".into(), ToString::to_string);
    let key = text_of_public(&certificate.public);
    // No digit of Z85 is a single quotation mark.
    let line = format!(
        "majordomo context add broker --endpoint {endpoint} --curve-key YOURS.secret --server-key '{key}' --select"
    );
    if args.json {
        let mut object = pair::object(&certificate);
        object["file"] = json!(file);
        object["context"] = json!(line);
        return print_json(object);
    }
    print(format!("{}file         {}\n\n{line}\n", pair::lines(&certificate), file.display()))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn rotate(file: &Path, json: bool) -> Result<ExitCode> {
    let rotated = keys::rotate(file, SystemTime::now()).map_err(|error| of_key(&error))?;
    if json {
        let mut object = pair::object(&rotated.present);
        object["file"] = json!(file);
        object["public_file"] = json!(rotated.public_file);
        object["old_file"] = json!(rotated.old_file);
        object["old_fingerprint"] = json!(rotated.old.public.fingerprint());
        return print_json(object);
    }
    let public = rotated
        .public_file
        .map_or_else(String::new, |public| format!("public file  {}\n", public.display()));
    print(format!(
        "{}{public}old key      {}, in {}\n\nThe broker answers to both once it has read them: `majordomo admin reload`, or SIGHUP.\n",
        pair::lines(&rotated.present),
        rotated.old.public.fingerprint(),
        rotated.old_file.display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}
