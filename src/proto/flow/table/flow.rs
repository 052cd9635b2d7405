//! One flow: a client that waits, or a pair.

use std::num::NonZeroU32;

use crate::id::ServiceName;
use crate::proto::clock::Time;
use crate::proto::flow::output::{End, FACTORY, Seat};
use crate::proto::flow::words::Bot;
use crate::wire::message::Message;
use crate::wire::zio::{Coordinates, Direction, Kind, Shape};

use super::lane::Reserved;
use super::service::HandlerId;

slotmap::new_key_type! {
    /// One flow: a slot and its generation.
    pub struct FlowId;
}

impl FlowId {
    /// As a number, for those outside who are asked about a flow.
    #[must_use]
    pub fn token(self) -> u64 {
        slotmap::Key::data(&self).as_ffi()
    }

    /// The flow of that number, if it is one that can have been given out.
    #[must_use]
    pub fn from_token(token: u64) -> Option<Self> {
        crate::id::handle_of(token)
    }
}

/// How far a flow has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The factory was asked.
    Deciding,
    /// No handler of the service is free.
    Queued,
    /// A handler was chosen, or the factory has accepted: its BOT is awaited.
    Coming,
    /// Both ends are there.
    Open,
    /// One of them has ended.
    Ending,
}

impl Stage {
    /// Its name in listings.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Deciding => "deciding",
            Self::Queued => "queued",
            Self::Coming => "coming",
            Self::Open => "open",
            Self::Ending => "ending",
        }
    }
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) client: End,
    /// What the client does.
    pub(super) direction: Direction,
    pub(super) cid: NonZeroU32,
    /// Those of its BOT.
    pub(super) said: Coordinates,
    /// The credit in octets that the client has asked for, if it is a lane.
    pub(super) bytes: Option<u64>,
    /// What is promised to its taker, if that is one.
    pub(super) reserved: Option<Reserved>,
    pub(super) progress: Progress,
    /// The service that was asked, and who of it has the flow.
    pub(super) service: Option<ServiceName>,
    pub(super) handler: Option<HandlerId>,
    /// Memory taken for it, octets.
    pub(super) charged: usize,
    pub(super) since: Time,
    /// The one deadline that counts.
    pub(super) due: Option<Time>,
}

/// How far it has come. Until it is open the BOT is kept, as a handler gets it.
#[derive(Debug)]
pub(super) enum Progress {
    Deciding {
        bot: Message,
        early: Option<Early>,
    },
    /// The number is its place among those that wait for the service.
    Queued {
        bot: Message,
        number: u64,
    },
    Coming {
        bot: Message,
        number: u64,
    },
    Open(Pair),
}

/// A handler that came before the factory's answer, and its BOT as it came.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) end: End,
    pub(super) bot: Message,
    pub(super) bytes: Option<u64>,
    pub(super) charged: usize,
}

/// Two ends that talk.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) ends: Both<End>,
    pub(super) routes: Both<Route>,
    pub(super) giver: Seat,
    /// The agreed credit, and what of it was handed out and not yet spent.
    pub(super) total: u64,
    pub(super) handed_out: u64,
    /// The same in octets, if both ends are lanes.
    pub(super) octets: Option<Octets>,
    /// When something last went, and whether it was said that nothing does.
    pub(super) last: Time,
    pub(super) idle: bool,
    pub(super) dats: u64,
    pub(super) bytes: u64,
}

/// Credit in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Octets {
    pub(super) total: u64,
    pub(super) handed_out: u64,
}

/// What is handed out and not spent, in messages and in octets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    pub(super) handed_out: u64,
    pub(super) octets: Option<Octets>,
}

/// Something of each end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Both<T> {
    pub(super) client: T,
    pub(super) handler: T,
}

/// What one end says to the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// How its messages look.
    pub(super) shape: Shape,
    /// Nothing more is forwarded: EOT was, or was said in its place.
    pub(super) closed: bool,
    /// It has said EOT itself.
    pub(super) said_eot: bool,
    /// Those of its last message.
    pub(super) last: Coordinates,
}

impl<T> Both<T> {
    pub(super) fn of(&self, seat: Seat) -> &T {
        match seat {
            Seat::Client => &self.client,
            Seat::Handler => &self.handler,
        }
    }

    pub(super) fn of_mut(&mut self, seat: Seat) -> &mut T {
        match seat {
            Seat::Client => &mut self.client,
            Seat::Handler => &mut self.handler,
        }
    }
}

