//! What the naive broker does because of the time, and when it stops.

use super::model::{ENDING, Model, Stage};
use crate::proto::flow::FlowId;

impl Model {
    /// What is due first, and which flow it is; equal ones in the order of the table.
    pub(super) fn due(&self) -> Option<(u64, FlowId)> {
        let due = self.flows.iter().filter_map(|flow| {
            let at = match &flow.stage {
                Stage::Deciding { until, .. }
                | Stage::Queued { until }
                | Stage::Coming { until } => *until,
                Stage::Open(pair) if pair.closed != [false; 2] => pair.touched + ENDING,
                Stage::Open(_) => return None,
            };
            Some((at, flow.id?))
        });
        due.min()
    }

    pub(super) fn tick(&mut self) {
        while let Some((_, id)) = self.due().filter(|(at, _)| *at <= self.now) {
            let Some(at) = self.flows.iter().position(|flow| flow.id == Some(id)) else { return };
            if matches!(self.flows.get(at).map(|flow| &flow.stage), Some(Stage::Open(_))) {
                self.end_pair(at, "no_answer");
            } else {
                self.refuse(at);
            }
        }
        if let Some((Some(cut), over)) = self.stop
            && cut <= self.now
        {
            self.stop = Some((None, over));
            self.in_order().into_iter().for_each(|id| {
                if let Some(at) = self.flows.iter().position(|flow| flow.id == Some(id)) {
                    self.end_pair(at, "stopped");
                }
            });
        }
    }

    /// Flows in the order of the table's slots.
    fn in_order(&self) -> Vec<FlowId> {
        let mut ids: Vec<FlowId> = self.flows.iter().filter_map(|flow| flow.id).collect();
        ids.sort_by_key(|id| id.token() & u64::from(u32::MAX));
        ids
    }

    pub(super) fn stop(&mut self, within: u64) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some((Some(self.now + within / 2), self.now + within));
        for id in self.in_order() {
            let Some(at) = self.flows.iter().position(|flow| flow.id == Some(id)) else { continue };
            let Some(flow) = self.flows.get_mut(at) else { continue };
            let Stage::Open(pair) = &mut flow.stage else {
                self.refuse(at);
                continue;
            };
            if pair.closed != [false; 2] {
                continue;
            }
            let taker = 1 - pair.giver;
            pair.closed = std::array::from_fn(|it| it == taker);
            pair.touched = self.now;
            let (ends, seqno) = (pair.ends, pair.last(taker) + 1);
            let [giver, taker] = if taker == 1 { ends } else { [ends[1], ends[0]] };
            self.eot(giver, seqno);
            self.resume(taker);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        let idle = self.flows.is_empty() && self.told.is_empty();
        self.stop.is_some_and(|(_, over)| over <= self.now || idle)
    }
}
