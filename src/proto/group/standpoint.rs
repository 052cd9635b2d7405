//! A member's side: what it may believe of what it is told, and whether it leads.

use std::time::{Duration, Instant};

use crate::proto::lease::{Hold, Standing};

/// What a member goes by: the place it has come to in the one order, the newest epoch, and whether
/// it leads. It lives as long as the membership.
#[derive(Debug, Clone)]
pub struct Standpoint {
    incarnation: u64,
    view: u64,
    seq: u64,
    epoch: u64,
    lead: Option<(u64, Hold)>,
}

impl Standpoint {
    /// A member that was told that it has joined.
    #[must_use]
    pub fn new(incarnation: u64, view: u64, seq: u64, epoch: Option<u64>) -> Self {
        Self { incarnation, view, seq, epoch: epoch.unwrap_or(0), lead: None }
    }

    /// Which one of its name it is.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The number of its view.
    #[must_use]
    pub fn view(&self) -> u64 {
        self.view
    }

    /// The newest epoch it has heard of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Something of that place in the order has come, from a leader of that epoch if it says one.
    /// False: it is to be ignored, as something newer has come before.
    #[must_use]
    pub fn hears(&mut self, seq: u64, epoch: Option<u64>) -> bool {
        let fresh = seq > self.seq && epoch.is_none_or(|epoch| epoch >= self.epoch);
        if fresh {
            self.seq = seq;
            self.epoch = epoch.unwrap_or(self.epoch);
        }
        fresh
    }

    /// There is another view. False: it is not the next one.
    #[must_use]
    pub fn sees(&mut self, view: u64) -> bool {
        let next = view == self.view + 1;
        self.view = view;
        next
    }

    /// One leads. If it is this member it has to beat before it may believe so.
    pub fn elected(&mut self, incarnation: u64, epoch: u64, ttl: Duration) {
        self.lead = (incarnation == self.incarnation).then(|| (epoch, Hold::unsure(ttl)));
    }

    /// Nobody leads by that epoch any more.
    pub fn exited(&mut self, epoch: u64) {
        self.lead = self.lead.take().filter(|(own, _)| *own != epoch);
    }

    /// A beat is sent. Gives the epoch that it has to say.
    pub fn beats(&mut self, now: Instant) -> Option<u64> {
        let (epoch, hold) = self.lead.as_mut()?;
        hold.sent(now);
        Some(*epoch)
    }

    /// The beat with that epoch that was sent at `sent` has been answered.
    pub fn beaten(&mut self, now: Instant, sent: Instant, epoch: u64) {
        if let Some((own, hold)) = &mut self.lead
            && *own == epoch
        {
            hold.acked(now, sent);
        }
    }

    /// The epoch by which the member leads at `now`, as far as it may believe it.
    #[must_use]
    pub fn leads(&self, now: Instant) -> Option<u64> {
        let (epoch, hold) = self.lead.as_ref()?;
        hold.holds(now).then_some(*epoch)
    }

    /// Until when the member may believe that it leads. `None`: it may not, or not yet.
    #[must_use]
    pub fn leads_until(&self) -> Option<Instant> {
        self.lead.as_ref()?.1.until()
    }

    /// What is to be done about the lead at `now`; none if it has none.
    pub fn standing(&mut self, now: Instant) -> Option<Standing> {
        let standing = self.lead.as_mut()?.1.standing(now);
        if standing == Standing::Lost {
            self.lead = None;
        }
        Some(standing)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_member_ignores_what_is_older_than_what_it_has_heard() {
        let mut it = Standpoint::new(7, 3, 10, Some(40));
        assert!(it.hears(11, None) && it.hears(12, Some(41)));
        // A leader that was stopped, and an order that goes back.
        assert!(!it.hears(13, Some(40)) && !it.hears(12, None));
        assert!(it.hears(13, Some(41)));
        assert!(it.sees(4) && !it.sees(6));
    }

    #[test]
    fn who_is_elected_believes_it_once_a_beat_was_answered() {
        let (begin, mut it) = (Instant::now(), Standpoint::new(7, 1, 1, None));
        it.elected(8, 40, 1000 * MS);
        assert_eq!(it.beats(begin), None);
        it.elected(7, 41, 1000 * MS);
        assert_eq!((it.leads(begin), it.standing(begin)), (None, Some(Standing::Due)));
        assert_eq!(it.beats(begin), Some(41));
        it.beaten(begin + 5 * MS, begin, 41);
        assert_eq!(it.leads(begin + 949 * MS), Some(41));
        assert_eq!(it.leads(begin + 950 * MS), None);
        it.exited(41);
        assert_eq!(it.leads(begin + 6 * MS), None);
    }
}
