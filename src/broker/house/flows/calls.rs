//! `service`: each message of a flow becomes a request.

use std::collections::BTreeSet;

use crate::transport::session::Session;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Fault, FromBroker, Packed, Request, RequestHeader, ToBroker};
use crate::wire::zio::{Shape, Zio};

use super::talk::{Taken, Talk};
use super::{Failed, Tally};

/// A caller of a service. Requests are made in the order of the messages, and so many of them are
/// open at a time as the flow may have credit.
pub(super) struct Calls<'a> {
    session: Session,
    service: &'a str,
    open_max: usize,
    open: BTreeSet<u64>,
    last: u64,
    failed: Option<String>,
}

impl<'a> Calls<'a> {
    pub(super) fn new(session: Session, service: &'a str, open_max: u32) -> Self {
        let open_max = usize::try_from(open_max).unwrap_or(usize::MAX);
        Self { session, service, open_max, open: BTreeSet::new(), last: 0, failed: None }
    }

    /// Calls with what is given. The flow ends with the first request that fails; its EOT says why.
    pub(super) async fn run(mut self, mut talk: Talk) -> Result<Tally, Failed> {
        let mut tally = Tally::default();
        let mut ended = false;
        while !ended && self.failed.is_none() {
            talk.pay()?;
            let mut taken = self.take(&mut talk).await?;
            ended = taken.ended;
            for dat in taken.take_dats() {
                self.wait_until_open(self.open_max - 1).await?;
                if self.failed.is_none() {
                    tally.add(dat.bytes());
                    self.call(&dat);
                }
            }
        }
        self.wait_until_open(0).await?;
        match self.failed {
            Some(why) => {
                let label = serde_json::json!({ "error": why }).to_string();
                talk.end_with(&label).await?;
                Err(Failed::Broken(why))
            }
            None => talk.end().await.map(|()| tally),
        }
    }

    /// Waits for what is given next, and hears answers meanwhile.
    async fn take(&mut self, talk: &mut Talk) -> Result<Taken, Failed> {
        let Self { session, open, failed, .. } = self;
        loop {
            tokio::select! {
                taken = talk.take() => return taken,
                turn = session.turn(|said| hear(said, open, failed)) => turn?,
            }
            if failed.is_some() {
                return Ok(Taken::default());
            }
        }
    }

    fn call(&mut self, dat: &Message) {
        let payload = Zio::decode(Shape::Multipart, dat.frames()).map(|zio| zio.payload);
        let parts: Vec<Vec<u8>> = payload.unwrap_or_default().map(<[u8]>::to_vec).collect();
        let body = if parts.is_empty() { Message::from(Vec::new()) } else { Message::new(parts) };
        self.last += 1;
        self.open.insert(self.last);
        let says = RequestHeader { service: self.service.as_bytes(), ..RequestHeader::default() };
        let packed = Packed::new(&says);
        let (id, header, body) = (self.last, packed.octets(), body.frames());
        self.session.send(|out| {
            ToBroker::Request(Request { id, header, says, body }).encode(out);
        });
    }

    /// Waits until no more than so many requests are open.
    async fn wait_until_open(&mut self, count: usize) -> Result<(), Failed> {
        let Self { session, open, failed, .. } = self;
        while open.len() > count {
            session.turn(|said| hear(said, open, failed)).await?;
        }
        Ok(())
    }
}

fn hear(said: Frames<'_>, open: &mut BTreeSet<u64>, failed: &mut Option<String>) {
    match FromBroker::decode(said) {
        Ok(FromBroker::Final(answer)) => {
            open.remove(&answer.id);
        }
        Ok(FromBroker::Error(failure)) if failure.id == 0 || open.remove(&failure.id) => {
            let why = Fault::decode(failure.header).map_or_else(
                |error| error.to_string(),
                |fault| format!("{}: {}", fault.code, fault.message.unwrap_or_default()),
            );
            failed.get_or_insert(why);
            if failure.id == 0 {
                open.clear();
            }
        }
        _ => {}
    }
}
