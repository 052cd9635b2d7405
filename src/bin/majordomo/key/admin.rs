//! `majordomo admin reload`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use majordomo::wire::mjp::{KeyHeader, Verb};

use super::ask::told;
use super::trouble::of_broker;
use crate::manage::{AskArgs, block_on};

#[derive(Debug, Subcommand)]
pub(crate) enum AdminAction {
    /// Have the broker read its keys and the file of authorized keys again
    #[command(after_help = RELOAD_EXAMPLES)]
    Reload {
        #[command(flatten)]
        ask: AskArgs,
    },
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  majordomo admin reload --endpoint ipc:///run/majordomo.sock";

const RELOAD_EXAMPLES: &str = "\
Examples:
  majordomo admin reload --endpoint ipc:///run/majordomo.sock

All of it holds from then on, for those who are connected too, or, if anything in a file is wrong,
nothing has changed. What has changed is told. SIGHUP does the same, and tells it in the log.
Exit codes: 0 ok, 1 a file is wrong, 2 usage, 3 cannot connect, 4 timed out, 5 not allowed";

impl AdminAction {
    pub(crate) fn json(&self) -> bool {
        let Self::Reload { ask } = self;
        ask.json
    }
}

pub(crate) fn run(action: AdminAction) -> Result<ExitCode> {
    let AdminAction::Reload { ask } = action;
    block_on(async {
        let desk = ask.connect().await?;
        let answer = desk.client.key_admin(&KeyHeader::new(Verb::Reload)).await;
        let answer = answer.map_err(|error| of_broker(&desk, "admin reload", &error))?;
        told(&ask, &answer.report())
    })
}
