//! `majordomo context add|select|ls|rm`: brokers by name, each in a file of its own.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::config::{ServerKey, Text};
use majordomo::transport::endpoint::Endpoint;
use majordomo::wire::Protocol;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use crate::connect::{protocol_name, protocol_parser, server_key, some_time};
use crate::failure::{CliError, Exit};
use crate::output::{Table, print, print_json};

/// The variable that names the context to use.
pub(crate) const VARIABLE: &str = "MAJORDOMO_CONTEXT";
/// The file that names the selected context, beside the directory of them.
const SELECTED: &str = "context.selected";

#[derive(Debug, Subcommand)]
pub(crate) enum ContextAction {
    /// Keep where a broker listens, and how to speak with it, under a name
    Add(AddArgs),
    /// Use a context from now on
    Select {
        /// The context
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        name: Option<String>,
        /// Use none: the defaults hold again
        #[arg(long)]
        none: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List the contexts
    Ls {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Forget a context
    Rm {
        /// The context
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Its name: letters, digits, `-`, `_` and `.`
    name: String,
    /// Where the broker listens
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Endpoint,
    /// How to speak with it [default: mjp]
    #[arg(long, value_parser = protocol_parser())]
    protocol: Option<Protocol>,
    /// How long a call may take, unless the call says otherwise [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    timeout: Option<Duration>,
    /// Our key, if the broker speaks CURVE: NAME.secret of `majordomo key new`
    #[arg(long, value_name = "FILE", requires = "server_key")]
    curve_key: Option<PathBuf>,
    /// The key of the broker, or a file that has it
    #[arg(long, value_name = "Z85|FILE", requires = "curve_key", value_parser = server_key)]
    server_key: Option<ServerKey>,
    /// A word about it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Use it from now on
    #[arg(long)]
    select: bool,
    /// Put it in the place of one of the same name
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo context add prod --endpoint tcp://10.0.0.5:5555 --timeout 5s --select
  MAJORDOMO_CONTEXT=prod majordomo status
  majordomo call echo hello --context prod
  majordomo context add safe --endpoint tcp://10.0.0.6:5555 --curve-key me.secret --server-key b.pub

Contexts are files: $XDG_CONFIG_HOME/majordomo/context/NAME.toml, or the same in ~/.config.
Keys are named, not copied. --endpoint, --protocol, --timeout and keys win over the context; --context wins over MAJORDOMO_CONTEXT,
and that over `context select`.";

impl ContextAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Add(AddArgs { json, .. })
            | Self::Select { json, .. }
            | Self::Ls { json }
            | Self::Rm { json, .. } => *json,
        }
    }
}

/// What a context says; what it does not say has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Context {
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub(crate) endpoint: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub(crate) timeout: Option<Duration>,
    /// The file with our secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) curve_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub(crate) server_key: Option<ServerKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
}

mod text {
    use super::{Deserialize, Deserializer, Serializer, Text};

    pub(super) fn serialize<T: Text, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&value.as_ref().map(Text::write).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text).map(Some).map_err(serde::de::Error::custom)
    }
}

pub(crate) fn run(action: ContextAction) -> Result<ExitCode> {
    match action {
        ContextAction::Add(args) => add(args),
        ContextAction::Select { name, json, .. } => select(name.as_deref(), json),
        ContextAction::Ls { json } => list(json),
        ContextAction::Rm { name, json } => remove(&name, json),
    }
}

