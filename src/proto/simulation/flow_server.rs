//! A worker of MJP that offers a flow service: it is given flows, and sends others to come for them
//! (SPEC 13.5).

use std::num::NonZeroU16;

use crate::wire::message::Frames;
use crate::wire::mjp::{Failure, Fault, FromBroker, Packed, ReadyHeader, ToBroker};

use super::actor::{Act, Context, encoded};
use super::plan::MS;

/// The one flow service.
pub(super) const WRITER: &str = "writer";

#[derive(Debug)]
pub(super) struct FlowServer {
    interval: u64,
    conn: Option<u32>,
    connect_at: Option<u64>,
    beat_at: u64,
}

impl FlowServer {
    pub(super) fn new(interval: u64) -> Self {
        Self { interval, conn: None, connect_at: Some(0), beat_at: 0 }
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        if self.conn.is_some() { Some(self.beat_at) } else { self.connect_at }
    }

    pub(super) fn connected(&mut self, conn: u32, cx: &mut Context<'_>) {
        (self.conn, self.connect_at) = (Some(conn), None);
        self.beat_at = cx.now + self.interval / 2;
        let credit = NonZeroU16::new(cx.rng.pick(&[1, 2, 9]));
        let service = WRITER.as_bytes();
        let role = Some("flow");
        say(&ToBroker::Ready(ReadyHeader { service, role, credit, ..ReadyHeader::default() }), cx);
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        self.connect_at = Some(cx.now + cx.rng.within(MS, 150 * MS));
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) {
        if self.conn.is_none() {
            if self.connect_at.is_some_and(|at| at <= cx.now) {
                self.connect_at = None;
                cx.act(Act::Connect);
            }
            return;
        }
        self.beat_at = cx.now + self.interval / 2;
        if cx.rng.one_in(8) && !cx.calm {
            let credit = cx.rng.pick(&[0, 1, 3]);
            return say(&ToBroker::Credit { credit }, cx);
        }
        if cx.calm && cx.rng.one_in(4) {
            return say(&ToBroker::Credit { credit: 9 }, cx);
        }
        say(&ToBroker::Heartbeat, cx);
    }

    /// # Errors
    /// The broker said what a handler must not be told.
    pub(super) fn heard(&mut self, frames: Frames<'_>, cx: &mut Context<'_>) -> Result<(), String> {
        let said = FromBroker::decode(frames).map_err(|why| format!("a flow server: {why:?}"))?;
        match said {
            FromBroker::Flow(given) => {
                if cx.rng.one_in(8) {
                    let fault = Packed::new(&Fault { code: "no_paper", ..Fault::default() });
                    let failure = Failure { id: given.id, header: fault.octets() };
                    say(&ToBroker::Error(failure), cx);
                } else {
                    cx.flows.given.push((given.id, given.body.to_message()));
                }
            }
            FromBroker::Bye(_) => {
                self.lost(cx);
                cx.act(Act::Close);
            }
            FromBroker::Heartbeat | FromBroker::Drain { .. } | FromBroker::Error(_) => {}
            other => return Err(format!("a flow server is told {other:?}")),
        }
        Ok(())
    }
}

fn say(said: &ToBroker<'_>, cx: &mut Context<'_>) {
    cx.act(Act::Say(encoded(|encoder| said.encode(encoder))));
}
