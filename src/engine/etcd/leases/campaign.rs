//! A campaign: in line until it holds.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::keys::Keys;
use super::seat::{EtcdSeat, Ticket};
use super::view::{Turn, View};
use super::{Leases, of_etcd};
use crate::engine::etcd::{EtcdError, Txn, Watch, WatchEvent};
use crate::lease::{Candidacy, Granted, LeaseError};
use crate::proto::backoff::Backoff;

/// Whoever does not want to wait, and finds a lease that is free while others wait for it, waits so
/// long for one of them to take it, so that it can be told who holds.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// Nothing is waited for longer than that without another look.
const FOREVER: Duration = Duration::from_secs(3600);

/// Why an attempt has come to nothing.
enum Miss {
    /// That is the answer.
    Final(LeaseError),
    /// It can be tried again.
    Lost(EtcdError),
}

impl From<EtcdError> for Miss {
    fn from(error: EtcdError) -> Self {
        match error {
            EtcdError::NotAllowed(_) | EtcdError::Refused(_) | EtcdError::Endpoint { .. } => {
                Self::Final(of_etcd(error))
            }
            EtcdError::Unreachable { .. } | EtcdError::TimedOut { .. } | EtcdError::LeaseGone => {
                Self::Lost(error)
            }
        }
    }
}

impl From<LeaseError> for Miss {
    fn from(error: LeaseError) -> Self {
        Self::Final(error)
    }
}

pub(super) async fn campaign(
    leases: &Leases,
    candidacy: &Candidacy,
) -> Result<Granted<EtcdSeat>, LeaseError> {
    candidacy.validate()?;
    let terms = candidacy.terms;
    if !terms.lock_delay.is_zero() {
        let (what, value) = ("lock_delay", format!("{:?}", terms.lock_delay));
        let range = "etcd has none; fence the work by the epoch instead";
        return Err(LeaseError::Invalid { what, value, range });
    }
    let keys = leases.keys(&candidacy.lease)?;
    let end = candidacy.wait.and_then(|wait| Instant::now().checked_add(wait));
    let seed = candidacy.lease.bytes().fold(0, |seed: u64, it| seed.rotate_left(5) ^ u64::from(it));
    let mut waits = Backoff::new(Duration::from_millis(100), Duration::from_secs(3), seed);
    loop {
        let attempt = Attempt { leases, keys: &keys, candidacy, end };
        let error = match attempt.run().await {
            Ok(granted) => return Ok(granted),
            Err(Miss::Final(error)) => return Err(error),
            Err(Miss::Lost(error)) => error,
        };
        tracing::debug!(%error, "a campaign has lost its place");
        let again = Instant::now() + waits.next_wait();
        if end.is_some_and(|end| end <= again) {
            return Err(of_etcd(error));
        }
        sleep(again - Instant::now()).await;
    }
}

/// One place in line.
struct Attempt<'a> {
    leases: &'a Leases,
    keys: &'a Keys,
    candidacy: &'a Candidacy,
    end: Option<Instant>,
}

