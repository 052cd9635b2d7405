//! The house: services of the broker itself (SPEC 10.6).
//!
//! Each is an ordinary NFP worker, at the other end of a pair of sockets, and is given work like
//! any other: what takes time, or has to look at a disk, is done here and not under the core's
//! lock. All share one thread.

mod clock;
mod errands;
mod flows;
mod folder;
mod inventory;
mod management;
mod seat;
mod sharing;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tracing::error;

use crate::config::{LimitsSection, NfpSection};
use crate::folder::Store;
use crate::inventory::{Environment, Inventory};
use crate::proto::core::Core;
use crate::transport::session::SessionError;
use crate::wire::message::Message;
use crate::wire::nfp::{Answer, Kind, status};

use super::BrokerError;
use super::acceptor::Acceptor;
use super::factory::FlowFactory;
use super::shared::Shared;
use seat::{Call, Seat};

/// How long to wait before a service that broke is started again.
const RESTART: Duration = Duration::from_millis(500);

/// A service of the broker that answers each call by one value.
trait Service {
    /// What clients ask for.
    const NAME: &str;

    /// Answers a call. Whatever is wrong with it is said in the answer.
    async fn answer(&mut self, call: &Call) -> Vec<u8>;
}

/// A call as it should be: what is to be done, and with what.
#[derive(Debug, serde::Deserialize)]
struct Asked {
    task: String,
    #[serde(default)]
    kwargs: serde_json::Map<String, Value>,
}

impl Call {
    /// The longest body that an answer may have, octets: it is one message of one frame, and goes
    /// out twice, the second time behind the first.
    fn room(&self, limits: &LimitsSection) -> usize {
        /// The other frames, and how they are framed.
        const REST: usize = 256;
        let rest = REST + self.client.len() + self.uuid.len();
        limits.frame.min(limits.message).min(limits.outbox / 2).saturating_sub(rest)
    }

    /// Reads the call, or says what is wrong with it.
    fn read(&self) -> Result<Asked, String> {
        let body = self.body.as_ref().map_err(ToString::to_string)?;
        serde_json::from_slice(body).map_err(|error| {
            format!("a call is a JSON object with a task and perhaps kwargs: {error}")
        })
    }
}

impl Asked {
    /// A text among the arguments; `None` if it is not there.
    fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.kwargs.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("argument {name} is a text, not {other}")),
        }
    }

    /// A text that has to be among the arguments.
    fn needed(&self, name: &str) -> Result<&str, String> {
        self.text(name)?.ok_or_else(|| format!("task {} needs the argument {name}", self.task))
    }

    /// A count among the arguments; `None` if it is not there.
    fn count(&self, name: &str) -> Result<Option<usize>, String> {
        match self.kwargs.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
                count.map(Some).ok_or_else(|| format!("argument {name} is a count, not {value}"))
            }
        }
    }
}

/// What NorFab's broker says to a task that it does not know.
fn unsupported(task: &str) -> Value {
    Value::String(format!("Unsupported task '{task}'"))
}

/// An answer that says what was wrong.
fn failed(why: &str) -> Value {
    serde_json::json!({ "status": "FAILED", "errors": [why], "error": why })
}

fn written(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What the services answer from, read before anything is answered.
#[derive(Debug)]
pub(super) struct Stock {
    inventory: Option<Arc<Inventory>>,
    store: Option<Store>,
}

impl Stock {
    pub(super) fn read(config: &NfpSection) -> Result<Self, BrokerError> {
        let environment = Environment::of_process();
        let load = |path: &PathBuf| Inventory::load(path, &environment).map(Arc::new);
        let inventory = config.inventory.as_ref().map(load).transpose()?;
        let store = config.files.as_ref().map(Store::open).transpose()?;
        Ok(Self { inventory, store })
    }
}

/// Starts the services.
pub(super) fn start(
    shared: Arc<Shared>,
    acceptor: Arc<Acceptor>,
    Stock { inventory, store }: Stock,
    factory: Option<Arc<dyn FlowFactory>>,
) -> Result<JoinHandle<()>, BrokerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(BrokerError::Thread)?;
    let run = move || {
        runtime.block_on(async {
            let management = management::Management::new(shared.clone(), inventory.clone());
            let inventory = inventory::Inventory::new(inventory);
            let errands = errands::run(shared.clone());
            let factory = crate::broker::factory::run(&shared, factory);
            let (shared, acceptor) = (&*shared, &*acceptor);
            let mut expected = vec![management::Management::NAME, inventory::Inventory::NAME];
            if store.is_some() {
                expected.extend([folder::Folder::NAME, sharing::SERVICE]);
            }
            let files = async {
                let Some(store) = store else { return };
                let folder = folder::Folder::new(store.clone());
                let share = async || sharing::serve(shared, acceptor, &store).await;
                tokio::join!(
                    keep(shared, acceptor, folder),
                    keep_up(shared, sharing::SERVICE, share),
                );
            };
            tokio::join!(
                keep(shared, acceptor, management),
                keep(shared, acceptor, inventory),
                files,
                errands,
                factory,
                flows::run(shared, acceptor),
                furnish(shared, &expected),
            )
        });
    };
    std::thread::Builder::new().name("house".into()).spawn(run).map_err(BrokerError::Thread)
}

/// Opens the doors once all services have registered.
async fn furnish(shared: &Shared, expected: &[&str]) {
    const PAUSE: Duration = Duration::from_millis(1);
    let all =
        |core: &mut Core| expected.iter().all(|name| core.router().is_served(name.as_bytes()));
    while shared.look(all).await != Some(true) && !shared.running.is_cancelled() {
        tokio::time::sleep(PAUSE).await;
    }
    shared.furnished.cancel();
}

/// Has a service at work as long as the broker runs.
async fn keep<S: Service>(shared: &Shared, acceptor: &Acceptor, mut service: S) {
    keep_up(shared, S::NAME, async || serve(shared, acceptor, &mut service).await).await;
}

/// Does something again and again as long as the broker runs.
async fn keep_up(
    shared: &Shared,
    name: &str,
    mut serve: impl AsyncFnMut() -> Result<(), SessionError>,
) {
    let running = &shared.running;
    while !running.is_cancelled() {
        let ended = tokio::select! {
            biased;
            // A broker that ends closes all connections, these too.
            () = running.cancelled() => return,
            ended = serve() => ended,
        };
        if let Err(error) = ended {
            error!(service = name, %error, "a service of the broker broke; starting it again");
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            () = running.cancelled() => {}
        }
    }
}

/// Serves over one connection until that ends.
async fn serve<S: Service>(
    shared: &Shared,
    acceptor: &Acceptor,
    service: &mut S,
) -> Result<(), SessionError> {
    let mut seat = Seat::take(shared, acceptor, S::NAME, S::NAME).await?;
    while !seat.is_over().await? {
        seat.turn().await?;
        for call in seat.take_calls() {
            let mut body = {
                let mut answer = pin!(service.answer(&call));
                loop {
                    tokio::select! {
                        biased;
                        body = &mut answer => break body,
                        lives = seat.show_life() => lives?,
                    }
                }
            };
            if body.len() > call.room(&shared.config.limits) {
                body = written(&failed("the answer is over limits.message"));
            }
            let body = Message::new([body]);
            let (client, uuid) = (&call.client[..], &call.uuid[..]);
            let (kind, status, body) = (Kind::Response, &status::OK[..], body.frames());
            seat.say(|out| Answer { kind, client, uuid, status, body }.encode(out));
        }
    }
    Ok(())
}
