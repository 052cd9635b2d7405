//! What must hold between the broker and workers of MJP/1, as seen from outside.

use crate::wire::mjp::{FromBroker, ToBroker};

use super::judge::Judge;
use super::tag::Tag;

impl Judge {
    /// A worker's command is about to be given to the broker.
    pub(super) fn commanded_natively(&mut self, conn: usize, command: &ToBroker<'_>) {
        self.end_turn();
        let address = |id: u64| id.to_be_bytes();
        let side = self.sides.entry(conn).or_default();
        match command {
            ToBroker::Ready(says) => {
                side.native = true;
                side.credit = Some(usize::from(says.credit()));
            }
            ToBroker::Credit { credit } => side.credit = Some(usize::from(*credit)),
            ToBroker::Bye => {
                side.left = true;
                self.lose(conn);
            }
            ToBroker::Final(answer) => self.answered(conn, &address(answer.id), true),
            ToBroker::Partial(answer) => self.answered(conn, &address(answer.id), false),
            ToBroker::Error(failure) => {
                self.answered(conn, &address(failure.id), true);
                if let Some(turn) = &mut self.turn {
                    turn.failed = true;
                }
            }
            _ => {}
        }
    }

    pub(super) fn said_natively(&mut self, conn: usize, command: &FromBroker<'_>) {
        let side = self.sides.entry(conn).or_default();
        match command {
            FromBroker::Request(request) => {
                let over = side.dismissed || side.left || side.drained;
                let state = format!("{side:?}");
                self.demand(!over, || format!("{conn} got {command:?} though it is {state}"));
                let Some(tag) = request.body.clone().next().and_then(Tag::decode) else {
                    return self.fail(|| "a request without a tag was delivered".into());
                };
                let deliveries = self.records.get(&tag).map(|record| record.deliveries + 1);
                self.demand(deliveries == Some(request.says.attempt.get()), || {
                    format!("delivery {deliveries:?} of {tag:?} says {:?}", request.says)
                });
                self.delivered(conn, request.id.to_be_bytes().to_vec(), tag);
            }
            FromBroker::Drain { within: None } => side.drained = true,
            FromBroker::Bye(_) => self.lose(conn),
            FromBroker::Cancel { id } => {
                let held = side.held.contains_key(&id.to_be_bytes()[..]);
                self.demand(held, || format!("{conn} does not hold what is cancelled: {id}"));
            }
            FromBroker::Hello(_) | FromBroker::Heartbeat | FromBroker::Drain { .. } => {}
            other => self.fail(|| format!("{conn}, a worker, got {other:?}")),
        }
    }
}
