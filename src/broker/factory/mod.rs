//! Who decides about flows (SPEC 13.5): the program around the broker, or somebody else whom the
//! broker dials.

mod link;

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::proto::core::Question;
use crate::proto::flow::{Decision, FlowId};
use crate::wire::message::Message;
use crate::wire::zio::{FlowLabel, Shape, Zio};

use super::shared::{Shared, now};

/// Decides who handles a flow, in the program that a broker is a part of; given to
/// [`Broker::bind_around`](super::Broker::bind_around). The broker goes on meanwhile.
///
/// ```
/// use futures::FutureExt;
/// use futures::future::BoxFuture;
/// use majordomo::broker::{AskedFlow, FlowFactory};
/// use majordomo::id::ServiceName;
/// use majordomo::proto::flow::Decision;
///
/// /// Takes what is called `raw`, and starts nobody: the flow service `writers` has handlers.
/// #[derive(Debug)]
/// struct Raw;
///
/// impl FlowFactory for Raw {
///     fn decide(&self, asked: AskedFlow) -> BoxFuture<'static, Decision> {
///         let raw = asked.attribute("stream").is_some_and(|stream| stream == "raw");
///         let writers = ServiceName::try_from(&b"writers"[..]);
///         let writers = writers.map_or(Decision::Refuse, Decision::Service);
///         async move { if raw { writers } else { Decision::Refuse } }.boxed()
///     }
/// }
/// ```
pub trait FlowFactory: fmt::Debug + Send + Sync {
    /// Decides about one flow. Who takes longer than `flow.decision_timeout` has refused it. After
    /// [`Decision::Accept`] a handler has to say the BOT that was asked about, over a connection of
    /// its own.
    fn decide(&self, asked: AskedFlow) -> BoxFuture<'static, Decision>;

    /// The broker has stopped: nothing is asked any more.
    fn stop(&self) {}
}

/// A flow about which is to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFlow {
    bot: Message,
}

impl AskedFlow {
    /// The client's BOT in the encoding of one frame, as a handler has to say it: the direction is
    /// the handler's, and `cid` names the client.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.bot.first()
    }

    /// The same, read. It has been read before; what cannot be is empty.
    #[must_use]
    pub fn bot(&self) -> Zio<'_> {
        Zio::decode(Shape::Single, self.bot.frames()).unwrap_or_default()
    }

    /// An attribute of the label: the text of a string, or anything else as it is written.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        let label = FlowLabel::read(self.bot().label).ok()?;
        let value = label.label().get(name)?;
        Some(value.chars().map_or_else(|| value.as_str().into(), Iterator::collect))
    }
}

/// Has somebody decide about flows as long as the broker runs.
pub(super) async fn run(shared: &Arc<Shared>, factory: Option<Arc<dyn FlowFactory>>) {
    let deciding = async {
        match (factory, &shared.config.flow.factory) {
            (Some(factory), _) => ask(shared, &*factory).await,
            (None, Some(endpoint)) => link::run(shared, endpoint).await,
            (None, None) => refuse_all(shared).await,
        }
    };
    tokio::select! {
        () = shared.running.cancelled() => {}
        () = deciding => {}
    }
}

/// Asks the program around us, about any number of flows at a time.
async fn ask(shared: &Arc<Shared>, factory: &dyn FlowFactory) {
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.questions.notified() => {}
            Some(ended) = asking.join_next(), if !asking.is_empty() => {
                if let Err(error) = ended {
                    // The flow is refused when its time is up.
                    warn!(%error, "a flow factory broke");
                }
                continue;
            }
        }
        for Question { flow, bot } in take_questions(shared) {
            let (decision, shared) = (factory.decide(AskedFlow { bot }), shared.clone());
            asking.spawn(async move {
                let timeout = shared.config.flow.decision_timeout;
                if let Ok(decision) = tokio::time::timeout(timeout, decision).await {
                    decide(&shared, flow, decision);
                }
            });
        }
    }
}

/// There is nobody who could be asked.
async fn refuse_all(shared: &Shared) {
    loop {
        shared.questions.notified().await;
        for question in take_questions(shared) {
            debug!("there is no flow factory to be asked");
            decide(shared, question.flow, Decision::Refuse);
        }
    }
}

fn take_questions(shared: &Shared) -> Vec<Question> {
    shared.with_core(|core, _| core.take_questions())
}

fn decide(shared: &Shared, flow: FlowId, decision: Decision) {
    shared.with_core(|core, out| core.decided(now(), flow, decision, out));
}
