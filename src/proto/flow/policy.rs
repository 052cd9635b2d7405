//! What an operator decides about flows.

use std::time::Duration;

use crate::wire::zio::FlowLabel;

use super::rules::{self, FlowRule, Target};

/// Rules, limits and times of flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSettings {
    /// Who handles a flow; the first rule that matches holds.
    pub rules: Vec<FlowRule>,
    /// Who handles it where no rule matches. Default: nobody.
    pub otherwise: Target,
    /// How long the factory may think about one flow. Default 10 s.
    pub decision_timeout: Duration,
    /// How long a client waits for a free handler, and then for that one to come. Default 30 s.
    pub handler_timeout: Duration,
    /// How long an end may be silent before it answers an EOT. Default 60 s.
    pub end_timeout: Duration,
    /// Time without traffic after which a flow is said to be idle. `None`: never. Default 60 s.
    pub idle_after: Option<Duration>,
    /// Octets that wait for one end when the other one is not read any more; an end for which
    /// nothing waits takes any one message. Default 4 MiB.
    pub queue_bytes_max: usize,
    /// A client's BOT, octets; it is kept while the client waits. Default 64 KiB, at most 512 KiB.
    pub bot_bytes_max: usize,
    /// Clients that wait for a handler. Default 1,024.
    pub waiting_max: usize,
    /// Ends that there may be. Default 65,536.
    pub ends_max: usize,
    /// Offers of flow services. Default 4,096.
    pub handlers_max: usize,
    /// Ends within one connection of MJP. Default 1,024.
    pub lanes_max: usize,
    /// Octets that may be under way to all takers within one connection of MJP, by the credit that
    /// they have agreed on. Default 32 MiB.
    pub lane_bytes_max: u64,
    /// Octets that wait for one peer when a flow is ended whose giver, within MJP, cannot be made
    /// to wait. Default 64 MiB.
    pub outbox_bytes_max: usize,
    /// An end that gives or pays more than the credit allows has its flow ended. Default true;
    /// otherwise it is forwarded, as ZIO's own broker does.
    pub check_credit: bool,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            otherwise: Target::Refuse,
            decision_timeout: Duration::from_secs(10),
            handler_timeout: Duration::from_secs(30),
            end_timeout: Duration::from_secs(60),
            idle_after: Some(Duration::from_secs(60)),
            queue_bytes_max: 4 << 20,
            bot_bytes_max: 64 << 10,
            waiting_max: 1024,
            ends_max: 65_536,
            handlers_max: 4096,
            lanes_max: 1024,
            lane_bytes_max: 32 << 20,
            outbox_bytes_max: 64 << 20,
            check_credit: true,
        }
    }
}

impl FlowSettings {
    /// Who handles a flow with that BOT of a client.
    pub(super) fn target_of(&self, bot: &FlowLabel<'_>) -> &Target {
        rules::first(&self.rules, bot).map_or(&self.otherwise, |rule| &rule.target)
    }
}
