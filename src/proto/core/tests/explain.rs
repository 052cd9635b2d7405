//! Where requests are, and why they are not at workers, as an operator is told.

use super::native::ECHO;
use super::retry::{ordered, quick};
use super::*;
use crate::proto::policy::ServiceRule;
use crate::wire::mjp::{
    AdminHeader, Code, ExplainReport, Fault, FromBroker, RequestHeader, StandReport, ToBroker, Verb,
};

impl Desk {
    fn explain<T>(
        &mut self,
        peer: PeerId,
        says: AdminHeader<'_>,
        look: impl FnOnce(&ExplainReport<'_>) -> T,
    ) -> Result<T, String> {
        let says = AdminHeader { verb: Verb::Explain.as_str(), ..says };
        let before = self.said.to.get(peer).map_or(0, Vec::len);
        self.mjp(peer, &ToBroker::Admin { id: 79, says, body: Frames::default() });
        let said = self.said.to.get(peer).unwrap()[before].clone();
        match FromBroker::decode(said.frames()).unwrap() {
            FromBroker::Admin { id: 79, header, .. } => {
                Ok(look(&ExplainReport::decode(header).unwrap()))
            }
            FromBroker::Error(failure) => Err(Fault::decode(failure.header).unwrap().code.into()),
            other => panic!("{other:?}"),
        }
    }

    fn service<T>(
        &mut self,
        peer: PeerId,
        look: impl FnOnce(&ExplainReport<'_>) -> T,
    ) -> Result<T, String> {
        let says = AdminHeader { service: Some(b"echo"), ..AdminHeader::default() };
        self.explain(peer, says, look)
    }

    /// State of each request of the service, and why.
    fn stands(&mut self, peer: PeerId) -> Vec<String> {
        let line = |it: &StandReport<'_>| format!("{}: {}", it.state, it.because.unwrap_or("-"));
        let look =
            |report: &ExplainReport<'_>| report.requests.iter().flatten().map(line).collect();
        self.service(peer, look).unwrap()
    }
}

#[test]
fn each_place_has_its_reason() {
    let mut desk = Desk::new(quick());
    let (client, operator) = (desk.join(), desk.join());
    desk.call(client, 1, ECHO);
    assert_eq!(desk.stands(operator), ["waiting: no worker offers the service"]);
    let worker = desk.native_worker(1);
    desk.call(client, 2, ECHO);
    assert_eq!(
        desk.stands(operator),
        [
            "running: -",
            "waiting: no worker has credit left: 1 requests are at 1 workers that take 1"
        ]
    );
    let pause = AdminHeader { service: Some(b"echo"), ..AdminHeader::new(Verb::Pause) };
    desk.admin(operator, pause, |_| ()).unwrap();
    let paused = "waiting: the service is paused: `service resume` lets it go on";
    assert_eq!(desk.stands(operator)[1], paused);
    let resume = AdminHeader { service: Some(b"echo"), ..AdminHeader::new(Verb::Resume) };
    desk.admin(operator, resume, |_| ()).unwrap();
    desk.fail_for_now(worker, "1", None);
    desk.reply(worker, "2", true);
    assert_eq!(
        desk.stands(operator),
        ["delayed: workers failed it 1 times: it waits for its back-off"]
    );
    let seen = desk.service(operator, |report| {
        let stand = report.requests.as_ref().unwrap()[0];
        (stand.wait, stand.attempts, stand.uuid.len())
    });
    assert_eq!(seen, Ok((Some(100), 1, 16)));
}

#[test]
fn an_order_names_who_is_in_the_way() {
    let mut desk = Desk::new(quick());
    let (client, operator, worker) = (desk.join(), desk.join(), desk.native_worker(4));
    desk.call(client, 1, ordered(b"a"));
    desk.call(client, 2, ordered(b"a"));
    desk.call(client, 3, RequestHeader { delay: Some(9000), timeout: Some(9500), ..ECHO });
    let first = format!("{:016x}", desk.token(worker, "1"));
    assert_eq!(
        desk.stands(operator),
        [
            "running: -".into(),
            format!("behind: its order is busy: {first} is before it and has not ended"),
            "delayed: its caller wants it to be delayed".into()
        ]
    );
    let look = |report: &ExplainReport<'_>| {
        let it = report.service.unwrap();
        (it.running, it.waiting, it.behind, it.delayed, it.because.map(ToOwned::to_owned))
    };
    let why = "what waits is delayed, or behind another one of its order";
    assert_eq!(desk.service(operator, look), Ok((1, 0, 1, 1, Some(why.into()))));
    let says = AdminHeader { uuid: Some(first.as_bytes()), ..AdminHeader::default() };
    let look = |report: &ExplainReport<'_>| {
        let it = report.requests.as_ref().unwrap()[0];
        (it.state.to_owned(), it.worker.is_some(), it.order.map(<[u8]>::to_vec))
    };
    let expected = ("running".to_owned(), true, Some(b"a".to_vec()));
    assert_eq!(desk.explain(operator, says, look), Ok(expected));
}

