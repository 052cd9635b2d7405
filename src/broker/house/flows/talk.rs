//! One end of a flow over a connection of its own: within MJP if its client is, so that there is a
//! credit in octets, too; otherwise as a ZIO socket, which can be made to wait.

use std::mem;

use futures::FutureExt;

use crate::proto::clock::Time;
use crate::proto::flow::{Endpoint, Heard, Load, Misuse, Side, Stamp, State, Terms};
use crate::transport::session::Session;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{FromBroker, Lane, LaneHeader, Packed, ToBroker};
use crate::wire::zio::{Coordinates, Direction, FlowLabel, Form, Kind, Label, Payload, Shape, Zio};

use super::Failed;

/// The lane of a flow whose client is within MJP.
const LANE: u64 = 1;

/// A flow that was given to us: the BOT that is to be said.
#[derive(Debug)]
pub(super) struct Given {
    bot: Message,
    direction: Direction,
    credit: u32,
    bytes: Option<u64>,
}

/// What was heard of a giver.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// In the multipart form.
    pub(super) dats: Vec<Message>,
    /// There is no more.
    pub(super) ended: bool,
}

/// The end itself. It has no times of its own: who is lost is known to the broker around us.
#[derive(Debug)]
pub(super) struct Talk {
    session: Session,
    endpoint: Endpoint,
    within_mjp: bool,
}

impl Given {
    /// Reads a BOT of one frame, and the credit in octets that its client has asked for.
    pub(super) fn read(bot: Vec<u8>, bytes: Option<u64>) -> Option<Self> {
        let bot = Message::from(bot);
        let zio = Zio::decode(Shape::Single, bot.frames()).ok()?;
        let label = FlowLabel::read(zio.label).ok()?;
        let direction = label.direction()?;
        let credit = label.credit().and_then(|credit| u32::try_from(credit).ok()).unwrap_or(0);
        Some(Self { bot, direction, credit, bytes })
    }

    /// What we do.
    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn zio(&self) -> Zio<'_> {
        Zio::decode(Shape::Single, self.bot.frames()).unwrap_or_default()
    }
}

impl Talk {
    /// Says the BOT, with a credit of `credit_max` at most, and waits for the answer.
    pub(super) async fn open(
        session: Session,
        given: &Given,
        credit_max: u32,
    ) -> Result<Self, Failed> {
        let credit = if given.credit == 0 { credit_max } else { given.credit.min(credit_max) };
        let (side, direction) = (Side::Client, given.direction);
        let (answer_timeout, end_timeout) = (None, None);
        let bytes = given.bytes;
        let terms = Terms { side, direction, credit, bytes, answer_timeout, end_timeout };
        let within_mjp = bytes.is_some();
        let mut talk = Self { session, endpoint: Endpoint::new(terms), within_mjp };
        let zio = given.zio();
        talk.say(Kind::Bot, zio.label, zio.coordinates, zio.payload)?;
        while talk.endpoint.state() == State::BotSent {
            talk.turn(&mut Taken::default()).await?;
        }
        if talk.endpoint.state() == State::Refused { Err(Failed::Over) } else { Ok(talk) }
    }

    pub(super) fn state(&self) -> State {
        self.endpoint.state()
    }

    /// Hands out the credit there is, once it is half of all.
    pub(super) fn pay(&mut self) -> Result<(), Failed> {
        let runs = matches!(self.state(), State::Rich | State::HandsOut);
        if runs && self.endpoint.is_due() {
            self.say(Kind::Pay, "{}", Coordinates::default(), Payload::default())?;
        }
        Ok(())
    }

    /// Whether the other end has said EOT, which it may do right behind its BOT.
    fn has_ended(&self) -> bool {
        matches!(self.state(), State::FinAck | State::Fin | State::Refused)
    }

    /// Waits for what is given next: at least one message, or the end.
    pub(super) async fn take(&mut self) -> Result<Taken, Failed> {
        let mut taken = Taken::default();
        while taken.dats.is_empty() && !self.has_ended() {
            self.turn(&mut taken).await?;
        }
        taken.ended = self.has_ended();
        Ok(taken)
    }

    /// Gives a message; there has to be credit.
    pub(super) fn give(&mut self, dat: &Zio<'_>) -> Result<(), Failed> {
        self.say(Kind::Dat, dat.label, dat.coordinates, dat.payload)
    }

