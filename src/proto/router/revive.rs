//! An operator puts dead letters back into their queues, changes or drops them.

use crate::id::{PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::dead::Letter;
use crate::proto::dialect::{CallerVoice, Revived};
use crate::proto::output::Output;
use crate::wire::message::Message;

use super::Router;
use super::fence::Wanted;
use super::service::{Gate, Service};

/// Why a letter cannot be put back now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unrevived {
    /// The broker stops.
    Stopping,
    /// The service takes nothing new.
    Draining,
    /// Its queue is full, or memory is.
    Full,
    /// The store takes nothing more now.
    Store,
    /// Another change of it is on its way.
    Changing,
    /// It was forgotten meanwhile, or cannot be read.
    Gone,
}

impl Unrevived {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "the broker stops",
            Self::Draining => "the service is drained; resume it first",
            Self::Store => {
                "the store has no room, a limit of it is reached, or the disk has to catch up; try \
                 again later"
            }
            Self::Changing => "somebody else is changing it; try again",
            Self::Gone => "it was forgotten meanwhile, or its record cannot be read",
            Self::Full => "the queue of the service is full, or memory is short; try again later",
        }
    }
}

impl Router {
    /// Whether the service takes what is put back.
    ///
    /// # Errors
    /// It does not now.
    pub(crate) fn takes_back(&self, service: &ServiceName) -> Result<(), Unrevived> {
        let gate = self.service_id(service.as_bytes()).map(|id| self.gate_of(id));
        if self.draining {
            Err(Unrevived::Stopping)
        } else if gate == Some(Gate::Draining) {
            Err(Unrevived::Draining)
        } else {
            Ok(())
        }
    }

    /// Puts a letter back into its queue, as a request that is accepted now. Nobody waits for its
    /// answer: its caller was told that it failed.
    ///
    /// # Errors
    /// It cannot be now, and is dead as before.
    pub(crate) fn revive<O: Output>(
        &mut self,
        now: Time,
        number: u64,
        out: &mut O,
    ) -> Result<(), Unrevived> {
        let Some(letter) = self.dead.get(number) else { return Ok(()) };
        self.takes_back(&letter.service)?;
        let Ok(service) = self.service_for(now, letter.service.clone(), out) else {
            return Err(Unrevived::Full);
        };
        let Some(letter) = self.dead.take(number) else { return Ok(()) };
        out.release(self.dead.take_freed());
        let is_full = |service: &Service| !service.has_room(letter.cost());
        if self.services.get(service).is_some_and(is_full) {
            self.forget_if_empty(service, out);
            self.restore(letter, out);
            return Err(Unrevived::Full);
        }
        self.accept_letter(now, letter, out)
    }

    fn accept_letter<O: Output>(
        &mut self,
        now: Time,
        letter: Letter,
        out: &mut O,
    ) -> Result<(), Unrevived> {
        let voice = CallerVoice::Revived(Box::new(Revived {
            id: letter.id,
            attempts: letter.attempts,
            deaths: letter.deaths,
            accepted_at: letter.accepted_at,
            asker: letter.asker.clone(),
            has_header: letter.has_header,
        }));
        let wanted = Wanted {
            service: letter.service.as_bytes(),
            fence: None,
            order: letter.order.clone(),
            delay: None,
            place: None,
        };
        match self.accept(now, PeerId::default(), voice, wanted, letter.body.frames(), out) {
            Ok(request) => {
                // Or it has ended already.
                if self.requests.contains_key(request) {
                    self.revived.insert(letter.id, request);
                }
                self.dead.count(true);
                Ok(())
            }
            Err(_) => {
                self.restore(letter, out);
                Err(Unrevived::Full)
            }
        }
    }

    /// Keeps a letter that was taken out a moment ago: there is room for it, whatever there is.
    fn restore<O: Output>(&mut self, letter: Letter, out: &mut O) {
        out.take(letter.cost());
        self.dead.restore(letter);
    }

    /// Gives a letter another service, or other frames; false if memory is short.
    pub(crate) fn edit_letter<O: Output>(
        &mut self,
        number: u64,
        service: Option<ServiceName>,
        frames: Option<(Message, bool)>,
        out: &mut O,
    ) -> bool {
        let Some(letter) = self.dead.get(number) else { return false };
        let before = letter.cost();
        let name = service.as_ref().unwrap_or(&letter.service).as_bytes().len();
        let body = frames.as_ref().map_or_else(|| letter.body.bytes(), |(body, _)| body.bytes());
        let after = before - letter.service.as_bytes().len() - letter.body.bytes() + name + body;
        let more = after.saturating_sub(before);
        if !self.dead.fits_more(more) || !out.charge(more) {
            return false;
        }
        self.dead.edit(number, service, frames);
        out.release(self.dead.take_freed());
        true
    }

    /// Forgets a letter that an operator does not want any more, or that is a request now. If it
    /// was on the disk, returns where.
    pub(crate) fn drop_letter<O: Output>(
        &mut self,
        number: u64,
        requeued: bool,
        out: &mut O,
    ) -> Option<u64> {
        let letter = self.dead.take(number)?;
        self.dead.count(requeued);
        out.release(self.dead.take_freed());
        letter.disk.map(|disk| disk.number)
    }
}
