//! LEASE: who holds what, who waits for it, and who is told.

use std::borrow::Cow;
use std::time::Duration;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::core::rights::why_denied;
use crate::proto::lease::{
    Candidacy, Freed, LeaseLimits, Leases, News, Place, Refused, Row, Stale, Terms, WARD,
};
use crate::proto::output::Output;
use crate::proto::rights::{Grants, Verb as Right};
use crate::wire::mjp::{
    AdminEvent, Code, FromBroker, HEADER_MAX, LEASE_NAME_MAX, LeaseHeader, LeaseReport, LeaseRow,
    LeaseVerb, Packed, RequestHeader,
};

use super::fence::{Why, why_stale};

/// What stands before the name of a lease where who observes it is asked for a right.
const LOOK: &str = "lease.";

impl Core {
    /// Every epoch from now on is above `last`: none of an earlier run of the broker comes back.
    pub fn begin_epochs(&mut self, last: u64) {
        self.router.leases.begin_above(last);
        self.groups.begin_above(last);
    }

    /// Every epoch from now on is above `last`, and those up to `reserved` are known to a disk, which
    /// is told of more: to be called before the first peer comes.
    pub fn keep_epochs(&mut self, last: u64, reserved: u64) {
        self.begin_epochs(last);
        self.router.leases.keep_marks(reserved);
    }

