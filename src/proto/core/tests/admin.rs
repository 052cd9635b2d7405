//! ADMIN at the desk: who may say what, what a paused or drained service does, who follows.

use super::*;
use crate::id::Identity;
use crate::wire::mjp::{
    AdminEvent, AdminHeader, AdminReport, Code, Fault, FromBroker, Packed, Recipients,
    RequestHeader, Scatter, ScatterHeader, ServiceReport, ToBroker, Verb,
};

use super::native::ECHO;

impl Desk {
    fn operator(&mut self) -> PeerId {
        self.join()
    }

    /// Says ADMIN, and looks at the answer, or at the code of an error.
    pub(super) fn admin<T>(
        &mut self,
        peer: PeerId,
        says: AdminHeader<'_>,
        look: impl FnOnce(&AdminReport<'_>) -> T,
    ) -> Result<T, String> {
        let before = self.said.to.get(peer).map_or(0, Vec::len);
        self.mjp(peer, &ToBroker::Admin { id: 77, says, body: Frames::default() });
        let said = self.said.to.get(peer).and_then(|said| said.get(before)).cloned();
        let said = said.ok_or("nothing was said")?;
        match FromBroker::decode(said.frames()).unwrap() {
            FromBroker::Admin { id: 77, header, .. } => {
                Ok(look(&AdminReport::decode(header).unwrap()))
            }
            FromBroker::Error(failure) if failure.id == 77 => {
                Err(Fault::decode(failure.header).unwrap().code.to_owned())
            }
            other => panic!("{other:?}"),
        }
    }

    fn shut(&mut self, peer: PeerId, verb: Verb) -> Result<(), String> {
        let service = Some(&b"echo"[..]);
        self.admin(peer, AdminHeader { service, ..AdminHeader::new(verb) }, |_| ())
    }

    /// What one who follows was told since it was last asked.
    fn events(&mut self, peer: PeerId) -> Vec<String> {
        let said = self.said.to.remove(peer).unwrap_or_default();
        let events = said.iter().map(|message| {
            let Ok(FromBroker::Admin { id: 9, header, .. }) = FromBroker::decode(message.frames())
            else {
                panic!("{message:?}")
            };
            let event = AdminEvent::decode(header).unwrap();
            let missed = event.missed.map(|missed| format!(" missed {missed}"));
            let state = event.state.map(|state| format!(" {state}"));
            format!("{}{}{}", event.event, state.unwrap_or_default(), missed.unwrap_or_default())
        });
        events.collect()
    }

    pub(super) fn scatter_to_all(&mut self, client: PeerId, id: u64) {
        let says = ScatterHeader::new(b"echo", Recipients::All);
        let (header, body) = (Packed::new(&says), Message::new([id.to_string().into_bytes()]));
        let (header, body) = (header.octets(), body.frames());
        self.mjp(client, &ToBroker::Scatter(Scatter { id, header, says, body }));
    }

    fn echo_service(&self) -> (usize, usize, Option<&'static str>) {
        let view = self.core.router().services().next().unwrap();
        (view.waiting, view.in_flight, view.gate.label())
    }
}

#[test]
fn only_who_has_the_right_changes_anything() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (stranger, operator) = (desk.guest(), desk.operator());
    desk.native_worker(1);
    for verb in Verb::ALL {
        let says = AdminHeader {
            service: Some(b"echo"),
            uuid: Some(b"none"),
            name: Some("nobody"),
            ..AdminHeader::new(verb)
        };
        let answer = desk.admin(stranger, says, |_| ());
        let is_denied = answer == Err("denied".into());
        assert_eq!(is_denied, !verb.only_reads(), "{verb:?}: {answer:?}");
        let answer = desk.admin(operator, says, |_| ());
        assert_ne!(answer, Err("denied".into()), "{verb:?}");
    }
    let says = AdminHeader { verb: "explode", ..AdminHeader::default() };
    assert_eq!(desk.admin(operator, says, |_| ()), Err("unsupported".into()));
    for verb in [Verb::Job, Verb::Cancel, Verb::Pause, Verb::Kick] {
        let answer = desk.admin(operator, AdminHeader::new(verb), |_| ());
        assert_eq!(answer, Err("bad_request".into()), "{verb:?}");
    }
    for service in [&b"nobody"[..], b"mmi.service.broker"] {
        let says = AdminHeader { service: Some(service), ..AdminHeader::new(Verb::Pause) };
        assert_eq!(desk.admin(operator, says, |_| ()), Err("not_found".into()));
    }
}

