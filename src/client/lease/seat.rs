//! A campaign as the client's task keeps it, and what it has won.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::of_call;
use crate::client::Client;
use crate::client::call::Guard;
use crate::client::error::CallError;
use crate::lease::{Candidacy, LeaseError, Lost, News, Seat};
use crate::wire::codec::Encoder;
use crate::wire::mjp::{LeaseHeader, LeaseReport, LeaseVerb, ToBroker};

/// What the task may have to say before somebody looks: a renewal each third of the time to live.
const NEWS_MAX: usize = 16;

/// Who wants what, and until when.
#[derive(Debug)]
pub(in crate::client) struct Campaign {
    pub(in crate::client) candidacy: Candidacy,
    pub(in crate::client) until: Option<Instant>,
}

/// What a campaign has won.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) epoch: u64,
    pub(super) ttl: Duration,
    pub(super) asked: Option<Instant>,
    pub(super) news: mpsc::Receiver<News>,
}

/// What follows for the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum After {
    /// It goes on.
    Stays,
    /// It is over, and the broker knows.
    Over,
    /// Nobody wants it any more, and the broker is to be told.
    Unwanted,
}

/// A campaign.
///
/// ```text
///            held                    lost, refused; the connection, without a grace
///   Asks ------------> Holds ----------------------------------------------------> over
///    |  ^                 |  ^
///    |  | connection      |  | connection: RENEW on the next, with a grace
///    +--+                 +--+
/// ```
#[derive(Debug)]
pub(in crate::client) struct Sink {
    grace: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Asks {
        /// When it was said last, unless it waits in line since.
        asked: Option<Instant>,
        to: Option<oneshot::Sender<Result<Given, CallError>>>,
    },
    Holds {
        epoch: u64,
        /// When each renewal was sent that has not been answered, on this connection.
        asked: VecDeque<Instant>,
        news: mpsc::Sender<News>,
    },
}

impl Sink {
    pub(super) fn new(to: oneshot::Sender<Result<Given, CallError>>, grace: Duration) -> Self {
        Self { grace, state: State::Asks { asked: None, to: Some(to) } }
    }

    /// Whether nobody waits any more.
    pub(in crate::client) fn is_closed(&self) -> bool {
        match &self.state {
            State::Asks { to, .. } => to.as_ref().is_none_or(oneshot::Sender::is_closed),
            State::Holds { news, .. } => news.is_closed(),
        }
    }

    /// Says on a connection that is new what there is to be said: the campaign, or that it holds.
    pub(in crate::client) fn say(
        &mut self,
        now: Instant,
        id: u64,
        campaign: &Campaign,
        out: &mut Encoder,
    ) {
        let State::Asks { asked, .. } = &mut self.state else {
            return self.renew(now, id, campaign, out);
        };
        *asked = Some(now);
        let Candidacy { lease, name, value, terms, .. } = &campaign.candidacy;
        let left = campaign.until.map(|until| millis(until.saturating_duration_since(now)));
        let says = LeaseHeader {
            ttl: Some(millis(terms.ttl)),
            wait: left,
            grace: Some(millis(terms.grace)).filter(|grace| *grace > 0),
            lock_delay: Some(millis(terms.lock_delay)).filter(|delay| *delay > 0),
            name: name.as_deref(),
            value: Some(&**value).filter(|value| !value.is_empty()),
            ..LeaseHeader::new(LeaseVerb::Campaign, lease)
        };
        ToBroker::Lease { id, says }.encode(out);
    }

    /// Says that it goes on holding, if it holds.
    pub(in crate::client) fn renew(
        &mut self,
        now: Instant,
        id: u64,
        campaign: &Campaign,
        out: &mut Encoder,
    ) {
        let State::Holds { epoch, asked, .. } = &mut self.state else { return };
        asked.push_back(now);
        let says = LeaseHeader {
            epoch: Some(*epoch),
            ..LeaseHeader::new(LeaseVerb::Renew, &campaign.candidacy.lease)
        };
        ToBroker::Lease { id, says }.encode(out);
    }

