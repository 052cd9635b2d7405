//! Rows of workers and clients, in pages; and who is sent away.

use super::*;
use crate::id::Identity;
use crate::proto::core::{ClientRow, WorkerRow};
use crate::wire::message::Message;
use crate::wire::nfp;
use crate::wire::nfp::Verb;

impl Desk {
    fn named(&mut self, name: &str, hello: Hello) -> PeerId {
        let identity = Identity::try_from(name.as_bytes()).ok();
        self.core.join(self.now, Hello { identity, ..hello }, &mut self.said).0
    }

    fn norfab(&mut self, name: &str, service: &[u8], hello: Hello) -> PeerId {
        let peer = self.named(name, hello);
        self.say(peer, |out| nfp::FromWorker::Ready { service }.encode(out));
        peer
    }

    fn beat(&mut self, worker: PeerId) {
        self.say(worker, |out| nfp::FromWorker::Keepalive { service: b"work" }.encode(out));
    }

    /// A client of NFP asks the broker's own management.
    fn manage(&mut self, client: PeerId) {
        let body = Message::new([&b"{}"[..]]);
        let (service, target, uuid) = (b"mmi.service.broker", b"all", b"u1");
        let job = nfp::Job { verb: Verb::Get, service, target, uuid, body: body.frames() };
        self.say(client, |out| nfp::FromClient::Job(job).encode(out));
    }

    /// All rows, in pages of so many.
    fn worker_rows(&mut self, max: usize) -> (Vec<WorkerRow>, usize) {
        let (mut rows, mut pages, mut next) = (Vec::new(), 0, Some(0));
        while let Some(from) = next {
            let page = self.core.worker_rows(self.now, from, max);
            assert!(page.rows.len() <= max);
            rows.extend(page.rows);
            (pages, next) = (pages + 1, page.next);
        }
        (rows, pages)
    }

    fn client_rows(&mut self, max: usize) -> Vec<ClientRow> {
        let (mut rows, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let page = self.core.client_rows(self.now, from, max);
            rows.extend(page.rows);
            next = page.next;
        }
        rows
    }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

fn house() -> Hello {
    Hello { house: true, ..Hello::default() }
}

#[test]
fn a_row_tells_of_keepalives_and_of_the_time_left() {
    let mut desk = desk();
    let worker = desk.norfab("w1", b"work", Hello::default());
    for _ in 0..3 {
        desk.pass(Duration::from_millis(2500));
        desk.beat(worker);
    }
    desk.pass(Duration::from_millis(1000));
    let (rows, _) = desk.worker_rows(10);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.name.as_bytes(), row.service.as_bytes()), (&b"w1"[..], &b"work"[..]));
    assert_eq!((row.dialect, row.beats_sent, row.beats_heard), ("NFP", 3, 3));
    assert_eq!(row.registered, Duration::from_millis(8500));
    assert_eq!(row.hold_left, Duration::from_millis(14_000));
    // What is counted is one registration's.
    desk.say(worker, |out| nfp::FromWorker::Disconnect { service: b"work" }.encode(out));
    desk.say(worker, |out| nfp::FromWorker::Ready { service: b"work" }.encode(out));
    let row = &desk.worker_rows(10).0[0];
    assert_eq!((row.beats_sent, row.beats_heard, row.registered), (0, 0, Duration::ZERO));
}

#[test]
fn pages_have_every_worker_once_and_none_of_the_house() {
    let mut desk = desk();
    desk.norfab("mmi", b"mmi.service.broker", house());
    let mut workers: Vec<_> =
        (0..10).map(|n| desk.norfab(&format!("w{n}"), b"work", Hello::default())).collect();
    desk.leave(workers.remove(4));
    desk.worker();
    for (max, expected) in [(3, 4), (5, 2), (10, 1), (100, 1)] {
        let (rows, pages) = desk.worker_rows(max);
        assert_eq!((rows.len(), pages), (10, expected), "{max}");
        let mut names: Vec<_> = rows.iter().map(|row| row.name.as_bytes().to_vec()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 10);
        assert!(rows.iter().any(|row| row.dialect == "MDP/0.2"));
    }
}

#[test]
fn clients_are_rows_too() {
    let mut desk = desk();
    desk.norfab("mmi", b"mmi.service.broker", house());
    desk.norfab("w1", b"work", Hello::default());
    let client = desk.named("c1", Hello::default());
    desk.manage(client);
    let stock = desk.guest();
    desk.ask(stock, b"x");
    desk.join();
    for max in [1, 2, 100] {
        let rows = desk.client_rows(max);
        let [first, second] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((first.name.as_bytes(), first.dialect, first.admin), (&b"c1"[..], "NFP", true));
        assert_eq!((second.dialect, second.requests, second.admin), ("MDP/0.2", 1, false));
        assert!(second.name.as_bytes().starts_with(b"~"));
    }
}

#[test]
fn who_is_disconnected_is_told_and_its_work_goes_to_another() {
    let mut desk = desk();
    let mine = desk.norfab("mmi", b"mmi.service.broker", house());
    let (first, second) = (desk.worker(), desk.worker());
    let client = desk.join();
    desk.ask(client, b"x");
    let holder = if desk.given(first).is_empty() { second } else { first };
    let other = if holder == first { second } else { first };
    let name = desk.core.name_of(holder);
    assert!(desk.core.disconnect(desk.now, name.as_bytes(), &mut desk.said));
    desk.check();
    assert_eq!(desk.said.closed, [(holder, CloseReason::Disconnected)]);
    let last = desk.said.to[holder].last().unwrap();
    assert!(matches!(ToWorker::decode(last.frames()), Ok((_, ToWorker::Disconnect))));
    assert_eq!(desk.given(other).len(), 1);
    assert!(!desk.core.disconnect(desk.now, name.as_bytes(), &mut desk.said), "it is gone");
    assert!(!desk.core.disconnect(desk.now, b"mmi", &mut desk.said), "the house stays");
    assert!(desk.core.peers.contains_key(mine));
}

#[test]
fn the_broker_stops_when_the_house_has_answered() {
    let mut desk = desk();
    let mine = desk.norfab("mmi", b"mmi.service.broker", house());
    let client = desk.named("c1", Hello::default());
    assert!(desk.core.is_drained());
    desk.manage(client);
    desk.manage(client);
    let answer = |desk: &mut Desk| {
        let body = Message::new([&b"{}"[..]]);
        let (kind, body) = (nfp::Kind::Response, body.frames());
        let answer = nfp::Answer { kind, client: b"c1", uuid: b"u1", status: b"200", body };
        desk.say(mine, |out| answer.encode(out));
    };
    answer(&mut desk);
    assert!(!desk.core.is_drained(), "one is open");
    answer(&mut desk);
    assert!(desk.core.is_drained());
    desk.manage(client);
    assert!(!desk.core.is_drained());
    desk.leave(mine);
    assert!(desk.core.is_drained(), "nobody is left to answer");
}
