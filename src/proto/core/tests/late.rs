//! Answers of workers that were lost and live, and what is kept free for a suspect.

use super::*;

#[test]
fn a_late_answer_is_taken_while_the_request_waits() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (worker, client) = (desk.worker(), desk.join());
    desk.ask(client, b"question");
    let (address, _) = desk.given(worker).remove(0);
    desk.dismiss(worker);
    desk.answer(worker, &address, true);
    assert_eq!(desk.answered(client), [true]);
    assert_eq!(desk.core.router().open_requests(), 0);
}

#[test]
fn a_late_answer_that_lacks_a_part_said_after_the_loss_is_not_taken() {
    let mut desk = Desk::new(ServicePolicy::default());
    let (worker, client) = (desk.worker(), desk.join());
    desk.ask(client, b"question");
    let (address, _) = desk.given(worker).remove(0);
    desk.dismiss(worker);
    desk.answer(worker, &address, false);
    desk.answer(worker, &address, true);
    let answers: [bool; 0] = [];
    assert_eq!(desk.answered(client), answers, "the part went nowhere, so the end is no answer");
    let other = desk.worker();
    assert_eq!(desk.given(other).len(), 1, "somebody else answers");
}

#[test]
fn a_late_answer_after_a_part_said_before_the_loss_is_not_taken() {
    let policy = ServicePolicy { resend_after_partial: true, ..ServicePolicy::default() };
    let mut desk = Desk::new(policy);
    let (worker, client) = (desk.worker(), desk.join());
    desk.ask(client, b"question");
    let (address, _) = desk.given(worker).remove(0);
    desk.answer(worker, &address, false);
    desk.dismiss(worker);
    desk.answer(worker, &address, true);
    assert_eq!(desk.answered(client), [false]);
    assert_eq!(desk.core.router().open_requests(), 1, "it is delivered again");
}

/// A request that was lost twice, and a worker that holds another one and is kept for it. Also
/// the peer that lost it last, and the address it had there.
fn reserved() -> (Desk, PeerId, PeerId, PeerId, Vec<u8>) {
    let mut desk = Desk::new(ServicePolicy { prefetch: 2, ..ServicePolicy::default() });
    let (suspected, client) = (desk.join(), desk.join());
    let mut last = desk.worker();
    desk.ask(suspected, b"poison");
    desk.leave(last);
    last = desk.worker();
    // A third worker takes what is fine before the second is lost.
    let worker = desk.worker();
    desk.ask(client, b"fine");
    assert_eq!(desk.given(worker).len(), 1);
    let (address, _) = desk.given(last).remove(0);
    desk.dismiss(last);
    desk.ask(client, b"next");
    assert_eq!(desk.given(worker).len(), 1, "it is kept free for the suspect");
    (desk, suspected, worker, last, address)
}

#[test]
fn a_worker_kept_for_a_suspect_works_again_when_the_client_of_that_goes() {
    let (mut desk, suspected, worker, ..) = reserved();
    desk.leave(suspected);
    assert_eq!(desk.given(worker)[1].1, b"next");
}

#[test]
fn a_worker_with_nothing_to_do_takes_the_place_of_one_that_is_kept_for_a_suspect() {
    let mut desk = Desk::new(ServicePolicy { prefetch: 2, ..ServicePolicy::default() });
    let (suspected, client) = (desk.join(), desk.join());
    let first = desk.worker();
    desk.ask(suspected, b"poison");
    desk.leave(first);
    let second = desk.worker();
    let [slow, quick] = [(); 2].map(|()| desk.worker());
    desk.ask(client, b"long");
    desk.ask(client, b"short");
    desk.leave(second);
    desk.ask(client, b"next");
    desk.ask(client, b"last");
    let bodies = |desk: &Desk, worker| -> Vec<_> {
        let given = desk.given(worker).into_iter();
        given.map(|(_, body)| String::from_utf8(body).unwrap()).collect()
    };
    assert_eq!(bodies(&desk, slow), ["long"], "it is kept free for the suspect");
    assert_eq!(bodies(&desk, quick), ["short", "next"]);
    for at in 0..3 {
        let (address, _) = desk.given(quick).remove(at);
        desk.answer(quick, &address, true);
    }
    assert_eq!(bodies(&desk, quick), ["short", "next", "last", "poison"]);
    for body in [b"alone", b"again"] {
        desk.ask(client, body);
    }
    assert_eq!(bodies(&desk, slow), ["long", "alone"], "it takes what it may again");
    assert_eq!(bodies(&desk, quick).len(), 4, "and nothing comes beside the suspect");
}

#[test]
fn a_worker_kept_for_a_suspect_works_again_when_that_is_answered_late() {
    let (mut desk, suspected, worker, last, address) = reserved();
    desk.answer(last, &address, true);
    assert_eq!(desk.answered(suspected), [true]);
    assert_eq!(desk.given(worker)[1].1, b"next");
}
