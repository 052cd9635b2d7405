//! `majordomo file ls|info|walk|get|serve`: files that somebody serves, by way of a broker.

mod get;
mod serve;
mod trouble;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use majordomo::client::{Client, ClientBuilder};
use majordomo::config::ClientConfig;
use majordomo::file::words::SERVICE;
use majordomo::file::{FileUrl, Remote, RemoteError};
use majordomo::wire::Protocol;
use serde_json::json;

use crate::call::cannot_connect;
use crate::connect::{ConnectArgs, Target, some_time};
use crate::failure::CliError;
use crate::output::{Table, harmless, print, print_json};
use get::GetArgs;
use serve::ServeArgs;
use trouble::of_remote;

#[derive(Debug, Subcommand)]
pub(crate) enum FileAction {
    /// List a folder
    #[command(after_help = LS_EXAMPLES)]
    Ls(AskArgs),
    /// Show size and digests of a file
    #[command(after_help = INFO_EXAMPLES)]
    Info(FileArgs),
    /// List all files below a folder
    #[command(after_help = WALK_EXAMPLES)]
    Walk(AskArgs),
    /// Fetch a file; what came before an interruption is not fetched again
    #[command(after_help = get::EXAMPLES)]
    Get(GetArgs),
    /// Serve a folder
    #[command(after_help = serve::EXAMPLES)]
    Serve(ServeArgs),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo file serve /srv/images
  majordomo file ls nf://
  majordomo file info nf://debian.iso --json
  majordomo file get nf://debian.iso /tmp

A URL is nf:// and a path below the folder that is served; nf:// alone is the folder itself. Hidden
files, links that lead out and `..` are refused.

Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed, 6 no such file,
folder or service, 9 overloaded, 78 bad configuration";

const LS_EXAMPLES: &str = "\
Examples:
  majordomo file ls
  majordomo file ls nf://images --service mirror --json";

const INFO_EXAMPLES: &str = "\
Examples:
  majordomo file info nf://debian.iso
  majordomo file info nf://debian.iso --timeout 5m   a large file takes its time";

const WALK_EXAMPLES: &str = "\
Examples:
  majordomo file walk
  majordomo file walk nf://images | xargs -n 1 majordomo file get";

/// A folder.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// The folder
    #[arg(default_value = "nf://")]
    url: FileUrl,
    #[command(flatten)]
    from: FromArgs,
}

/// A file.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The file
    url: FileUrl,
    #[command(flatten)]
    from: FromArgs,
}

/// Who is asked, and how.
#[derive(Debug, Args)]
pub(crate) struct FromArgs {
    /// The service that has the files
    #[arg(long, value_name = "NAME", default_value = SERVICE)]
    service: String,
    /// How long each question may take [default: as the context says, or 30s]
    #[arg(long, short, value_name = "DURATION", value_parser = some_time)]
    timeout: Option<Duration>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl FileAction {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Ls(AskArgs { from, .. })
            | Self::Walk(AskArgs { from, .. })
            | Self::Info(FileArgs { from, .. }) => from.json,
            Self::Get(args) => args.from.json,
            Self::Serve(args) => args.json,
        }
    }
}

pub(crate) fn run(action: FileAction) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match action {
            FileAction::Ls(args) => list(&args).await,
            FileAction::Info(args) => info(&args).await,
            FileAction::Walk(args) => walk(&args).await,
            FileAction::Get(args) => get::run(&args).await,
            FileAction::Serve(args) => serve::run(&args).await,
        }
    })
}

/// Who is asked, once a connection is there.
struct Asked {
    client: Client,
    remote: Remote,
    service: String,
    timeout: Duration,
}

impl Asked {
    /// The answer, or why there is none.
    async fn say<T>(&self, answer: Result<T, RemoteError>) -> Result<T, CliError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(of_remote(self, &error).await),
        }
    }
}

impl FromArgs {
    async fn connect(&self) -> Result<Asked> {
        let target = native(&self.connect)?;
        let config = ClientConfig::default();
        let timeout = self.timeout.or(target.timeout).unwrap_or(config.timeout);
        let config = ClientConfig {
            endpoint: target.endpoint.clone(),
            curve: target.curve.clone(),
            timeout,
            connect_timeout: config.connect_timeout.min(timeout.max(Duration::from_millis(10))),
            ..config
        };
        let client = ClientBuilder::from(config).connect().await;
        let client = client.map_err(|error| cannot_connect(&target, &error))?;
        let remote = Remote::new(client.clone(), &self.service);
        Ok(Asked { client, remote, service: self.service.clone(), timeout })
    }
}

/// The broker, which has to speak MJP.
fn native(connect: &ConnectArgs) -> Result<Target, CliError> {
    let target = connect.target()?;
    if target.protocol == Protocol::Mjp {
        return Ok(target);
    }
    let error = CliError::usage("files need MJP/1: MDP cannot say that there is none");
    Err(error.hint("use --protocol mjp, with a broker that speaks it"))
}

async fn list(args: &AskArgs) -> Result<ExitCode> {
    let asked = args.from.connect().await?;
    let entries = asked.say(asked.remote.list(&args.url).await).await?;
    if args.from.json {
        return print_json(json!({"v": 1, "url": args.url.to_string(), "entries": entries}));
    }
    let mut table = Table::new(["NAME", "SIZE"]);
    for entry in &entries {
        let (mark, size) =
            if entry.folder { ("/", String::new()) } else { ("", entry.size.to_string()) };
        table.row([&format!("{}{mark}", entry.name), &size]);
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

async fn info(args: &FileArgs) -> Result<ExitCode> {
    let asked = args.from.connect().await?;
    let details = asked.say(asked.remote.details(&args.url).await).await?;
    let (size, md5, blake3) = (details.size, &details.md5, &details.blake3);
    if args.from.json {
        let url = args.url.to_string();
        return print_json(json!({"v": 1, "url": url, "size": size, "md5": md5, "blake3": blake3}));
    }
    let mut table = Table::new(["URL", "SIZE", "MD5", "BLAKE3"]);
    table.row([&args.url.to_string(), &size.to_string(), md5, blake3]);
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

async fn walk(args: &AskArgs) -> Result<ExitCode> {
    let asked = args.from.connect().await?;
    let urls = asked.say(asked.remote.walk(&args.url).await).await?;
    let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
    if args.from.json {
        return print_json(json!({"v": 1, "url": args.url.to_string(), "urls": urls}));
    }
    print(urls.iter().map(|url| harmless(url) + "\n").collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}
