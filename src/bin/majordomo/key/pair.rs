//! `majordomo key new|show`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use majordomo::keys::{self, Certificate, KeyError, text_of_public};
use serde_json::{Value, json};

use super::of_key;
use crate::failure::CliError;
use crate::output::{harmless, print, print_json};

pub(super) const NEW_EXAMPLES: &str = "\
Examples:
  majordomo key new anna
  majordomo key new broker --dir /etc/majordomo

NAME.secret has mode 0600 from its first moment on. Both are certificates as CZMQ, pyzmq and NorFab
read them, and neither is ever overwritten.";

pub(super) const SHOW_EXAMPLES: &str = "\
Examples:
  majordomo key show anna
  majordomo key show __norfab__/files/broker/public_keys/broker.key --json

Certificates of CZMQ, pyzmq and NorFab are read, and files with nothing but a public key in Z85.";

pub(super) fn new(dir: &Path, name: &str, json: bool) -> Result<ExitCode> {
    let (pair, secret, public) = keys::write_pair(dir, name).map_err(|error| of_key(&error))?;
    if json {
        let mut object = object(&pair);
        object["secret_file"] = json!(secret);
        object["public_file"] = json!(public);
        return print_json(object);
    }
    let (secret, public) = (secret.display(), public.display());
    print(format!("{}secret file  {secret}\npublic file  {public}\n", lines(&pair)))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn show(file: &Path, json: bool) -> Result<ExitCode> {
    let (file, certificate) = find(file)?;
    if json {
        let mut object = object(&certificate);
        object["file"] = json!(file);
        return print_json(object);
    }
    print(format!("{}file         {}\n", lines(&certificate), file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The public key in that file, in `FILE.pub` or in `FILE.secret`.
pub(super) fn find(file: &Path) -> Result<(PathBuf, Certificate), CliError> {
    let with = |end: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    for file in [file.to_owned(), with(".pub"), with(".secret")] {
        match keys::read_public(&file) {
            Ok(certificate) => return Ok((file, certificate)),
            Err(KeyError::Missing { .. }) => {}
            Err(error) => return Err(of_key(&error)),
        }
    }
    Err(of_key(&KeyError::Missing { path: file.into() }))
}

fn name_of(certificate: &Certificate) -> Option<&str> {
    let said = certificate.metadata.iter().find(|(name, _)| name == "name");
    said.map(|(_, name)| name.as_str())
}

/// What there is to know of a key.
pub(super) fn object(certificate: &Certificate) -> Value {
    json!({
        "v": 1, "key": text_of_public(&certificate.public),
        "fingerprint": certificate.public.fingerprint(), "name": name_of(certificate),
    })
}

/// The same for people.
pub(super) fn lines(certificate: &Certificate) -> String {
    let name = name_of(certificate).map(|name| format!("name         {}\n", harmless(name)));
    let key = text_of_public(&certificate.public);
    let fingerprint = certificate.public.fingerprint();
    format!("{}public key   {key}\nfingerprint  {fingerprint}\n", name.unwrap_or_default())
}
