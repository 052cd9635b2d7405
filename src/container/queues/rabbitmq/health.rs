//! What the leader of a service asks of RabbitMQ, and what instances tell it (SPEC 17.6).

use serde_json::Map;

use super::{Outgoing, RabbitLine, RabbitQueues, SendError, Sending};
use crate::engine::rabbitmq::RabbitError;
use crate::proto::container::{Reading, Tally};
use crate::wire::nuropb::{Response, Topology};

/// The `correlation_id` of what instances tell the leader, which comes among its answers. No
/// request has it.
pub(super) const TALLY: &str = "tally";

impl RabbitLine {
    /// What waits and who takes from it is told by the server itself, and is exact; all else by its
    /// management interface, if there is one, and is up to 5 s old.
    pub(super) async fn look(&self, service: &str) -> Result<Reading, RabbitError> {
        let queue = Topology::service_queue(service);
        let Some(depth) = self.link.depth(&queue).await? else { return Ok(Reading::default()) };
        let dead = self.link.depth(&Topology::dl_queue(service)).await?;
        let mut reading = Reading {
            waiting: depth.messages,
            instances: depth.consumers,
            dead: dead.map(|depth| depth.messages),
            ..Reading::default()
        };
        let config = &self.queues.config;
        if let Some(management) = &config.management {
            let info = management.queue(config.rabbit.url.vhost(), &queue).await?;
            reading.in_work = info.as_ref().map(|info| info.messages_unacknowledged);
            reading.done = info.and_then(|info| info.message_stats.ack);
        }
        Ok(reading)
    }

    pub(super) async fn send_tally(&self, to: String, tally: &Tally) -> Result<(), SendError> {
        let unsent = |why: String| SendError::NotSent(why);
        let response = Response {
            result: serde_json::to_value(tally).map_err(|error| unsent(error.to_string()))?,
            error: None,
            warning: None,
            correlation_id: TALLY.into(),
            trace_id: None,
            context: Map::new(),
            reply_to: to.clone(),
        };
        let Sending { exchange, key, mandatory: _, message } =
            self.queues.sending(Outgoing::Response(to, response, None))?;
        // Whoever leads may have gone; the next one is told the next time.
        let sent = self.link.publish(&exchange, &key, false, &message).await;
        sent.map(drop).map_err(|error| unsent(error.to_string()))
    }
}

impl RabbitQueues {
    /// Ends the connections that take from that queue of answers; how many.
    pub(super) async fn end_connections(
        &self,
        queue: &str,
        why: &str,
    ) -> Result<usize, RabbitError> {
        let Some(management) = &self.config.management else {
            let why = "without its management interface no connection can be ended";
            return Err(RabbitError::Refused(why.into()));
        };
        let mut ended = 0;
        for consumer in management.consumers(self.config.rabbit.url.vhost()).await? {
            if consumer.queue.name == queue {
                let connection = &consumer.channel_details.connection_name;
                ended += usize::from(management.end_connection(connection, why).await?);
            }
        }
        Ok(ended)
    }
}
