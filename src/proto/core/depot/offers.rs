//! Requests of level disk are offered to their services, as far as these take them (SPEC 15.6).

use std::time::Duration;

use crate::id::ServiceName;
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::depot::{Asking, Told};
use crate::proto::dialect::{CallerVoice, Shelf, Stored};
use crate::proto::output::Output;
use crate::proto::router::{DepotNews, Wanted, WorkerId};
use crate::proto::stats::Outcome;

/// How often services are looked at that had no room for a request, and how many of them.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_SERVICES: usize = 256;

/// Requests of one service that may be asked at a time if each is noted before.
const ONCE_MAX: usize = 256;

impl Core {
    /// A service may take more of what is kept.
    pub(super) fn wake_depot(&mut self, service: &ServiceName) {
        if let Some(keeper) = &mut self.keeper
            && !keeper.awake.contains(service)
        {
            keeper.awake.push(service.clone());
        }
    }

    /// A service may take more of what is kept than when it refused some.
    pub(in crate::proto::core) fn retry_depot(&mut self, service: &ServiceName) {
        if let Some(depot) = &mut self.router.depot {
            depot.try_again(service);
            self.wake_depot(service);
        }
    }

    /// The service of that worker may: there is one more of them, or that one takes more.
    pub(in crate::proto::core) fn retry_depot_of(&mut self, worker: WorkerId) {
        if self.keeper.is_some()
            && let Some(service) = self.router.service_of(worker).cloned()
        {
            self.retry_depot(&service);
        }
    }

    /// Requests of the service that may be asked at a time.
    fn most_of(&self, service: &ServiceName, once: bool) -> usize {
        if once { self.router.credit_of(service.as_bytes(), ONCE_MAX) } else { usize::MAX }
    }

    /// A request that is stored and could be asked: now, if its service takes it.
    pub(super) fn offer_deposit<O: Output>(&mut self, now: Time, number: u64, out: &mut O) {
        let Some(depot) = &self.router.depot else { return };
        let Some(service) = depot.service_of(number).cloned() else { return };
        let once = depot.is_limited(number) || self.router.is_once(service.as_bytes());
        let marked = depot.is_marking(number);
        let takes = self.router.is_served(service.as_bytes()) && !self.router.is_draining();
        let most = self.most_of(&service, once);
        let Some(depot) = &mut self.router.depot else { return };
        if !takes {
            return depot.put_back(number);
        } else if !marked && !depot.has_room(&service, most) {
            return depot.refused(number);
        }
        let begins = !self.router.holds_up(service.as_bytes(), number)
            && self.router.depot.as_mut().is_some_and(|depot| depot.begin(number, once));
        if begins {
            self.ask_deposit(now, number, out);
        }
    }

    fn ask_deposit<O: Output>(&mut self, now: Time, number: u64, out: &mut O) {
        let Some(keeper) = &self.keeper else { return };
        let caller = keeper.caller;
        let Some(depot) = &mut self.router.depot else { return };
        let Some(asking) = depot.take(now, number) else { return };
        let Asking { service, asker, terms, tried, fence, order, kept } = asking;
        let shelf = Shelf::Depot(number);
        let voice = CallerVoice::Stored(Box::new(Stored { place: shelf, asker, terms, tried }));
        let (service, place) = (service.as_bytes(), Some(number));
        let wanted = Wanted { service, fence, order, delay: None, place };
        let asked = self.router.accept(now, caller, voice, wanted, kept.frames(), out);
        let Some(depot) = &mut self.router.depot else { return };
        match asked {
            Ok(request) => depot.asked(number, request),
            Err(_) => depot.refused(number),
        }
    }

    /// Notes what has become of requests that are kept, and has others asked. Returns whether there
    /// was something to do.
    pub(in crate::proto::core) fn see_to_depot<O: Output>(
        &mut self,
        now: Time,
        out: &mut O,
    ) -> bool {
        if self.keeper.is_none() {
            return false;
        }
        let mut some = self.forget_letters();
        for news in self.router.take_depot_news() {
            some = true;
            let Some(depot) = &mut self.router.depot else { break };
            match news {
                DepotNews::Ended { number, outcome, epoch, said, remains } => {
                    let end = (outcome, epoch, said);
                    if let Some(service) = depot.ended(now, number, end, remains) {
                        self.wake_depot(&service);
                    }
                }
                DepotNews::Lost { number, losses, solo_losses } => {
                    depot.lost(number, losses, solo_losses);
                }
                DepotNews::Failed { number, failures } => depot.failed_before(number, failures),
            }
        }
        for (service, order) in self.router.take_moved_orders() {
            some = true;
            if let Some(depot) = &mut self.router.depot {
                depot.reconsider(&service, &order);
                self.wake_depot(&service);
            }
        }
        while let Some(service) = self.keeper.as_mut().and_then(|keeper| keeper.awake.pop()) {
            some = true;
            if self.router.is_draining() || !self.router.is_served(service.as_bytes()) {
                if let Some(depot) = &mut self.router.depot {
                    depot.forget_if_empty(&service);
                }
                continue;
            }
            let once = self.router.is_once(service.as_bytes());
            let most = self.most_of(&service, once);
            if let Some(depot) = &mut self.router.depot {
                depot.read_more(&service, most);
            }
        }
        if some {
            self.settle_depot(out);
        }
        some
    }

    /// Has the disk forget the letters that are in the table no more. Whether there were any.
    pub(super) fn forget_letters(&mut self) -> bool {
        let gone = self.router.dead.take_gone();
        if let Some(depot) = &mut self.router.depot {
            depot.unbury(&gone, None);
        }
        !gone.is_empty()
    }

    /// Tells whose time is up, and looks from time to time at services that had no room, and for
    /// requests that nobody asks any more.
    pub(in crate::proto::core) fn tick_depot<O: Output>(&mut self, now: Time, out: &mut O) {
        while let Some(late) = self.router.depot.as_mut().and_then(|depot| depot.pop_late(now)) {
            self.tell_deposit(&late, &Told::Outcome(Outcome::TimedOut, None), out);
        }
        let due = self.router.depot.as_mut().map(|depot| depot.come_due(now));
        for service in due.unwrap_or_default() {
            self.wake_depot(&service);
        }
        let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.retry <= now) else {
            return;
        };
        let Some(depot) = &mut self.router.depot else { return };
        keeper.retry = now.after(RETRY);
        let services = depot.lines_after(keeper.retried.as_ref(), RETRY_SERVICES);
        keeper.retried = services.last().filter(|_| services.len() == RETRY_SERVICES).cloned();
        depot.forget_old(now);
        for service in services {
            self.retry_depot(&service);
        }
        self.sweep_depot(now);
        self.settle_depot(out);
    }

    /// Looks for requests on the disk whose time is over, unless the next broker is to.
    pub(super) fn sweep_depot(&mut self, now: Time) {
        if !self.router.is_draining()
            && let Some(depot) = &mut self.router.depot
        {
            depot.sweep(now);
        }
    }
}
