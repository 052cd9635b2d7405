//! The container role: one instance of a service among others, of which one leads.
//!
//! Instances find one another by a lease: one takes the seat of the leader, sets up what all need on
//! the queue server, and says so; the others wait for it. Then each takes requests, commands and
//! events from the service's queue, and answers. Whatever breaks is built up again; [`Status`] says
//! meanwhile what is wrong. SPEC 17 has the whole of it.
//!
//! The two servers are two independent choices. The lease is at our broker, in any other store of
//! leases ([`Coordinator`](crate::lease::Coordinator); [`Builder::etcd`] with the feature `etcd` has
//! the keys of NuroPb), or there is none. [`Queues`] are those of our broker, or of RabbitMQ with
//! the feature `rabbitmq` in the layout of NuroPb, so that services of its Python package and these
//! call one another, and are instances of one service.
//!
//! ```
//! # use majordomo::broker::Broker;
//! # use majordomo::config::BrokerConfig;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use majordomo::container::{BrokerQueues, Call, Client, Embedded, Failure, ServiceContainer};
//! use serde_json::json;
//!
//! #[derive(serde::Deserialize)]
//! struct Add {
//!     a: i64,
//!     b: i64,
//! }
//!
//! async fn add(call: Call<Add>) -> Result<i64, Failure> {
//!     call.emit("sums.done", &call.args.a)?;
//!     Ok(call.args.a + call.args.b)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(run())
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut config = BrokerConfig::default();
//! # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
//! # let broker = Broker::bind(config)?;
//! # let endpoint = broker.local_addrs()[0].to_string();
//! let home = Embedded::at(&endpoint)?;
//! let container =
//!     ServiceContainer::builder("sums").broker(home.clone()).method("add", add).start()?;
//! let status = container.running().await;
//! println!("{} of {:?}", status.state.as_str(), status.leader);
//!
//! let client = Client::start(Arc::new(BrokerQueues::client(home, "me")?));
//! let sum = client.caller().request("sums", "add", &json!({"a": 40, "b": 2})).await?;
//! assert_eq!(sum, json!(42));
//! container.stop(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! The same on RabbitMQ and etcd:
//!
//! ```no_run
//! # #[cfg(all(feature = "etcd", feature = "rabbitmq"))]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use majordomo::container::{RabbitQueuesConfig, ServiceContainer};
//! use majordomo::engine::etcd::{Etcd, EtcdConfig};
//! use majordomo::engine::rabbitmq::RabbitConfig;
//!
//! let rabbit = RabbitConfig::new("amqp://guest:guest@127.0.0.1:5672/mesh".parse()?);
//! let etcd = Etcd::new(EtcdConfig::new("http://127.0.0.1:2379"))?;
//! let builder = ServiceContainer::builder("sums");
//! let builder = builder.rabbitmq(RabbitQueuesConfig::new(rabbit)).etcd(etcd);
//! # Ok(())
//! # }
//! ```

mod builder;
mod client;
mod coordinate;
mod counts;
mod describe;
mod embedded;
mod handler;
mod health;
mod instance;
mod meter;
mod operator;
mod queues;
mod runtime;
mod seal;
mod serve;
mod site;

pub use crate::proto::container::{
    CallerSettings, Dealt, Figures, HealthSettings, Link, Reading, Signal, State, Status, Step,
    Tally,
};
pub use crate::wire::nuropb::class;
pub use builder::{BuildError, Builder};
pub use client::{CallError, Caller, Client};
pub use coordinate::BoxFuture;
pub use counts::{Connections, Counts, Fates, Served, Signals};
pub use embedded::Embedded;
pub use handler::{Call, Event, Failure, IntoMethod, Method, Parameter};
pub use instance::{Properties, PropertyError, ServiceContainer};
pub use meter::Meter;
pub use operator::{Operator, OperatorError, ServiceSeen};
pub use queues::{
    BrokerQueues, Incoming, Line, Outgoing, Queues, Reply, SendError, Sent, Settle, Settlement,
};
#[cfg(feature = "rabbitmq")]
pub use queues::{RabbitQueues, RabbitQueuesConfig};
#[cfg(feature = "encryption")]
pub use seal::ServiceKey;
pub use seal::{Seal, SealError};
