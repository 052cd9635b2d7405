//! Peers of MJP/1 at the desk: how they speak, what they hear, and what a connection may be.

use super::*;
use crate::wire::mjp::{
    self, EventHeader, Failure, Fault, FromBroker, Packed, PeerHello, ReadyHeader, RequestHeader,
    ToBroker,
};

/// What a client says of a request to `echo`, and nothing else.
pub(super) const ECHO: RequestHeader<'static> = RequestHeader {
    service: b"echo",
    timeout: None,
    attempts: None,
    ack: None,
    parts: None,
    trace: None,
    state: None,
    events: None,
    asks: None,
    key: None,
    lease: None,
    epoch: None,
    order: None,
    delay: None,
    level: None,
    wait: None,
};

/// A request as a worker gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) token: u64,
    pub(super) header: Vec<u8>,
    pub(super) attempt: u32,
    pub(super) timeout: Option<u64>,
    pub(super) identity: Option<Vec<u8>>,
    pub(super) fingerprint: Option<String>,
    pub(super) name: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Desk {
    pub(super) fn mjp(&mut self, peer: PeerId, said: &ToBroker<'_>) {
        self.say(peer, |out| said.encode(out));
    }

    /// A client asks with this header; the body is the id as text.
    pub(super) fn call(&mut self, client: PeerId, id: u64, says: RequestHeader<'_>) {
        let (header, body) = (Packed::new(&says), Message::new([id.to_string().into_bytes()]));
        let (header, body) = (header.octets(), body.frames());
        self.mjp(client, &ToBroker::Request(mjp::Request { id, header, says, body }));
    }

    pub(super) fn ready(&mut self, worker: PeerId, credit: u16) {
        let credit = std::num::NonZeroU16::new(credit);
        let says = ReadyHeader { service: b"echo", credit, ..ReadyHeader::default() };
        self.mjp(worker, &ToBroker::Ready(says));
    }

    pub(super) fn native_worker(&mut self, credit: u16) -> PeerId {
        let peer = self.join();
        self.ready(peer, credit);
        peer
    }

    /// The worker answers what it was last given of that body.
    pub(super) fn reply(&mut self, worker: PeerId, body: &str, last: bool) {
        let (id, body) = (self.token(worker, body), Message::new([&b"answer"[..]]));
        let answer = mjp::Answer { id, header: b"\x80", body: body.frames() };
        let said = if last { ToBroker::Final(answer) } else { ToBroker::Partial(answer) };
        self.mjp(worker, &said);
    }

    pub(super) fn fail(&mut self, worker: PeerId, body: &str) {
        let fault = Fault { code: "no_paper", ..Fault::default() };
        let (id, header) = (self.token(worker, body), Packed::new(&fault));
        self.mjp(worker, &ToBroker::Error(Failure { id, header: header.octets() }));
    }

    pub(super) fn works(&self, worker: PeerId) -> Vec<Given> {
        let said = self.said.to.get(worker).into_iter().flatten();
        said.filter_map(|message| match FromBroker::decode(message.frames()) {
            Ok(FromBroker::Request(mut given)) => Some(Given {
                token: given.id,
                header: given.header.to_vec(),
                attempt: given.says.attempt.get(),
                timeout: given.says.timeout,
                identity: given.says.identity.map(<[u8]>::to_vec),
                fingerprint: given.says.fingerprint.map(ToOwned::to_owned),
                name: given.says.name.map(ToOwned::to_owned),
                body: given.body.take_first()?.to_vec(),
            }),
            _ => None,
        })
        .collect()
    }

    pub(super) fn token(&self, worker: PeerId, body: &str) -> u64 {
        let works = self.works(worker);
        works.iter().rfind(|given| given.body == body.as_bytes()).unwrap().token
    }

    /// What a peer has heard since it was last asked.
    pub(super) fn heard(&mut self, peer: PeerId) -> Vec<String> {
        let works = self.works(peer);
        let body_of = |token: u64| {
            let given = works.iter().find(|given| given.token == token).unwrap();
            String::from_utf8(given.body.clone()).unwrap()
        };
        let said = self.said.to.get(peer).map(Vec::as_slice).unwrap_or_default();
        let read = self.read.insert(peer, said.len()).unwrap_or(0);
        let heard = said[read..].iter().map(|message| {
            match FromBroker::decode(message.frames()).unwrap() {
                FromBroker::Hello(hello) => format!("HELLO {}", hello.version),
                FromBroker::Heartbeat => "HEARTBEAT".into(),
                FromBroker::Drain { within } => format!("DRAIN {within:?}"),
                FromBroker::Bye(fault) => format!("BYE {}", fault.code),
                FromBroker::Request(given) => format!("REQUEST {}", body_of(given.id)),
                FromBroker::Cancel { id } => format!("CANCEL {}", body_of(id)),
                FromBroker::Status { id, .. } => format!("STATUS {id}"),
                FromBroker::Admin { id, .. } => format!("ADMIN {id}"),
                FromBroker::Lease { id, .. } => format!("LEASE {id}"),
                FromBroker::Group { id, .. } => format!("GROUP {id}"),
                FromBroker::Accepted { id, says } => {
                    let again = if says.repeat == Some(true) { " again" } else { "" };
                    format!("ACCEPTED {id} {}{again}", says.level)
                }
                FromBroker::Flow(given) => format!("FLOW {}", given.id),
                FromBroker::Lane(lane) => format!("LANE {}", lane.id),
                FromBroker::Targets(targets) => format!("TARGETS {}", targets.id),
                FromBroker::Outcome(outcome) => format!("OUTCOME {}", outcome.id),
                FromBroker::Note(note) => {
                    let says = EventHeader::decode(note.header).unwrap_or_default();
                    let message = says.message.unwrap_or_default();
                    format!("NOTE {} {} {message} {}", note.id, note.says.target, text(note.body))
                }
                FromBroker::News(news) => format!("MESSAGE {}", news.id),
                FromBroker::Published { id, .. } => format!("PUBLISHED {id}"),
                FromBroker::Gap { id, .. } => format!("GAP {id}"),
                FromBroker::Partial(answer) => {
                    format!("PARTIAL {} {}", answer.id, text(answer.body))
                }
                FromBroker::Final(answer) => format!("FINAL {} {}", answer.id, text(answer.body)),
                FromBroker::Event(event) => {
                    let says = EventHeader::decode(event.header).unwrap_or_default();
                    let message = says.message.unwrap_or_default();
                    format!("EVENT {} {message} {}", event.id, text(event.body))
                }
                FromBroker::Ask(ask) => {
                    format!("ASK {} {} {}", ask.id, ask.says.ask, text(ask.body))
                }
                FromBroker::Tell(tell) => {
                    let why = tell.says.code.unwrap_or_default();
                    format!("TELL {} {} {why}{}", body_of(tell.id), tell.says.ask, text(tell.body))
                }
                FromBroker::Error(failure) => {
                    format!("ERROR {} {}", failure.id, Fault::decode(failure.header).unwrap().code)
                }
            }
        });
        heard.collect()
    }
}

