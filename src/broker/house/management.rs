//! `mmi.service.broker`: what the broker tells about itself to NFP clients, and what those with the
//! right `admin` may have it do (SPEC 10.6).

mod listing;
mod logs;
mod stats;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::info;

use crate::broker::AdminRequest;
use crate::broker::shared::{Shared, now};
use crate::inventory::Inventory;

use super::{Asked, Call, Service, failed, unsupported, written};

/// How NorFab calls a broker.
const NAME: &str = "NFPBroker";
const ROLE: &str = "broker";

/// Answers management calls from the tables.
#[derive(Debug)]
pub(super) struct Management {
    shared: Arc<Shared>,
    inventory: Option<Arc<Inventory>>,
    cpu: stats::Cpu,
}

impl Management {
    pub(super) fn new(shared: Arc<Shared>, inventory: Option<Arc<Inventory>>) -> Self {
        Self { shared, inventory, cpu: stats::Cpu::new() }
    }

    async fn carry_out(&mut self, call: &Call, asked: &Asked) -> Result<Vec<u8>, String> {
        let Self { shared, inventory, cpu } = self;
        let max = call.room(&shared.config.limits);
        Ok(match &asked.task[..] {
            "show_workers" => tables::workers(shared, asked, max).await?,
            "show_services" => tables::services(shared, max).await?,
            "show_clients" => tables::clients(shared, max).await?,
            "get_stats" => stats::stats(shared, cpu, max).await?,
            "get_status" => written(&stats::status(shared)),
            "show_broker" => written(&stats::broker(shared).await?),
            "show_broker_version" => written(&stats::version()),
            "show_broker_inventory" => written(&stats::inventory(shared, inventory.as_deref())),
            "get_logs" => logs::get(shared.logs.as_ref(), asked, max),
            "disconnect" | "restart" | "shutdown" => written(&self.change(call, asked)?),
            other => written(&unsupported(other)),
        })
    }

    /// What changes how the broker runs.
    fn change(&self, call: &Call, asked: &Asked) -> Result<Value, String> {
        let (task, shared) = (&asked.task[..], &self.shared);
        if !call.is_admin() {
            return Err(format!(
                "{task} is not allowed here: the right `admin` for {task} is missing; connect to \
                 an administration listener, which is an ipc:// endpoint of broker.bind"
            ));
        }
        let client = String::from_utf8_lossy(&call.client);
        let done = match task {
            "disconnect" => {
                let name = asked.needed("name")?;
                let known =
                    shared.with_core(|core, out| core.disconnect(now(), name.as_bytes(), out));
                if !known {
                    return Err(format!("no peer has the name {name}"));
                }
                json!({ "status": "DISCONNECTED", "name": name })
            }
            "restart" => {
                stats::ask(shared, AdminRequest::Restart)?;
                json!({ "status": "RESTARTING" })
            }
            _ => {
                stats::ask(shared, AdminRequest::Shutdown)?;
                json!({ "status": "STOPPING" })
            }
        };
        info!(%client, task, name = asked.text("name").ok().flatten(), "done for an administrator");
        Ok(done)
    }
}

impl Service for Management {
    const NAME: &str = "mmi.service.broker";

    async fn answer(&mut self, call: &Call) -> Vec<u8> {
        let answer = match call.read() {
            Ok(asked) => self.carry_out(call, &asked).await,
            Err(why) => Err(why),
        };
        answer.unwrap_or_else(|why| written(&failed(&why)))
    }
}
