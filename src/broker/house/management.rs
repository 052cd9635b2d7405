//! `mmi.service.broker`: what the broker tells about itself to NFP clients.

use std::sync::Arc;

use crate::broker::shared::Shared;

use super::{Call, Service, failed, unsupported, written};

/// Answers management calls from the tables.
#[derive(Debug)]
pub(super) struct Management {
    shared: Arc<Shared>,
}

impl Management {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Service for Management {
    const NAME: &str = "mmi.service.broker";

    async fn answer(&mut self, call: &Call) -> Vec<u8> {
        let answer = match call.read() {
            Ok(asked) => unsupported(&asked.task),
            Err(why) => failed(&why),
        };
        written(&answer)
    }
}
