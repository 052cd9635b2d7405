//! One end of a flow over a connection of its own, in the multipart form.

use std::mem;

use futures::FutureExt;

use crate::proto::clock::Time;
use crate::proto::flow::{Endpoint, Heard, Side, Stamp, State, Terms};
use crate::transport::session::Session;
use crate::wire::message::Message;
use crate::wire::zio::{Coordinates, Direction, FlowLabel, Form, Kind, Label, Payload, Shape, Zio};

use super::Failed;

/// A flow that was given to us: the BOT that is to be said.
#[derive(Debug)]
pub(super) struct Given {
    bot: Message,
    direction: Direction,
    credit: u32,
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
}

impl Given {
    pub(super) fn read(bot: Vec<u8>) -> Option<Self> {
        let bot = Message::from(bot);
        let zio = Zio::decode(Shape::Single, bot.frames()).ok()?;
        let label = FlowLabel::read(zio.label).ok()?;
        let direction = label.direction()?;
        let credit = label.credit().and_then(|credit| u32::try_from(credit).ok()).unwrap_or(0);
        Some(Self { bot, direction, credit })
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
        let terms = Terms { side, direction, credit, answer_timeout, end_timeout };
        let mut talk = Self { session, endpoint: Endpoint::new(terms) };
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
        let payable = self.endpoint.payable();
        let runs = matches!(self.state(), State::Rich | State::HandsOut);
        if runs && payable > 0 && payable * 2 >= self.endpoint.total() {
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

    /// Hears what has come, and waits if there is no credit or no room for more.
    pub(super) async fn earn(&mut self) -> Result<(), Failed> {
        let mut nothing = Taken::default();
        while self.state() == State::Broke || !self.session.has_room() {
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
        let Self { session, endpoint } = self;
        let mut wrong = None;
        let heard = session.turn(|frames| {
            let read = Zio::decode(Shape::Multipart, frames);
            let read = read.and_then(|zio| FlowLabel::read(zio.label));
            let heard = match read {
                Ok(label) => endpoint.hear(Time::default(), &label).map_err(|it| it.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match heard {
                Ok(Heard::Dat) => taken.dats.push(frames.to_message()),
                Ok(_) => {}
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
        let stamp = self.endpoint.say(Time::default(), kind);
        let stamp: Stamp = stamp.map_err(|misuse| Failed::Broken(misuse.to_string()))?;
        let own = Label::parse(label).and_then(|label| stamp.label(label));
        let label = own.map_err(|error| Failed::Broken(error.to_string()))?;
        let coordinates = Coordinates { seqno: stamp.seqno, ..coordinates };
        let zio = Zio { form: Form::FLOW, label: &label, coordinates, payload, ..Zio::default() };
        let message = zio.to_message(Shape::Multipart);
        self.session.send(|out| out.frames(&message.frames()));
        Ok(())
    }
}

impl Taken {
    /// Takes the messages, and leaves none.
    pub(super) fn take_dats(&mut self) -> Vec<Message> {
        mem::take(&mut self.dats)
    }
}
