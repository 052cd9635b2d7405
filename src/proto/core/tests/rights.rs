//! Who may do what, in every dialect; and what becomes of it when rights change.

mod caller;
mod regrant;
mod takeover;

use std::sync::Arc;

use super::native::ECHO;
use super::*;
use crate::id::{Identity, Principal, PublicKey};
use crate::proto::rights::{Rule, Source, Verb};
use crate::proto::router::ServiceView;
use crate::wire::mjp::{self, RequestHeader, ToBroker};
use crate::wire::nfp;
use Version::V01;

/// Rules as people write them: `call echo`, `deny serve *`.
pub(super) fn grants(rules: &[&str]) -> Grants {
    let rule = |(line, text): (usize, &&str)| {
        let (deny, text) = text.strip_prefix("deny ").map_or((false, *text), |text| (true, text));
        let (verb, pattern) = text.split_once(' ').unwrap();
        let source = Source { place: "test".into(), line: u32::try_from(line).unwrap() + 1 };
        let (verb, pattern) = (verb.parse().unwrap(), pattern.parse().unwrap());
        Rule { deny, verb, pattern, source }
    };
    Grants::new(rules.iter().enumerate().map(rule).collect()).unwrap()
}

fn key(number: u8) -> Principal {
    Principal::Key(PublicKey([number; 32]))
}

impl Desk {
    fn fenced(&mut self, rules: &[&str]) -> PeerId {
        let hello = Hello { grants: grants(rules), ..Hello::default() };
        self.core.join(self.now, hello, &mut self.said).0
    }

    fn named_fenced(&mut self, name: &str, rules: &[&str]) -> PeerId {
        let identity = Identity::try_from(name.as_bytes()).ok();
        let hello = Hello { identity, grants: grants(rules), ..Hello::default() };
        self.core.join(self.now, hello, &mut self.said).0
    }

    fn denials(&mut self) -> Vec<String> {
        let counted: u64 = self.core.denied().map(|(_, count)| count).sum();
        let denied = std::mem::take(&mut self.said.denied);
        assert!(counted >= u64::try_from(denied.len()).unwrap());
        denied
    }

    fn ask_for(&mut self, client: PeerId, version: Version, service: &[u8]) {
        let body = Message::new([&b"x"[..]]);
        let envelope = if version == V01 { Frames::DELIMITER } else { Frames::default() };
        self.say(client, |out| {
            mdp_request(version, envelope, service, body.frames()).encode(out);
        });
    }

    fn view(&self, service: &[u8]) -> Option<(usize, usize, usize)> {
        let view = |view: ServiceView<'_>| (view.workers, view.waiting, view.in_flight);
        self.core.router().service_named(service).map(view)
    }
}

fn mdp_request<'a>(
    version: Version,
    envelope: Frames<'a>,
    service: &'a [u8],
    body: Frames<'a>,
) -> Request<'a> {
    Request { version, envelope, service, body }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

#[test]
fn a_majordomo_worker_without_the_right_is_sent_away() {
    for version in [V01, V02] {
        let mut desk = desk();
        let ready = |desk: &mut Desk, peer, service: &[u8]| {
            desk.say(peer, |out| FromWorker::Ready { service }.encode(version, out));
        };
        let worker = desk.fenced(&["serve echo", "deny serve secret"]);
        ready(&mut desk, worker, b"other");
        assert_eq!(desk.view(b"other"), None);
        assert!(desk.said.to.get(worker).is_none(), "nothing that it could come back for at once");
        desk.say(worker, |out| FromWorker::Heartbeat.encode(version, out));
        let said = &desk.said.to[worker];
        let told = ToWorker::decode(said[0].frames());
        assert!(matches!(told, Ok((of, ToWorker::Disconnect)) if of == version), "{told:?}");
        assert_eq!(said.len(), 1);
        assert_eq!(desk.denials(), ["serve other"]);
        let worker = desk.fenced(&["serve echo", "deny serve secret"]);
        ready(&mut desk, worker, b"echo");
        assert_eq!(desk.view(b"echo"), Some((1, 0, 0)));
        let worker = desk.fenced(&["serve *", "deny serve secret"]);
        ready(&mut desk, worker, b"secret");
        assert_eq!(desk.view(b"secret"), None);
        assert_eq!(desk.denials(), ["serve secret"]);
    }
}

#[test]
fn a_majordomo_client_without_the_right_is_not_served() {
    for version in [V01, V02] {
        let mut desk = desk();
        let worker = desk.worker();
        let client = desk.fenced(&["call other", "call mmi.service"]);
        desk.ask_for(client, version, b"echo");
        assert_eq!((desk.given(worker).len(), desk.core.dropped()), (0, 1));
        assert!(desk.said.to.get(client).is_none(), "there is no word for it");
        assert_eq!(desk.denials(), ["call echo"]);
        desk.ask_for(client, version, b"other");
        assert_eq!(desk.view(b"other"), Some((0, 1, 0)));
        let answers = |desk: &mut Desk| {
            let said = desk.said.to.remove(client).unwrap();
            let bodies = said.iter().map(|message| message.frames().last().unwrap().to_vec());
            bodies.map(|body| String::from_utf8(body).unwrap()).collect::<Vec<_>>()
        };
        desk.ask_for(client, version, b"mmi.service");
        assert_eq!(answers(&mut desk), ["404"], "nobody serves `x`");
        desk.ask_for(client, version, b"mmi.other");
        assert_eq!(answers(&mut desk), ["403"]);
        assert_eq!(desk.denials(), ["call mmi.other"]);
        let counts: Vec<_> = desk.core.denied().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [(Verb::Call, 2)]);
    }
}

