//! What clients say, and what is said to them.

use super::{BROKER, CLIENT, Era, Kind, Malformed, UUID_MAX, Verb, close, command, is_text, open};
use crate::id::ServiceName;
use crate::wire::codec::Encoder;
use crate::wire::message::Frames;

/// A client's command.
#[derive(Debug, Clone, Copy)]
pub enum FromClient<'a> {
    /// Means nothing, whatever frames it has.
    Open,
    /// The client leaves, whatever frames it says that with.
    Disconnect,
    /// The client wants something.
    Job(Job<'a>),
    /// The client wants something that it may not want, or said it wrong. It is told, see
    /// [`Refused`].
    Refused(Refused<'a>),
}

/// POST, GET, DELETE, PUT or MMI of a client.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Which of them.
    pub verb: Verb,
    /// The name of the service: text of 1 to [`ServiceName::LEN_MAX`] octets.
    pub service: &'a [u8],
    /// Which workers, as given.
    pub target: &'a [u8],
    /// The name of the job: text of 1 to [`UUID_MAX`] octets.
    pub uuid: &'a [u8],
    /// One frame.
    pub body: Frames<'a>,
}

/// What could be read of a command that is no good. What could not is empty: with a `uuid` the
/// client can be told by a RESPONSE with status 400; one whose `command` is unknown by
/// [`ToClient::Plain`], as NorFab does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The command, as given.
    pub command: &'a [u8],
    /// The name of the service, as given.
    pub service: &'a [u8],
    /// Which workers, as given.
    pub target: &'a [u8],
    /// The name of the job; empty also if it is too long.
    pub uuid: &'a [u8],
    /// What is wrong: with the command [`Malformed::UnknownCommand`] or, if it has not even four
    /// characters, [`Malformed::NoCommand`]; or with the frames.
    pub why: Malformed,
}

impl<'a> FromClient<'a> {
    /// What follows the header.
    #[inline]
    pub(super) fn decode(mut rest: Frames<'a>) -> Self {
        let Some(command) = rest.take_first() else {
            let (command, service, target, uuid) = Default::default();
            let why = Malformed::NoCommand;
            return Self::Refused(Refused { command, service, target, uuid, why });
        };
        if command == command::OPEN {
            return Self::Open;
        }
        if command == command::DISCONNECT {
            return Self::Disconnect;
        }
        let service = rest.take_first().unwrap_or_default();
        let target = rest.take_first();
        let uuid = rest.take_first().unwrap_or_default();
        let refused = |why| {
            let target = target.unwrap_or_default();
            let uuid = if uuid.len() > UUID_MAX { b"" } else { uuid };
            Self::Refused(Refused { command, service, target, uuid, why })
        };
        let Some(verb) = Verb::read(command) else {
            return refused(Malformed::of_command(command));
        };
        match target {
            _ if service.is_empty() || service.len() > ServiceName::LEN_MAX => {
                refused(Malformed::NoService)
            }
            _ if uuid.is_empty() || uuid.len() > UUID_MAX => refused(Malformed::NoUuid),
            _ if !is_text(service) || !is_text(uuid) => refused(Malformed::NotText),
            Some(target) if rest.len() == 1 => {
                Self::Job(Job { verb, service, target, uuid, body: rest })
            }
            _ => refused(Malformed::FrameCount),
        }
    }

    /// Writes the command as a client does. Nobody has a way to write a refused one; that writes
    /// nothing.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Open => bare(command::OPEN, out),
            Self::Disconnect => bare(command::DISCONNECT, out),
            Self::Job(job) => job.encode(out),
            Self::Refused(_) => {}
        }
    }
}

/// A client's command without anything.
fn bare(command: &[u8; 4], out: &mut Encoder) {
    out.frame(b"");
    out.frame(CLIENT);
    out.last_frame(command);
}

impl Job<'_> {
    /// Writes the command as a client does.
    pub fn encode(&self, out: &mut Encoder) {
        open(CLIENT, self.verb.command(), out);
        out.frame(self.service);
        out.frame(self.target);
        out.frame(self.uuid);
        close(&self.body, out);
    }
}

/// What a broker says to a client.
#[derive(Debug, Clone, Copy)]
pub enum ToClient<'a> {
    /// Something about a job.
    Reply(Reply<'a>),
    /// A RESPONSE without job and status: the command is not supported. NorFab's client logs it.
    Plain {
        /// The service, as asked.
        service: &'a [u8],
        /// For a person.
        text: &'a [u8],
    },
}

/// What a broker says to a client about a job.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// An answer, an event, a part of a stream, or a management answer.
    pub kind: Kind,
    /// The service of the worker, or the one asked for.
    pub service: &'a [u8],
    /// The name of the job.
    pub uuid: &'a [u8],
    /// See [`status`](super::status).
    pub status: &'a [u8],
    /// One frame; that of a worker can have more.
    pub body: Frames<'a>,
}

/// What a worker said, on its way to a client.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// As the worker said.
    pub kind: Kind,
    /// The service of the worker, as the broker knows it.
    pub service: &'a [u8],
    /// All that the worker said from the name of the job on.
    pub rest: Frames<'a>,
}

impl Forward<'_> {
    /// Writes the message as a broker does.
    #[inline]
    pub fn encode(&self, era: Era, out: &mut Encoder) {
        open(era.to_client(), self.kind.command(), out);
        out.frame(self.service);
        close(&self.rest, out);
    }
}

impl Reply<'_> {
    /// Writes the reply as a broker does.
    #[inline]
    pub fn encode(&self, era: Era, out: &mut Encoder) {
        open(era.to_client(), self.kind.command(), out);
        out.frame(self.service);
        out.frame(self.uuid);
        out.frame(self.status);
        close(&self.body, out);
    }
}

impl<'a> ToClient<'a> {
    /// Writes the message as a broker does.
    #[inline]
    pub fn encode(&self, era: Era, out: &mut Encoder) {
        match self {
            Self::Reply(reply) => reply.encode(era, out),
            Self::Plain { service, text } => {
                open(era.to_client(), command::RESPONSE, out);
                out.frame(service);
                out.last_frame(text);
            }
        }
    }

    /// Reads what a broker says to a client.
    ///
    /// # Errors
    /// The message is not a broker's, or has too few frames. NorFab's client drops it then.
    pub fn decode(message: Frames<'a>) -> Result<(Era, Self), Malformed> {
        let mut rest = message;
        let era = match (rest.take_first(), rest.take_first()) {
            (Some(b""), Some(header)) if header == BROKER => Era::Current,
            (Some(b""), Some(header)) if header == CLIENT => Era::Old,
            _ => return Err(Malformed::NoHeader),
        };
        let command = rest.take_first().ok_or(Malformed::NoCommand)?;
        let kind = Kind::read(command).ok_or_else(|| Malformed::of_command(command))?;
        let service = rest.take_first().ok_or(Malformed::NoService)?;
        let uuid = rest.take_first().ok_or(Malformed::NoUuid)?;
        if rest.is_empty() && kind == Kind::Response {
            return Ok((era, Self::Plain { service, text: uuid }));
        }
        match rest.take_first() {
            Some(status) if !rest.is_empty() => {
                Ok((era, Self::Reply(Reply { kind, service, uuid, status, body: rest })))
            }
            _ => Err(Malformed::FrameCount),
        }
    }
}
