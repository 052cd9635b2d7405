//! Requests of level disk whose service takes no more: they are not read again and again.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{DISK, House};
use crate::id::PeerId;
use crate::proto::depot::DepotLimits;
use crate::proto::policy::ServicePolicy;
use crate::wire::mjp::{AdminHeader, Level, RequestHeader, ToBroker, Verb};

/// Requests of a test.
const MANY: u64 = 20;

/// A house whose services have a queue for two.
fn narrow(policy: ServicePolicy) -> House {
    House::new(DepotLimits::default(), ServicePolicy { queue_messages_max: 2, ..policy })
}

impl House {
    /// All are asked, and are on the disk: nobody serves them.
    fn fill(&mut self, says: RequestHeader<'_>) {
        let client = self.desk.join();
        for id in 1..=MANY {
            self.ask(client, id, RequestHeader { wait: Some(false), ..says });
        }
        assert_eq!(self.in_memory(), 0);
    }

    /// The disk does what it has to do, which is little.
    fn settle(&mut self) {
        let steps = (0..100).take_while(|_| self.step()).count();
        assert!(steps < 100, "the disk has no rest");
    }

    fn settled(&mut self, time: Duration) {
        self.desk.pass(time);
        self.settle();
    }

    fn native(&mut self, credit: u16) -> PeerId {
        let worker = self.desk.native_worker(credit);
        self.settle();
        worker
    }

    /// The worker answers one after the other, at once.
    fn answer_all(&mut self, worker: PeerId) {
        for body in (1..=MANY).map(|id| id.to_string()) {
            assert_eq!(self.bodies(worker).last(), Some(&body));
            self.desk.reply(worker, &body, true);
            self.settle();
        }
        assert_eq!((self.size(), self.stats().missing, self.disk.kept.len()), (0, 0, 0));
    }
}

#[test]
fn a_full_queue_refuses_once_and_takes_the_next_when_there_is_room() {
    let delayed = RequestHeader { delay: Some(1), ..DISK };
    for says in [DISK, delayed] {
        let mut house = narrow(ServicePolicy::default());
        house.fill(says);
        house.settled(Duration::from_millis(50));
        let worker = house.native(1);
        house.answer_all(worker);
    }
}

#[test]
fn requests_with_attempts_wait_for_the_credit_that_they_need() {
    let mut house = House::new(DepotLimits::default(), ServicePolicy::default());
    house.fill(RequestHeader { attempts: NonZeroU32::new(1), ..DISK });
    let worker = house.native(1);
    house.answer_all(worker);
}

#[test]
fn a_worker_without_credit_has_nothing_read_until_it_takes_some() {
    let mut house = House::new(
        DepotLimits::default(),
        ServicePolicy { at_most_once: true, ..ServicePolicy::default() },
    );
    let worker = house.native(1);
    house.desk.mjp(worker, &ToBroker::Credit { credit: 0 });
    let client = house.desk.join();
    for id in 1..=MANY {
        house.desk.call(client, id, RequestHeader { wait: Some(false), ..DISK });
    }
    house.settle();
    house.settled(Duration::from_secs(2));
    assert_eq!(house.bodies(worker), [""; 0]);
    house.desk.mjp(worker, &ToBroker::Credit { credit: 1 });
    house.settle();
    house.answer_all(worker);
}

#[test]
fn what_others_have_filled_is_looked_at_again_after_a_while() {
    let mut house = narrow(ServicePolicy::default());
    let (client, worker) = (house.desk.join(), house.native(1));
    let others = ["101", "102", "103"];
    for id in 101..=103 {
        house.desk.call(client, id, RequestHeader { level: Some(Level::Memory), ..DISK });
    }
    house.fill(DISK);
    house.settled(Duration::from_secs(2));
    for body in others {
        house.desk.reply(worker, body, true);
        house.settle();
    }
    assert_eq!(house.bodies(worker), others);
    house.settled(Duration::from_secs(1));
    house.answer_all(worker);
}

#[test]
fn a_service_that_is_drained_has_nothing_read_until_it_goes_on() {
    let mut house = narrow(ServicePolicy::default());
    house.fill(DISK);
    let worker = house.native(1);
    let operator = house.desk.join();
    let shut = |house: &mut House, verb| {
        let says = AdminHeader { service: Some(b"echo"), ..AdminHeader::new(verb) };
        house.desk.admin(operator, says, |_| ()).unwrap();
        house.settle();
    };
    shut(&mut house, Verb::Drain);
    for body in ["1", "2", "3"] {
        house.desk.reply(worker, body, true);
        house.settle();
    }
    house.settled(Duration::from_secs(2));
    assert_eq!(house.bodies(worker), ["1", "2", "3"]);
    shut(&mut house, Verb::Resume);
    assert_eq!(house.bodies(worker).len(), 4);
}
