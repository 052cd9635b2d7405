//! What workers say, and what is said to them.

use super::{
    BROKER, CLIENT_MAX, Era, Kind, Malformed, UUID_MAX, Verb, WORKER, close, command, is_text, open,
};
use crate::id::ServiceName;
use crate::wire::codec::Encoder;
use crate::wire::message::Frames;

/// A worker's command.
#[derive(Debug, Clone, Copy)]
pub enum FromWorker<'a> {
    /// The worker offers a service: text of 1 to [`ServiceName::LEN_MAX`] octets.
    Ready {
        /// Its name.
        service: &'a [u8],
    },
    /// The worker lives.
    Keepalive {
        /// The name of its service; may be missing, which is empty.
        service: &'a [u8],
    },
    /// The worker leaves.
    Disconnect {
        /// The name of its service; may be missing, which is empty.
        service: &'a [u8],
    },
    /// RESPONSE, EVENT or STREAM for a client.
    Report(Report<'a>),
    /// READY that names no service.
    BadReady(Malformed),
    /// No command of a worker, or one for no client.
    Invalid(Malformed),
}

/// RESPONSE, EVENT or STREAM of a worker, to be forwarded.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Which of them.
    pub kind: Kind,
    /// The name of the client, 1 to [`CLIENT_MAX`] octets.
    pub client: &'a [u8],
    /// The name of the job, at most [`UUID_MAX`] octets.
    pub uuid: &'a [u8],
    /// Three digits, see [`status`](super::status). May be something else, or missing, which is
    /// empty.
    pub status: &'a [u8],
    /// All frames from the name of the job on, as they came: at least one.
    pub rest: Frames<'a>,
}

impl<'a> FromWorker<'a> {
    /// What follows the header. READY, KEEPALIVE and DISCONNECT may have more frames than they
    /// need.
    #[inline]
    pub(super) fn decode(mut rest: Frames<'a>) -> Self {
        let Some(command) = rest.take_first() else {
            return Self::Invalid(Malformed::NoCommand);
        };
        if let Some(kind) = Kind::read(command).filter(|kind| *kind != Kind::Mmi) {
            return Report::decode(kind, rest).map_or_else(Self::Invalid, Self::Report);
        }
        let mut service = || rest.take_first().unwrap_or_default();
        match command {
            b"0x01" => match service() {
                name if name.is_empty() || name.len() > ServiceName::LEN_MAX => {
                    Self::BadReady(Malformed::NoService)
                }
                name if !is_text(name) => Self::BadReady(Malformed::NotText),
                service => Self::Ready { service },
            },
            b"0x02" => Self::Keepalive { service: service() },
            b"0x03" => Self::Disconnect { service: service() },
            _ => Self::Invalid(Malformed::of_command(command)),
        }
    }

    /// Writes the command as a worker does. Nobody has a way to write an invalid one; that writes
    /// nothing.
    pub fn encode(&self, out: &mut Encoder) {
        let (command, service) = match self {
            Self::Ready { service } => (command::READY, service),
            Self::Keepalive { service } => (command::KEEPALIVE, service),
            Self::Disconnect { service } => (command::DISCONNECT, service),
            Self::Report(report) => return report.encode(out),
            Self::BadReady(_) | Self::Invalid(_) => return,
        };
        open(WORKER, command, out);
        out.last_frame(service);
    }
}

impl<'a> Report<'a> {
    /// What follows the command. The frame between client and job is not looked at, as NorFab does
    /// not.
    #[inline]
    fn decode(kind: Kind, mut rest: Frames<'a>) -> Result<Self, Malformed> {
        let client = rest.take_first().unwrap_or_default();
        if client.is_empty() || client.len() > CLIENT_MAX {
            return Err(Malformed::NoClient);
        }
        rest.take_first();
        let mut after = rest;
        let uuid = after.take_first().ok_or(Malformed::FrameCount)?;
        if uuid.len() > UUID_MAX {
            return Err(Malformed::NoUuid);
        }
        let status = after.take_first().unwrap_or_default();
        Ok(Self { kind, client, uuid, status, rest })
    }