#[test]
fn a_paused_service_takes_requests_and_gives_none_to_its_workers() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (operator, client) = (desk.operator(), desk.join());
    let worker = desk.native_worker(1);
    desk.call(client, 1, ECHO);
    assert_eq!(desk.shut(operator, Verb::Pause), Ok(()));
    desk.pass(Duration::from_millis(100));
    desk.reply(worker, "1", true);
    desk.call(client, 2, ECHO);
    desk.scatter_to_all(client, 3);
    // Neither a newcomer nor more credit changes that.
    let newcomer = desk.native_worker(5);
    desk.ready(worker, 2);
    let stock = desk.worker();
    assert_eq!(desk.echo_service(), (1, 0, Some("paused")));
    assert_eq!((desk.works(worker).len(), desk.works(newcomer).len()), (1, 0));
    assert!(desk.given(stock).is_empty());
    // Pausing it again does not hide what was given in between, as nothing was.
    assert_eq!(desk.shut(operator, Verb::Pause), Ok(()));
    desk.pass(Duration::from_millis(100));
    assert_eq!(desk.shut(operator, Verb::Resume), Ok(()));
    assert_eq!(desk.echo_service(), (0, 2, None));
    let bodies: Vec<_> = desk.works(worker).into_iter().map(|given| given.body).collect();
    assert!(bodies.contains(&b"3".to_vec()), "{bodies:?}");
}

#[test]
fn a_suspect_waits_too_while_its_service_is_paused() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (operator, client) = (desk.operator(), desk.join());
    desk.call(client, 1, ECHO);
    for _ in 0..2 {
        let worker = desk.native_worker(1);
        assert_eq!(desk.works(worker).len(), 1);
        desk.leave(worker);
    }
    // One that is being emptied for it when the pause begins.
    let worker = desk.native_worker(2);
    assert_eq!(desk.works(worker).len(), 1, "alone with it");
    assert_eq!(desk.shut(operator, Verb::Pause), Ok(()));
    desk.leave(worker);
    desk.pass(Duration::from_millis(50));
    let worker = desk.native_worker(2);
    assert!(desk.works(worker).is_empty());
    assert_eq!(desk.shut(operator, Verb::Resume), Ok(()));
    assert_eq!(desk.works(worker).len(), 1);
}

#[test]
fn a_drained_service_refuses_what_is_new_and_finishes_what_waits() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (operator, client, stock) = (desk.operator(), desk.join(), desk.join());
    let worker = desk.native_worker(1);
    desk.call(client, 1, ECHO);
    desk.call(client, 2, ECHO);
    assert_eq!(desk.shut(operator, Verb::Drain), Ok(()));
    desk.call(client, 3, ECHO);
    desk.scatter_to_all(client, 4);
    // A stock client cannot be told, so it is not read.
    desk.ask(stock, b"later");
    assert_eq!(desk.heard(client), ["ERROR 3 draining", "ERROR 4 draining"]);
    desk.reply(worker, "1", true);
    desk.reply(worker, "2", true);
    assert_eq!(desk.heard(client), ["FINAL 1 answer", "FINAL 2 answer"]);
    desk.leave(worker);
    // Without worker or request it stays drained, until somebody says otherwise.
    assert_eq!(desk.echo_service(), (0, 0, Some("draining")));
    desk.call(client, 5, ECHO);
    assert_eq!(desk.heard(client), ["ERROR 5 draining"]);
    assert_eq!(desk.shut(operator, Verb::Resume), Ok(()));
    assert_eq!(desk.core.router().services().count(), 0, "it is empty and forgotten");
    assert!(!desk.core.router().is_paused(stock), "and the client is read again");
}

#[test]
fn a_paused_service_does_not_keep_the_broker_from_stopping() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (operator, client) = (desk.operator(), desk.join());
    desk.native_worker(1);
    assert_eq!(desk.shut(operator, Verb::Pause), Ok(()));
    desk.call(client, 1, ECHO);
    desk.core.drain(desk.now, Duration::from_secs(1), &mut desk.said);
    assert!(desk.core.is_drained());
}

