//! A client of MDP/0.2 that keeps any number of requests in flight.

use std::collections::VecDeque;

use majordomo::transport::endpoint::Endpoint;
use majordomo::transport::session::{Session, SessionConfig};
use majordomo::wire::mdp::{Request, ToClient, Version};
use majordomo::wire::message::{Frames, Message};

pub(crate) struct Caller {
    session: Session,
    replies: VecDeque<Reply>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) last: bool,
    pub(crate) body: Vec<Vec<u8>>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.concat()).unwrap()
    }
}

impl Caller {
    pub(crate) async fn connect(endpoint: &Endpoint) -> Self {
        let session = Session::connect(endpoint, &SessionConfig::default()).await.unwrap();
        Self { session, replies: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, service: &str, body: impl Into<Message>) {
        let body = body.into();
        let request = Request {
            version: Version::V02,
            envelope: Frames::default(),
            service: service.as_bytes(),
            body: body.frames(),
        };
        self.session.send(|out| request.encode(out));
    }

    /// Writes what was sent.
    pub(crate) async fn flush(&mut self) {
        self.session.flush().await.unwrap();
    }

    /// The next part of an answer, or answer, in the order in which they come.
    pub(crate) async fn reply(&mut self) -> Reply {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return reply;
            }
            let replies = &mut self.replies;
            let turn = self.session.turn(|frames| {
                let ToClient { last, body, .. } = ToClient::decode(frames).unwrap();
                replies.push_back(Reply { last, body: body.map(<[u8]>::to_vec).collect() });
            });
            turn.await.unwrap();
        }
    }

    pub(crate) async fn call(&mut self, service: &str, body: impl Into<Message>) -> Reply {
        self.send(service, body);
        self.reply().await
    }
}
