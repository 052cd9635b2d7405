//! Between MJP and MDP: what arrives, and what is lost (SPEC 9.6).

use super::native::ECHO;
use super::*;
use crate::id::Identity;
use crate::proto::stats::Outcome;
use crate::wire::mjp::{self, Fault, FromBroker, Packed, RequestHeader, ToBroker};

use Version::V01;

/// Whatever a client can say of a request, and a key that nobody knows.
fn header() -> Vec<u8> {
    let says = RequestHeader { timeout: Some(60_000), trace: Some("00-1"), ..ECHO };
    let mut octets = Packed::new(&says).octets().to_vec();
    octets[0] += 1;
    octets.extend(b"\xa3x-a\x07");
    octets
}

impl Desk {
    fn stock_worker(&mut self, version: Version) -> PeerId {
        let peer = self.join();
        self.say(peer, |out| FromWorker::Ready { service: b"echo" }.encode(version, out));
        peer
    }

    fn call_with(&mut self, client: PeerId, header: &[u8], body: &[&[u8]]) {
        let says = RequestHeader::decode(header).unwrap();
        let body = Message::new(body.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>());
        let request = mjp::Request { id: 1, header, says, body: body.frames() };
        self.mjp(client, &ToBroker::Request(request));
    }

    /// The frames that a peer was last told.
    fn last_told(&self, peer: PeerId) -> Vec<Vec<u8>> {
        let told = self.said.to.get(peer).and_then(|said| said.last());
        told.map(|message| message.frames().map(<[u8]>::to_vec).collect()).unwrap_or_default()
    }
}

fn with_identity(desk: &mut Desk, name: &[u8]) -> PeerId {
    let hello = Hello { identity: Identity::try_from(name).ok(), ..Hello::default() };
    desk.core.join(desk.now, hello, &mut desk.said).0
}

#[test]
fn native_to_native_everything_arrives_octet_by_octet() {
    let mut desk = Desk::new(ServicePolicy::default());
    let client = with_identity(&mut desk, b"me");
    let worker = desk.native_worker(1);
    desk.call_with(client, &header(), &[b"hi", b"", b"there"]);
    let told = desk.last_told(worker);
    assert_eq!(told[2], header());
    assert_eq!(told[4..], [&b"hi"[..], b"", b"there"]);
    let given = desk.works(worker).remove(0);
    assert_eq!((given.attempt, given.timeout), (1, Some(60_000)));
    assert_eq!(given.identity.as_deref(), Some(&b"me"[..]));
    let (id, body) = (given.token, Message::new([&b"yo"[..]]));
    let answer = mjp::Answer { id, header: b"\x81\xa1k\x01", body: body.frames() };
    desk.mjp(worker, &ToBroker::Final(answer));
    let told = desk.last_told(client);
    assert_eq!(told[2..], [&b"\x81\xa1k\x01"[..], b"yo"]);
}

#[test]
fn parts_that_are_joined_lose_their_headers_and_bounds() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, RequestHeader { parts: Some(false), ..ECHO });
    desk.reply(worker, "1", false);
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), ["FINAL 1 answer answer"]);
}

#[test]
fn a_stock_worker_gets_the_body_of_a_native_client_and_no_header() {
    for version in [V01, V02] {
        let mut desk = Desk::new(ServicePolicy::default());
        let (client, worker) = (with_identity(&mut desk, b"me"), desk.stock_worker(version));
        desk.call_with(client, &header(), &[b"hi", b"there"]);
        let said = &desk.said.to[worker][0];
        let (spoken, ToWorker::Request(request)) = ToWorker::decode(said.frames()).unwrap() else {
            panic!("{said:?}")
        };
        assert_eq!(spoken, version);
        assert_eq!(request.body.map(<[u8]>::to_vec).collect::<Vec<_>>(), [&b"hi"[..], b"there"]);
        let (address, body) = (request.address.to_vec(), Message::new([&b"yo"[..]]));
        let answer = Answer { address: &address, body: body.frames() };
        desk.say(worker, |out| FromWorker::Final(answer).encode(version, out));
        assert_eq!(desk.last_told(client)[2..], [&b""[..], b"yo"], "an answer without a header");
    }
}

