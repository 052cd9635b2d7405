//! `sid.service.broker`: the inventory of workers, which every NorFab worker asks for when it starts.

use std::sync::Arc;

use serde_json::Value;

use crate::broker::shared::Shared;

use super::{Asked, Call, Service, failed, unsupported, written};

/// Answers from the inventory file, if there is one.
#[derive(Debug)]
pub(super) struct Inventory {
    shared: Arc<Shared>,
}

impl Inventory {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn get_inventory(&self, asked: &Asked) -> Result<Value, String> {
        asked.needed("name")?;
        Ok(Value::Null)
    }
}

impl Service for Inventory {
    const NAME: &str = "sid.service.broker";

    async fn answer(&mut self, call: &Call) -> Vec<u8> {
        let answer = call.read().and_then(|asked| match &asked.task[..] {
            "get_inventory" => self.get_inventory(&asked),
            other => Ok(unsupported(other)),
        });
        written(&answer.unwrap_or_else(|why| failed(&why)))
    }
}