    /// The leases, to look at.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.router.leases
    }

    /// Carries out LEASE, and answers it.
    pub(super) fn on_lease<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        says: &LeaseHeader<'_>,
        out: &mut O,
    ) {
        if let Err(why) = self.try_lease(now, peer, id, says, out) {
            self.object_why(peer, id, &why, out);
        }
    }

    fn try_lease<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        says: &LeaseHeader<'_>,
        out: &mut O,
    ) -> Result<(), Why> {
        let Some(verb) = LeaseVerb::from_name(says.verb) else {
            return Err((Code::Unsupported, "no verb of this broker".into(), None));
        };
        if verb == LeaseVerb::List {
            return self.list_leases(now, peer, id, says, out);
        }
        let lease = says.lease.ok_or_else(|| missing("lease"))?;
        if verb == LeaseVerb::Observe {
            return self.observe(peer, id, lease, out);
        }
        if !self.may(peer, Right::Lease, lease.as_bytes(), out) {
            let why = why_denied(Right::Lease, lease.as_bytes());
            return Err((Code::Denied, why.into(), None));
        }
        if lease.starts_with(WARD) {
            let why = "what begins with `$group.` is held by who leads the group; join that";
            return Err((Code::Forbidden, why.into(), None));
        }
        if verb == LeaseVerb::Campaign {
            return self.campaign(now, peer, id, (lease, says), out);
        }
        let epoch = says.epoch.ok_or_else(|| missing("epoch"))?;
        self.hold(now, (peer, id), (verb, lease, epoch), says, out)
    }

    fn campaign<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        (lease, says): (&str, &LeaseHeader<'_>),
        out: &mut O,
    ) -> Result<(), Why> {
        if self.router.is_draining() {
            return Err((Code::Draining, self.why_draining().into(), None));
        }
        let terms = self.terms_of(says)?;
        let value = says.value.unwrap_or_default();
        self.check_value(value)?;
        let Some(known) = self.peers.get(peer) else { return Ok(()) };
        let identity = known.identity.as_ref().map(|it| String::from_utf8_lossy(it.as_bytes()));
        let name = says.name.map(Cow::Borrowed).or(identity).unwrap_or_default();
        let principal = known.principal;
        let one = Candidacy {
            peer,
            id,
            principal: &principal,
            lease,
            name: &name,
            value,
            terms,
            wait: says.wait.map(|ms| span(ms).min(RequestHeader::TIMEOUT_MAX)),
        };
        self.router.leases.check_campaign(now, &one).map_err(refusal)?;
        if !out.charge(Leases::cost_of(lease, &name, value.len())) {
            return Err(short());
        }
        match self.router.leases.campaign(now, &one) {
            Place::Holds(_) => {}
            Place::Waits(place) => {
                let place = Some(u64::try_from(place).unwrap_or(u64::MAX));
                let says = LeaseReport { event: "waiting", place, ..LeaseReport::default() };
                self.say_lease(peer, id, &says, out);
            }
        }
        self.tell_leases(now, out);
        Ok(())
    }

    /// What only a holder may say.
    fn hold<O: Output>(
        &mut self,
        now: Time,
        (peer, id): (PeerId, u64),
        (verb, lease, epoch): (LeaseVerb, &str, u64),
        says: &LeaseHeader<'_>,
        out: &mut O,
    ) -> Result<(), Why> {
        let Some(principal) = self.peers.get(peer).map(|peer| peer.principal) else {
            return Ok(());
        };
        let one = (lease, epoch);
        let mut report = LeaseReport { epoch: Some(epoch), ..LeaseReport::default() };
        match verb {
            LeaseVerb::Renew => {
                let renewed = self.router.leases.renew(now, (peer, id), &principal, one);
                let ttl = self.stale_counted(renewed)?.map_err(refusal)?;
                (report.event, report.ttl) = ("renewed", Some(millis(ttl)));
            }
            LeaseVerb::Proclaim => {
                let value = says.value.unwrap_or_default();
                self.check_value(value)?;
                if !out.charge(value.len()) {
                    return Err(short());
                }
                let done = self.router.leases.proclaim(now, &principal, one, value);
                out.release(self.router.leases.take_freed());
                self.stale_counted(done)?;
                report.event = "proclaimed";
            }
            _ => {
                let done = self.router.leases.resign(now, &principal, one, says.to);
                self.stale_counted(done)?.map_err(refusal)?;
                report.event = "resigned";
            }
        }
        self.tell_leases(now, out);
        self.say_lease(peer, id, &report, out);
        Ok(())
    }

    fn stale_counted<T>(&mut self, done: Result<T, Stale>) -> Result<T, Why> {
        done.map_err(|stale| {
            self.router.leases.count_refused(true);
            why_stale(stale)
        })
    }

    fn observe<O: Output>(
        &mut self,
        peer: PeerId,
        id: u64,
        lease: &str,
        out: &mut O,
    ) -> Result<(), Why> {
        let what = [LOOK, lease].concat();
        if !self.may_look(peer, &what, out) {
            let name = ["mmi.", &what].concat();
            return Err((Code::Denied, why_denied(Right::Call, name.as_bytes()).into(), None));
        }
        self.router.leases.check(peer, id, lease).map_err(refusal)?;
        if !self.router.leases.has_room_for_observer(lease) {
            return Err(refusal(Refused::TooMany("lease.observers")));
        }
        if !out.charge(Leases::cost_of(lease, "", 0)) {
            return Err(short());
        }
        self.router.leases.observe(peer, id, lease);
        Ok(())
    }

    fn list_leases<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        says: &LeaseHeader<'_>,
        out: &mut O,
    ) -> Result<(), Why> {
        if !self.may_look(peer, "leases", out) {
            return Err((Code::Denied, why_denied(Right::Call, b"mmi.leases").into(), None));
        }
        /// Octets of a row besides its names.
        const ROW: usize = 96;
        let (mut leases, mut bytes, mut next) = (Vec::new(), 0, None);
        let rows = self.router.leases.rows(says.after, says.prefix.unwrap_or_default());
        for row in rows {
            bytes += ROW + row.lease.len() + row.holder.map_or(0, |(_, name, ..)| name.len());
            if leases.len() >= says.max() || bytes > HEADER_MAX - 2 * LEASE_NAME_MAX {
                next = leases.last().map(|row: &LeaseRow<'_>| row.lease);
                break;
            }
            leases.push(row_of(now, &row));
        }
        let leases = Some(leases);
        let packed =
            Packed::new(&LeaseReport { event: "list", leases, next, ..LeaseReport::default() });
        let header = packed.octets();
        self.say(peer, header.len(), out, |encoder| {
            FromBroker::Lease { id, header }.encode(encoder);
        });
        Ok(())
    }

    /// The peer wants no more of a campaign or an observation, if it has one of that id.
    pub(super) fn cancel_lease<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        id: u64,
        out: &mut O,
    ) {
        if self.router.leases.cancel(now, peer, id, Freed::Cancelled) {
            self.tell_leases(now, out);
        }
    }

    /// The peer has other rights now: what it may not hold or look at any more is over.
    pub(in crate::proto::core) fn regrant_leases<O: Output>(
        &mut self,
        now: Time,
        peer: PeerId,
        grants: &Grants,
        out: &mut O,
    ) {
        let over = self.router.leases.seats_of(peer).filter(|(_, observes, lease)| {
            if *observes {
                !grants.allows(Right::Call, ["mmi.", LOOK, lease].concat().as_bytes())
            } else {
                !grants.allows(Right::Lease, lease.as_bytes())
            }
        });
        let over: Vec<(u64, bool)> = over.map(|(id, observes, _)| (id, observes)).collect();
        for (id, observes) in over {
            self.router.leases.cancel(now, peer, id, Freed::Denied);
            let right = if observes { "call" } else { "lease" };
            let why = format!("the right `{right}` has been taken away; it is over");
            self.object(peer, id, Code::Denied, &why, out);
        }
        self.tell_leases(now, out);
    }

    /// Says what has become of campaigns, tells observers and followers, and gives memory back.
    /// False: there was nothing to be said.
    pub(in crate::proto::core) fn tell_leases<O: Output>(
        &mut self,
        now: Time,
        out: &mut O,
    ) -> bool {
        if self.router.leases.is_quiet() {
            return false;
        }
        while let Some(news) = self.router.leases.pop_news() {
            self.tell_lease(&news, out);
        }
        let share = self.settings.topics.outbox_bytes_max;
        self.router.leases.tell(now, |peer, id, view| {
            let report = LeaseReport {
                event: if view.held { "holder" } else { "free" },
                epoch: Some(view.epoch).filter(|epoch| *epoch > 0),
                name: Some(view.name).filter(|name| !name.is_empty()),
                value: Some(view.value).filter(|value| !value.is_empty()),
                ..LeaseReport::default()
            };
            let packed = Packed::new(&report);
            let header = packed.octets();
            out.spare(peer, header.len(), share, |encoder| {
                FromBroker::Lease { id, header }.encode(encoder);
            })
        });
        out.release(self.router.leases.take_freed());
        self.keep_mark(out);
        true
    }

    fn tell_lease<O: Output>(&mut self, news: &News, out: &mut O) {
        let (event, lease, name, epoch, state) = match news {
            News::Held { peer, id, epoch, ttl, lease, name } => {
                let (ttl, epoch) = (Some(millis(*ttl)), Some(*epoch));
                let says = LeaseReport { event: "held", epoch, ttl, ..LeaseReport::default() };
                self.say_lease(*peer, *id, &says, out);
                ("lease.held", lease, name, epoch, None)
            }
            News::Freed { peer, id, epoch, why, lease, name } => {
                let (reason, epoch) = (Some(why.as_str()), Some(*epoch));
                // Who takes its campaign back, or has been told why, is told no more.
                if let Some(peer) = peer
                    && matches!(why, Freed::Resigned | Freed::Expired)
                {
                    let says =
                        LeaseReport { event: "lost", epoch, reason, ..LeaseReport::default() };
                    self.say_lease(*peer, *id, &says, out);
                }
                ("lease.freed", lease, name, epoch, reason)
            }
            News::Patience { peer, id, epoch } => {
                let why = "nobody else has let go of the lease within `wait`";
                return self.object_why(*peer, *id, &(Code::Held, why.into(), *epoch), out);
            }
        };
        let name = Some(&**name).filter(|name| !name.is_empty());
        let lease = Some(&**lease);
        self.announce(
            &AdminEvent { event, lease, name, epoch, state, ..AdminEvent::default() },
            out,
        );
    }

    fn say_lease<O: Output>(&mut self, peer: PeerId, id: u64, says: &LeaseReport<'_>, out: &mut O) {
        let packed = Packed::new(says);
        let header = packed.octets();
        self.say(peer, header.len(), out, |encoder| {
            FromBroker::Lease { id, header }.encode(encoder);
        });
    }

    fn check_value(&self, value: &[u8]) -> Result<(), Why> {
        let max = self.settings.lease.value_bytes_max;
        if value.len() <= max {
            return Ok(());
        }
        let why = format!("`value` has {} octets, more than lease.value = {max}", value.len());
        Err((Code::TooBig, why.into(), None))
    }

    fn terms_of(&self, says: &LeaseHeader<'_>) -> Result<Terms, Why> {
        let LeaseLimits { ttl_min, ttl_max, .. } = self.settings.lease;
        let within = |key, given: Option<u64>, default, min: Duration| {
            let time = given.map_or(default, span);
            if (min..=ttl_max).contains(&time) {
                return Ok(time);
            }
            let (min, max) = (min.as_millis(), ttl_max.as_millis());
            let why = format!("`{key}` is out of range: {min} to {max} ms");
            Err((Code::BadRequest, why.into(), None))
        };
        let zero = Duration::ZERO;
        let ttl = LeaseLimits::TTL.clamp(ttl_min, ttl_max);
        Ok(Terms {
            ttl: within("ttl", says.ttl, ttl, ttl_min)?,
            grace: within("grace", says.grace, zero, zero)?,
            lock_delay: within("lock_delay", says.lock_delay, zero, zero)?,
        })
    }
}