#[test]
fn a_native_client_gets_the_parts_of_a_stock_worker() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.stock_worker(V02));
    desk.call(client, 1, ECHO);
    let (address, _) = desk.given(worker).remove(0);
    desk.answer(worker, &address, false);
    desk.answer(worker, &address, true);
    assert_eq!(desk.heard(client), ["PARTIAL 1 answer", "FINAL 1 answer"]);
}

#[test]
fn deadline_attempts_and_cancel_of_a_native_client_hold_without_its_stock_worker() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.stock_worker(V01));
    desk.call(client, 1, ECHO);
    desk.mjp(client, &ToBroker::Cancel { id: 1 });
    assert_eq!(desk.heard(client), ["ERROR 1 cancelled"]);
    assert_eq!(desk.said.to[worker].len(), 1, "MDP has no word for it");
    let (address, _) = desk.given(worker).remove(0);
    let body = Message::new([&b"yo"[..]]);
    let answer = Answer { address: &address, body: body.frames() };
    desk.say(worker, |out| FromWorker::Final(answer).encode(V01, out));
    assert_eq!(desk.heard(client), [""; 0], "the answer is dropped");
    desk.call(client, 2, RequestHeader { timeout: Some(100), ..ECHO });
    desk.pass(Duration::from_millis(100));
    assert_eq!(desk.heard(client), ["ERROR 2 timeout"]);
    desk.leave(worker);
    let worker = desk.stock_worker(V01);
    let attempts = std::num::NonZeroU32::new(1);
    desk.call(client, 3, RequestHeader { attempts, ..ECHO });
    desk.leave(worker);
    assert_eq!(desk.heard(client), ["ERROR 3 worker_lost"]);
}

#[test]
fn a_native_worker_gets_service_and_identity_of_a_stock_client() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (with_identity(&mut desk, b"req"), desk.native_worker(1));
    desk.ask(client, b"question");
    let given = desk.works(worker).remove(0);
    assert_eq!(given.header, Packed::new(&ECHO).octets());
    assert_eq!((given.attempt, given.timeout), (1, None));
    assert_eq!(given.identity.as_deref(), Some(&b"req"[..]));
}

#[test]
fn a_stock_client_gets_the_body_of_a_native_worker_and_no_header() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.ask(client, b"question");
    desk.reply(worker, "question", false);
    desk.reply(worker, "question", true);
    assert_eq!(desk.answered(client), [false, true]);
    assert_eq!(desk.last_told(client)[2..], [&b"echo"[..], b"answer"]);
}

#[test]
fn a_stock_client_of_the_first_version_gets_the_parts_of_a_native_worker_in_one() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    let body = Message::new([&b"question"[..]]);
    let (envelope, body) = (Frames::DELIMITER, body.frames());
    let request = Request { version: V01, envelope, service: b"echo", body };
    desk.say(client, |out| request.encode(out));
    desk.reply(worker, "question", false);
    desk.reply(worker, "question", true);
    assert_eq!(desk.last_told(client)[3..], [&b"answer"[..], b"answer"]);
}

#[test]
fn an_error_of_a_native_worker_says_nothing_to_a_stock_client() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.ask(client, b"question");
    desk.fail(worker, "question");
    assert!(!desk.said.to.contains_key(client));
    let view = desk.core.router().services().next().unwrap();
    assert_eq!(view.stats.ended_with(Outcome::Failed), 1);
    assert_eq!(view.in_flight, 0, "its credit is back");
}

#[test]
fn an_error_of_a_native_worker_arrives_as_it_is() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.fail(worker, "1");
    let said = desk.said.to[client].last().unwrap();
    let Ok(FromBroker::Error(failure)) = FromBroker::decode(said.frames()) else {
        panic!("{said:?}")
    };
    assert_eq!(Fault::decode(failure.header).unwrap().code, "no_paper");
    let view = desk.core.router().services().next().unwrap();
    assert_eq!(view.stats.ended_with(Outcome::Failed), 1);
}