    /// What the broker says of it.
    pub(in crate::client) fn hear(&mut self, says: &LeaseReport<'_>) -> After {
        match (&mut self.state, says.event) {
            (State::Asks { asked, .. }, "waiting") => {
                *asked = None;
                After::Stays
            }
            (State::Asks { asked, to }, "held") => {
                let Some(to) = to.take() else { return After::Unwanted };
                // Without a time to live there is nothing that could be believed or renewed.
                let ttl = says.ttl.filter(|ttl| *ttl > 0).map(Duration::from_millis);
                let (Some(epoch), Some(ttl)) = (says.epoch, ttl) else {
                    let _ = to.send(Err(CallError::Refused {
                        code: "malformed_answer".into(),
                        message: "LEASE held says no epoch or no time to live".into(),
                        retry: None,
                    }));
                    return After::Unwanted;
                };
                let (said, news) = mpsc::channel(NEWS_MAX);
                let given = Given { epoch, ttl, asked: *asked, news };
                self.state = State::Holds { epoch, asked: VecDeque::new(), news: said };
                match to.send(Ok(given)) {
                    Ok(()) => After::Stays,
                    Err(_) => After::Unwanted,
                }
            }
            (State::Holds { asked, news, .. }, "renewed") => {
                if let Some(sent) = asked.pop_front() {
                    let _ = news.try_send(News::Renewed(sent));
                }
                After::Stays
            }
            (State::Holds { news, .. }, "lost") => {
                let resigned = says.reason == Some("resigned");
                let lost = if resigned { Lost::Resigned } else { Lost::Expired };
                let _ = news.try_send(News::Lost(lost));
                After::Over
            }
            (State::Asks { .. } | State::Holds { .. }, _) => After::Stays,
        }
    }

    /// The connection is lost.
    pub(in crate::client) fn part(&mut self) -> After {
        let State::Holds { asked, news, .. } = &mut self.state else { return After::Stays };
        asked.clear();
        if self.grace.is_zero() {
            let _ = news.try_send(News::Lost(Lost::Disconnected));
            return After::Over;
        }
        let _ = news.try_send(News::Parted(self.grace));
        After::Stays
    }

    /// It has ended.
    pub(in crate::client) fn end(self, error: CallError) {
        match self.state {
            State::Asks { to, .. } => {
                if let Some(to) = to {
                    let _ = to.send(Err(error));
                }
            }
            State::Holds { news, .. } => {
                let lost = match &error {
                    CallError::Closed => Lost::Closed,
                    CallError::Refused { code, .. } if code == "denied" => Lost::Denied,
                    _ => Lost::Expired,
                };
                let _ = news.try_send(News::Lost(lost));
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a lease of the broker is held by.
#[derive(Debug)]
pub struct ClientSeat {
    client: Client,
    id: u64,
    /// Gone when it was released.
    guard: Mutex<Option<Guard>>,
    lease: Box<str>,
    epoch: u64,
}

impl ClientSeat {
    pub(super) fn new(client: Client, guard: Guard, lease: &str, epoch: u64) -> Self {
        Self { client, id: guard.id(), guard: Mutex::new(Some(guard)), lease: lease.into(), epoch }
    }

    fn says(&self, verb: LeaseVerb) -> LeaseHeader<'_> {
        LeaseHeader { epoch: Some(self.epoch), ..LeaseHeader::new(verb, &self.lease) }
    }
}

impl Seat for ClientSeat {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn renew(&self) {
        self.client.handle.inbox.renew(self.id);
    }

    async fn proclaim(&self, value: &[u8]) -> Result<(), LeaseError> {
        let says = LeaseHeader { value: Some(value), ..self.says(LeaseVerb::Proclaim) };
        let done = self.client.ask_lease(&says).await;
        done.map(drop).map_err(|error| of_call(error, ""))
    }

    async fn resign(&self, to: Option<&str>) -> Result<(), LeaseError> {
        let says = LeaseHeader { to, ..self.says(LeaseVerb::Resign) };
        let done = self.client.ask_lease(&says).await;
        done.map(drop).map_err(|error| of_call(error, to.unwrap_or_default()))
    }

    fn release(&self) {
        drop(self.guard.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_without_an_epoch_or_a_time_to_live_is_not_held() {
        let held = |epoch, ttl| {
            let (to, mut granted) = oneshot::channel();
            let mut sink = Sink::new(to, Duration::ZERO);
            let says = LeaseReport { event: "held", epoch, ttl, ..LeaseReport::default() };
            (sink.hear(&says), granted.try_recv().unwrap().map(|given| given.ttl))
        };
        assert_eq!(held(Some(7), Some(1)), (After::Stays, Ok(Duration::from_millis(1))));
        for (epoch, ttl) in [(Some(7), None), (Some(7), Some(0)), (None, Some(1))] {
            let (after, given) = held(epoch, ttl);
            assert_eq!(after, After::Unwanted);
            assert!(matches!(given, Err(CallError::Refused { .. })), "{given:?}");
        }
    }
}
