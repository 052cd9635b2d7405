//! A member's side: what it may believe of what it is told, and whether it leads.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::ClockSync;
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

/// What a member is to do at its time.
#[derive(Debug, Clone, Default)]
pub struct Agenda {
    due: BTreeMap<Box<[u8]>, Deed>,
    /// What was on it before, the oldest first: nothing is done twice.
    past: VecDeque<Box<[u8]>>,
}

#[derive(Debug, Clone, Copy)]
struct Deed {
    when: u64,
    error: Option<u64>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// This, at this moment.
    Act(Box<[u8]>),
    /// Not this any more: it is later than it may be, or the clock is not known well enough.
    Missed(Box<[u8]>),
}

impl Agenda {
    /// So many of the past are known.
    const PAST: usize = 10_000;

    /// An action is wanted at `when` of the broker's clock, which has to be known as well as
    /// `error` says, microseconds. False: it was on the agenda before.
    pub fn wanted(&mut self, poll: &[u8], when: u64, error: Option<u64>) -> bool {
        let known = self.due.contains_key(poll) || self.past.iter().any(|past| **past == *poll);
        if !known {
            self.due.insert(poll.into(), Deed { when, error });
        }
        !known
    }

    /// When to look at it next.
    #[must_use]
    pub fn next(&self, sync: &ClockSync) -> Option<Instant> {
        self.due.values().filter_map(|deed| sync.not_before(deed.when)).min()
    }

    /// What is to be done at `now`, if it is not later than that by more than `late`.
    pub fn pop(&mut self, now: Instant, sync: &ClockSync, late: Duration) -> Option<Due> {
        let ready = self.due.iter().find_map(|(poll, deed)| {
            let at = sync.not_before(deed.when)?;
            (at <= now).then(|| (poll.clone(), *deed, at))
        });
        let (poll, deed, at) = ready?;
        self.due.remove(&poll);
        self.past.push_back(poll.clone());
        if self.past.len() > Self::PAST {
            self.past.pop_front();
        }
        let error = sync.error(now).map_or(u128::MAX, |error| error.as_micros());
        let exact = deed.error.is_none_or(|max| error <= u128::from(max));
        let in_time = now.saturating_duration_since(at) <= late;
        Some(if exact && in_time { Due::Act(poll) } else { Due::Missed(poll) })
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

    #[test]
    fn an_action_is_done_once_not_early_and_not_much_too_late() {
        let (begin, mut agenda, mut sync) =
            (Instant::now(), Agenda::default(), ClockSync::default());
        sync.answered(begin, begin + 2 * MS, 0);
        for (poll, when) in [(&b"a"[..], 100_000), (b"b", 200_000), (b"c", 300_000)] {
            let error = (poll == b"c").then_some(0);
            assert!(agenda.wanted(poll, when, error) && !agenda.wanted(poll, when, error));
        }
        let pop = |agenda: &mut Agenda, ms| agenda.pop(begin + ms * MS, &sync, 20 * MS);
        // Half a round trip is what it may be wrong by.
        assert_eq!(pop(&mut agenda, 101), None);
        assert_eq!(pop(&mut agenda, 103), Some(Due::Act(b"a"[..].into())));
        assert_eq!(pop(&mut agenda, 103), None);
        assert_eq!(pop(&mut agenda, 250), Some(Due::Missed(b"b"[..].into())));
        assert_eq!(pop(&mut agenda, 303), Some(Due::Missed(b"c"[..].into())));
        assert!(!agenda.wanted(b"a", 1_000_000, None));
        assert_eq!(agenda.next(&sync), None);
    }
}