#[test]
fn the_state_of_a_service_is_in_its_report() {
    let mut desk = Desk::new(ServicePolicy::default());
    let operator = desk.operator();
    desk.native_worker(1);
    let state = |desk: &mut Desk| {
        let what = crate::wire::mjp::What::Services;
        let says = crate::wire::mjp::StatusHeader { what, service: None, after: None, max: None };
        desk.mjp(operator, &ToBroker::Status { id: 5, says });
        let said = desk.said.to.get(operator).and_then(|said| said.last()).cloned().unwrap();
        let Ok(FromBroker::Status { header, .. }) = FromBroker::decode(said.frames()) else {
            panic!("{said:?}")
        };
        let report = crate::wire::mjp::Report::decode(header).unwrap();
        let [ServiceReport { state, .. }] = report.services.as_deref().unwrap() else {
            panic!("{report:?}")
        };
        state.map(str::to_owned)
    };
    assert_eq!(state(&mut desk), None);
    desk.shut(operator, Verb::Drain).unwrap();
    assert_eq!(state(&mut desk).as_deref(), Some("draining"));
    desk.shut(operator, Verb::Pause).unwrap();
    assert_eq!(state(&mut desk).as_deref(), Some("paused"));
}

#[test]
fn jobs_are_listed_shown_and_cancelled() {
    let mut desk = Desk::new(ServicePolicy::default());
    let operator = desk.operator();
    let identity = Identity::try_from(&b"anna"[..]).ok();
    let hello = Hello { identity, ..Hello::default() };
    let client = desk.core.join(desk.now, hello, &mut desk.said).0;
    desk.native_worker(1);
    let worker = desk.native_worker(1);
    for id in 1..=3 {
        desk.scatter_to_all(client, id);
    }
    desk.pass(Duration::from_millis(100));
    let list = |says| {
        move |desk: &mut Desk| {
            desk.admin(operator, says, |report| {
                let jobs = report.jobs.as_deref().unwrap();
                let uuids: Vec<_> = jobs.iter().map(|job| job.uuid.to_vec()).collect();
                (uuids, report.next)
            })
        }
    };
    let all = AdminHeader::new(Verb::Jobs);
    let (uuids, next) = list(all)(&mut desk).unwrap();
    assert_eq!((uuids.len(), next), (3, None));
    let (first, next) =
        list(AdminHeader { max: std::num::NonZeroU16::new(2), ..all })(&mut desk).unwrap();
    let (rest, end) = list(AdminHeader { after: next, ..all })(&mut desk).unwrap();
    assert_eq!(([first, rest].concat(), end), (uuids.clone(), None), "{next:?}");
    let counts = [
        (AdminHeader { owner: Some("anna"), ..all }, 3),
        (AdminHeader { owner: Some("ben"), ..all }, 0),
        (AdminHeader { state: Some("open"), ..all }, 3),
        (AdminHeader { state: Some("ended"), ..all }, 0),
        (AdminHeader { state: Some("dispatched"), ..all }, 3),
    ];
    for (says, count) in counts {
        assert_eq!(list(says)(&mut desk).unwrap().0.len(), count, "{says:?}");
    }
    let wrong = AdminHeader { state: Some("happy"), ..all };
    assert_eq!(list(wrong)(&mut desk), Err("bad_request".into()));

    let one = AdminHeader { uuid: Some(&uuids[1]), ..AdminHeader::new(Verb::Job) };
    let targets = desk.admin(operator, one, |report| {
        let [job] = report.jobs.as_deref().unwrap() else { panic!("{report:?}") };
        assert_eq!((job.owner, job.service, job.state), ("anna", &b"echo"[..], "dispatched"));
        assert_eq!((job.age, job.ended, job.targets, job.open), (100, None, 2, 2));
        report.targets.as_deref().unwrap().iter().map(|t| t.state.to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(targets.unwrap(), ["dispatched", "dispatched"]);

    let cancel = AdminHeader { uuid: Some(&uuids[1]), ..AdminHeader::new(Verb::Cancel) };
    desk.heard(client);
    assert_eq!(desk.admin(operator, cancel, |_| ()), Ok(()));
    assert_eq!(desk.heard(client), ["OUTCOME 2", "OUTCOME 2", "FINAL 2 "]);
    assert_eq!(desk.admin(operator, cancel, |_| ()), Err("not_found".into()));
    let ended = AdminHeader { state: Some("cancelled"), ..all };
    assert_eq!(list(ended)(&mut desk).unwrap().0, [uuids[1].clone()]);
    desk.reply(worker, "1", true);
}

#[test]
fn clients_and_workers_have_names_by_which_they_are_kicked() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (operator, client) = (desk.operator(), desk.guest());
    let worker = desk.native_worker(1);
    let stock = desk.worker();
    desk.call(client, 1, ECHO);
    let clients = desk.admin(operator, AdminHeader::new(Verb::Clients), |report| {
        let clients = report.clients.as_deref().unwrap();
        clients.iter().map(|row| (row.name.to_owned(), row.admin, row.requests)).collect::<Vec<_>>()
    });
    let clients = clients.unwrap();
    let [(_, true, 0), (name, false, 1)] = &clients[..] else { panic!("{clients:?}") };
    let one = AdminHeader { name: Some(name), ..AdminHeader::new(Verb::Clients) };
    assert_eq!(
        desk.admin(operator, one, |report| report.clients.as_ref().map(Vec::len)),
        Ok(Some(1))
    );
    let workers = |desk: &mut Desk, says| {
        let names = desk.admin(operator, says, |report| {
            let workers = report.workers.as_deref().unwrap();
            workers.iter().map(|row| row.name.to_owned()).collect::<Vec<_>>()
        });
        names.unwrap()
    };
    let all = AdminHeader::new(Verb::Workers);
    let names = workers(&mut desk, all);
    assert_eq!(names.len(), 2);
    assert_eq!(workers(&mut desk, AdminHeader { service: Some(b"other"), ..all }).len(), 0);
    assert_eq!(workers(&mut desk, AdminHeader { name: Some(&names[1]), ..all }), names[1..]);
    let kick = AdminHeader { name: Some(&names[0]), ..AdminHeader::new(Verb::Kick) };
    assert_eq!(desk.admin(operator, kick, |_| ()), Ok(()));
    assert_eq!(desk.said.closed, [(worker, CloseReason::Disconnected)]);
    assert_eq!(desk.given(stock).len(), 1, "what it held goes to another");
    assert_eq!(desk.admin(operator, kick, |_| ()), Err("not_found".into()));
}

#[test]
fn one_who_follows_is_told_what_happens_and_what_it_missed() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (operator, client) = (desk.operator(), desk.join());
    let follow = AdminHeader::new(Verb::Follow);
    desk.mjp(operator, &ToBroker::Admin { id: 9, says: follow, body: Frames::default() });
    assert_eq!(desk.events(operator), ["following"]);
    let worker = desk.native_worker(1);
    assert_eq!(desk.events(operator), ["peer.joined", "worker.registered"]);
    desk.scatter_to_all(client, 1);
    assert_eq!(desk.events(operator), ["job.started dispatched"]);
    desk.reply(worker, "1", true);
    assert_eq!(desk.events(operator), ["job.ended replied"]);
    // Its outbox is full for a while.
    desk.said.full.push(operator);
    desk.scatter_to_all(client, 2);
    desk.reply(worker, "2", true);
    desk.said.full.clear();
    desk.leave(worker);
    assert_eq!(desk.events(operator), ["worker.lost missed 2", "peer.left"]);
    assert!(desk.said.closed.is_empty(), "nobody is closed for what it did not ask for");
    // The same connection follows something else, and then nothing.
    let says = AdminHeader { prefix: Some("service."), ..follow };
    desk.mjp(operator, &ToBroker::Admin { id: 9, says, body: Frames::default() });
    assert_eq!(desk.events(operator), ["following"]);
    desk.native_worker(1);
    assert!(desk.events(operator).is_empty());
    let other = desk.operator();
    desk.shut(other, Verb::Pause).unwrap();
    desk.shut(other, Verb::Pause).unwrap();
    desk.shut(other, Verb::Drain).unwrap();
    desk.shut(other, Verb::Resume).unwrap();
    assert_eq!(desk.events(operator), ["service.paused", "service.draining", "service.resumed"]);
    desk.mjp(operator, &ToBroker::Cancel { id: 8 });
    desk.shut(other, Verb::Pause).unwrap();
    assert_eq!(desk.events(operator), ["service.paused"], "that was another id");
    desk.mjp(operator, &ToBroker::Cancel { id: 9 });
    desk.shut(other, Verb::Resume).unwrap();
    assert!(desk.events(operator).is_empty());
}

#[test]
fn what_takes_a_file_is_done_outside_and_answered_later() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (operator, stranger) = (desk.operator(), desk.guest());
    let says = AdminHeader::new(Verb::KeyPending);
    let refused = desk.admin(stranger, says, |_| ()).unwrap_err();
    assert_ne!(refused, "nothing was said");
    assert!(!desk.core.has_errands(), "strangers have nothing done");
    let ask = |desk: &mut Desk| desk.admin(operator, says, |_| ()).unwrap_err();
    assert_eq!(
        (ask(&mut desk), ask(&mut desk)),
        ("nothing was said".into(), "nothing was said".into())
    );
    assert!(desk.core.has_errands());
    let errands = desk.core.take_errands();
    assert!(errands.len() == 2 && !desk.core.has_errands());
    assert_eq!(
        (errands[0].verb, &*errands[0].header),
        (Verb::KeyPending, Packed::new(&says).octets())
    );
    desk.said.to.remove(operator);
    let report = Packed::new(&AdminReport { next: Some(7), ..AdminReport::default() });
    desk.core.answer_errand(&errands[0], Ok(&report), &mut desk.said);
    desk.core.answer_errand(&errands[1], Err((Code::NotFound, "no key")), &mut desk.said);
    let said = desk.said.to.remove(operator).unwrap();
    let [first, second] = &said[..] else { panic!("{said:?}") };
    let Ok(FromBroker::Admin { id: 77, header, .. }) = FromBroker::decode(first.frames()) else {
        panic!("{first:?}")
    };
    assert_eq!(header, report.octets());
    let Ok(FromBroker::Error(failure)) = FromBroker::decode(second.frames()) else { panic!() };
    let fault = Fault::decode(failure.header).unwrap();
    assert_eq!((failure.id, fault.code, fault.message), (77, "not_found", Some("no key")));

    // They are bounded, until they are answered.
    for _ in 0..64 {
        ask(&mut desk);
    }
    assert_eq!(ask(&mut desk), "overloaded");
    let errands = desk.core.take_errands();
    assert_eq!((errands.len(), ask(&mut desk)), (64, "overloaded".into()));
    desk.core.leave(desk.now, operator, &mut desk.said);
    desk.said.to.remove(operator);
    for errand in &errands {
        desk.core.answer_errand(errand, Ok(&report), &mut desk.said);
    }
    assert!(desk.said.to.get(operator).is_none(), "who has gone is told nothing");
    let operator = desk.operator();
    assert_eq!(desk.admin(operator, says, |_| ()).unwrap_err(), "nothing was said");
}

