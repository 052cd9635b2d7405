//! EVENT, ASK and TELL at the desk: who hears what, and who is told that nobody does.

use super::native::ECHO;
use super::*;
use crate::proto::router::TalkStats;
use crate::wire::mjp::{
    self, Ask, AskHeader, Event, EventHeader, FromBroker, Packed, RequestHeader, Tell, TellHeader,
    ToBroker,
};
use crate::wire::nfp::{Kind, Verb};

/// A caller that wants to know, and can be asked.
const OPEN: RequestHeader<'static> = RequestHeader { events: Some(true), asks: Some(true), ..ECHO };

impl Desk {
    /// Something happens at what the worker was last given of that body.
    fn event(&mut self, worker: PeerId, body: &str, message: &str) {
        let says = EventHeader { message: Some(message), ..EventHeader::default() };
        let (id, packed) = (self.token(worker, body), Packed::new(&says));
        let (header, body) = (packed.octets(), Frames::default());
        self.mjp(worker, &ToBroker::Event(Event { id, header, body }));
    }

    fn question(&mut self, worker: PeerId, body: &str, ask: u64) {
        let id = self.token(worker, body);
        self.question_of(worker, id, ask);
    }

    pub(super) fn question_of(&mut self, worker: PeerId, id: u64, ask: u64) {
        let says = AskHeader { ask, message: None };
        let (packed, body) = (Packed::new(&says), Message::new([&b"who?"[..]]));
        let (header, body) = (packed.octets(), body.frames());
        self.mjp(worker, &ToBroker::Ask(Ask { id, header, says, body }));
    }

    fn tell(&mut self, client: PeerId, id: u64, ask: u64, answer: &'static str) {
        let says = TellHeader { ask, ..TellHeader::default() };
        let (packed, body) = (Packed::new(&says), Message::new([answer]));
        let (header, body) = (packed.octets(), body.frames());
        self.mjp(client, &ToBroker::Tell(Tell { id, header, says, body }));
    }

    fn talk(&self) -> TalkStats {
        *self.core.router().talk()
    }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

#[test]
fn an_event_goes_octet_by_octet_to_a_caller_that_wants_it_in_the_order_of_the_parts() {
    let mut desk = desk();
    let (client, worker) = (desk.join(), desk.native_worker(2));
    desk.call(client, 1, OPEN);
    desk.event(worker, "1", "half");
    desk.reply(worker, "1", false);
    desk.event(worker, "1", "almost");
    let id = desk.token(worker, "1");
    // Whatever a worker has in its header is its own affair.
    let body = Message::new([&b"a"[..], b"b"]);
    let odd = Event { id, header: b"\xc1\xc1", body: body.frames() };
    desk.mjp(worker, &ToBroker::Event(odd));
    let last = desk.said.to.get(client).unwrap().last().unwrap();
    match FromBroker::decode(last.frames()).unwrap() {
        FromBroker::Event(event) => {
            assert_eq!((event.id, event.header, event.body.len()), (1, &b"\xc1\xc1"[..], 2));
        }
        other => panic!("{other:?}"),
    }
    desk.reply(worker, "1", true);
    desk.event(worker, "1", "too late");
    let heard = desk.heard(client);
    assert_eq!(
        heard,
        ["EVENT 1 half ", "PARTIAL 1 answer", "EVENT 1 almost ", "EVENT 1  a b", "FINAL 1 answer"]
    );
    assert_eq!((desk.talk().events, desk.core.dropped()), (3, 1));
}

#[test]
fn an_event_that_nobody_wants_or_has_room_for_is_dropped_and_counted() {
    let mut desk = desk();
    let (client, stock, worker) = (desk.join(), desk.join(), desk.native_worker(4));
    desk.call(client, 1, ECHO);
    desk.event(worker, "1", "x");
    desk.ask(stock, b"stock");
    desk.event(worker, "stock", "x");
    assert_eq!(desk.talk().events_unwanted, 2);
    desk.call(client, 2, OPEN);
    desk.said.pressed.push(client);
    desk.event(worker, "2", "x");
    desk.reply(worker, "2", true);
    assert_eq!(desk.heard(client), ["FINAL 2 answer"], "answers are never dropped");
    assert_eq!((desk.talk().events, desk.talk().events_missed), (0, 1));
    assert_eq!(desk.said.closed, []);
}

#[test]
fn an_event_is_no_answer_and_does_not_keep_the_request_from_another_worker() {
    let mut desk = desk();
    let (client, first) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, OPEN);
    desk.event(first, "1", "begun");
    let token = desk.token(first, "1");
    let second = desk.native_worker(1);
    desk.mjp(first, &ToBroker::Bye);
    let late = Event { id: token, header: b"", body: Frames::default() };
    desk.mjp(first, &ToBroker::Event(late));
    desk.event(second, "1", "begun");
    desk.reply(second, "1", true);
    assert_eq!(desk.heard(client), ["EVENT 1 begun ", "EVENT 1 begun ", "FINAL 1 answer"]);
    assert_eq!(desk.works(second)[0].attempt, 2);
}