    /// Hears what has come, and waits if there is no credit or no room for a message.
    pub(super) async fn earn(&mut self, dat: &Zio<'_>) -> Result<(), Failed> {
        let mut nothing = Taken::default();
        // About what the protocol adds to its label, too.
        let size = u64::try_from(dat.parts_len() + 32).unwrap_or(u64::MAX);
        loop {
            let affords = self.endpoint.affords(size);
            if let Err(misuse @ Misuse::TooBig { .. }) = affords {
                return Err(Failed::Broken(misuse.to_string()));
            }
            let runs = matches!(self.state(), State::Broke | State::Generous);
            let broke = self.state() == State::Broke || affords.is_err();
            if !(runs && broke) && self.session.has_room() {
                break;
            }
            self.turn(&mut nothing).await?;
        }
        match self.turn(&mut nothing).now_or_never() {
            Some(turn) => turn,
            None => Ok(()),
        }
    }

    /// Says EOT, and waits for the other's if that has not come.
    pub(super) async fn end(self) -> Result<(), Failed> {
        self.end_with("{}").await
    }

    /// As [`Self::end`], with attributes of the application.
    pub(super) async fn end_with(mut self, label: &str) -> Result<(), Failed> {
        self.say(Kind::Eot, label, Coordinates::default(), Payload::default())?;
        while self.state() == State::AckFin {
            self.turn(&mut Taken::default()).await?;
        }
        self.session.flush().await?;
        Ok(())
    }

    async fn turn(&mut self, taken: &mut Taken) -> Result<(), Failed> {
        let Self { session, endpoint, within_mjp } = self;
        let mut wrong = None;
        let heard = session.turn(|frames| {
            let said = if *within_mjp {
                let Ok(FromBroker::Lane(Lane { id: LANE, says, body, .. })) =
                    FromBroker::decode(frames)
                else {
                    return;
                };
                hear(endpoint, Shape::Bare, body, says.bytes)
            } else {
                hear(endpoint, Shape::Multipart, frames, None)
            };
            match said {
                Ok(dat) => taken.dats.extend(dat),
                Err(error) => wrong = Some(error),
            }
        });
        heard.await?;
        wrong.map_or(Ok(()), |error| Err(Failed::Broken(error)))
    }

    fn say(
        &mut self,
        kind: Kind,
        label: &str,
        coordinates: Coordinates,
        payload: Payload<'_>,
    ) -> Result<(), Failed> {
        // What a message costs is known when its label is; that of a DAT has nothing of the stamp.
        let written = |stamp: &Stamp| {
            let own = Label::parse(label).and_then(|label| stamp.label(label));
            own.map_err(|error| Failed::Broken(error.to_string()))
        };
        let zio = Zio { form: Form::FLOW, coordinates, payload, ..Zio::default() };
        let mut size = 0;
        if kind == Kind::Dat {
            let stamp = Stamp { kind, direction: None, credit: None, bytes: None, seqno: 0 };
            let label = written(&stamp)?;
            size = u64::try_from(zio.with_label(&label).parts_len()).unwrap_or(u64::MAX);
        }
        let stamp = self.endpoint.say(Time::default(), kind, size);
        let stamp: Stamp = stamp.map_err(|misuse| Failed::Broken(misuse.to_string()))?;
        let label = written(&stamp)?;
        let coordinates = Coordinates { seqno: stamp.seqno, ..coordinates };
        let zio = Zio { label: &label, coordinates, ..zio };
        if self.within_mjp {
            let says = LaneHeader { bytes: stamp.bytes };
            let header = Packed::new(&says);
            let message = zio.to_message(Shape::Bare);
            let lane = Lane { id: LANE, header: header.octets(), says, body: message.frames() };
            self.session.send(|out| ToBroker::Lane(lane).encode(out));
        } else {
            let message = zio.to_message(Shape::Multipart);
            self.session.send(|out| out.frames(&message.frames()));
        }
        Ok(())
    }
}

/// Takes what was said; a DAT is kept, in the multipart form.
fn hear(
    endpoint: &mut Endpoint,
    shape: Shape,
    frames: Frames<'_>,
    bytes: Option<u64>,
) -> Result<Option<Message>, String> {
    let zio = Zio::decode(shape, frames).map_err(|error| error.to_string())?;
    let label = FlowLabel::read(zio.label).map_err(|error| error.to_string())?;
    let size = u64::try_from(zio.parts_len()).unwrap_or(u64::MAX);
    let heard = endpoint.hear(Time::default(), &label, Load { size, bytes });
    match heard.map_err(|error| error.to_string())? {
        Heard::Dat if shape == Shape::Multipart => Ok(Some(frames.to_message())),
        Heard::Dat => Ok(Some(zio.to_message(Shape::Multipart))),
        _ => Ok(None),
    }
}

impl Taken {
    /// Takes the messages, and leaves none.
    pub(super) fn take_dats(&mut self) -> Vec<Message> {
        mem::take(&mut self.dats)
    }
}
