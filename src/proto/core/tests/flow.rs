//! Flows in the core: who is an end of them, what it may, and what is left of them.

use std::time::Duration;

use super::*;
use crate::id::{Principal, ServiceName};
use crate::proto::core::Admission;
use crate::proto::flow::{Decision, FlowSettings, Target};
use crate::proto::policy::Settings;
use crate::wire::message::Message;
use crate::wire::mjp::{ReadyHeader, ToBroker};
use crate::wire::zio::{Coordinates, Form, Shape, Zio};

const BOT: &str = r#"{"flow": "BOT", "direction": "extract", "credit": 2}"#;

fn desk(otherwise: Target) -> Desk {
    let flow = FlowSettings { otherwise, ..FlowSettings::default() };
    Desk::with(Settings { flow, ..Settings::default() })
}

fn writers() -> Target {
    Target::Service(ServiceName::try_from(&b"writers"[..]).unwrap())
}

impl Desk {
    fn zio_peer(&mut self, shape: Option<Shape>, rules: Option<&[&str]>) -> PeerId {
        let grants = rules.map_or_else(Grants::default, rights::grants);
        let hello = Hello { shape, grants, ..Hello::default() };
        let (id, admission) = self.core.join(self.now, hello, &mut self.said);
        assert_eq!(admission, Admission::Open);
        id
    }

    /// A CLIENT that has said nothing.
    pub(super) fn socket_of_flows(&mut self) -> PeerId {
        self.zio_peer(Some(Shape::Single), None)
    }

    /// A CLIENT that has asked for a flow.
    pub(super) fn client_of_flows(&mut self) -> PeerId {
        let client = self.socket_of_flows();
        self.zio(client, Shape::Single, BOT);
        client
    }

    fn zio(&mut self, id: PeerId, shape: Shape, label: &str) {
        let coordinates = Coordinates::default();
        let zio = Zio { form: Form::FLOW, label, coordinates, ..Zio::default() };
        let message = zio.to_message(shape);
        self.core.message(self.now, id, message.frames(), &mut self.said);
        self.core.audit().unwrap();
    }

    /// The label of what was said last, and how often something was.
    fn last(&self, id: PeerId, shape: Shape) -> (usize, String) {
        let said = self.said.to.get(id).map(Vec::as_slice).unwrap_or_default();
        let label =
            |message: &Message| Zio::decode(shape, message.frames()).unwrap().label.to_owned();
        (said.len(), said.last().map(label).unwrap_or_default())
    }
}

#[test]
fn a_client_is_an_end_at_once_and_a_dealer_by_its_first_message() {
    let mut desk = desk(Target::Refuse);
    let client = desk.zio_peer(Some(Shape::Single), None);
    let dealer = desk.zio_peer(None, None);
    assert_eq!(desk.core.flows().ends(), 1);
    desk.zio(client, Shape::Single, BOT);
    desk.zio(dealer, Shape::Multipart, BOT);
    assert_eq!((desk.core.flows().ends(), desk.core.population().ends), (2, 2));
    for (id, shape) in [(client, Shape::Single), (dealer, Shape::Multipart)] {
        let (count, label) = desk.last(id, shape);
        assert!(count == 1 && label.contains("EOT"), "{label}");
    }
    // From then on it speaks nothing else.
    let request = Message::new([&b""[..], b"MDPC01", b"mmi.service", b"x"]);
    desk.core.message(desk.now, dealer, request.frames(), &mut desk.said);
    assert_eq!(desk.last(dealer, Shape::Multipart).0, 1);
    desk.core.leave(desk.now, client, &mut desk.said);
    assert_eq!(desk.core.flows().ends(), 1);
    desk.core.audit().unwrap();
}

#[test]
fn the_factory_is_asked_once_and_what_is_charged_is_given_back() {
    let mut desk = desk(Target::Factory);
    let client = desk.zio_peer(Some(Shape::Single), None);
    desk.zio(client, Shape::Single, BOT);
    assert!(desk.core.has_questions() && desk.said.charged > 0);
    let [asked] = &desk.core.take_questions()[..] else { panic!("one question") };
    assert!(!desk.core.has_questions());
    desk.core.decided(desk.now, asked.flow, Decision::Refuse, &mut desk.said);
    assert!(desk.last(client, Shape::Single).1.contains("EOT"));
    assert_eq!(desk.said.charged, 0);
    // Nobody is asked about what has ended.
    desk.zio(client, Shape::Single, BOT);
    desk.core.leave(desk.now, client, &mut desk.said);
    assert_eq!(desk.core.take_questions(), []);
    assert_eq!(desk.said.charged, 0);
}

