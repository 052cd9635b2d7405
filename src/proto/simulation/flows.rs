//! Flows in a whole broker: who decides about them, and who is sent to come for them.

use crate::proto::flow::{Decision, FlowId};
use crate::wire::message::Message;
use crate::wire::zio::{Cid, FlowLabel, Shape, Zio};

use super::actor::{Actor, FlowNews};
use super::flow_peer::Role;
use super::plan::MS;
use super::world::{Event, World};

impl World {
    /// What the core wants to know about flows, and what has to be true of them.
    pub(super) fn after_flows(&mut self) {
        for question in self.core.take_questions() {
            // Yes or no; sometimes too late, and sometimes nobody comes, or before the answer.
            let yes = !self.rng.one_in(8);
            let slow = if self.rng.one_in(4) { 450 * MS } else { 30 * MS };
            let at = self.now + self.rng.within(0, slow);
            self.at(at, Event::Decide(question.flow, yes));
            if yes && !self.rng.one_in(8) {
                self.expect(question.flow, &question.bot);
            }
        }
        let queue = self.plan.settings.flow.queue_bytes_max;
        let flows = &self.sockets.judge.flows;
        let outbox = self.plan.settings.flow.outbox_bytes_max;
        let full =
            flows.rooms(queue, outbox).find(|(conn, room)| self.sockets.waiting_for(*conn) > *room);
        if let Some((conn, room)) = full {
            let waiting = self.sockets.waiting_for(conn);
            self.sockets.judge.fail(|| format!("{waiting} of {room} octets wait for {conn}"));
        }
        self.sockets.judge.check_flows(&self.actors);
    }

    /// What an actor knows of flows when it acts.
    pub(super) fn flow_news(&self, actor: usize) -> FlowNews {
        let cids = match &self.actors[actor] {
            Actor::FlowPeer(_) => self.sockets.judge.flows.judge.known_cids.clone(),
            _ => Vec::new(),
        };
        FlowNews { cids, ..FlowNews::default() }
    }

    /// A worker was given a flow, and sends somebody.
    pub(super) fn given_flow(&mut self, token: u64, bot: &Message) {
        if let Some(flow) = FlowId::from_token(token)
            && !self.rng.one_in(8)
        {
            self.expect(flow, bot);
        }
    }

    fn expect(&mut self, flow: FlowId, bot: &Message) {
        self.bots.insert(flow, bot.clone());
        let slow = if self.rng.one_in(6) { 750 * MS } else { 40 * MS };
        let at = self.now + self.rng.within(0, slow);
        self.at(at, Event::Come(flow));
    }

    pub(super) fn decide(&mut self, flow: FlowId, yes: bool) {
        let decision = if yes { Decision::Accept } else { Decision::Refuse };
        let now = self.instant();
        self.core.decided(now, flow, decision, &mut self.sockets);
    }

    /// Somebody comes for a flow who has none: honest or not.
    pub(super) fn come(&mut self, flow: FlowId) -> Result<(), String> {
        let Some(bot) = self.bots.remove(&flow) else { return Ok(()) };
        let zio = Zio::decode(Shape::Single, bot.frames()).map_err(|why| why.to_string())?;
        let label = FlowLabel::read(zio.label).map_err(|why| why.to_string())?;
        let direction = label.direction().ok_or("a BOT for a handler that has no direction")?;
        let Cid::Is(cid) = label.cid() else { return Err("a BOT for a handler, no cid".into()) };
        let strange = self.rng.one_in(4);
        let free: Vec<usize> = (0..self.actors.len())
            .filter(|actor| match &self.actors[*actor] {
                Actor::FlowPeer(peer) => {
                    peer.is_free() && matches!(peer.role, Role::Stranger(_)) == strange
                }
                _ => false,
            })
            .collect();
        if free.is_empty() {
            return Ok(());
        }
        let actor = free[self.rng.index(free.len())];
        let end = self.links[actor].and_then(|conn| self.sockets.judge.flows.end_of(conn));
        let Some(end) = end else { return Ok(()) };
        let judge = &mut self.sockets.judge.flows.judge;
        judge.sent.entry(flow).or_default().insert(end);
        judge.cids.insert(flow, cid.get());
        let (text, origin) = (zio.label, zio.coordinates.origin);
        self.act(actor, |who, cx| {
            if let Actor::FlowPeer(peer) = who {
                peer.come(text, origin, direction, cx);
            }
            Ok(())
        })
    }
}