fn refusal(refused: Refused) -> Why {
    match refused {
        Refused::DuplicateId => {
            let why = "another campaign or observation of this id is open on the connection";
            (Code::DuplicateId, why.into(), None)
        }
        Refused::TooMany(limit) => (Code::Overloaded, format!("{limit} is reached").into(), None),
        Refused::Held(epoch) => (Code::Held, "another one holds the lease".into(), epoch),
        Refused::NoCandidate => {
            (Code::NotFound, "no candidate of that name waits; you still hold".into(), None)
        }
    }
}

fn missing(key: &str) -> Why {
    (Code::BadRequest, format!("header: `{key}` is missing").into(), None)
}

fn short() -> Why {
    (Code::Overloaded, "the broker's memory is short".into(), None)
}

fn row_of<'a>(now: Time, row: &Row<'a>) -> LeaseRow<'a> {
    let holder = row.holder;
    LeaseRow {
        lease: row.lease,
        epoch: holder.map(|(epoch, ..)| epoch),
        name: holder.map(|(_, name, ..)| name).filter(|name| !name.is_empty()),
        held: holder.map(|(_, _, since, _)| millis(now.since(since))),
        left: holder.map(|(_, _, _, until)| millis(until.since(now))),
        waiting: u64::try_from(row.waiting).unwrap_or(u64::MAX),
        observers: u64::try_from(row.observers).unwrap_or(u64::MAX),
    }
}

fn span(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