    /// What follows the status: one frame, unless the worker is an odd one.
    #[must_use]
    pub fn body(&self) -> Frames<'a> {
        let mut body = self.rest;
        body.take_first();
        body.take_first();
        body
    }

    /// Writes the command as a worker does: `rest` goes as it is, `uuid` and `status` are not
    /// looked at. See [`Answer`].
    pub fn encode(&self, out: &mut Encoder) {
        open(WORKER, self.kind.command(), out);
        out.frame(self.client);
        out.frame(b"");
        close(&self.rest, out);
    }
}

/// What a worker of ours says to a client.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// RESPONSE, EVENT or STREAM.
    pub kind: Kind,
    /// The name of the client, as the order had it.
    pub client: &'a [u8],
    /// The name of the job.
    pub uuid: &'a [u8],
    /// See [`status`](super::status).
    pub status: &'a [u8],
    /// One frame.
    pub body: Frames<'a>,
}

impl Answer<'_> {
    /// Writes the command as a worker does.
    pub fn encode(&self, out: &mut Encoder) {
        open(WORKER, self.kind.command(), out);
        out.frame(self.client);
        out.frame(b"");
        out.frame(self.uuid);
        out.frame(self.status);
        close(&self.body, out);
    }
}

/// What a broker says to a worker.
#[derive(Debug, Clone, Copy)]
pub enum ToWorker<'a> {
    /// A client wants something.
    Order(Order<'a>),
    /// The broker lives.
    Keepalive {
        /// The name of the worker's service.
        service: &'a [u8],
    },
    /// The worker is not registered (any more); it says READY anew on a new connection.
    Disconnect {
        /// The name of the worker's service; may be missing, which is empty.
        service: &'a [u8],
    },
}

/// POST, GET, DELETE or PUT on its way to a worker.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Which of them. Workers do not know MMI.
    pub verb: Verb,
    /// Whom to answer.
    pub client: &'a [u8],
    /// The name of the job.
    pub uuid: &'a [u8],
    /// One frame.
    pub body: Frames<'a>,
}

impl<'a> ToWorker<'a> {
    /// Writes the command as a broker does.
    #[inline]
    pub fn encode(&self, era: Era, out: &mut Encoder) {
        match self {
            Self::Order(order) => order.encode(era, out),
            Self::Keepalive { service } => {
                open(BROKER, command::KEEPALIVE, out);
                out.last_frame(service);
            }
            Self::Disconnect { service } => {
                open(era.to_worker(), command::DISCONNECT, out);
                out.last_frame(service);
            }
        }
    }

    /// Reads what a broker says to a worker. A keepalive is [`Era::Current`] in both eras.
    ///
    /// # Errors
    /// The message is not a broker's.
    pub fn decode(message: Frames<'a>) -> Result<(Era, Self), Malformed> {
        let mut rest = message;
        let era = match (rest.take_first(), rest.take_first()) {
            (Some(b""), Some(header)) if header == BROKER => Era::Current,
            (Some(b""), Some(header)) if header == WORKER => Era::Old,
            _ => return Err(Malformed::NoHeader),
        };
        let command = rest.take_first().ok_or(Malformed::NoCommand)?;
        if let Some(verb) = Verb::read(command) {
            return Ok((era, Self::Order(Order::decode(verb, rest)?)));
        }
        let mut service = || rest.take_first().unwrap_or_default();
        match command {
            b"0x02" => Ok((era, Self::Keepalive { service: service() })),
            b"0x03" => Ok((era, Self::Disconnect { service: service() })),
            _ => Err(Malformed::of_command(command)),
        }
    }
}

impl<'a> Order<'a> {
    fn decode(verb: Verb, mut rest: Frames<'a>) -> Result<Self, Malformed> {
        let client = rest.take_first().ok_or(Malformed::NoClient)?;
        let (_, uuid) = (rest.take_first(), rest.take_first().ok_or(Malformed::NoUuid)?);
        if rest.is_empty() {
            return Err(Malformed::FrameCount);
        }
        Ok(Self { verb, client, uuid, body: rest })
    }

    /// Writes the command as a broker does.
    #[inline]
    pub fn encode(&self, era: Era, out: &mut Encoder) {
        open(era.to_worker(), self.verb.command(), out);
        out.frame(self.client);
        out.octets(b"\x01\x00");
        out.frame(self.uuid);
        close(&self.body, out);
    }
}
