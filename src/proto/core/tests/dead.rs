//! Dead letters: what makes one, and what an operator does with it.

use super::native::ECHO;
use super::retry::{ordered, quick};
use super::*;
use crate::id::Identity;
use crate::proto::dead::{Cause, Causes, DeadLimits};
use crate::proto::policy::DeadPolicy;
use crate::wire::mjp::{
    AdminHeader, DeadHeader, DeadReport, ExplainReport, Fault, FromBroker, RequestHeader, ToBroker,
    Verb, encode_admin,
};

const MS: Duration = Duration::from_millis(1);

fn keeping(causes: Causes) -> ServicePolicy {
    let dead = DeadPolicy { causes, kept: Some(60_000 * MS), ..DeadPolicy::default() };
    ServicePolicy { attempts: 1, dead, ..quick() }
}

impl Desk {
    /// Says ADMIN with that header and body, and gives the answer, or the code of an error.
    fn dead_with(
        &mut self,
        peer: PeerId,
        says: &DeadHeader<'_>,
        body: &Message,
    ) -> Result<Message, String> {
        let before = self.said.to.get(peer).map_or(0, Vec::len);
        let header = crate::wire::mjp::Packed::new(says);
        let body = if body.first().is_empty() { Frames::default() } else { body.frames() };
        self.say(peer, |out| encode_admin(78, header.octets(), &body, out));
        let said = self.said.to.get(peer).and_then(|said| said.get(before)).cloned();
        let said = said.ok_or("nothing was said")?;
        match FromBroker::decode(said.frames()).unwrap() {
            FromBroker::Admin { id: 78, .. } => Ok(said),
            FromBroker::Error(failure) if failure.id == 78 => {
                let fault = Fault::decode(failure.header).unwrap();
                Err(fault.code.to_owned())
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn dead<T>(
        &mut self,
        peer: PeerId,
        says: &DeadHeader<'_>,
        look: impl FnOnce(&DeadReport<'_>) -> T,
    ) -> Result<T, String> {
        let said = self.dead_with(peer, says, &Message::default())?;
        let header = said.frames().nth(2).unwrap();
        Ok(look(&DeadReport::decode(header).unwrap()))
    }

    /// The letters: cause, attempts and service of each.
    pub(super) fn letters(&mut self, peer: PeerId) -> Vec<String> {
        let says = DeadHeader::new(Verb::DeadList);
        let look = |report: &DeadReport<'_>| {
            let letters = report.letters.iter().flatten();
            let line = |it: &crate::wire::mjp::LetterReport<'_>| {
                let service = String::from_utf8_lossy(it.service).into_owned();
                format!("{service} {} {}", it.cause, it.attempts)
            };
            letters.map(line).collect()
        };
        self.dead(peer, &says, look).unwrap()
    }

    pub(super) fn first_id(&mut self, peer: PeerId) -> String {
        let says = DeadHeader::new(Verb::DeadList);
        self.dead(peer, &says, |it| it.letters.as_ref().unwrap()[0].uuid.to_owned()).unwrap()
    }
}

#[test]
fn each_end_that_the_policy_names_makes_a_letter_and_no_other_does() {
    let made = |causes: Causes| {
        let policy = ServicePolicy {
            unserved_ttl: Some(200 * MS),
            queue_messages_max: 1,
            ..keeping(causes)
        };
        let mut desk = Desk::new(policy);
        let (client, operator, worker) = (desk.join(), desk.join(), desk.native_worker(1));
        desk.call(client, 1, ECHO);
        desk.fail(worker, "1");
        desk.call(client, 2, ECHO);
        desk.fail_for_now(worker, "2", None);
        desk.call(client, 3, RequestHeader { timeout: Some(50), ..ECHO });
        desk.pass(60 * MS);
        desk.reply(worker, "3", true);
        desk.call(client, 4, RequestHeader { attempts: std::num::NonZeroU32::new(1), ..ECHO });
        desk.leave(worker);
        desk.call(client, 5, ECHO);
        desk.call(client, 6, ECHO);
        for _ in 0..3 {
            let worker = desk.native_worker(1);
            desk.leave(worker);
        }
        desk.call(client, 7, ECHO);
        desk.pass(400 * MS);
        desk.letters(operator)
    };
    assert_eq!(
        made(Causes::ALL),
        [
            "echo failed 0",
            "echo exhausted 1",
            "echo timeout 0",
            "echo lost 1",
            "echo overflow 0",
            "echo poison 3",
            "echo expired 0"
        ]
    );
    assert_eq!(made(Causes::default()), ["echo exhausted 1", "echo poison 3"]);
    assert_eq!(made(Causes::NONE), [""; 0]);
}

#[test]
fn what_was_answered_cancelled_or_left_is_no_letter() {
    let mut desk = Desk::new(keeping(Causes::ALL));
    let (client, gone, operator, worker) =
        (desk.join(), desk.join(), desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.call(client, 2, ECHO);
    desk.call(gone, 3, ECHO);
    desk.mjp(client, &ToBroker::Cancel { id: 2 });
    desk.leave(gone);
    desk.reply(worker, "1", true);
    assert_eq!(desk.letters(operator), [""; 0]);
}

#[test]
fn a_letter_is_shown_with_who_asked_who_had_it_and_its_octets() {
    let mut desk = Desk::new(quick());
    let identity = Some(Identity::try_from(&b"anna"[..]).unwrap());
    let hello = Hello { identity, ..Hello::default() };
    let client = desk.core.join(desk.now, hello, &mut desk.said).0;
    let (operator, worker) = (desk.join(), desk.named_worker("w1", 1, &[]));
    desk.call(client, 1, ordered(b"a"));
    desk.leave(worker);
    let worker = desk.named_worker("w2", 1, &[]);
    for wait in [100, 200, 400, 0] {
        desk.fail_for_now(worker, "1", None);
        desk.pass(wait * MS);
    }
    let uuid = desk.first_id(operator);
    assert_eq!(uuid, format!("{:016x}", desk.works(worker)[0].token), "what its workers saw");
    let says = DeadHeader { uuid: Some(&uuid), ..DeadHeader::new(Verb::DeadShow) };
    let said = desk.dead_with(operator, &says, &Message::default()).unwrap();
    let frames: Vec<_> = said.frames().map(<[u8]>::to_vec).collect();
    let report = DeadReport::decode(&frames[2]).unwrap();
    let letter = report.letters.as_ref().unwrap()[0];
    assert_eq!(
        (letter.cause, letter.attempts, letter.deaths, letter.message),
        ("exhausted", 5, 1, Some("try again"))
    );
    assert_eq!((letter.identity, letter.order), (Some(&b"anna"[..]), Some(&b"a"[..])));
    let seen: Vec<_> =
        report.seen.as_ref().unwrap().iter().map(|seen| (seen.worker, seen.end)).collect();
    assert_eq!(seen[..2], [("w1", "lost"), ("w2", "failed")]);
    assert_eq!(seen.len(), 5);
    let header = crate::wire::mjp::Packed::new(&ordered(b"a"));
    assert_eq!(frames[3..], [header.octets().to_vec(), b"1".to_vec()]);
    assert_eq!(letter.header, Some(header.octets().len() as u64));
}

#[test]
fn a_letter_is_put_back_and_is_in_one_place_all_the_time() {
    let mut desk = Desk::new(keeping(Causes::ALL));
    let (client, operator, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    desk.call(client, 1, RequestHeader { trace: Some("00-1"), ..ECHO });
    desk.fail(worker, "1");
    desk.heard(client);
    let uuid = desk.first_id(operator);
    let requeue = DeadHeader { uuid: Some(&uuid), ..DeadHeader::new(Verb::DeadRequeue) };
    let dry = DeadHeader { dry: Some(true), ..requeue };
    assert_eq!(desk.dead(operator, &dry, |it| (it.done, it.left)), Ok((Some(1), None)));
    assert_eq!(desk.letters(operator).len(), 1, "nothing was done");
    assert_eq!(desk.dead(operator, &requeue, |it| it.done), Ok(Some(1)));
    assert_eq!(desk.letters(operator), [""; 0]);
    let given = desk.works(worker).pop().unwrap();
    assert_eq!(given.body, b"1");
    let header = RequestHeader::decode(&given.header).unwrap();
    assert_eq!(header.trace, Some("00-1"), "with the header that it had");
    assert_eq!(desk.dead(operator, &requeue, |_| ()), Err("not_found".into()));
    // It dies again, under the same name.
    desk.fail(worker, "1");
    let deaths = |it: &DeadReport<'_>| {
        let letter = it.letters.as_ref().unwrap()[0];
        (letter.uuid.to_owned(), letter.deaths)
    };
    let list = DeadHeader::new(Verb::DeadList);
    assert_eq!(desk.dead(operator, &list, deaths), Ok((uuid.clone(), 2)));
    desk.dead(operator, &requeue, |_| ()).unwrap();
    desk.reply(worker, "1", true);
    assert_eq!((desk.letters(operator).len(), desk.core.router().open_requests()), (0, 0));
    assert_eq!(desk.heard(client), [""; 0], "its caller was told long ago");
    let stats = desk.core.router().dead().stats();
    assert_eq!((stats.requeued, stats.made[Cause::Failed as usize]), (2, 2));
}

#[test]
fn letters_are_put_back_by_a_filter_as_far_as_there_is_room() {
    let mut desk = Desk::new(ServicePolicy { queue_messages_max: 2, ..keeping(Causes::ALL) });
    let (client, operator, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    for id in 1..=4 {
        desk.call(client, id, ECHO);
        desk.fail(worker, &id.to_string());
    }
    desk.leave(worker);
    let nothing = DeadHeader::new(Verb::DeadRequeue);
    assert_eq!(desk.dead(operator, &nothing, |_| ()), Err("bad_request".into()));
    let other = DeadHeader { cause: Some("poison"), ..nothing };
    assert_eq!(desk.dead(operator, &other, |it| it.done), Ok(Some(0)));
    let strange = DeadHeader { cause: Some("boredom"), ..nothing };
    assert_eq!(desk.dead(operator, &strange, |_| ()), Err("bad_request".into()));
    let echo = DeadHeader { service: Some(b"ec*"), ..nothing };
    let look = |it: &DeadReport<'_>| (it.done, it.left, it.because.is_some());
    assert_eq!(desk.dead(operator, &echo, look), Ok((Some(2), Some(2), true)));
    assert_eq!(desk.letters(operator).len(), 2);
    let some = DeadHeader { max: std::num::NonZeroU16::new(1), all: Some(true), ..nothing };
    let drop = DeadHeader { verb: "dlq.drop", ..some };
    assert_eq!(desk.dead(operator, &drop, |it| (it.done, it.next.is_some())), Ok((Some(1), true)));
    assert_eq!(desk.letters(operator).len(), 1);
    assert_eq!(desk.core.router().dead().stats().dropped, 1);
}

#[test]
fn a_letter_gets_another_body_header_or_service() {
    let mut desk = Desk::new(keeping(Causes::ALL));
    let (client, operator, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.fail(worker, "1");
    let uuid = desk.first_id(operator);
    let header = crate::wire::mjp::Packed::new(&RequestHeader { trace: Some("00-2"), ..ECHO });
    let edit = DeadHeader { uuid: Some(&uuid), ..DeadHeader::new(Verb::DeadEdit) };
    let body = Message::new(["better", "than before"]);
    let bad = DeadHeader { header: Some(b"\x93"), ..edit };
    assert_eq!(desk.dead_with(operator, &bad, &body), Err("bad_request".into()));
    desk.dead_with(operator, &edit, &body).unwrap();
    assert_eq!(desk.works(worker).len(), 1, "it is dead as before");
    let edit = DeadHeader { header: Some(header.octets()), requeue: Some(true), ..edit };
    desk.dead_with(operator, &edit, &Message::default()).unwrap();
    let given = desk.works(worker).pop().unwrap();
    assert_eq!((given.body, given.header), (b"better".to_vec(), header.octets().to_vec()));
    desk.fail(worker, "better");
    let move_to = DeadHeader { header: None, service: Some(b"other"), ..edit };
    desk.dead_with(operator, &move_to, &Message::default()).unwrap();
    assert_eq!(desk.core.router().service_named(b"other").unwrap().waiting, 1);
}

#[test]
fn letters_are_for_administrators() {
    let mut desk = Desk::new(keeping(Causes::ALL));
    let guest = desk.guest();
    for verb in [Verb::DeadList, Verb::DeadShow, Verb::DeadRequeue, Verb::DeadEdit, Verb::DeadDrop]
    {
        assert_eq!(desk.dead(guest, &DeadHeader::new(verb), |_| ()), Err("denied".into()));
    }
}

#[test]
fn letters_give_way_when_memory_is_short_and_end_with_their_time() {
    let limits = DeadLimits { letters_max: 3, ..DeadLimits::default() };
    let settings = Settings { policy: keeping(Causes::ALL), dead: limits, ..Settings::default() };
    let mut desk = Desk::with(settings);
    let (client, operator, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    for id in 1..=5 {
        desk.call(client, id, ECHO);
        desk.fail(worker, &id.to_string());
    }
    assert_eq!(desk.letters(operator).len(), 3);
    desk.said.memory = Some(desk.said.charged);
    desk.call(client, 6, ECHO);
    assert!(desk.letters(operator).len() < 3, "a request goes before what is remembered");
    desk.said.memory = None;
    desk.reply(worker, "6", true);
    desk.pass(61_000 * MS);
    assert_eq!(desk.letters(operator), [""; 0]);
    let stats = desk.core.router().dead().stats();
    assert!(stats.evicted >= 3 && stats.expired >= 1, "{stats:?}");
}

#[test]
fn letters_of_some_services_are_kept_in_one_queue() {
    let queue = Some("all.dead".into());
    let dead = DeadPolicy { queue, causes: Causes::ALL, ..DeadPolicy::default() };
    let mut desk = Desk::new(ServicePolicy { dead, ..quick() });
    let (client, operator, worker) = (desk.join(), desk.join(), desk.native_worker(1));
    desk.call(client, 1, ECHO);
    desk.fail(worker, "1");
    let list = DeadHeader::new(Verb::DeadList);
    let queue = desk.dead(operator, &list, |it| it.letters.as_ref().unwrap()[0].queue.to_vec());
    assert_eq!(queue, Ok(b"all.dead".to_vec()));
}

#[test]
fn where_a_letter_is_can_be_explained() {
    let mut desk = Desk::new(keeping(Causes::ALL));
    let (client, operator, worker) = (desk.join(), desk.join(), desk.named_worker("w1", 1, &[]));
    desk.call(client, 1, ECHO);
    desk.fail(worker, "1");
    let uuid = desk.first_id(operator);
    let says = AdminHeader { uuid: Some(uuid.as_bytes()), ..AdminHeader::new(Verb::Explain) };
    desk.heard(operator);
    desk.mjp(operator, &ToBroker::Admin { id: 5, says, body: Frames::default() });
    let said = desk.said.to.get(operator).unwrap().last().unwrap().clone();
    let header = said.frames().nth(2).unwrap();
    let report = ExplainReport::decode(header).unwrap();
    let stand = report.requests.as_ref().unwrap()[0];
    assert_eq!((stand.state, stand.because), ("dead", Some("it is a dead letter: failed")));
    assert_eq!(report.seen.as_ref().unwrap()[0].worker, "w1");
}
