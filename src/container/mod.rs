//! The container role: one instance of a service among others, of which one leads.
//!
//! Instances find one another in a coordination store: one takes the seat of the leader on a lease,
//! sets up what all need on the queue server, and says so; the others wait for it. Then each takes
//! requests, commands and events from the service's queue, and answers. Whatever breaks is built up
//! again; [`Status`] says meanwhile what is wrong. SPEC 17 has the whole of it.
//!
//! The two servers are two independent choices: [`Coordinator`] (none, or etcd with the feature
//! `etcd`) and [`Queues`] (RabbitMQ with the feature `rabbitmq`, in the layout of NuroPb, so that
//! services of its Python package and these call one another, and are instances of one service).
//!
//! ```no_run
//! # #[cfg(all(feature = "etcd", feature = "rabbitmq"))]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use majordomo::container::{Call, Failure, RabbitQueuesConfig, ServiceContainer};
//! use majordomo::engine::etcd::{Etcd, EtcdConfig};
//! use majordomo::engine::rabbitmq::RabbitConfig;
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
//! let rabbit = RabbitConfig::new("amqp://guest:guest@127.0.0.1:5672/mesh".parse()?);
//! let etcd = Etcd::new(EtcdConfig::new("http://127.0.0.1:2379"))?;
//! let container = ServiceContainer::builder("sums")
//!     .rabbitmq(RabbitQueuesConfig::new(rabbit))
//!     .etcd(etcd)
//!     .method("add", add)
//!     .start()?;
//! let status = container.running().await;
//! println!("{} of {:?}", status.state.as_str(), status.leader);
//! container.stop(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```

mod builder;
mod client;
mod coordinate;
mod describe;
mod handler;
mod instance;
mod queues;
mod runtime;
mod serve;

pub use crate::proto::container::{Link, State, Status, Step};
pub use crate::wire::nuropb::class;
pub use builder::{BuildError, Builder};
pub use client::{CallError, Caller, Client};
#[cfg(feature = "etcd")]
pub use coordinate::EtcdCoordinator;
pub use coordinate::{BoxFuture, Coordinator, Observation, Opened, Refusal, Seat, Session};
pub use handler::{Call, Event, Failure, IntoMethod, Method, Parameter};
pub use instance::{Properties, PropertyError, ServiceContainer};
pub use queues::{Incoming, Line, Outgoing, Queues, SendError, Sent, Settle, Settlement};
#[cfg(feature = "rabbitmq")]
pub use queues::{RabbitQueues, RabbitQueuesConfig};

pub use serve::Served;