#[test]
fn who_says_that_something_happens_or_asks_is_not_silent() {
    let busy_timeout = Some(Duration::from_secs(10));
    let mut desk = Desk::new(ServicePolicy { busy_timeout, ..ServicePolicy::default() });
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, OPEN);
    for ask in 1..=4 {
        desk.pass(Duration::from_secs(5));
        desk.event(worker, "1", "x");
        desk.pass(Duration::from_secs(5));
        desk.question(worker, "1", ask);
    }
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client).last().unwrap(), "FINAL 1 answer");
}

#[test]
fn a_worker_asks_its_caller_and_is_told() {
    let mut desk = desk();
    let (client, other, worker) = (desk.join(), desk.join(), desk.native_worker(2));
    desk.call(client, 7, OPEN);
    desk.call(other, 8, OPEN);
    desk.question(worker, "7", 5);
    assert_eq!(desk.heard(client), ["ASK 7 5 who?"]);
    assert_eq!(desk.heard(other), [""; 0]);
    desk.tell(other, 7, 5, "not asked");
    desk.tell(other, 8, 5, "not asked");
    desk.tell(client, 7, 4, "not asked");
    assert_eq!(desk.core.dropped(), 3);
    desk.tell(client, 7, 5, "me");
    desk.tell(client, 7, 5, "me again");
    assert_eq!(desk.core.dropped(), 4, "a question has one answer");
    // What is answered may be asked again.
    desk.question(worker, "7", 5);
    desk.tell(client, 7, 5, "still me");
    let heard = desk.heard(worker);
    assert_eq!(heard[heard.len() - 2..], ["TELL 7 5 me", "TELL 7 5 still me"]);
    desk.reply(worker, "7", true);
    desk.tell(client, 7, 5, "too late");
    assert_eq!(desk.heard(client), ["ASK 7 5 who?", "FINAL 7 answer"]);
    assert_eq!((desk.talk().asks, desk.talk().tells), (2, 2));
}

#[test]
fn who_cannot_be_asked_is_not_and_the_worker_goes_on() {
    let mut desk = desk();
    let (client, stock, worker) = (desk.join(), desk.join(), desk.native_worker(8));
    desk.call(client, 1, RequestHeader { asks: None, ..OPEN });
    desk.question(worker, "1", 1);
    desk.ask(stock, b"stock");
    desk.question(worker, "stock", 2);
    // The caller does not wait any more, and the worker does not know.
    desk.call(client, 2, OPEN);
    let token = desk.token(worker, "2");
    desk.mjp(client, &ToBroker::Cancel { id: 2 });
    desk.question_of(worker, token, 3);
    let leaving = desk.join();
    desk.call(leaving, 3, OPEN);
    desk.question(worker, "3", 4);
    desk.leave(leaving);
    desk.question(worker, "3", 5);
    assert_eq!(
        desk.heard(worker),
        [
            "REQUEST 1",
            "TELL 1 1 no_caller",
            "REQUEST stock",
            "TELL stock 2 no_caller",
            "REQUEST 2",
            "CANCEL 2",
            "TELL 2 3 no_caller",
            "REQUEST 3",
            "CANCEL 3",
            "TELL 3 5 no_caller",
        ]
    );
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), ["ERROR 2 cancelled", "FINAL 1 answer"]);
    assert_eq!((desk.talk().asks, desk.talk().asks_refused), (1, 4));
}

