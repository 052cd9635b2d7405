//! A client that keeps any number of requests in flight, in MJP or MDP/0.2.

use std::collections::VecDeque;

use majordomo::transport::endpoint::Endpoint;
use majordomo::transport::session::{Session, SessionConfig};
use majordomo::wire::Protocol;
use majordomo::wire::mdp::{self, ToClient, Version};
use majordomo::wire::message::{Frames, Message};
use majordomo::wire::mjp::{self, Fault, FromBroker, Packed, RequestHeader};

pub(crate) struct Caller {
    session: Session,
    protocol: Protocol,
    id: u64,
    replies: VecDeque<Reply>,
}

/// What comes back for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Part(Vec<Vec<u8>>),
    Final(Vec<Vec<u8>>),
    Error { code: String, message: String, retry: Option<u64> },
}

impl Reply {
    /// The body of an answer.
    pub(crate) fn body(&self) -> &[Vec<u8>] {
        match self {
            Self::Part(body) | Self::Final(body) => body,
            Self::Error { .. } => panic!("{self:?}"),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body().concat()).unwrap()
    }

    /// The code of a failure, however it is said, and all of it as text.
    pub(crate) fn failure(&self) -> (String, String) {
        match self {
            Self::Error { code, message, retry } => {
                (code.clone(), format!("{code} {message} {retry:?}"))
            }
            Self::Part(_) | Self::Final(_) => {
                let json: serde_json::Value = serde_json::from_str(&self.text()).unwrap();
                let error = &json["error"];
                let part = |name| error[name].as_str().unwrap().to_owned();
                let (code, message) = (part("code"), part("message"));
                (code.clone(), format!("{code} {message} {:?}", error["retry"].as_u64()))
            }
        }
    }
}

impl Caller {
    /// In MJP.
    pub(crate) async fn connect(endpoint: &Endpoint) -> Self {
        Self::connect_as(endpoint, Protocol::Mjp, "").await
    }

    /// With a name, which nobody else may have.
    pub(crate) async fn connect_as(endpoint: &Endpoint, protocol: Protocol, name: &str) -> Self {
        let identity = name.as_bytes().try_into().ok();
        let config = SessionConfig { identity, ..SessionConfig::default() };
        let session = Session::connect(endpoint, &config).await.unwrap();
        Self { session, protocol, id: 0, replies: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, service: &str, body: impl Into<Message>) -> u64 {
        let says = RequestHeader { service: service.as_bytes(), ..RequestHeader::default() };
        self.send_with(says, body)
    }

    /// The header is of use in MJP only.
    pub(crate) fn send_with(&mut self, says: RequestHeader<'_>, body: impl Into<Message>) -> u64 {
        let body = body.into();
        let body = body.frames();
        self.id += 1;
        if self.protocol == Protocol::Mjp {
            let header = Packed::new(&says);
            let request = mjp::Request { id: self.id, header: header.octets(), says, body };
            self.session.send(|out| request.encode(out));
        } else {
            let (version, envelope) = (Version::V02, Frames::default());
            let request = mdp::Request { version, envelope, service: says.service, body };
            self.session.send(|out| request.encode(out));
        }
        self.id
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.session.send(|out| mjp::ToBroker::Cancel { id }.encode(out));
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
            let (replies, protocol) = (&mut self.replies, self.protocol);
            let turn = self.session.turn(|frames| replies.extend(read(protocol, frames)));
            turn.await.unwrap();
        }
    }

    pub(crate) async fn call(&mut self, service: &str, body: impl Into<Message>) -> Reply {
        self.send(service, body);
        self.reply().await
    }
}

fn read(protocol: Protocol, frames: Frames<'_>) -> Option<Reply> {
    let owned = |body: Frames<'_>| body.map(<[u8]>::to_vec).collect();
    if protocol != Protocol::Mjp {
        let ToClient { last, body, .. } = ToClient::decode(frames).unwrap();
        return Some(if last { Reply::Final(owned(body)) } else { Reply::Part(owned(body)) });
    }
    match FromBroker::decode(frames).unwrap() {
        FromBroker::Partial(answer) => Some(Reply::Part(owned(answer.body))),
        FromBroker::Final(answer) => Some(Reply::Final(owned(answer.body))),
        FromBroker::Error(failure) => {
            let Fault { code, message, retry, .. } = Fault::decode(failure.header).unwrap();
            let message = message.unwrap_or_default().into();
            Some(Reply::Error { code: code.into(), message, retry })
        }
        _ => None,
    }
}
