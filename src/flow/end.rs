//! What giver and taker have in common.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::error::FlowError;
use super::message::FlowMessage;
use super::state::{Shared, State};
use super::task::Line;
use super::wire::Wire;
use crate::config::{CurveFiles, FlowConfig};
use crate::keys::KeyError;
use crate::proto::flow::State as Stands;
use crate::transport::session::{Session, SessionConfig};
use crate::wire::command::SocketType;
use crate::wire::zio::{Direction, Kind};

/// An end of a flow that runs. Dropping it breaks the connection off.
#[derive(Debug)]
pub(super) struct End {
    pub(super) shared: Arc<Shared>,
    answer: FlowMessage,
    task: JoinHandle<()>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl End {
    /// Dials, says BOT and waits for the answer.
    pub(super) async fn open(
        config: &FlowConfig,
        direction: Direction,
        credit: u32,
        bot: FlowMessage,
    ) -> Result<Self, FlowError> {
        config.validate()?;
        let session_config = session_config(config, wire_of(config).socket_type())?;
        let session = Session::connect(&config.endpoint, &session_config).await;
        let session = session.map_err(FlowError::Connect)?;
        Self::over(session, config, direction, credit, bot).await
    }

    /// The same, over a connection that is there.
    pub(super) async fn over(
        session: Session,
        config: &FlowConfig,
        direction: Direction,
        credit: u32,
        bot: FlowMessage,
    ) -> Result<Self, FlowError> {
        let shared = Shared::new(State::new(config, direction, credit));
        let own = reason(&bot);
        shared.lock().say(Kind::Bot, bot)?;
        let mut line = Line::new(shared.clone(), session, wire_of(config));
        let answered = |state: &State| state.is_over() || state.stands() != Stands::BotSent;
        std::future::poll_fn(|cx| line.poll_until(cx, answered)).await;
        let answer = {
            let mut state = shared.lock();
            if state.stands() == Stands::Refused
                && let Some(eot) = state.eot().cloned()
            {
                // The broker's EOT is our own BOT but for a few attributes.
                let reason = reason(&eot).filter(|reason| own.as_ref() != Some(reason));
                return Err(FlowError::Refused { reason, eot: Box::new(eot) });
            }
            match (state.take_answer(), state.take_trouble()) {
                (Some(answer), trouble) => {
                    // It is said to whoever gives or takes.
                    trouble.into_iter().for_each(|trouble| state.fail(trouble));
                    answer
                }
                (None, trouble) => return Err(trouble.unwrap_or(FlowError::Closed)),
            }
        };
        let task = tokio::spawn(line.run());
        Ok(Self { shared, answer, task })
    }

    /// The other end's BOT.
    pub(super) fn answer(&self) -> &FlowMessage {
        &self.answer
    }

    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Poll<Result<(), FlowError>> {
        self.shared.lock().poll_end(cx)
    }

    /// Ends the flow with these words, if it runs, and waits until it is over.
    pub(super) async fn finish(&self, eot: FlowMessage) -> Result<(), FlowError> {
        {
            let mut state = self.shared.lock();
            if state.stands().is_running() {
                state.say(Kind::Eot, eot)?;
            }
        }
        std::future::poll_fn(|cx| self.poll_end(cx)).await
    }
}

/// How its messages are carried.
fn wire_of(config: &FlowConfig) -> Wire {
    if config.credit_bytes.is_some() { Wire::Mjp } else { Wire::Zio }
}

/// How to connect. It reads keys, and blocks for that.
pub(super) fn session_config(
    config: &FlowConfig,
    socket_type: SocketType,
) -> Result<SessionConfig, KeyError> {
    Ok(SessionConfig {
        socket_type,
        curve: config.curve.as_ref().map(CurveFiles::load).transpose()?,
        limits: config.wire_limits(),
        connect_timeout: config.connect_timeout,
        // What waits is bounded before it gets there.
        outbox_bytes_max: usize::MAX,
        ping_interval: config.ping_interval,
        ..SessionConfig::default()
    })
}

fn reason(message: &FlowMessage) -> Option<String> {
    message.get("reason")
}
