//! A peer that says whatever it likes, what it said before and what others said among it.

use bytes::Bytes;

use crate::proto::simulation::rng::Rng;
use crate::wire::message::Message;
use crate::wire::zio::{Coordinates, Direction, Form, Shape, Zio};

#[derive(Debug)]
pub(in crate::proto) struct Stranger {
    pub(super) link: usize,
    last: Option<Message>,
    /// A BOT for a handler that it was given, and may come with.
    pub(super) given: Option<String>,
    seqno: u64,
}

impl Stranger {
    pub(in crate::proto) fn new(link: usize) -> Self {
        Self { link, last: None, given: None, seqno: 0 }
    }

    /// What it says next. `cids` are ids that it has seen: of clients that have a handler.
    pub(in crate::proto) fn act(&mut self, shape: Shape, cids: &[u32], rng: &mut Rng) -> Message {
        let message = match rng.within(0, 11) {
            0 => Message::new([vec![rng.next().to_le_bytes()[0]; rng.index(40)]]),
            1 => Message::new([Bytes::new(), "ZIO0FLOW{}".into(), vec![0; 24].into()]),
            2 => self.last.clone().unwrap_or_default(),
            3 => self.zio(shape, rng.pick(&["", "[]", "{}", "{\"flow\": 1}", "{\"flow\": \"X\"}"])),
            4 => match self.given.take() {
                Some(bot) => self.zio(shape, &bot),
                None => self.bot(shape, cids, rng),
            },
            5 | 6 => self.bot(shape, cids, rng),
            7 => self.zio(shape, r#"{"flow": "DAT"}"#),
            8 => {
                // Of more octets than an honest one, and than some have credit for.
                let payload = [Bytes::from(vec![0; rng.pick(&[100, 600, 1_500])])];
                self.with(shape, r#"{"flow": "DAT"}"#, &payload)
            }
            9 => {
                let credit =
                    rng.pick(&["1", "2", "99", "-1", "1.5", "\"1\"", "18446744073709551616"]);
                self.zio(shape, &format!(r#"{{"flow": "PAY", "credit": {credit}}}"#))
            }
            10 => self.zio(shape, r#"{"flow": "PAY", "credit": 1}"#),
            _ => self.zio(shape, r#"{"flow": "EOT"}"#),
        };
        self.last = Some(message.clone());
        if message.frames().is_empty() { Message::new([Bytes::new()]) } else { message }
    }

    fn bot(&mut self, shape: Shape, cids: &[u32], rng: &mut Rng) -> Message {
        let direction = rng.pick(&["extract", "inject", "inject", "both"]);
        let credit = rng.pick(&["1", "5", "0", "-3", "2.5", "null"]);
        let stream = rng.index(4);
        let cid = match rng.within(0, 7) {
            0 if !cids.is_empty() => format!(r#", "cid": {}"#, cids[rng.index(cids.len())]),
            1 => format!(r#", "cid": {}"#, u32::try_from(rng.next() >> 32).unwrap()),
            2 => format!(r#", "cid": {}"#, rng.pick(&["\"7\"", "-1", "1e3", "4294967296", "0"])),
            _ => String::new(),
        };
        let label = format!(
            r#"{{"flow": "BOT", "direction": "{direction}", "credit": {credit}, "stream": "s{stream}"{cid}}}"#
        );
        self.zio(shape, &label)
    }

    fn zio(&mut self, shape: Shape, label: &str) -> Message {
        self.with(shape, label, &[])
    }

    fn with(&mut self, shape: Shape, label: &str, payload: &[Bytes]) -> Message {
        self.seqno += 1;
        let coordinates = Coordinates { seqno: self.seqno, ..Coordinates::default() };
        let payload = payload.into();
        Zio { form: Form::FLOW, label, coordinates, payload, ..Zio::default() }.to_message(shape)
    }

    /// A BOT as a handler gets it, turned to what it will send.
    pub(in crate::proto) fn give(&mut self, label: &str, rng: &mut Rng) {
        // Sometimes of the wrong direction or credit.
        let label = match rng.within(0, 5) {
            0 => label.replace(Direction::Extract.name(), Direction::Inject.name()),
            1 => label.replace("\"credit\": ", "\"credit\": -"),
            _ => label.to_owned(),
        };
        self.given = Some(label);
    }
}