#[test]
fn the_policy_that_holds_is_told_with_its_line() {
    let rule = ServiceRule {
        pattern: "ec*".into(),
        policy: ServicePolicy { attempts: 7, ..quick() },
        at: Some("majordomo.toml:12".into()),
    };
    let mut desk = Desk::with(Settings { rules: vec![rule], ..Settings::default() });
    let operator = desk.join();
    desk.native_worker(1);
    let look = |report: &ExplainReport<'_>| {
        let it = report.policy.unwrap();
        let texts = (it.pattern.unwrap().to_owned(), it.at.unwrap().to_owned());
        (texts, it.attempts, it.backoff, it.dead_letters.to_owned())
    };
    let texts = ("ec*".to_owned(), "majordomo.toml:12".to_owned());
    assert_eq!(desk.service(operator, look), Ok((texts, 7, 100, "exhausted,poison".into())));
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut desk = Desk::new(quick());
    let (guest, operator) = (desk.guest(), desk.join());
    let not_found = Err(Code::NotFound.as_str().to_owned());
    assert_eq!(desk.service(operator, |_| ()), not_found);
    for (uuid, code) in [("0000000100000001", Code::NotFound), ("x", Code::BadRequest)] {
        let says = AdminHeader { uuid: Some(uuid.as_bytes()), ..AdminHeader::default() };
        assert_eq!(desk.explain(operator, says, |_| ()), Err(code.as_str().into()), "{uuid}");
    }
    let nothing = AdminHeader::default();
    assert_eq!(desk.explain(operator, nothing, |_| ()), Err("bad_request".into()));
    assert_eq!(desk.service(guest, |_| ()), Err("denied".into()));
}

#[test]
fn what_waits_on_the_disk_for_its_time_or_its_order_has_its_reason() {
    let limits = crate::proto::depot::DepotLimits::default();
    let mut house = depot::House::new(limits, quick());
    let (client, operator) = (house.desk.join(), house.desk.join());
    let disk = RequestHeader { level: Some(crate::wire::mjp::Level::Disk), ..ECHO };
    house.ask(client, 1, RequestHeader { delay: Some(5_000), ..disk });
    house.ask(client, 2, RequestHeader { order: Some(b"a"), ..disk });
    house.ask(client, 3, RequestHeader { order: Some(b"a"), ..disk });
    let delayed = "delayed: its caller wants it to be delayed";
    let behind = "behind: its order is busy: 0000000200000002 is before it and has not ended";
    assert_eq!(house.desk.stands(operator), [delayed, behind], "nobody offers the service");
    let counts = house.desk.service(operator, |report| {
        let it = report.service.as_ref().unwrap();
        (it.state.to_owned(), it.workers, it.delayed, it.behind)
    });
    assert_eq!(counts, Ok(("open".into(), 0, 1, 1)));
    let mut of = |uuid: &[u8]| {
        let says = AdminHeader { uuid: Some(uuid), ..AdminHeader::default() };
        house.desk.explain(operator, says, |report| {
            let it = &report.requests.as_ref().unwrap()[0];
            (
                it.state.to_owned(),
                it.wait,
                it.order.map(<[u8]>::to_vec),
                it.behind.map(str::to_owned),
            )
        })
    };
    assert_eq!(of(b"0000000200000001"), Ok(("delayed".into(), Some(5_000), None, None)));
    let first = Some("0000000200000002".to_owned());
    assert_eq!(of(b"0000000200000003"), Ok(("behind".into(), None, Some(b"a".to_vec()), first)));
    assert_eq!(of(b"0000000200000002").unwrap().0, "waiting");
    assert_eq!(of(b"0000000200000009"), Err("not_found".into()));
    house.worker(1);
    assert_eq!(house.desk.stands(operator), ["running: -", delayed, behind]);
}