fn text(body: Frames<'_>) -> String {
    let frames: Vec<_> = body.map(|frame| String::from_utf8_lossy(frame).into_owned()).collect();
    frames.join(" ")
}

#[test]
fn a_request_goes_to_a_worker_and_the_answer_back() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 7, RequestHeader { ack: Some(true), trace: Some("00-1"), ..ECHO });
    let given = desk.works(worker).remove(0);
    assert_eq!(
        given.header,
        Packed::new(&RequestHeader { ack: Some(true), trace: Some("00-1"), ..ECHO }).octets()
    );
    assert_eq!((given.attempt, given.timeout, given.identity), (1, None, None));
    desk.reply(worker, "7", false);
    desk.reply(worker, "7", true);
    assert_eq!(desk.heard(client), ["ACCEPTED 7 memory", "PARTIAL 7 answer", "FINAL 7 answer"]);
}

#[test]
fn a_connection_that_speaks_one_dialect_speaks_no_other() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (native, stock) = (desk.native_worker(1), desk.worker());
    desk.heard(native);
    desk.ask(native, b"question");
    assert_eq!(desk.heard(native), [""; 0]);
    desk.call(stock, 1, ECHO);
    assert!(desk.given(stock).is_empty());
    assert_eq!(desk.core.router().open_requests(), 0);
    assert_eq!(desk.core.dropped(), 2);
}

#[test]
fn a_first_message_without_kind_and_id_decides_nothing() {
    let mut desk = Desk::new(ServicePolicy::default());
    let peer = desk.join();
    desk.say(peer, |out| {
        out.frame(b"MJP1");
        out.last_frame(b"\x02");
    });
    assert!(!desk.said.to.contains_key(peer));
    assert_eq!(desk.core.population().unknown, 1);
    assert_eq!(desk.core.invalid().get("no_kind"), Some(&1));
    desk.mjp(peer, &ToBroker::Heartbeat);
    assert_eq!(desk.heard(peer), ["HEARTBEAT"]);
    desk.say(peer, |out| {
        out.frame(b"MJP1");
        out.last_frame(b"\x02");
    });
    assert_eq!(desk.heard(peer), ["ERROR 0 bad_request"]);
}