impl Route {
    pub(super) fn new(shape: Shape, last: Coordinates) -> Self {
        Self { shape, closed: false, said_eot: false, last }
    }

    /// Those of an EOT that is said in its place.
    pub(super) fn next(&self) -> Coordinates {
        Coordinates { seqno: self.last.seqno.wrapping_add(1), ..self.last }
    }
}

impl Pair {
    pub(super) fn end(&self, seat: Seat) -> End {
        *self.ends.of(seat)
    }

    pub(super) fn route(&self, seat: Seat) -> &Route {
        self.routes.of(seat)
    }

    pub(super) fn route_mut(&mut self, seat: Seat) -> &mut Route {
        self.routes.of_mut(seat)
    }

    /// Whether neither end has ended.
    pub(super) fn runs(&self) -> bool {
        !self.routes.client.closed && !self.routes.handler.closed
    }

    /// What is handed out and not spent after that message; none if it may not be said. Once the
    /// other end has said EOT nothing counts any more, but for a lane: nothing but credit bounds
    /// what it says.
    pub(super) fn account(&self, seat: Seat, said: &Bot<'_>) -> Option<Account> {
        let kind = said.label.kind();
        let Self { handed_out, octets, .. } = *self;
        let over = self.route(seat.other()).said_eot && !self.end(seat).is_lane();
        if kind == Kind::Eot || over {
            return Some(Account { handed_out, octets });
        }
        match (seat == self.giver, kind) {
            (true, Kind::Dat) => Some(Account {
                handed_out: handed_out.checked_sub(1)?,
                octets: self.less(said.size())?,
            }),
            (false, Kind::Pay) => {
                let credit = u64::try_from(said.label.credit()?).ok()?;
                let sum = handed_out.checked_add(credit).filter(|sum| *sum <= self.total)?;
                Some(Account { handed_out: sum, octets: self.more(said.bytes.unwrap_or(0))? })
            }
            _ => None,
        }
    }

    /// The credit in octets when so many are spent; none if there are not as many.
    fn less(&self, size: u64) -> Option<Option<Octets>> {
        let Some(octets) = self.octets else { return Some(None) };
        let handed_out = octets.handed_out.checked_sub(size)?;
        Some(Some(Octets { handed_out, ..octets }))
    }

    /// The credit in octets when so many more are handed out; none if there are not as many.
    fn more(&self, bytes: u64) -> Option<Option<Octets>> {
        let Some(octets) = self.octets else { return Some(None) };
        let sum = octets.handed_out.checked_add(bytes).filter(|sum| *sum <= octets.total)?;
        Some(Some(Octets { handed_out: sum, ..octets }))
    }

    /// Whether one of its ends is within a connection of MJP.
    pub(super) fn has_lane(&self) -> bool {
        self.ends.client.is_lane() || self.ends.handler.is_lane()
    }
}

impl Flow {
    /// The BOT for a handler, until there is one.
    pub(super) fn bot(&self) -> Option<&Message> {
        match &self.progress {
            Progress::Deciding { bot, .. }
            | Progress::Queued { bot, .. }
            | Progress::Coming { bot, .. } => Some(bot),
            Progress::Open(_) => None,
        }
    }

    pub(super) fn pair(&self) -> Option<&Pair> {
        match &self.progress {
            Progress::Open(pair) => Some(pair),
            Progress::Deciding { .. } | Progress::Queued { .. } | Progress::Coming { .. } => None,
        }
    }

    pub(super) fn pair_mut(&mut self) -> Option<&mut Pair> {
        match &mut self.progress {
            Progress::Open(pair) => Some(pair),
            Progress::Deciding { .. } | Progress::Queued { .. } | Progress::Coming { .. } => None,
        }
    }

    /// The name by which rights to it are asked for.
    pub(super) fn name(&self) -> &[u8] {
        self.service.as_ref().map_or(FACTORY, ServiceName::as_bytes)
    }

    pub(super) fn stage(&self) -> Stage {
        match &self.progress {
            Progress::Deciding { .. } => Stage::Deciding,
            Progress::Queued { .. } => Stage::Queued,
            Progress::Coming { .. } => Stage::Coming,
            Progress::Open(pair) if pair.runs() => Stage::Open,
            Progress::Open(_) => Stage::Ending,
        }
    }
}
