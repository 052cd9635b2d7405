//! `sid.service.broker`: the inventory of workers, which every NorFab worker asks for when it starts.

use std::sync::Arc;

use serde_json::Value;

use crate::inventory;

use super::{Asked, Call, Service, failed, unsupported, written};

/// Answers from the inventory file, if there is one.
#[derive(Debug)]
pub(super) struct Inventory {
    inventory: Option<Arc<inventory::Inventory>>,
}

impl Inventory {
    pub(super) fn new(inventory: Option<Arc<inventory::Inventory>>) -> Self {
        Self { inventory }
    }

    async fn get_inventory(&self, asked: &Asked) -> Result<Value, String> {
        let name = asked.needed("name")?.to_owned();
        let Some(inventory) = self.inventory.clone() else { return Ok(Value::Null) };
        // It reads files.
        let read = tokio::task::spawn_blocking(move || inventory.worker(&name)).await;
        let worker = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(worker.unwrap_or_default())
    }
}

impl Service for Inventory {
    const NAME: &str = "sid.service.broker";

    async fn answer(&mut self, call: &Call) -> Vec<u8> {
        let answer = match call.read() {
            Ok(asked) if asked.task == "get_inventory" => self.get_inventory(&asked).await,
            Ok(asked) => Ok(unsupported(&asked.task)),
            Err(why) => Err(why),
        };
        written(&answer.unwrap_or_else(|why| failed(&why)))
    }
}