#[test]
fn flows_are_opened_and_handled_within_rights() {
    let mut desk = desk(writers());
    let stranger = desk.zio_peer(Some(Shape::Single), Some(&["serve *"]));
    desk.zio(stranger, Shape::Single, BOT);
    assert!(desk.last(stranger, Shape::Single).1.contains("EOT"));
    assert_eq!(desk.said.denied, ["flow writers"]);
    let client = desk.zio_peer(Some(Shape::Single), Some(&["flow writers"]));
    desk.zio(client, Shape::Single, BOT);
    assert_eq!(desk.last(client, Shape::Single).0, 0, "it waits");
    assert_eq!(desk.core.flows().waiting(), 1);
    assert_eq!(desk.core.flows().refused().get("denied"), Some(&1));
}

#[test]
fn a_stop_refuses_who_waits_and_then_nothing_is_left() {
    let mut desk = desk(writers());
    let client = desk.zio_peer(Some(Shape::Single), None);
    desk.zio(client, Shape::Single, BOT);
    assert!(!desk.core.is_drained());
    desk.core.drain(desk.now, Duration::from_secs(5), &mut desk.said);
    assert!(desk.last(client, Shape::Single).1.contains("EOT"));
    assert!(desk.core.is_drained());
    desk.zio(client, Shape::Single, BOT);
    assert_eq!(desk.last(client, Shape::Single).0, 2);
}

/// READY of a handler.
fn ready<'a>(service: &'a [u8], role: Option<&'a str>) -> ToBroker<'a> {
    ToBroker::Ready(ReadyHeader { service, role, ..ReadyHeader::default() })
}

#[test]
fn a_handler_over_mjp_is_given_a_flow_and_its_silence_is_held_against_it() {
    let mut desk = desk(writers());
    let handler = desk.join();
    desk.mjp(handler, &ready(b"writers", Some("flow")));
    let client = desk.zio_peer(Some(Shape::Single), None);
    desk.zio(client, Shape::Single, BOT);
    let [given] = &desk.heard(handler)[..] else { panic!("one flow") };
    assert!(given.starts_with("FLOW "), "{given}");
    desk.mjp(handler, &ready(b"writers", None));
    desk.mjp(handler, &ready(b"other", Some("flow")));
    desk.mjp(handler, &ready(b"writers", Some("something")));
    assert_eq!(desk.heard(handler), ["ERROR 0 bad_request"; 3]);
    desk.pass(Duration::from_secs(7));
    desk.mjp(handler, &ToBroker::Heartbeat);
    desk.pass(Duration::from_secs(7));
    let heard = desk.heard(handler);
    assert!(heard.iter().all(|it| it == "HEARTBEAT") && heard.len() >= 4, "{heard:?}");
    // Its flow goes to another one, who comes for it over any connection.
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.heard(handler), ["BYE timeout"]);
    let other = desk.join();
    desk.mjp(other, &ready(b"writers", Some("flow")));
    assert!(desk.heard(other)[0].starts_with("FLOW "));
    assert_eq!(desk.last(client, Shape::Single).0, 0);
}

#[test]
fn a_handler_that_may_not_serve_any_more_is_dismissed_and_its_client_goes_on_waiting() {
    let mut desk = desk(writers());
    let denied = Hello { grants: rights::grants(&["serve readers"]), ..Hello::default() };
    let denied = desk.core.join(desk.now, denied, &mut desk.said).0;
    desk.mjp(denied, &ready(b"writers", Some("flow")));
    assert_eq!(desk.heard(denied), ["ERROR 0 denied"]);
    let hello = Hello { grants: rights::grants(&["serve *"]), ..Hello::default() };
    let handler = desk.core.join(desk.now, hello, &mut desk.said).0;
    desk.mjp(handler, &ready(b"writers", Some("flow")));
    let client = desk.zio_peer(Some(Shape::Single), None);
    desk.zio(client, Shape::Single, BOT);
    assert_eq!(desk.heard(handler).len(), 1);
    let judge = |_: &Principal, _| Some((rights::grants(&["flow *"]), None));
    desk.core.regrant(desk.now, judge, &mut desk.said);
    desk.check();
    assert_eq!(desk.heard(handler), ["BYE denied"]);
    assert_eq!((desk.core.flows().waiting(), desk.last(client, Shape::Single).0), (1, 0));
    // And a client whose right is taken away waits no longer.
    let judge = |_: &Principal, _| Some((rights::grants(&["call *"]), None));
    desk.core.regrant(desk.now, judge, &mut desk.said);
    assert!(desk.last(client, Shape::Single).1.contains("EOT"));
}
