//! `majordomo file get`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use majordomo::file::{Fetched, FileUrl};
use serde_json::json;

use super::FromArgs;
use super::trouble::of_fetch;
use crate::failure::{CliError, Exit};
use crate::output::{complain, harmless, print, print_json};
use crate::signals::Signals;

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The file
    url: FileUrl,
    /// Where it goes: a name or a folder [default: its own name, here]
    to: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) from: FromArgs,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  majordomo file get nf://debian.iso
  majordomo file get nf://debian.iso /tmp --timeout 5m

The file appears under its name when all of it has come and its BLAKE3 digest is that of the server.
Until then it is a .part file beside it, and the same command goes on where that ends.";

pub(super) async fn run(args: &GetArgs) -> Result<ExitCode> {
    let to = target(args)?;
    let mut signals = Signals::new()?;
    let asked = args.from.connect().await?;
    let progress = progress(args);
    let fetch = asked.remote.fetch(&args.url, &to, |here, all| {
        progress.set_length(all);
        progress.set_position(here);
    });
    let fetched = tokio::select! {
        fetched = fetch => fetched,
        () = signals.next() => {
            progress.finish_and_clear();
            let error = CliError::new(Exit::Failed, "interrupted", "interrupted");
            return Err(error.hint("the same command goes on where it stopped").into());
        }
    };
    progress.finish_and_clear();
    match fetched {
        Ok(fetched) => say(args, &to, &fetched),
        Err(error) => Err(of_fetch(&asked, &error).await.into()),
    }
}

fn say(args: &GetArgs, to: &Path, fetched: &Fetched) -> Result<ExitCode> {
    let Fetched { size, resumed, repaired, md5, blake3 } = fetched;
    if args.from.json {
        return print_json(json!({
            "v": 1, "url": args.url.to_string(), "path": to, "size": size, "resumed": resumed,
            "repaired": repaired, "md5": md5, "blake3": blake3,
        }));
    }
    if *repaired {
        complain(&"majordomo: what was here of it was damaged, so all of it was fetched anew");
    } else if *resumed > 0 {
        complain(&format_args!("majordomo: {resumed} octets were here already"));
    }
    print(format!("{}\n", harmless(&to.display().to_string())))?;
    Ok(ExitCode::SUCCESS)
}

fn target(args: &GetArgs) -> Result<PathBuf, CliError> {
    let Some(name) = args.url.name() else {
        let error = CliError::usage("nf:// is a folder, and a file is fetched");
        return Err(error.hint("`majordomo file ls` lists what there is"));
    };
    let to = match &args.to {
        Some(to) if to.is_dir() => to.join(name),
        Some(to) => to.clone(),
        None => name.into(),
    };
    if to.is_dir() || !args.force && to.symlink_metadata().is_ok() {
        let message = format!("there is a `{}` already", to.display());
        let error = CliError::new(Exit::Failed, "exists", harmless(&message));
        return Err(error.hint("name another place, or replace a file with --force"));
    }
    Ok(to)
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(args: &GetArgs) -> ProgressBar {
    let target = if args.from.json {
        ProgressDrawTarget::hidden()
    } else {
        // It draws on terminals alone.
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}
