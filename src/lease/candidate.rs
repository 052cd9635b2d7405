//! A lease as a candidate, or an observer, sees it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::error::{LeaseError, Lost};
use super::held::{Held, Phase};
use super::{Coordinator, Granted};
use crate::proto::lease::{Hold, LeaseLimits, Terms};

/// Longest name of a lease and of a candidate, octets.
const NAME_MAX: usize = 255;
/// Longest value that any store takes, octets; a broker may take less.
const VALUE_MAX: usize = 12 << 10;

/// Who wants to hold what, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidacy {
    /// The lease, 1 to 255 octets.
    pub lease: String,
    /// What the candidate calls itself, 1 to 255 octets. Default: what its client is called.
    pub name: Option<String>,
    /// What it says to observers as the holder, up to 12 KiB.
    pub value: Vec<u8>,
    /// How it holds.
    pub terms: Terms,
    /// How long it waits in line. None: as long as it takes; zero: not at all.
    pub wait: Option<Duration>,
}

impl Candidacy {
    /// Of nobody yet: 5 s to live, no grace, no lock delay, and all the patience there is.
    #[must_use]
    pub fn new(lease: impl Into<String>) -> Self {
        let (grace, lock_delay) = (Duration::ZERO, Duration::ZERO);
        let terms = Terms { ttl: LeaseLimits::TTL, grace, lock_delay };
        Self { lease: lease.into(), name: None, value: Vec::new(), terms, wait: None }
    }

    /// # Errors
    /// [`LeaseError::Invalid`]: no store takes it.
    pub fn validate(&self) -> Result<(), LeaseError> {
        let refuse = |what, value: String, range| Err(LeaseError::Invalid { what, value, range });
        check_name("the lease", &self.lease)?;
        if let Some(name) = &self.name {
            check_name("the name of the candidate", name)?;
        }
        if self.value.len() > VALUE_MAX {
            return refuse("octets of the value", self.value.len().to_string(), "say up to 12 KiB");
        }
        if self.terms.ttl < Duration::from_millis(1) {
            return refuse("ttl", format!("{:?}", self.terms.ttl), "give it 1 ms or more");
        }
        Ok(())
    }
}

/// Checks a name of 1 to 255 octets.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), LeaseError> {
    if (1..=NAME_MAX).contains(&name.len()) {
        return Ok(());
    }
    let (value, range) = (format!("{} octets", name.len()), "a name has 1 to 255 octets");
    Err(LeaseError::Invalid { what, value, range })
}

/// A lease of a store: what one wants to hold, or to look at.
#[derive(Debug, Clone)]
pub struct Lease<C> {
    store: C,
    candidacy: Candidacy,
}

impl<C: Coordinator> Lease<C> {
    /// The lease of that name, 1 to 255 octets.
    pub fn new(store: C, name: impl Into<String>) -> Self {
        Self { store, candidacy: Candidacy::new(name) }
    }

    /// What the candidate calls itself, 1 to 255 octets; [`Held::resign_to`] knows it by that.
    /// Default: the identity of its client.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.candidacy.name = Some(name.into());
        self
    }

    /// What it says to observers once it holds. Default: nothing.
    #[must_use]
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.candidacy.value = value.into();
        self
    }

    /// The lease is freed if nothing is heard for so long, by default 100 ms to 1 h. Default 5 s. A
    /// holder renews each third of it, and believes for 0.95 of it.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.candidacy.terms.ttl = ttl;
        self
    }

    /// The store keeps the lease for so long when the connection ends, so that the holder can come
    /// back on another; as long as `ttl` or longer, no lost connection takes it away. Default 0: it
    /// is freed at once, and the next one need not wait.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.candidacy.terms.grace = grace;
        self
    }

    /// The lease is nobody's for so long when it was lost, but not when it was resigned: for work
    /// that cannot be fenced. Default 0.
    #[must_use]
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.candidacy.terms.lock_delay = delay;
        self
    }

    /// Waits so long in line and no longer; zero: not at all. Default: as long as it takes.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.candidacy.wait = Some(wait);
        self
    }

    /// All of that.
    #[must_use]
    pub fn candidacy(&self) -> &Candidacy {
        &self.candidacy
    }

    /// Waits in line until it holds. Has to be called in a tokio runtime, in which a task renews
    /// from then on.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when it has waited long enough, [`LeaseError::Denied`],
    /// [`LeaseError::Invalid`], [`LeaseError::Refused`], [`LeaseError::Unreachable`] if it does not
    /// wait for ever, [`LeaseError::Closed`].
    ///
    /// # Cancel safety
    /// It waits no more; what has been given to it meanwhile is freed at once. It has lost its
    /// place in line.
    pub async fn campaign(&self) -> Result<Held<C::Seat>, LeaseError> {
        self.candidacy.validate()?;
        let end = self.candidacy.wait.map(|wait| (Instant::now(), wait));
        let mut candidacy = self.candidacy.clone();
        loop {
            let granted = self.store.campaign(&candidacy).await?;
            let Granted { seat, news, asked, ttl } = granted;
            let hold = asked.map_or_else(|| Hold::unsure(ttl), |asked| Hold::new(ttl, asked));
            let held = Held::new(&candidacy.lease, seat, news, hold);
            match timeout(ttl, held.settled()).await {
                Ok(Phase::Sure) if held.holds() => return Ok(held),
                Ok(Phase::Lost(Lost::Denied)) => return Err(Lost::Denied.into()),
                Ok(Phase::Lost(Lost::Closed)) => return Err(LeaseError::Closed),
                // It was lost before it could be believed: in line again.
                _ => {}
            }
            drop(held);
            candidacy.wait = end.map(|(since, wait)| wait.saturating_sub(since.elapsed()));
        }
    }

    /// Who holds it, now and whenever that changes.
    ///
    /// # Errors
    /// [`LeaseError::Invalid`], [`LeaseError::Closed`]; what the store has against it is the last
    /// item.
    pub fn observe(&self) -> Result<C::Watch, LeaseError> {
        check_name("the lease", &self.candidacy.lease)?;
        self.store.observe(&self.candidacy.lease)
    }
}
