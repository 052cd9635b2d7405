//! What is said in the middle of a request, each in the dialect of who hears it.

use crate::id::RequestId;
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{self, AskHeader, EventHeader, FromBroker, TellHeader};
use crate::wire::nfp::{self, Kind, Verb, body, status};

use super::part::{Part, Post};
use super::{CallerVoice, Way, WorkerVoice};

/// Something said in the middle of a request: the header as it stands on the wire, and the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Talk<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) body: Frames<'a>,
}

impl Talk<'_> {
    pub(crate) fn bytes(&self) -> usize {
        self.header.len() + self.body.bytes()
    }
}

impl CallerVoice {
    /// Whether the caller hears what happens. An NFP client cannot say that it does not.
    pub(crate) fn takes_events(&self) -> bool {
        match self {
            Self::Mjp(native) => native.events,
            Self::Keyed(keyed) => keyed.first.events,
            Self::Part(part) => matches!(part.way, Way::Post(_)),
            Self::Mdp(..) | Self::Stored(_) | Self::Nobody => false,
        }
    }

    /// Whether the caller can be asked.
    pub(crate) fn takes_asks(&self) -> bool {
        match self {
            Self::Mjp(native) => native.asks,
            Self::Keyed(keyed) => keyed.first.asks,
            Self::Mdp(..) | Self::Part(_) | Self::Stored(_) | Self::Nobody => false,
        }
    }

    /// Says what happens.
    pub(crate) fn event(&self, service: &[u8], talk: &Talk<'_>, out: &mut Encoder) {
        let id = match self {
            Self::Mjp(native) => native.id,
            Self::Keyed(keyed) => keyed.first.id,
            Self::Part(part) => {
                if let Way::Post(post) = &part.way {
                    part.happen(post, service, talk, out);
                }
                return;
            }
            Self::Mdp(..) | Self::Stored(_) | Self::Nobody => return,
        };
        let (header, body) = (talk.header, talk.body);
        FromBroker::Event(mjp::Event { id, header, body }).encode(out);
    }

    /// Asks the caller.
    pub(crate) fn ask(&self, talk: &Talk<'_>, out: &mut Encoder) {
        let id = match self {
            Self::Mjp(native) => native.id,
            Self::Keyed(keyed) => keyed.first.id,
            Self::Mdp(..) | Self::Part(_) | Self::Stored(_) | Self::Nobody => return,
        };
        let (says, header, body) = (AskHeader::default(), talk.header, talk.body);
        FromBroker::Ask(mjp::Ask { id, header, says, body }).encode(out);
    }
}

impl Part {
    /// Says what happens as a NorFab worker would.
    fn happen(&self, post: &Post, service: &[u8], talk: &Talk<'_>, out: &mut Encoder) {
        // A worker's header is its own affair: one that cannot be read says nothing.
        let says = EventHeader::decode(talk.header).unwrap_or_default();
        let event = body::Happened {
            worker: self.target(),
            service,
            uuid: &post.uuid,
            task: says.task.unwrap_or(&post.task),
            message: says.message.unwrap_or_default(),
            severity: says.severity.unwrap_or_default(),
            status: says.status.unwrap_or_default(),
            resource: says.resource,
            progress: says.progress,
        };
        let body = Message::new([event.write(talk.body)]);
        let reply = nfp::Reply {
            kind: Kind::Event,
            service,
            uuid: &post.uuid,
            status: &status::OK[..],
            body: body.frames(),
        };
        reply.encode(post.era, out);
    }
}

impl WorkerVoice {
    /// Answers what a worker has asked; `input` is what an NFP worker calls that. MDP has no word
    /// for it, and asks nothing.
    pub(crate) fn tell(
        self,
        id: RequestId,
        input: Option<&str>,
        says: &TellHeader<'_>,
        talk: &Talk<'_>,
        out: &mut Encoder,
    ) {
        match self {
            Self::Mdp(_) => {}
            Self::Mjp => {
                let (says, header, body) = (*says, talk.header, talk.body);
                FromBroker::Tell(mjp::Tell { id: id.token(), header, says, body }).encode(out);
            }
            Self::Nfp(_) => {
                let body = body::told(input.unwrap_or_default(), talk.body, says.code.is_some());
                self.order(Verb::Put, id, Message::new([body]).frames(), out);
            }
        }
    }
}