#[test]
fn an_id_stands_for_one_thing_that_is_open() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (operator, worker) = (desk.operator(), desk.native_worker(1));
    let follow = AdminHeader::new(Verb::Follow);
    desk.mjp(operator, &ToBroker::Admin { id: 9, says: follow, body: Frames::default() });
    desk.call(operator, 9, ECHO);
    desk.call(operator, 9, RequestHeader { key: Some(b"k"), ..ECHO });
    desk.call(operator, 9, RequestHeader { service: b"mmi.service", ..ECHO });
    desk.scatter_to_all(operator, 9);
    let heard = desk.heard(operator);
    assert_eq!(heard[0], "ADMIN 9");
    assert_eq!(heard[1..], ["ERROR 9 duplicate_id"; 4]);
    assert!(desk.works(worker).is_empty());
    // It follows still, and may follow something else by the same id.
    desk.mjp(operator, &ToBroker::Admin { id: 9, says: follow, body: Frames::default() });
    let late = desk.native_worker(1);
    assert_eq!(desk.heard(operator), ["ADMIN 9"; 3]);
    desk.leave(late);
    desk.mjp(operator, &ToBroker::Cancel { id: 9 });
    desk.heard(operator);
    desk.call(operator, 9, ECHO);
    desk.mjp(operator, &ToBroker::Admin { id: 9, says: follow, body: Frames::default() });
    desk.scatter_to_all(operator, 10);
    desk.mjp(operator, &ToBroker::Admin { id: 10, says: follow, body: Frames::default() });
    desk.mjp(operator, &ToBroker::Cancel { id: 9 });
    assert_eq!(
        desk.heard(operator),
        ["ERROR 9 duplicate_id", "TARGETS 10", "ERROR 10 duplicate_id", "ERROR 9 cancelled"]
    );
}