#[test]
fn hello_is_answered_and_other_versions_are_not_spoken() {
    let mut desk = Desk::new(ServicePolicy::default());
    let peer = desk.join();
    desk.mjp(peer, &ToBroker::Hello(PeerHello::default()));
    let versions = [2, 3].into_iter().collect();
    desk.mjp(peer, &ToBroker::Hello(PeerHello { versions, ..PeerHello::default() }));
    assert_eq!(desk.heard(peer), ["HELLO 1", "ERROR 0 unsupported"]);
}

#[test]
fn what_is_unknown_or_malformed_is_answered_and_harms_nothing() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    let command = |kind: u8, id: u64, rest: &[&[u8]]| {
        let mut second = vec![kind];
        second.extend(id.to_be_bytes());
        let frames = [&b"MJP1"[..], &second].into_iter().chain(rest.iter().copied());
        Message::new(frames.map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    let cases: [(u8, u64, &[&[u8]]); 5] = [
        (0x7f, 9, &[]),
        (mjp::kind::REQUEST, 9, &[b"\x81\xa7service\x01", b""]),
        (mjp::kind::REQUEST, 0, &[b"\x81\xa7service\xa4echo", b""]),
        (mjp::kind::ACCEPTED, 9, &[]),
        // The id of an answer is the broker's.
        (mjp::kind::FINAL, 1, &[b""]),
    ];
    for (kind, id, rest) in cases {
        let message = command(kind, id, rest);
        desk.say(client, |out| out.frames(&message.frames()));
    }
    assert_eq!(
        desk.heard(client),
        [
            "ERROR 9 unsupported",
            "ERROR 9 bad_request",
            "ERROR 0 bad_request",
            "ERROR 9 bad_request",
            "ERROR 0 bad_request"
        ]
    );
    desk.reply(worker, "1", true);
    assert_eq!(desk.heard(client), ["FINAL 1 answer"]);
}

#[test]
fn a_header_over_the_limit_of_the_operator_is_refused() {
    let mut settings = Settings::default();
    settings.mjp.header_bytes_max = 64;
    let mut desk = Desk::with(settings);
    let (client, _worker) = (desk.join(), desk.native_worker(1));
    desk.call(client, 1, RequestHeader { trace: Some(&"x".repeat(100)), ..ECHO });
    assert_eq!(desk.heard(client), ["ERROR 1 bad_request"]);
}

#[test]
fn a_peer_may_ask_and_work_at_once() {
    let mut desk = Desk::new(ServicePolicy::default());
    let both = desk.native_worker(2);
    desk.call(both, 1, ECHO);
    assert_eq!(desk.heard(both), ["REQUEST 1"]);
    desk.reply(both, "1", true);
    assert_eq!(desk.heard(both), ["FINAL 1 answer"]);
    desk.call(both, 2, ECHO);
    desk.leave(both);
    assert_eq!(desk.core.router().open_requests(), 0);
    assert_eq!(desk.core.router().services_len(), 0);
}

#[test]
fn a_peer_that_asks_at_once_service_and_goes_is_told_nothing() {
    let mut desk = Desk::new(ServicePolicy { at_most_once: true, ..ServicePolicy::default() });
    let both = desk.native_worker(1);
    desk.call(both, 1, ECHO);
    desk.call(both, 2, ECHO);
    desk.heard(both);
    desk.leave(both);
    assert_eq!(desk.heard(both), [""; 0]);
}

#[test]
fn a_native_client_can_ask_mmi() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (client, _worker) = (desk.join(), desk.native_worker(1));
    let says = RequestHeader { service: b"mmi.service", ..ECHO };
    let (header, body) = (Packed::new(&says), Message::new([&b"echo"[..]]));
    let request = mjp::Request { id: 3, header: header.octets(), says, body: body.frames() };
    desk.mjp(client, &ToBroker::Request(request));
    assert_eq!(desk.heard(client), ["FINAL 3 200"]);
    desk.call(client, 3, ECHO);
    desk.mjp(client, &ToBroker::Request(request));
    assert_eq!(desk.heard(client), ["ERROR 3 duplicate_id"]);
}
