//! ADMIN: the tables seen more closely, and what an operator changes.

mod dead;
mod errand;
mod explain;
mod flows;
mod follow;
mod group;
mod letters;
mod listing;

use std::borrow::Cow;

use crate::id::PeerId;
use crate::proto::clock::Time;
use crate::proto::output::Output;
use crate::proto::rights::Verb as Right;
use crate::proto::router::{Gate, ServiceId};
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{AdminEvent, AdminHeader, AdminReport, Code, FromBroker, Packed, Verb};

use super::Core;
use super::rights::why_denied;

pub use errand::Errand;
pub(super) use errand::Errands;
pub(super) use follow::Followers;
pub(super) use letters::Changes;

/// Why a verb is not carried out.
type Refused = (Code, Cow<'static, str>);

impl Core {
    /// Carries out ADMIN, and answers it.
    pub(super) fn administer<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        (says, header, body): (&AdminHeader<'_>, &[u8], Frames<'_>),
        out: &mut O,
    ) {
        let verb = match self.verb_of(id, says, out) {
            Ok(verb) => verb,
            Err((code, why)) => return self.object(id, query, code, &why, out),
        };
        if let Err(why) = self.check_fence(now, id, None, (says.lease, says.epoch)) {
            return self.object_why(id, query, &why, out);
        }
        let asked = (verb, says, header, body);
        if let Err((code, why)) = self.carry_out_verb(now, id, query, asked, out) {
            self.object(id, query, code, &why, out);
        }
    }

    /// What the peer wants done, if it may want that.
    fn verb_of<O: Output>(
        &mut self,
        id: PeerId,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) -> Result<Verb, Refused> {
        let Some(verb) = Verb::from_name(says.verb) else {
            return Err((Code::Unsupported, "no verb of this broker".into()));
        };
        let name = verb.as_str();
        if verb.only_reads() {
            if !self.may_look(id, name, out) {
                let name = ["mmi.", name].concat();
                return Err((Code::Denied, why_denied(Right::Call, name.as_bytes()).into()));
            }
        } else if !self.may(id, Right::Admin, name.as_bytes(), out) {
            let why = format!(
                "the right `admin` for {name} is missing; who comes in by an administration \
                 listener (ipc://) has it"
            );
            return Err((Code::Denied, why.into()));
        }
        Ok(verb)
    }

    fn carry_out_verb<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        (verb, says, header, body): (Verb, &AdminHeader<'_>, &[u8], Frames<'_>),
        out: &mut O,
    ) -> Result<(), Refused> {
        match verb {
            Verb::Jobs => self.say_jobs(now, id, query, says, out)?,
            Verb::Job => self.say_job(now, id, query, says, out)?,
            Verb::Clients => self.say_clients(now, id, query, says, out),
            Verb::Workers => self.say_workers(now, id, query, says, out),
            Verb::Flows => self.say_flows(now, id, query, says, out),
            Verb::Ends => self.say_ends(now, id, query, says, out),
            Verb::Follow => self.follow(id, query, says, out)?,
            Verb::Cancel => {
                self.cancel_job(now, says, out)?;
                self.say_done(id, query, out);
            }
            Verb::Pause => self.shut(now, id, query, says, Gate::Paused { since: now }, out)?,
            Verb::Drain => self.shut(now, id, query, says, Gate::Draining, out)?,
            Verb::Resume => self.shut(now, id, query, says, Gate::Open, out)?,
            Verb::Kick => {
                let name =
                    says.name.ok_or_else(|| (Code::BadRequest, "`name` is missing".into()))?;
                if !self.kick(now, name.as_bytes(), out) {
                    return Err((Code::NotFound, "no peer has that name".into()));
                }
                self.say_done(id, query, out);
            }
            Verb::Explain => self.explain(now, (id, query), says, out)?,
            Verb::DeadList
            | Verb::DeadShow
            | Verb::DeadRequeue
            | Verb::DeadEdit
            | Verb::DeadDrop => self.on_dead(now, (id, query), verb, (header, body), out)?,
            Verb::Resign => {
                self.depose(now, says, out)?;
                self.say_done(id, query, out);
            }
            Verb::KeyPending
            | Verb::KeyApprove
            | Verb::KeyDeny
            | Verb::KeyRevoke
            | Verb::AclTest
            | Verb::Reload
            | Verb::StoreBackup => self.send_out(id, query, verb, header)?,
        }
        Ok(())
    }

    fn say_done<O: Output>(&mut self, id: PeerId, query: u64, out: &mut O) {
        self.say_report(id, query, &AdminReport::default(), out);
    }

    fn say_report<O: Output>(
        &mut self,
        id: PeerId,
        query: u64,
        report: &AdminReport<'_>,
        out: &mut O,
    ) {
        self.say_packed(id, query, &Packed::new(report), out);
    }

    fn say_packed<O: Output>(&mut self, id: PeerId, query: u64, report: &Packed, out: &mut O) {
        let header = report.octets();
        self.say(id, header.len(), out, |encoder| {
            FromBroker::Admin { id: query, header, body: Frames::default() }.encode(encoder);
        });
    }

    /// Pauses a service, drains it, or lets it go on.
    fn shut<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        says: &AdminHeader<'_>,
        gate: Gate,
        out: &mut O,
    ) -> Result<(), Refused> {
        let name = says.service.ok_or_else(|| (Code::BadRequest, "`service` is missing".into()))?;
        let service = self.service_of_guests(name)?;
        let before = self.router.gate_of(service).label();
        self.router.set_gate(now, service, gate, out);
        if let Some(name) = self.router.name_of(service).cloned() {
            self.retry_depot(&name);
        }
        if before != gate.label() {
            let event = match gate {
                Gate::Paused { .. } => "service.paused",
                Gate::Draining => "service.draining",
                Gate::Open => "service.resumed",
            };
            self.announce(&AdminEvent { event, service: Some(name), ..AdminEvent::default() }, out);
        }
        self.say_done(id, query, out);
        Ok(())
    }

    /// The service of that name, unless it is a part of the broker.
    fn service_of_guests(&self, name: &[u8]) -> Result<ServiceId, Refused> {
        let service = self.router.service_id(name);
        let service = service.filter(|_| !crate::proto::router::is_of_the_house(name));
        let why = "nobody offers or asks for a service of that name";
        service.ok_or_else(|| (Code::NotFound, why.into()))
    }

    /// Ends a job as if its client had wanted it.
    fn cancel_job<O: Output>(
        &mut self,
        now: Time,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) -> Result<(), Refused> {
        let uuid = says.uuid.ok_or_else(|| (Code::BadRequest, "`uuid` is missing".into()))?;
        let unknown = || (Code::NotFound, "no job of that uuid is known".into());
        let (known, job) = self.router.jobs.named(uuid).ok_or_else(unknown)?;
        if job.ended_at.is_some() {
            return Err((Code::NotFound, "the job has ended already".into()));
        }
        // The workers of NFP answer the client as if it had said DELETE.
        self.call_off(now, known, Message::new([&b"{}"[..]]).frames(), out);
        Ok(())
    }
}