fn add(args: AddArgs) -> Result<ExitCode> {
    let AddArgs { name, endpoint, protocol, timeout, description, select, force, json, .. } = args;
    let path = path_of(&name)?;
    // It is to hold wherever it is used.
    let curve_key = args.curve_key.map(std::path::absolute).transpose()?;
    let server_key = match args.server_key {
        Some(ServerKey::File(file)) => Some(ServerKey::File(std::path::absolute(file)?)),
        key => key,
    };
    let endpoint = Some(endpoint);
    let context = Context { endpoint, protocol, timeout, curve_key, server_key, description };
    let text = toml::to_string(&context)?;
    if !force && path.exists() {
        let message = format!("there is a context `{name}` already, in {}", path.display());
        let error = CliError::new(Exit::Failed, "exists", message);
        return Err(error.hint("choose another name, or replace it with --force").into());
    }
    write(&path, &text)?;
    if select {
        write(&directory()?.with_file_name(SELECTED), &format!("{name}\n"))?;
    }
    if json {
        return print_json(json!({"v": 1, "name": name, "path": path, "selected": select}));
    }
    let next = if select {
        "it is used from now on".into()
    } else {
        format!("`majordomo context select {name}` uses it from now on")
    };
    print(format!("{}; {next}\n", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn select(name: Option<&str>, json: bool) -> Result<ExitCode> {
    let marker = directory()?.with_file_name(SELECTED);
    if let Some(name) = name {
        read(name)?;
        write(&marker, &format!("{name}\n"))?;
    } else {
        delete(&marker)?;
    }
    if json {
        return print_json(json!({"v": 1, "selected": name}));
    }
    let now = name.map_or_else(|| "no context".into(), |name| format!("context `{name}`"));
    print(format!("{now} is used from now on\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn list(as_json: bool) -> Result<ExitCode> {
    let selected = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
    let selected = selected.map_or_else(self::selected, |name| Ok(Some(name)))?;
    let mut table = Table::new(["", "NAME", "ENDPOINT", "PROTOCOL", "TIMEOUT", "DESCRIPTION"]);
    let mut objects = Vec::new();
    for name in names()? {
        let used = selected.as_ref() == Some(&name);
        let context = read(&name);
        if as_json {
            objects.push(match &context {
                Ok(context) => json!({"name": name, "selected": used, "context": context}),
                Err(error) => json!({"name": name, "selected": used, "error": error.to_string()}),
            });
            continue;
        }
        let mark = if used { "*" } else { "" };
        let Ok(context) = context else {
            table.row([mark, &name, "(cannot be read)", "", "", ""]);
            continue;
        };
        let endpoint = context.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default();
        let timeout = context.timeout.map(|timeout| timeout.write()).unwrap_or_default();
        let protocol = protocol_name(context.protocol.unwrap_or_default());
        let description = context.description.unwrap_or_default();
        table.row([mark, &name, &endpoint, protocol, &timeout, &description]);
    }
    if as_json {
        return print_json(json!({"v": 1, "contexts": objects}));
    }
    if table.is_empty() {
        let hint = "`majordomo context add NAME --endpoint ENDPOINT` makes one";
        crate::output::complain(&format_args!("there is no context yet; {hint}"));
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn remove(name: &str, json: bool) -> Result<ExitCode> {
    let path = path_of(name)?;
    if !delete(&path)? {
        return Err(unknown(name).into());
    }
    if selected()?.as_deref() == Some(name) {
        delete(&directory()?.with_file_name(SELECTED))?;
    }
    if json {
        return print_json(json!({"v": 1, "removed": name}));
    }
    print(format!("context `{name}` is forgotten\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The context of that name.
pub(crate) fn read(name: &str) -> Result<Context, CliError> {
    let path = path_of(name)?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(unknown(name)),
        Err(error) => return Err(cannot("read", &path, &error)),
    };
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = format!("{}:{line}:{column}: {}", path.display(), error.message());
        let hint =
            format!("repair it, or write it anew with `majordomo context add {name} --force`");
        CliError::new(Exit::Configuration, "configuration", message).hint(hint)
    })
}

/// The name of the selected context, if one is selected.
pub(crate) fn selected() -> Result<Option<String>, CliError> {
    // Without a home there can be no selection, and whoever needs none is not told so.
    let Ok(directory) = directory() else { return Ok(None) };
    let path = directory.with_file_name(SELECTED);
    match fs::read_to_string(&path) {
        Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| !name.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", &path, &error)),
    }
}

fn names() -> Result<Vec<String>, CliError> {
    let directory = directory()?;
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot("read", &directory, &error)),
    };
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".toml").filter(|name| is_name(name)).map(str::to_owned)
    };
    let mut names: Vec<_> = entries.filter_map(|entry| name(entry.ok()?)).collect();
    names.sort_unstable();
    Ok(names)
}

fn directory() -> Result<PathBuf, CliError> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || variable("HOME").map(|home| Path::new(&home).join(".config"));
    config.or_else(home).map(|config| config.join("majordomo/context")).ok_or_else(|| {
        let message = "neither XDG_CONFIG_HOME nor HOME is set, so there is no place for contexts";
        CliError::new(Exit::Failed, "no_home", message).hint("set one of them, or use --endpoint")
    })
}

fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(good)
}

fn path_of(name: &str) -> Result<PathBuf, CliError> {
    if is_name(name) {
        return Ok(directory()?.join(format!("{name}.toml")));
    }
    let message = format!("`{}` is no name of a context", name.escape_debug());
    let hint = "use up to 64 letters, digits, `-`, `_` and `.`, with a letter or a digit first";
    Err(CliError::usage(message).hint(hint))
}

fn unknown(name: &str) -> CliError {
    let hint = format!(
        "`majordomo context ls` lists them, `majordomo context add {name} --endpoint ENDPOINT` \
         makes it"
    );
    CliError::new(Exit::NotFound, "no_context", format!("there is no context `{name}`")).hint(hint)
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    let message = format!("cannot {what} {}: {error}", path.display());
    CliError::new(Exit::Failed, "io", message).hint("check the path and its rights")
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let directory = path.parent().unwrap_or(path);
    let attempt = || {
        fs::create_dir_all(directory)?;
        let mut file = tempfile_beside(path)?;
        file.1.write_all(text.as_bytes())?;
        fs::rename(&file.0, path)
    };
    attempt().map_err(|error: io::Error| cannot("write", path, &error))
}

fn tempfile_beside(path: &Path) -> io::Result<(PathBuf, fs::File)> {
    let name = path.with_extension(format!("{}.new", std::process::id()));
    fs::File::create(&name).map(|file| (name, file))
}

/// Whether it was there.
fn delete(path: &Path) -> Result<bool, CliError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(cannot("remove", path, &error)),
    }
}
