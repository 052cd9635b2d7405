//! What is said in the middle of a request, each in the dialect of who hears it.

use crate::id::{RequestId, number_in};
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{self, AskHeader, EventHeader, FromBroker, Note, NoteHeader, TellHeader};
use crate::wire::nfp::{self, Era, Kind, Verb, body, status};

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
            Self::Part(part) => match part.way {
                Way::Post(_) => true,
                Way::Scatter { events, .. } => events,
            },
            Self::Mdp(..) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => false,
        }
    }

    /// Whether the caller can be asked.
    pub(crate) fn takes_asks(&self) -> bool {
        match self {
            Self::Mjp(native) => native.asks,
            Self::Keyed(keyed) => keyed.first.asks,
            // A NorFab client is asked if it is of a time that knew of questions.
            Self::Part(part) => matches!(&part.way, Way::Post(post) if post.era == Era::Current),
            Self::Mdp(..) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => false,
        }
    }

    /// Says what happens.
    pub(crate) fn event(&self, service: &[u8], talk: &Talk<'_>, out: &mut Encoder) {
        let id = match self {
            Self::Mjp(native) => native.id,
            Self::Keyed(keyed) => keyed.first.id,
            Self::Part(part) => {
                match &part.way {
                    Way::Post(post) => part.happen(post, service, talk, out),
                    Way::Scatter { id, .. } => part.note(*id, talk, out),
                }
                return;
            }
            Self::Mdp(..) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => return,
        };
        let (header, body) = (talk.header, talk.body);
        FromBroker::Event(mjp::Event { id, header, body }).encode(out);
    }

    /// Asks the caller, in that request.
    pub(crate) fn ask(&self, of: RequestId, service: &[u8], talk: &Talk<'_>, out: &mut Encoder) {
        let id = match self {
            Self::Mjp(native) => native.id,
            Self::Keyed(keyed) => keyed.first.id,
            Self::Part(part) => {
                if let Way::Post(post) = &part.way {
                    part.ask(of, post, service, talk, out);
                }
                return;
            }
            Self::Mdp(..) | Self::Stored(_) | Self::Revived(_) | Self::Nobody => return,
        };
        let (says, header, body) = (AskHeader::default(), talk.header, talk.body);
        FromBroker::Ask(mjp::Ask { id, header, says, body }).encode(out);
    }
}

/// What a NorFab client calls the question of that number.
fn input_of(id: RequestId, number: u64) -> String {
    format!("{:016x}-{number}", id.token())
}

/// The question that a NorFab client answers by that name: in which request, and its number. `None`:
/// the broker makes no such names.
pub(crate) fn question_of(input: &str) -> Option<(RequestId, u64)> {
    let (token, number) = input.split_once('-')?;
    Some((RequestId::from_token(number_in(token.as_bytes())?)?, number.parse().ok()?))
}

impl Part {
    /// Says what happens, and where.
    fn note(&self, id: u64, talk: &Talk<'_>, out: &mut Encoder) {
        let (says, header, body) = (NoteHeader { target: self.target() }, talk.header, talk.body);
        FromBroker::Note(Note { id, says, header, body }).encode(out);
    }

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
        say_event(post, service, event.write(talk.body), out);
    }

    /// Asks as a NorFab worker would.
    fn ask(&self, id: RequestId, post: &Post, service: &[u8], talk: &Talk<'_>, out: &mut Encoder) {
        let says = AskHeader::decode(talk.header).unwrap_or_default();
        let question = body::Happened {
            worker: self.target(),
            service,
            uuid: &post.uuid,
            task: &post.task,
            message: says.message.unwrap_or_default(),
            ..body::Happened::default()
        };
        say_event(post, service, question.ask(&input_of(id, says.ask), talk.body), out);
    }
}

fn say_event(post: &Post, service: &[u8], body: Vec<u8>, out: &mut Encoder) {
    let body = Message::new([body]);
    let reply = nfp::Reply {
        kind: Kind::Event,
        service,
        uuid: &post.uuid,
        status: &status::OK[..],
        body: body.frames(),
    };
    reply.encode(post.era, out);
}

impl WorkerVoice {
    /// Whether something may be said to it in the middle of a request that it has not asked for.
    pub(crate) fn takes_put(self) -> bool {
        matches!(self, Self::Nfp(_))
    }

    /// Says something in the middle of a request to a worker of NFP.
    pub(crate) fn put(self, id: RequestId, body: Frames<'_>, out: &mut Encoder) {
        self.order(Verb::Put, id, body, out);
    }

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
