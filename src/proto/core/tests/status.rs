//! STATUS: the tables in pages.

use super::*;
use crate::id::Identity;
use crate::wire::mjp::{FromBroker, ReadyHeader, Report, StatusHeader, ToBroker, What};

impl Desk {
    /// Asks, and looks at the answer.
    fn status<T>(&mut self, says: StatusHeader<'_>, look: impl FnOnce(&Report<'_>) -> T) -> T {
        let peer = self.join();
        self.mjp(peer, &ToBroker::Status { id: 5, says });
        let said = self.said.to.remove(peer).unwrap().remove(0);
        let Ok(FromBroker::Status { id: 5, header }) = FromBroker::decode(said.frames()) else {
            panic!("{said:?}")
        };
        let report = Report::decode(header).unwrap();
        let result = look(&report);
        self.leave(peer);
        result
    }

    /// Walks all pages of so many entries; returns how many there were on each.
    fn pages(&mut self, what: What, service: Option<&[u8]>, max: u16) -> Vec<usize> {
        let (mut after, mut pages) = (None, Vec::new());
        loop {
            let max = std::num::NonZeroU16::new(max);
            let says = StatusHeader { what, service, after, max };
            let (len, next) = self.status(says, |report| {
                let services = report.services.as_ref().map(Vec::len);
                let workers = report.workers.as_ref().map(Vec::len);
                assert_eq!(services.is_some(), what == What::Services);
                (services.or(workers).unwrap(), report.next)
            });
            pages.push(len);
            after = next;
            if next.is_none() {
                return pages;
            }
        }
    }
}

#[test]
fn flows_are_told_by_how_far_they_are() {
    let flow = crate::proto::flow::FlowSettings {
        otherwise: crate::proto::flow::Target::Service(
            crate::id::ServiceName::try_from(&b"writers"[..]).unwrap(),
        ),
        ..crate::proto::flow::FlowSettings::default()
    };
    let mut desk = Desk::with(Settings { flow, ..Settings::default() });
    let told = |desk: &mut Desk| {
        desk.status(asks(What::Broker), |report| {
            let flows = report.broker.and_then(|broker| broker.flows).unwrap();
            (flows.open, flows.waiting, flows.handlers)
        })
    };
    assert_eq!(told(&mut desk), (0, 0, 0));
    let worker = desk.join();
    let role = Some("flow");
    let ready = ReadyHeader { service: b"writers", role, ..ReadyHeader::default() };
    desk.mjp(worker, &ToBroker::Ready(ready));
    let client = desk.client_of_flows();
    assert_eq!(told(&mut desk), (0, 1, 1));
    // Whoever comes says the BOT that the worker was given.
    let given = desk.said.to.remove(worker).unwrap().remove(0);
    let Ok(FromBroker::Flow(given)) = FromBroker::decode(given.frames()) else {
        panic!("{given:?}")
    };
    let handler = desk.socket_of_flows();
    let bot = given.body.to_message();
    desk.core.message(desk.now, handler, bot.frames(), &mut desk.said);
    assert_eq!(told(&mut desk), (1, 0, 1));
    desk.leave(worker);
    desk.leave(client);
    assert_eq!(told(&mut desk), (0, 0, 0));
}

fn asks(what: What) -> StatusHeader<'static> {
    StatusHeader { what, service: None, after: None, max: None }
}

#[test]
fn the_broker_tells_what_it_has() {
    let mut desk = Desk::new(ServicePolicy { prefetch: 2, ..ServicePolicy::default() });
    let identity = Identity::try_from(&b"press"[..]).ok();
    let hello = Hello { identity, ..Hello::default() };
    let native = desk.core.join(desk.now, hello, &mut desk.said).0;
    let labels = [("zone", "a")].into_iter().collect();
    let version = Some("1.2");
    let says = ReadyHeader { service: b"echo", labels, version, ..ReadyHeader::default() };
    desk.mjp(native, &ToBroker::Ready(says));
    let stock = desk.worker();
    let client = desk.join();
    for body in [b"a", b"b", b"c", b"d"] {
        desk.ask(client, body);
    }
    desk.pass(Duration::from_millis(100));
    desk.status(asks(What::Broker), |report| {
        let broker = report.broker.unwrap();
        assert_eq!((broker.peers, broker.services, broker.workers, broker.open), (4, 1, 2, 4));
        assert!(!broker.draining && broker.uptime == 100);
    });
    desk.status(asks(What::Services), |report| {
        let [echo] = report.services.as_deref().unwrap() else { panic!("{report:?}") };
        assert_eq!((echo.service, echo.workers), (&b"echo"[..], 2));
        assert_eq!((echo.waiting, echo.in_flight, echo.oldest), (1, 3, Some(100)));
        assert_eq!((echo.accepted, echo.replied, echo.failed), (4, 0, 0));
    });
    desk.status(asks(What::Workers), |report| {
        let [first, second] = report.workers.as_deref().unwrap() else { panic!("{report:?}") };
        assert_eq!((first.dialect, second.dialect), ("MJP/1", "MDP/0.2"));
        assert_eq!((first.credit, first.in_flight, first.ready), (1, 1, false));
        assert_eq!((first.identity, first.version), (Some(&b"press"[..]), Some("1.2")));
        assert_eq!(first.labels.iter().collect::<Vec<_>>(), [("zone", "a")]);
        assert_eq!((second.credit, second.in_flight), (2, 2));
    });
    desk.leave(stock);
}

#[test]
fn long_listings_come_in_pages() {
    let mut desk = Desk::new(ServicePolicy::default());
    for number in 0..250 {
        let peer = desk.join();
        let service = format!("service{}", number % 125);
        let service = service.as_bytes();
        desk.mjp(peer, &ToBroker::Ready(ReadyHeader { service, ..ReadyHeader::default() }));
    }
    assert_eq!(desk.pages(What::Services, None, 50), [50, 50, 25]);
    assert_eq!(desk.pages(What::Services, Some(b"service7"), 50), [1]);
    assert_eq!(desk.pages(What::Services, Some(b"nobody"), 50), [0]);
    assert_eq!(desk.pages(What::Workers, Some(b"service7"), 50), [2]);
    let all = desk.pages(What::Workers, None, 1000);
    assert!(all.len() > 1, "a header has 16 KiB: {all:?}");
    assert_eq!(all.iter().sum::<usize>(), 250);
}

#[test]
fn what_workers_say_of_themselves_is_charged_and_may_be_long() {
    let mut desk = Desk::new(ServicePolicy::default());
    let long = "x".repeat(6_000);
    let longest = "y".repeat(15_000);
    let worker = desk.native_worker(1);
    for description in [&long, &long, &longest] {
        let peer = desk.join();
        let description = Some(description.as_str());
        let says = ReadyHeader { service: b"echo", description, ..ReadyHeader::default() };
        desk.mjp(peer, &ToBroker::Ready(says));
    }
    let says = ReadyHeader { service: b"echo", description: Some(&long), ..ReadyHeader::default() };
    desk.mjp(worker, &ToBroker::Ready(says));
    assert!(desk.said.charged > 33_000);
    desk.ready(worker, 1);
    assert!(desk.said.charged < 33_000);
    assert_eq!(desk.pages(What::Workers, None, 100), [3, 1]);
}
