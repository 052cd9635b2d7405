//! Peers of NFP at the desk.

mod jobs;
mod put;
mod queued;
mod stand_ins;
mod workers;

use super::*;
use crate::id::Identity;
use crate::wire::mjp::{Packed, Recipients, Scatter, ScatterHeader, ToBroker};
use crate::wire::nfp::body;
use crate::wire::nfp::{
    self, Era, FromClient, FromWorker, Job, Kind, Order, Reply, ToClient, ToWorker, Verb,
};

const ADD: &str = r#"{"task":"add","kwargs":{},"args":[1,2],"timeout":60}"#;

/// A reply as a client gets it: command, service, uuid, status, body.
type Heard = (Kind, String, String, String, String);

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

impl Desk {
    pub(super) fn enter(&mut self, name: &str, house: bool) -> PeerId {
        let identity = Identity::try_from(name.as_bytes()).ok();
        let hello = Hello { identity, house, ..Hello::default() };
        self.core.join(self.now, hello, &mut self.said).0
    }

    pub(super) fn nfp_ready(&mut self, name: &str, service: &str) -> PeerId {
        let peer = self.enter(name, false);
        self.work(peer, FromWorker::Ready { service: service.as_bytes() });
        peer
    }

    pub(super) fn work(&mut self, worker: PeerId, says: FromWorker<'_>) {
        self.say(worker, |out| says.encode(out));
    }

    pub(super) fn job(
        &mut self,
        client: PeerId,
        verb: Verb,
        service: &str,
        target: &str,
        uuid: &str,
    ) {
        self.job_with(client, verb, service, target, uuid, ADD);
    }

    pub(super) fn job_with(
        &mut self,
        client: PeerId,
        verb: Verb,
        service: &str,
        target: &str,
        uuid: &str,
        body: &str,
    ) {
        let body = Message::new([body.to_owned().into_bytes()]);
        let job = Job {
            verb,
            service: service.as_bytes(),
            target: target.as_bytes(),
            uuid: uuid.as_bytes(),
            body: body.frames(),
        };
        self.say(client, |out| FromClient::Job(job).encode(out));
    }

    pub(super) fn report(
        &mut self,
        worker: PeerId,
        kind: Kind,
        to: &str,
        uuid: &str,
        status: &str,
        b: &str,
    ) {
        let body = Message::new([b.to_owned().into_bytes()]);
        let answer = nfp::Answer {
            kind,
            client: to.as_bytes(),
            uuid: uuid.as_bytes(),
            status: status.as_bytes(),
            body: body.frames(),
        };
        self.say(worker, |out| answer.encode(out));
    }

    /// What a client was told since it was last looked at.
    pub(super) fn told(&mut self, client: PeerId) -> Vec<Heard> {
        self.fresh(client)
            .iter()
            .map(|message| match ToClient::decode(message.frames()).unwrap() {
                (_, ToClient::Reply(Reply { kind, service, uuid, status, mut body })) => {
                    let body = body.take_first().unwrap_or_default();
                    (kind, text(service), text(uuid), text(status), text(body))
                }
                (_, ToClient::Plain { service, text: why }) => {
                    let nothing = String::new;
                    (Kind::Response, text(service), nothing(), nothing(), text(why))
                }
            })
            .collect()
    }

    pub(super) fn statuses(&mut self, client: PeerId) -> Vec<String> {
        self.told(client).into_iter().map(|(.., status, _)| status).collect()
    }

    /// What a worker was given: command, client, uuid, body.
    pub(super) fn orders(&mut self, worker: PeerId) -> Vec<(Verb, String, String, String)> {
        let fresh = self.fresh(worker);
        let orders = fresh.iter().filter_map(|message| match ToWorker::decode(message.frames()) {
            Ok((_, ToWorker::Order(Order { verb, client, uuid, mut body }))) => {
                let body = body.take_first().unwrap_or_default();
                Some((verb, text(client), text(uuid), text(body)))
            }
            _ => None,
        });
        orders.collect()
    }

    pub(super) fn disconnects(&mut self, worker: PeerId) -> usize {
        let fresh = self.fresh(worker);
        let said = fresh.iter().filter(|message| {
            matches!(ToWorker::decode(message.frames()), Ok((_, ToWorker::Disconnect { .. })))
        });
        said.count()
    }

    pub(super) fn fresh(&mut self, peer: PeerId) -> Vec<Message> {
        let all = self.said.to.get(peer).map(Vec::as_slice).unwrap_or_default();
        let read = self.read.insert(peer, all.len()).unwrap_or_default();
        all.get(read..).unwrap_or_default().to_vec()
    }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}