impl Attempt<'_> {
    async fn run(&self) -> Result<Granted<EtcdSeat>, Miss> {
        let Leases { etcd, .. } = self.leases;
        if self.candidacy.wait.is_some_and(|wait| wait.is_zero()) {
            let (view, _) = self.leases.look(self.keys).await?;
            if let Some(held) = view.held {
                return Err(LeaseError::Held { current: Some(held.epoch()) }.into());
            }
        }
        let asked = Instant::now();
        let granted = etcd.grant(self.candidacy.terms.ttl).await?;
        let ticket = Ticket::new(etcd.clone(), granted.id);
        // etcd gives whole seconds, and 2 at the least: nobody believes for longer than it wanted.
        let ttl = granted.ttl.min(self.candidacy.terms.ttl);
        if let Some(created) = self.enter(&ticket).await? {
            return Ok(self.granted(ticket, created, asked, ttl));
        }
        let (created, asked) = self.wait(&ticket, asked, ttl).await?;
        Ok(self.granted(ticket, created, asked, ttl))
    }

    fn granted(
        &self,
        ticket: Ticket,
        created: i64,
        asked: Instant,
        ttl: Duration,
    ) -> Granted<EtcdSeat> {
        let (leases, keys) = (self.leases.clone(), self.keys.clone());
        let (seat, news) = EtcdSeat::new(leases, keys, ticket, created);
        // The lease of etcd has been there since, and is renewed from that moment on.
        Granted { seat, news, asked: Some(asked.into_std()), ttl }
    }

    /// Holds the lease in this transaction.
    fn taking(&self, txn: Txn, lease: i64) -> Txn {
        let name = self.candidacy.name.as_deref().unwrap_or_default();
        let txn = txn.if_missing(&self.keys.held);
        let txn = txn.then_put(&self.keys.held, name.as_bytes(), lease);
        if !self.keys.own {
            return txn.else_get(&self.keys.held);
        }
        txn.then_put(&self.keys.said(), &self.candidacy.value, lease)
    }

    /// Takes what nobody has and nobody waits for, or gets in line. When the key was made.
    async fn enter(&self, ticket: &Ticket) -> Result<Option<i64>, EtcdError> {
        let mut txn = Txn::default();
        if self.keys.own {
            let name = self.candidacy.name.as_deref().unwrap_or_default();
            let place = self.keys.place(ticket.lease);
            txn = txn.if_missing(&self.keys.heir()).if_none_below(&self.keys.line());
            txn = txn.else_put(&place, name.as_bytes(), ticket.lease);
        }
        let outcome = self.leases.etcd.txn(self.taking(txn, ticket.lease)).await?;
        Ok(outcome.succeeded.then_some(outcome.revision))
    }

    /// Takes it if it is this one's turn. When the key was made.
    async fn take(&self, ticket: &Ticket, view: &View) -> Result<Option<i64>, Miss> {
        if !self.keys.own {
            return match view.held {
                None => Ok(self.enter(ticket).await?),
                Some(_) => Ok(None),
            };
        }
        let (came, heir) = match view.turn(ticket.lease) {
            Turn::Own { place, heir } => (place, heir),
            Turn::Waits => return Ok(None),
            // Somebody has deleted it by hand.
            Turn::Gone => return Err(Miss::Lost(EtcdError::LeaseGone)),
        };
        let place = self.keys.place(ticket.lease);
        let txn = Txn::default().if_created(&place, came);
        let txn = txn.if_created(&self.keys.heir(), heir.unwrap_or(0)).then_delete(&place);
        let txn = if heir.is_some() { txn.then_delete(&self.keys.heir()) } else { txn };
        let outcome = self.leases.etcd.txn(self.taking(txn, ticket.lease)).await?;
        Ok(outcome.succeeded.then_some(outcome.revision))
    }

    /// Waits in line until it holds: when the key was made, and when the newest renewal of the
    /// lease of etcd was sent that has been acknowledged.
    async fn wait(
        &self,
        ticket: &Ticket,
        mut asked: Instant,
        ttl: Duration,
    ) -> Result<(i64, Instant), Miss> {
        let (mut view, mut watch) = self.look().await?;
        let mut renew = asked + ttl / 3;
        let settled = Instant::now() + SETTLE_MAX;
        loop {
            let missed = match self.take(ticket, &view).await? {
                Some(created) => return Ok((created, asked)),
                None => self.keys.own && matches!(view.turn(ticket.lease), Turn::Own { .. }),
            };
            if missed {
                // What we saw was not so any more.
                (view, watch) = self.look().await?;
                continue;
            }
            self.patience(&view, settled)?;
            tokio::select! {
                said = watch.next() => match said {
                    WatchEvent::Changes(changes) => {
                        changes.iter().for_each(|change| view.apply(self.keys, change));
                    }
                    WatchEvent::Lost(why) => tracing::debug!(why, "the watch is broken"),
                    WatchEvent::Compacted => (view, watch) = self.look().await?,
                },
                () = sleep_until(renew) => {
                    let sent = Instant::now();
                    match self.leases.etcd.keep_alive(ticket.lease).await {
                        Ok(_) => (asked, renew) = (sent, sent + ttl / 3),
                        // It may still be there for a while.
                        Err(error @ (EtcdError::Unreachable { .. } | EtcdError::TimedOut { .. }))
                            if sent < asked + ttl =>
                        {
                            tracing::debug!(%error, "a place in line is not renewed");
                            renew = Instant::now() + ttl / 15;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                () = sleep_until(self.next_look(settled)) => {}
            }
        }
    }

    async fn look(&self) -> Result<(View, Watch), EtcdError> {
        let (view, revision) = self.leases.look(self.keys).await?;
        Ok((view, self.leases.etcd.watch(&self.keys.prefix, revision + 1)))
    }

    /// Whether it has waited long enough.
    fn patience(&self, view: &View, settled: Instant) -> Result<(), Miss> {
        let now = Instant::now();
        let over = self.end.is_some_and(|end| end <= now);
        if over && (view.held.is_some() || settled <= now) {
            let current = view.held.as_ref().map(|held| held.epoch());
            return Err(LeaseError::Held { current }.into());
        }
        Ok(())
    }

    fn next_look(&self, settled: Instant) -> Instant {
        let end = self.end.map(|end| if end <= Instant::now() { settled } else { end });
        end.unwrap_or_else(|| Instant::now() + FOREVER)
    }
}