#[test]
fn a_native_worker_without_the_right_is_told() {
    let mut desk = desk();
    let worker = desk.fenced(&["serve other"]);
    desk.ready(worker, 1);
    assert_eq!(desk.heard(worker), ["ERROR 0 denied"]);
    assert_eq!(desk.view(b"echo"), None);
    assert_eq!(desk.denials(), ["serve echo"]);
    let says = mjp::ReadyHeader { service: b"other", ..mjp::ReadyHeader::default() };
    desk.mjp(worker, &ToBroker::Ready(says));
    assert_eq!(desk.view(b"other"), Some((1, 0, 0)), "the connection goes on");
}

#[test]
fn a_native_caller_without_the_right_is_told() {
    let mut desk = desk();
    let worker = desk.native_worker(8);
    let client = desk.fenced(&["call other", "call mmi.service"]);
    desk.call(client, 1, ECHO);
    let with_trace = RequestHeader { trace: Some("00"), ..ECHO };
    desk.call(client, 2, with_trace);
    desk.keyed(client, 3, keys::KEYED, "pay");
    desk.scatter_to_all(client, 4);
    let denied = ["ERROR 1 denied", "ERROR 2 denied", "ERROR 3 denied", "ERROR 4 denied"];
    assert_eq!(desk.heard(client), denied);
    assert_eq!(desk.denials(), ["call echo"; 4]);
    assert!(desk.works(worker).is_empty() && desk.core.router().keys.is_empty());
    let other = RequestHeader { service: b"other", ..ECHO };
    desk.call(client, 5, other);
    desk.call(client, 5, ECHO);
    assert_eq!(desk.heard(client), ["ERROR 5 duplicate_id"], "5 is open and goes on");
    assert_eq!(desk.view(b"other"), Some((0, 1, 0)));
    desk.call(client, 6, RequestHeader { service: b"mmi.service", ..ECHO });
    desk.call(client, 7, RequestHeader { service: b"mmi.other", ..ECHO });
    assert_eq!(desk.heard(client), ["FINAL 6 404", "ERROR 7 denied"]);
}

#[test]
fn a_norfab_worker_without_the_right_is_sent_away() {
    let mut desk = desk();
    let worker = desk.named_fenced("w1", &["serve other"]);
    desk.work(worker, nfp::FromWorker::Ready { service: b"work" });
    assert_eq!((desk.disconnects(worker), desk.view(b"work")), (0, None));
    desk.work(worker, nfp::FromWorker::Keepalive { service: b"work" });
    assert_eq!(desk.disconnects(worker), 1);
    desk.work(worker, nfp::FromWorker::Ready { service: b"other" });
    assert_eq!((desk.disconnects(worker), desk.view(b"other")), (0, Some((1, 0, 0))));
}

#[test]
fn a_norfab_client_without_the_right_gets_403_in_the_shape_of_400() {
    let mut desk = desk();
    let worker = desk.nfp_ready("w1", "work");
    let client = desk.named_fenced("c1", &["call other"]);
    for verb in [nfp::Verb::Post, nfp::Verb::Get, nfp::Verb::Put, nfp::Verb::Delete] {
        desk.job(client, verb, "work", "all", "u1");
        let [(kind, service, uuid, status, body)] = &desk.told(client)[..] else { panic!() };
        assert_eq!((*kind, &service[..], &uuid[..]), (nfp::Kind::Response, "work", "u1"));
        assert_eq!(status, "403");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["workers"]), (&"FAILED".into(), &().into()));
        let error = body["error"].as_str().unwrap();
        assert!(error.contains("the right `call` for work is missing"), "{error}");
    }
    assert!(desk.orders(worker).is_empty());
    assert_eq!(desk.core.refused_jobs(), 4);
    assert_eq!(desk.denials(), ["call work"; 4]);
}

