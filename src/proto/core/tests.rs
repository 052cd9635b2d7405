//! What happens between peers, said in messages.

use std::time::Instant;

use slotmap::SecondaryMap;

use super::{Core, Hello};
use crate::id::PeerId;
use crate::proto::output::{CloseReason, Output, Pressure};
use crate::proto::policy::{ServicePolicy, Settings};
use crate::wire::Limits;
use crate::wire::codec::{Decoder, Encoder, Item};
use crate::wire::mdp::{Answer, FromWorker, Request, ToClient, ToWorker, Version};
use crate::wire::message::{Frames, Message};

use Version::V02;

/// Keeps what is said to each peer.
#[derive(Default)]
struct Said(SecondaryMap<PeerId, Vec<Message>>);

impl Output for Said {
    fn send(&mut self, peer: PeerId, write: impl FnOnce(&mut Encoder)) -> Pressure {
        let message = message(write);
        self.0.entry(peer).unwrap().or_default().push(message);
        Pressure::Low
    }

    fn offer(&mut self, peer: PeerId, _: usize, write: impl FnOnce(&mut Encoder)) -> bool {
        self.send(peer, write) == Pressure::Low
    }

    fn is_quiet(&self, _: PeerId) -> bool {
        true
    }

    fn ping(&mut self, _: PeerId) {}

    fn resume(&mut self, _: PeerId) {}

    fn close(&mut self, _: PeerId, _: CloseReason) {}

    fn charge(&mut self, _: usize) -> bool {
        true
    }

    fn take(&mut self, _: usize) {}

    fn release(&mut self, _: usize) {}

    fn has_room(&self) -> bool {
        true
    }
}

fn message(write: impl FnOnce(&mut Encoder)) -> Message {
    let mut encoder = Encoder::default();
    write(&mut encoder);
    let octets = encoder.take_buffer();
    let mut decoder = Decoder::new(Limits::default());
    match decoder.next(&mut &octets[..]) {
        Ok(Some(Item::Message(frames))) => frames.to_message(),
        other => panic!("no message: {other:?}"),
    }
}

/// A broker in which no time passes.
struct Desk {
    core: Core,
    said: Said,
    now: Instant,
}

impl Desk {
    #[expect(clippy::disallowed_methods, reason = "an epoch to count from")]
    fn new(policy: ServicePolicy) -> Self {
        let settings = Settings { policy, ..Settings::default() };
        let now = Instant::now();
        Self { core: Core::new(settings, 0, now), said: Said::default(), now }
    }

    fn say(&mut self, peer: PeerId, write: impl FnOnce(&mut Encoder)) {
        let said = message(write);
        self.core.message(self.now, peer, said.frames(), &mut self.said);
        self.core.audit().unwrap();
    }

    fn join(&mut self) -> PeerId {
        self.core.join(self.now, Hello::default(), &mut self.said).0
    }

    fn leave(&mut self, peer: PeerId) {
        self.core.leave(self.now, peer, &mut self.said);
        self.core.audit().unwrap();
    }

    fn worker(&mut self) -> PeerId {
        let peer = self.join();
        self.say(peer, |out| FromWorker::Ready { service: b"echo" }.encode(V02, out));
        peer
    }

    fn ask(&mut self, client: PeerId, body: &'static [u8]) {
        let body = Message::new([body]);
        let envelope = Frames::default();
        self.say(client, |out| {
            Request { version: V02, envelope, service: b"echo", body: body.frames() }.encode(out);
        });
    }

    fn answer(&mut self, worker: PeerId, address: &[u8], last: bool) {
        let body = Message::new([&b"answer"[..]]);
        let answer = Answer { address, body: body.frames() };
        let command = if last { FromWorker::Final(answer) } else { FromWorker::Partial(answer) };
        self.say(worker, |out| command.encode(V02, out));
    }

    /// A second READY: the worker is sent away, and its connection stays.
    fn dismiss(&mut self, worker: PeerId) {
        self.say(worker, |out| FromWorker::Ready { service: b"echo" }.encode(V02, out));
    }

    /// The requests a worker was given: addresses and bodies.
    fn given(&self, worker: PeerId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let said = self.said.0.get(worker).into_iter().flatten();
        said.filter_map(|message| match ToWorker::decode(message.frames()) {
            Ok((_, ToWorker::Request(mut request))) => {
                Some((request.address.to_vec(), request.body.take_first()?.to_vec()))
            }
            _ => None,
        })
        .collect()
    }

    /// The answers a client was given: whether each is the last.
    fn answered(&self, client: PeerId) -> Vec<bool> {
        let said = self.said.0.get(client).into_iter().flatten();
        said.map(|message| ToClient::decode(message.frames()).unwrap().last).collect()
    }
}

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
fn a_worker_kept_for_a_suspect_works_again_when_that_is_answered_late() {
    let (mut desk, suspected, worker, last, address) = reserved();
    desk.answer(last, &address, true);
    assert_eq!(desk.answered(suspected), [true]);
    assert_eq!(desk.given(worker)[1].1, b"next");
}
