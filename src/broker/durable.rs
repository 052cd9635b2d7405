//! The store beside the core: opened before the doors are, told what the core orders, and heard.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::info;

use crate::config::BrokerConfig;
use crate::proto::depot::{APART, Depot, LETTERS, MARKS, OUTCOMES, REQUESTS};
use crate::proto::durable::Event;
use crate::proto::lease::mark::{self, AHEAD, EPOCHS};
use crate::proto::titanic::{HEADS, Titanic};
use crate::store::{Opened, StoreError};

use super::BrokerError;
use super::epochs::epoch_at;
use super::shared::{Shared, now};

/// What was found in the store.
#[derive(Debug)]
pub(super) struct Found {
    opened: Opened,
    titanic: Titanic,
    depot: Depot,
    /// Epochs of leases begin above this one.
    epoch: u64,
}

impl Found {
    /// Opens the store, if there is to be one, and reads what is to be known from the start.
    pub(super) fn read(
        config: &BrokerConfig,
        now: SystemTime,
    ) -> Result<Option<Self>, BrokerError> {
        let Some(options) = config.store.options() else { return Ok(None) };
        let mut opened = Opened::open(&options)?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| BrokerError::Seed(error.to_string()))?;
        let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let unix = u64::try_from(unix).unwrap_or(u64::MAX);
        let mut titanic = Titanic::new(config.store.titanic(), secret, unix);
        opened.scan(HEADS, |key, value| titanic.recover(key, value))?;
        let mut epoch = epoch_at(now);
        opened.scan(EPOCHS, |_, value| {
            epoch = epoch.max(mark::read(value)?);
            Ok(())
        })?;
        opened.put(&mark::note(epoch.saturating_add(AHEAD)))?;
        let seed = secret.first_chunk().map_or(0, |seed| u64::from_be_bytes(*seed));
        let mut depot = Depot::new(config.store.depot(&config.limits), seed, unix);
        for space in [MARKS, OUTCOMES, REQUESTS, APART, LETTERS] {
            opened.scan(space, |key, value| depot.recover(key, value))?;
        }
        let (path, of_titanic) = (opened.path().display(), titanic.size().0);
        let ((requests, bytes), (outcomes, _)) = (depot.size(), depot.kept());
        info!(%path, requests, bytes, outcomes, of_titanic, "the store is open");
        Ok(Some(Self { opened, titanic, depot, epoch }))
    }

    /// Has the core and the store work with one another.
    pub(super) fn start(self, shared: &Arc<Shared>) -> Result<(), StoreError> {
        let Self { opened, titanic, depot, epoch } = self;
        let (told, failed) = (shared.clone(), shared.clone());
        let tell = move |event: &Event| {
            told.with_core(|core, out| core.disk(now(), event, out));
        };
        let fail = move |error| {
            failed.store_failed.send_replace(Some(Arc::new(error)));
        };
        let reserved = epoch.saturating_add(AHEAD);
        shared.with_core(|core, _| core.keep_epochs(epoch, reserved));
        // First the core: it has to hear whatever the store says.
        shared.with_core(|core, out| {
            core.keep_requests(now(), depot, out);
            core.serve_titanic(now(), titanic, out);
        });
        let _ = shared.store.set(opened.start(tell, fail)?);
        shared.with_core(|_, _| ());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_epoch_comes_back_when_the_clock_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig::default();
        config.store.path = Some(dir.path().join("store"));
        let day = Duration::from_secs(24 * 3600);
        let now = UNIX_EPOCH + 20_000 * day;
        let start = |now| Found::read(&config, now).unwrap().unwrap().epoch;
        let first = start(now);
        assert_eq!(first, epoch_at(now));
        // All that it may have given is below what the next one begins with.
        let second = start(now - day);
        assert_eq!(second, first + AHEAD);
        let third = start(UNIX_EPOCH);
        assert_eq!(third, second + AHEAD);
        // And the clock is ahead again.
        assert_eq!(start(now + day), epoch_at(now + day));
    }
}
