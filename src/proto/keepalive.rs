//! Who still lives: when to show it, when to ask, when to give up (SPEC 4.6).

use std::time::Duration;

use super::clock::Time;
use super::policy::Keepalive;

/// What is known of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// When octets of a message last came.
    pub spoke: Time,
    /// When any octets last came, a PONG included.
    pub heard: Time,
    /// When something was last sent to it.
    pub sent: Time,
    /// The request it has held longest, and the time the service allows for it.
    pub busy: Option<Busy>,
    /// It was seen to heartbeat while it worked. A stock worker does not.
    pub beats_while_busy: bool,
    /// It understands PING.
    pub takes_ping: bool,
    /// It answered a PING before.
    pub has_ponged: bool,
    /// PINGs since it was last heard.
    pub pings_open: u32,
}

/// A worker that holds something.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    /// How long it has held its oldest request.
    pub held: Duration,
    /// How long it may, while it says nothing.
    pub timeout: Option<Duration>,
}

/// What to do about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// It counts as gone.
    pub end: Option<End>,
    /// Send it a HEARTBEAT.
    pub beat: bool,
    /// Send it a PING.
    pub ping: bool,
    /// When to look again.
    pub next: Time,
}

/// How a worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The application says nothing: it is dismissed, and may register anew.
    Expired,
    /// The whole process says nothing, though it used to answer PING: the connection is closed.
    Silent,
}

impl Watch {
    /// What to do at `now`.
    #[must_use]
    pub fn judge(&self, now: Time, keepalive: &Keepalive) -> Verdict {
        let interval = keepalive.interval;
        let expiry = keepalive.expiry();
        let spoken_until = self.spoke.after(expiry);
        let mut expires = None;
        let mut silent = None;
        match self.busy {
            None => expires = Some(spoken_until),
            Some(busy) => {
                if self.beats_while_busy {
                    expires = Some(spoken_until);
                }
                if let Some(timeout) = busy.timeout {
                    let left = timeout.saturating_sub(busy.held);
                    let at = spoken_until.max(now.after(left));
                    expires = Some(expires.map_or(at, |other: Time| other.min(at)));
                }
                if self.has_ponged {
                    silent = Some(self.heard.after(expiry));
                }
            }
        }
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let end = if due(silent) {
            Some(End::Silent)
        } else if due(expires) {
            Some(End::Expired)
        } else {
            None
        };
        let beat_at = self.sent.after(interval);
        let beat = beat_at <= now;
        let ping = self.busy.is_some()
            && self.takes_ping
            && self.pings_open < keepalive.liveness
            && self.heard.after(interval) <= now;
        let next_beat = if beat { now.after(interval) } else { beat_at };
        let next = [silent, expires].into_iter().flatten().filter(|at| *at > now).min();
        Verdict { end, beat, ping, next: next.map_or(next_beat, |at| at.min(next_beat)) }
    }
}

#[cfg(test)]
impl Watch {
    /// Notes what was found out about what kind of worker.
    pub(crate) fn witness(&self, verdict: &Verdict) {
        let from = match (self.busy, self.beats_while_busy) {
            (None, _) => "idle",
            (Some(_), false) => "busy",
            (Some(_), true) => "busy and beating",
        };
        let ends = match verdict.end {
            None => "lives",
            Some(End::Expired) => "expired",
            Some(End::Silent) => "silent",
        };
        super::witness::saw("keepalive", from, ends);
        for (does, what) in [(verdict.beat, "beat"), (verdict.ping, "ping")] {
            if does && verdict.end.is_none() {
                super::witness::saw("keepalive", from, what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(2), liveness: 3 };

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    fn idle() -> Watch {
        Watch {
            spoke: at(10),
            heard: at(10),
            sent: at(10),
            busy: None,
            beats_while_busy: false,
            takes_ping: true,
            has_ponged: true,
            pings_open: 0,
        }
    }

    fn busy(now: u64, timeout: u64) -> Watch {
        let held = Duration::from_secs(now - 10);
        Watch { busy: Some(Busy { held, timeout: Some(Duration::from_secs(timeout)) }), ..idle() }
    }

    #[test]
    fn an_idle_worker_expires_after_three_silent_intervals() {
        assert_eq!(idle().judge(at(15), &KEEPALIVE).end, None);
        assert_eq!(idle().judge(at(16), &KEEPALIVE).end, Some(End::Expired));
    }

    #[test]
    fn a_pong_does_not_keep_an_idle_worker_that_says_nothing() {
        let watch = Watch { heard: at(15), ..idle() };
        assert_eq!(watch.judge(at(16), &KEEPALIVE).end, Some(End::Expired));
    }

    #[test]
    fn a_busy_worker_may_be_silent_until_its_time_is_up() {
        let watch = |now| Watch { heard: at(now), ..busy(now, 60) };
        assert_eq!(watch(69).judge(at(69), &KEEPALIVE).end, None);
        assert_eq!(watch(70).judge(at(70), &KEEPALIVE).end, Some(End::Expired));
        let talks = Watch { spoke: at(69), ..watch(70) };
        assert_eq!(talks.judge(at(70), &KEEPALIVE).end, None);
    }

    #[test]
    fn a_busy_worker_that_stops_answering_pings_is_closed() {
        assert_eq!(busy(15, 60).judge(at(15), &KEEPALIVE).end, None);
        assert_eq!(busy(16, 60).judge(at(16), &KEEPALIVE).end, Some(End::Silent));
        let never = Watch { has_ponged: false, ..busy(16, 60) };
        assert_eq!(never.judge(at(16), &KEEPALIVE).end, None);
    }

    #[test]
    fn a_busy_worker_known_to_heartbeat_is_held_to_it() {
        let watch = Watch { beats_while_busy: true, heard: at(16), ..busy(16, 60) };
        assert_eq!(watch.judge(at(16), &KEEPALIVE).end, Some(End::Expired));
    }

    #[test]
    fn beats_fill_silence_and_pings_are_few() {
        let verdict = busy(12, 60).judge(at(12), &KEEPALIVE);
        assert!(verdict.beat && verdict.ping);
        assert_eq!(verdict.next, at(14));
        let recent = Watch { sent: at(11), heard: at(11), ..busy(12, 60) };
        let verdict = recent.judge(at(12), &KEEPALIVE);
        assert!(!verdict.beat && !verdict.ping);
        assert_eq!(verdict.next, at(13));
        let tired = Watch { pings_open: 3, ..busy(13, 60) };
        assert!(!tired.judge(at(13), &KEEPALIVE).ping);
        let old = Watch { takes_ping: false, ..busy(13, 60) };
        assert!(!old.judge(at(13), &KEEPALIVE).ping);
    }
}
