//! `majordomo config check|show|default`.

use std::process::ExitCode;

use anyhow::Result;
use majordomo::config::{ConfigError, DEFAULT_TOML, Key, Loaded, Origin};
use serde_json::json;

use crate::args::{ConfigAction, LogArgs, sources};
use crate::failure::Exit;
use crate::output::print;

pub(crate) fn run(action: ConfigAction, log: &LogArgs) -> Result<ExitCode> {
    match action {
        ConfigAction::Check { file, json: false } => {
            let Loaded { files, .. } = sources(file).check()?;
            let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            print(format!(
                "ok: {}\n",
                if names.is_empty() { "no file".into() } else { names.join(", ") }
            ))?;
        }
        ConfigAction::Check { file, json: true } => return check_json(sources(file).check()),
        ConfigAction::Show { effective, json, flags } => {
            let loaded = flags.sources(log).load()?;
            let mut values = loaded.values();
            values.retain(|(_, _, origin)| effective || *origin != Origin::Default);
            print(if json { show_json(&loaded, &values) } else { show(&values, effective) })?;
        }
        ConfigAction::Default { json: false } => print(DEFAULT_TOML)?,
        ConfigAction::Default { json: true } => {
            let loaded = Loaded::default();
            print(show_json(&loaded, &loaded.values()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check_json(checked: Result<Loaded, ConfigError>) -> Result<ExitCode> {
    let (report, code) = match checked {
        Ok(loaded) => (json!({"v": 1, "ok": true, "files": loaded.files}), ExitCode::SUCCESS),
        Err(error) => {
            let problems: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
            (json!({"v": 1, "ok": false, "problems": problems}), Exit::Configuration.into())
        }
    };
    print(format!("{report}\n"))?;
    Ok(code)
}

type Values = [(Key, toml::Value, Origin)];

/// TOML that gives the same values when it is read again.
fn show(values: &Values, origins: bool) -> String {
    let (mut text, mut table) = (String::new(), String::new());
    for (key, value, origin) in values {
        if key.table() != table {
            table = key.table();
            text += &format!("{}[{table}]\n", if text.is_empty() { "" } else { "\n" });
        }
        let comment = if origins { format!("  # {origin}") } else { String::new() };
        text += &format!("{} = {value}{comment}\n", key.name);
    }
    if text.is_empty() { "# nothing is set, every value is its default\n".into() } else { text }
}

fn show_json(loaded: &Loaded, values: &Values) -> String {
    let value = |(key, value, origin): &(Key, toml::Value, Origin)| json!({"key": key.to_string(), "value": value, "origin": origin.to_string()});
    let values: Vec<_> = values.iter().map(value).collect();
    format!("{}\n", json!({"v": 1, "files": loaded.files, "values": values}))
}