#[test]
fn questions_have_a_limit_and_numbers_of_their_own() {
    let mut settings = Settings::default();
    settings.mjp.asks_max = 2;
    let mut desk = Desk::with(settings);
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, OPEN);
    for ask in [1, 1, 2, 3] {
        desk.question(worker, "1", ask);
    }
    desk.tell(client, 1, 1, "one");
    desk.said.full.push(client);
    desk.question(worker, "1", 3);
    desk.said.full.clear();
    desk.said.account_full = true;
    desk.question(worker, "1", 3);
    desk.said.account_full = false;
    desk.question(worker, "1", 3);
    assert_eq!(
        desk.heard(worker),
        [
            "REQUEST 1",
            "TELL 1 1 duplicate_id",
            "TELL 1 3 overloaded",
            "TELL 1 1 one",
            "TELL 1 3 overloaded",
            "TELL 1 3 overloaded",
        ]
    );
    assert_eq!(desk.heard(client), ["ASK 1 1 who?", "ASK 1 2 who?", "ASK 1 3 who?"]);
    assert_eq!(desk.said.closed, [], "who has no room for a question is not closed for it");
}

#[test]
fn the_answer_to_a_question_of_a_lost_worker_is_nobodys() {
    let mut desk = desk();
    let (client, first) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, OPEN);
    desk.question(first, "1", 1);
    let second = desk.native_worker(1);
    desk.leave(first);
    desk.tell(client, 1, 1, "for the first");
    // Under the same number it could get the answer to another question.
    desk.question(second, "1", 1);
    desk.question(second, "1", 2);
    desk.tell(client, 1, 1, "for the first");
    desk.tell(client, 1, 2, "for the second");
    assert_eq!(
        desk.heard(second),
        ["REQUEST 1", "TELL 1 1 duplicate_id", "TELL 1 2 for the second"]
    );
    desk.reply(second, "1", true);
}

#[test]
fn what_is_malformed_is_refused_and_ends_no_request() {
    let mut desk = desk();
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, OPEN);
    let token = desk.token(worker, "1");
    let (says, body) = (AskHeader::default(), Frames::default());
    let nameless = Ask { id: token, header: b"\x80", says, body };
    desk.mjp(worker, &ToBroker::Ask(nameless));
    assert_eq!(desk.heard(worker)[1..], ["ERROR 0 bad_request"]);
    let says = TellHeader::default();
    for id in [0, 1] {
        desk.mjp(client, &ToBroker::Tell(Tell { id, header: b"\x80", says, body }));
    }
    assert_eq!(desk.heard(client), ["ERROR 0 bad_request", "ERROR 0 bad_request"]);
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), ["FINAL 1 answer"]);
}

#[test]
fn a_number_that_is_no_delivery_is_not_taken_for_one() {
    let mut desk = desk();
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, OPEN);
    let token = desk.token(worker, "1");
    let almost = token & u64::from(u32::MAX);
    assert_eq!((token, almost), (0x1_0000_0001, 1));
    let event = Event { id: almost, header: b"", body: Frames::default() };
    desk.mjp(worker, &ToBroker::Event(event));
    desk.question_of(worker, almost, 1);
    let body = Message::new([&b"answer"[..]]);
    let answer = mjp::Answer { id: almost, header: b"", body: body.frames() };
    desk.mjp(worker, &ToBroker::Final(answer));
    desk.answer(worker, &almost.to_be_bytes(), true);
    assert_eq!(desk.heard(client), [""; 0]);
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), ["FINAL 1 answer"]);
}

#[test]
fn an_nfp_client_hears_what_happens_at_a_native_worker() {
    let mut desk = desk();
    let worker = desk.native_worker(1);
    let client = desk.enter("c", false);
    desk.job_with(client, Verb::Post, "echo", "any", "u1", r#"{"task":"run"}"#);
    desk.told(client);
    let says = EventHeader {
        message: Some("half"),
        severity: Some("warning"),
        progress: Some(50),
        ..EventHeader::default()
    };
    let id = desk.works(worker)[0].token;
    let packed = Packed::new(&says);
    let (header, body) = (packed.octets(), Frames::default());
    desk.mjp(worker, &ToBroker::Event(Event { id, header, body }));
    let told = desk.told(client);
    let [(Kind::Event, service, uuid, status, body)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&service[..], &uuid[..], &status[..]), ("echo", "u1", "200"));
    let event: serde_json::Value = serde_json::from_str(body).unwrap();
    for (key, value) in [("message", "half"), ("severity", "WARNING"), ("status", "running")] {
        assert_eq!(event[key], value, "{key}");
    }
    assert_eq!((&event["task"], &event["extras"]["progress"]), (&"run".into(), &50.into()));
}

