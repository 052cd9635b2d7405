//! Who has to go while memory is short.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crate::id::PeerId;
use crate::proto::output::CloseReason;
use crate::transport::account::Account;
use crate::transport::link::Link;

/// How long a peer may make no progress when memory begins to be short.
const PATIENCE_MAX: Duration = Duration::from_secs(10);
/// The same when there is none left.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// What memory is short of, and how long nothing may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortage {
    /// What was taken is not read: from half of the limit on, none is left at the high mark.
    unread: Option<Lack>,
    /// What arrives does not come: from the high mark on, none is left at the limit.
    unfinished: Option<Lack>,
    /// What has come whole waits for something else than memory, so it may go as well.
    untaken: bool,
}

/// Too much of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lack {
    patience: Duration,
    /// Octets to be freed.
    excess: usize,
}

impl Lack {
    /// Nothing is lacking up to `ample`, and everything from `full` on.
    fn between(ample: usize, used: usize, full: usize) -> Option<Self> {
        let excess = used.checked_sub(ample).filter(|excess| *excess > 0)?;
        let share = excess as f64 / full.saturating_sub(ample).max(1) as f64;
        let patience = PATIENCE_MAX.mul_f64((1.0 - share).max(0.0)).max(PATIENCE_MIN);
        Some(Self { patience, excess })
    }

    /// Of those who hold memory without going on, as many as it takes, who holds most first.
    fn who_goes(self, mut idle: Vec<(PeerId, usize)>) -> impl Iterator<Item = PeerId> {
        idle.sort_by_key(|(_, octets)| Reverse(*octets));
        let mut left = self.excess;
        idle.into_iter().map_while(move |(id, octets)| {
            let goes = left > 0;
            left = left.saturating_sub(octets);
            goes.then_some(id)
        })
    }
}

impl Shortage {
    /// `None`: there is no shortage.
    pub(super) fn of(account: &Account) -> Option<Self> {
        let (taken, used) = (account.taken(), account.used());
        let unread = Lack::between(account.limit() / 2, taken, account.high_mark());
        let unfinished = Lack::between(account.high_mark(), used, account.limit());
        let untaken = taken <= account.low_mark();
        (unread.is_some() || unfinished.is_some()).then_some(Self { unread, unfinished, untaken })
    }

    /// Whoever has kept memory from the others for too long.
    pub(super) fn who_goes<'a>(
        &self,
        now: Instant,
        links: impl Iterator<Item = (PeerId, &'a Link)>,
    ) -> Vec<(PeerId, CloseReason)> {
        let (mut unread, mut unfinished) = (Vec::new(), Vec::new());
        for (id, link) in links {
            if self.unread.is_some_and(|lack| link.is_stuck(now, lack.patience)) {
                unread.push((id, link.waiting()));
            }
            if let (Some(lack), Some(arriving)) = (self.unfinished, link.arriving())
                && (self.untaken || !arriving.whole)
                && now.saturating_duration_since(arriving.since) >= lack.patience
            {
                unfinished.push((id, arriving.octets));
            }
        }
        let lacks = [
            (self.unread, unread, CloseReason::Stuck),
            (self.unfinished, unfinished, CloseReason::Halted),
        ];
        let lacks = lacks.into_iter().filter_map(|(lack, idle, why)| Some((lack?, idle, why)));
        lacks.flat_map(|(lack, idle, why)| lack.who_goes(idle).map(move |id| (id, why))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slotmap::SlotMap;

    use super::*;
    use crate::transport::account::Charge;
    use crate::transport::link::{Arriving, OutboxLimits};
    use crate::transport::stream::Stream;

    struct Scene {
        account: Arc<Account>,
        links: SlotMap<PeerId, Link>,
        peers: Vec<tokio::net::UnixStream>,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let (account, now) = (Arc::new(Account::new(100_000)), crate::broker::shared::now());
            Self { account, links: SlotMap::with_key(), peers: Vec::new(), now }
        }

        fn link(&mut self) -> PeerId {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            self.peers.push(theirs);
            let limits = OutboxLimits { bytes_max: 1 << 20 };
            let elsewhere = Arc::new(Account::new(1 << 30));
            self.links.insert(Link::new(Stream::Unix(ours).into_split().1, limits, elsewhere))
        }

        fn unread(&mut self, octets: usize) -> PeerId {
            let id = self.link();
            self.links[id].open().append(|encoder| encoder.octets(&vec![0; octets]));
            assert!(!self.links[id].is_stuck(self.now, PATIENCE_MAX));
            id
        }

        fn arriving(&mut self, octets: usize, whole: bool) -> PeerId {
            let id = self.link();
            self.links[id].note_arriving(Some(Arriving { since: self.now, octets, whole }));
            id
        }

        fn goes(&self, taken: usize, arriving: usize, after: f64) -> Vec<(PeerId, CloseReason)> {
            let mut charges =
                [Charge::new(self.account.clone()), Charge::arriving(self.account.clone())];
            charges[0].set(taken);
            charges[1].set(arriving);
            let now = self.now + Duration::from_secs_f64(after);
            let links = self.links.iter();
            Shortage::of(&self.account).map_or(Vec::new(), |s| s.who_goes(now, links))
        }
    }

    #[tokio::test]
    async fn who_holds_most_unread_goes_first_and_sooner_the_less_there_is() {
        let mut scene = Scene::new();
        let (small, large) = (scene.unread(1_000), scene.unread(50_000));
        let stuck = |id| (id, CloseReason::Stuck);
        assert_eq!(scene.goes(50_000, 0, 100.0), [], "half of it is no shortage");
        assert_eq!(scene.goes(67_500, 0, 4.9), [], "half way to the mark: half of the patience");
        assert_eq!(scene.goes(67_500, 0, 5.1), [stuck(large)]);
        assert_eq!(scene.goes(120_000, 0, 1.1), [stuck(large), stuck(small)]);
    }

    #[tokio::test]
    async fn a_message_that_does_not_go_on_goes() {
        let mut scene = Scene::new();
        let (part, whole) = (scene.arriving(30_000, false), scene.arriving(20_000, true));
        let halted = |id| (id, CloseReason::Halted);
        assert_eq!(scene.goes(0, 85_000, 100.0), []);
        assert_eq!(scene.goes(0, 100_000, 0.9), []);
        assert_eq!(scene.goes(0, 100_000, 1.1), [halted(part)]);
        assert_eq!(scene.goes(0, 120_000, 1.1), [halted(part), halted(whole)]);
        assert_eq!(scene.goes(80_000, 40_000, 1.1), [halted(part)], "the other waits for memory");
    }
}
