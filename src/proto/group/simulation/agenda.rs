//! What a member that knows the broker's clock does at its moment.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::proto::group::ClockSync;

/// What a member is to do at its time.
#[derive(Debug, Clone, Default)]
pub(super) struct Agenda {
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
pub(super) enum Due {
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
    pub(super) fn wanted(&mut self, poll: &[u8], when: u64, error: Option<u64>) -> bool {
        let known = self.due.contains_key(poll) || self.past.iter().any(|past| **past == *poll);
        if !known {
            self.due.insert(poll.into(), Deed { when, error });
        }
        !known
    }

    /// When to look at it next.
    pub(super) fn next(&self, sync: &ClockSync) -> Option<Instant> {
        self.due.values().filter_map(|deed| sync.not_before(deed.when)).min()
    }

    /// What is to be done at `now`, if it is not later than that by more than `late`.
    pub(super) fn pop(&mut self, now: Instant, sync: &ClockSync, late: Duration) -> Option<Due> {
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

#[test]
#[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
fn an_action_is_done_once_not_early_and_not_much_too_late() {
    const MS: Duration = Duration::from_millis(1);
    let (begin, mut agenda, mut sync) = (Instant::now(), Agenda::default(), ClockSync::default());
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