#[test]
fn a_native_caller_hears_what_happens_at_an_nfp_worker_and_is_asked() {
    let mut desk = desk();
    let (client, worker) = (desk.join(), desk.nfp_ready("w", "echo"));
    let asked = r#"{"event_type":"input_request","message":"go on?","extras":{"input_request":
        {"id":"i1","question":"go on?"}}}"#;
    let call = |desk: &mut Desk, id, says| {
        let (packed, body) = (Packed::new(&says), Message::new([&br#"{"task":"run"}"#[..]]));
        let (header, body) = (packed.octets(), body.frames());
        let request = mjp::Request { id, header, says, body };
        desk.mjp(client, &ToBroker::Request(request));
        desk.orders(worker).pop().map(|(_, who, uuid, _)| (who, uuid)).unwrap()
    };
    let (who, uuid) = call(&mut desk, 1, OPEN);
    let event = r#"{"event_type":"progress","message":"step","severity":"INFO","task":"run"}"#;
    desk.report(worker, Kind::Event, &who, &uuid, "200", event);
    desk.report(worker, Kind::Event, &who, &uuid, "200", asked);
    let heard = desk.heard(client);
    assert_eq!(heard[0], format!("EVENT 1 step {event}"));
    assert_eq!(heard[1], format!("ASK 1 1 {asked}"));
    desk.tell(client, 1, 1, "yes");
    let (verb, to, about, body) = desk.orders(worker).remove(0);
    assert_eq!((verb, &to, &about), (Verb::Put, &who, &uuid));
    let said: serde_json::Value = serde_json::from_str(&body).unwrap();
    let wanted = serde_json::json!(
        {"input_id": "i1", "value": "yes", "cancel": false, "metadata": {}}
    );
    assert_eq!(said, wanted);
    // A number that was answered could be answered again.
    desk.report(worker, Kind::Event, &who, &uuid, "200", asked);
    assert_eq!(desk.heard(client), [format!("ASK 1 2 {asked}")]);
    // Who cannot be asked sees that something was; the worker need not wait.
    desk.report(worker, Kind::Response, &who, &uuid, "200", "{}");
    desk.heard(client);
    let (who, uuid) = call(&mut desk, 2, RequestHeader { asks: None, ..OPEN });
    desk.report(worker, Kind::Event, &who, &uuid, "200", asked);
    assert_eq!(desk.heard(client), [format!("EVENT 2 go on? {asked}")]);
    let (verb, .., body) = desk.orders(worker).remove(0);
    let said: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((verb, &said["cancel"]), (Verb::Put, &true.into()));
    desk.report(worker, Kind::Event, &who, &uuid, "200", r#"{"event_type":"result_ready"}"#);
    assert_eq!(desk.orders(worker).remove(0).0, Verb::Get);
    desk.report(worker, Kind::Response, &who, &uuid, "200", "{}");
}

#[test]
fn what_is_said_under_a_key_is_for_who_asked_first() {
    let mut desk = desk();
    let (first, second, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    let keyed = RequestHeader { key: Some(b"k"), ..OPEN };
    desk.call(first, 1, keyed);
    let (header, body) = (Packed::new(&keyed), Message::new([&b"1"[..]]));
    let (header, body) = (header.octets(), body.frames());
    let again = mjp::Request { id: 7, header, says: keyed, body };
    desk.mjp(second, &ToBroker::Request(again));
    desk.event(worker, "1", "half");
    desk.question(worker, "1", 5);
    assert_eq!(desk.heard(first), ["EVENT 1 half ", "ASK 1 5 who?"]);
    desk.tell(second, 7, 5, "I was not asked");
    assert_eq!(desk.heard(worker), ["REQUEST 1"]);
    desk.leave(first);
    assert_eq!(desk.heard(worker), ["TELL 1 5 no_caller"]);
    desk.event(worker, "1", "nearly");
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(second), ["FINAL 7 answer"]);
}