#[test]
fn all_services_are_those_that_a_norfab_client_may_call() {
    let mut desk = desk();
    let (one, other) = (desk.nfp_ready("w1", "one"), desk.nfp_ready("w2", "other"));
    let client = desk.named_fenced("c1", &["call one", "call third"]);
    desk.job(client, nfp::Verb::Post, "all", "all", "u1");
    assert_eq!(desk.statuses(client), ["202"]);
    assert_eq!((desk.orders(one).len(), desk.orders(other).len()), (1, 0));
    desk.job(client, nfp::Verb::Post, "all", r#"["w2"]"#, "u2");
    assert_eq!(desk.statuses(client), ["403"]);
    assert_eq!(desk.denials(), ["call all"]);
    assert!(desk.orders(other).is_empty());
    let nobody = desk.named_fenced("c2", &["call all"]);
    desk.job(nobody, nfp::Verb::Post, "all", "any", "u3");
    assert_eq!(desk.statuses(nobody), ["403"], "that is the name of no service");
}

#[test]
fn a_worker_of_another_service_is_no_way_around() {
    let nfp = crate::proto::policy::NfpSettings { cross_service: true, ..Default::default() };
    let mut desk = Desk::with(Settings { nfp, ..Settings::default() });
    let (one, other) = (desk.nfp_ready("w1", "one"), desk.nfp_ready("w2", "other"));
    let client = desk.named_fenced("c1", &["call one"]);
    desk.job(client, nfp::Verb::Post, "one", r#"["w1","w2"]"#, "u1");
    assert_eq!((desk.orders(one).len(), desk.orders(other).len()), (1, 0));
    desk.job(client, nfp::Verb::Post, "one", "w2", "u2");
    assert_eq!(desk.statuses(client), ["202", "403"]);
    assert!(desk.orders(other).is_empty());
}

#[test]
fn the_house_is_told_whether_a_client_may_have_that_done() {
    let mut desk = desk();
    let house = desk.enter("mmi", true);
    desk.work(house, nfp::FromWorker::Ready { service: b"mmi.service.broker" });
    let verbs = |desk: &mut Desk, rules: &[&str], body: &str| {
        let client = desk.fenced(rules);
        desk.job_with(client, nfp::Verb::Mmi, "mmi.service.broker", "any", "u1", body);
        let orders = desk.orders(house);
        orders.into_iter().map(|(verb, ..)| verb).collect::<Vec<_>>()
    };
    let (restart, show) = (r#"{"task":"restart"}"#, r#"{"task":"show_workers"}"#);
    let rules: &[&str] = &["call mmi.*", "admin restart"];
    assert_eq!(verbs(&mut desk, rules, restart), [nfp::Verb::Mmi]);
    assert_eq!(verbs(&mut desk, rules, show), [nfp::Verb::Post]);
    assert_eq!(verbs(&mut desk, rules, r#"{"task":"re\u0073tart"}"#), [nfp::Verb::Mmi]);
    assert_eq!(verbs(&mut desk, rules, "[\"restart\"]"), [nfp::Verb::Post]);
    assert!(desk.denials().is_empty());
    assert_eq!(verbs(&mut desk, rules, r#"{"task":"shutdown"}"#), [nfp::Verb::Post]);
    assert_eq!(desk.denials(), ["admin shutdown"]);
    assert_eq!(verbs(&mut desk, &["admin *"], restart), []);
    assert_eq!(desk.denials(), ["call mmi.service.broker"]);
}

#[test]
fn subjects_are_published_and_heard_within_rights() {
    let mut desk = desk();
    let rules = ["subscribe weather.*", "deny subscribe weather.secret*", "publish weather.oslo"];
    let peer = desk.fenced(&rules);
    desk.publish(peer, 1, "weather.oslo", "x");
    desk.publish(peer, 2, "weather.rome", "x");
    desk.publish(peer, 0, "weather.rome", "x");
    desk.subscribe(peer, 3, "weather.oslo");
    desk.subscribe(peer, 4, "weather.secret.a");
    desk.subscribe(peer, 5, "weather.>");
    desk.subscribe(peer, 6, "weather.oslo.>");
    desk.subscribe(peer, 7, "*.oslo");
    let denied = ["1 for 0", "2 denied", "0 denied", "4 denied", "5 denied", "7 denied"];
    assert_eq!(desk.news(peer), denied);
    assert_eq!(desk.core.topics().len_of(peer), 2);
    let denied = ["publish weather.rome", "publish weather.rome", "subscribe weather.secret.a"];
    assert_eq!(desk.denials()[..3], denied);
}

#[test]
fn administration_and_looking_are_rights_of_their_own() {
    use mjp::{AdminHeader, Verb as Command};
    let mut desk = desk();
    desk.native_worker(1);
    let peer = desk.fenced(&["admin pause", "call mmi.jobs"]);
    let service = Some(&b"echo"[..]);
    let mut code = |verb| {
        let says = AdminHeader { service, ..AdminHeader::new(verb) };
        desk.admin(peer, says, |_| ()).err().unwrap_or_else(|| "done".into())
    };
    assert_eq!(code(Command::Pause), "done");
    assert_eq!(code(Command::Resume), "denied");
    assert_eq!(code(Command::Follow), "denied");
    assert_eq!(code(Command::Jobs), "done");
    assert_eq!(code(Command::Workers), "denied");
    let says = mjp::StatusHeader { what: mjp::What::Broker, service: None, after: None, max: None };
    desk.mjp(peer, &ToBroker::Status { id: 9, says });
    let denied = ["admin resume", "admin follow", "call mmi.workers", "call mmi.status"];
    assert_eq!(desk.denials(), denied);
    assert_eq!(desk.heard(peer).last().unwrap(), "ERROR 9 denied");
}
