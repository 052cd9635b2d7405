//! Ends of ZIO flows (SPEC 13): one-way streams of messages with credit, by way of a broker.
//!
//! A client asks for a flow and says what it will do, [`FlowBuilder::give`] or
//! [`FlowBuilder::take`]; its attributes decide who comes for it. A [`Handler`] is given those of a
//! flow service; who was assigned one in another way opens its end with [`FlowBuilder::open`].
//! Whoever gives has a [`Giver`], a [`Sink`](futures::Sink); whoever takes has a [`Taker`], a
//! [`Stream`](futures::Stream).
//!
//! ```
//! use majordomo::broker::Broker;
//! use majordomo::config::{BrokerConfig, Otherwise};
//! use majordomo::flow::{FlowBuilder, FlowError, Opened};
//! use majordomo::id::ServiceName;
//! use majordomo::proto::flow::Target;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(run())
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = BrokerConfig::default();
//! config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
//! // All flows are for the handlers of one flow service.
//! let readings = ServiceName::try_from(&b"readings"[..])?;
//! config.flow.otherwise = Otherwise::Is(Target::Service(readings));
//! let broker = Broker::bind(config)?;
//! let endpoint = broker.local_addrs()[0].to_string();
//!
//! let mut handler = FlowBuilder::new(&endpoint)?.credit(10).handle("readings", 16)?;
//! let handled = tokio::spawn(async move {
//!     let mut count = 0;
//!     let offered = handler.next().await.ok_or(FlowError::Closed)?;
//!     assert_eq!(offered.assignment().bot().get("run"), Some(7));
//!     if let Opened::Takes(mut taker) = offered.open().await? {
//!         while let Some(message) = taker.next().await {
//!             assert_eq!(message?.first(), format!("reading {count}").as_bytes());
//!             count += 1;
//!         }
//!     }
//!     Ok::<_, FlowError>(count)
//! });
//!
//! let mut giver = FlowBuilder::new(&endpoint)?.attribute("run", 7)?.give().await?;
//! for number in 0..1000 {
//!     giver.give(format!("reading {number}")).await?;
//! }
//! giver.finish().await?;
//! assert_eq!(handled.await??, 1000);
//! # Ok(())
//! # }
//! ```
//!
//! # How much there is at a time
//!
//! The ends agree on a credit. No more messages than that are between the giver's hand and the
//! taker's, wherever they are; the giver waits until the taker has paid for another one. So a taker
//! needs memory for as many messages as its credit, and a giver for what its outbox takes.
//!
//! # Within MJP
//!
//! An end that is told a credit in octets ([`FlowBuilder::over_mjp`]) is no ZIO socket: it speaks
//! MJP/1, and its flow is a lane of that connection. If both ends are, no more octets than that are
//! between them, however large single messages are. If the other one is a ZIO socket the credit in
//! messages is all there is.
//!
//! ```
//! # use majordomo::broker::Broker;
//! # use majordomo::config::{BrokerConfig, Otherwise};
//! # use majordomo::flow::{FlowBuilder, FlowError, Opened};
//! # use majordomo::id::ServiceName;
//! # use majordomo::proto::flow::Target;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(run())
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut config = BrokerConfig::default();
//! # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
//! # let tensors = ServiceName::try_from(&b"tensors"[..])?;
//! # config.flow.otherwise = Otherwise::Is(Target::Service(tensors));
//! # let broker = Broker::bind(config)?;
//! # let endpoint = broker.local_addrs()[0].to_string();
//! let handler = FlowBuilder::new(&endpoint)?.over_mjp(1 << 20);
//! let mut handler = handler.handle("tensors", 4)?;
//! let handled = tokio::spawn(async move {
//!     let offered = handler.next().await.ok_or(FlowError::Closed)?;
//!     let mut octets = 0;
//!     if let Opened::Takes(mut taker) = offered.open().await? {
//!         while let Some(message) = taker.next().await {
//!             octets += message?.len();
//!         }
//!     }
//!     Ok::<_, FlowError>(octets)
//! });
//!
//! let giver = FlowBuilder::new(&endpoint)?.over_mjp(32 << 20);
//! let mut giver = giver.give().await?;
//! // The smaller one holds.
//! assert_eq!(giver.credit_bytes(), Some(1 << 20));
//! for _ in 0..20 {
//!     giver.give(vec![7; 400_000]).await?;
//! }
//! giver.finish().await?;
//! assert_eq!(handled.await??, 8_000_000);
//! # Ok(())
//! # }
//! ```
//!
//! # How a flow ends
//!
//! Each end says EOT, either one first. [`Giver::finish`] returns when the taker has heard all that
//! was given; [`Taker::next`] gives `None` behind the last message. An end that is dropped, or
//! lost, is answered for by the broker: its partner hears EOT and cannot tell. What has to be known
//! to be complete says in [`Giver::finish_with`] how much there was.

mod assignment;
mod builder;
mod end;
mod error;
mod giver;
mod handler;
mod message;
mod state;
mod taker;
mod task;
#[cfg(test)]
mod tests;
mod wire;

pub use assignment::{Assignment, Opened};
pub use builder::FlowBuilder;
pub use error::{AssignmentError, AttributeError, FlowError};
pub use giver::Giver;
pub use handler::{Handler, Offered};
pub use message::FlowMessage;
pub use taker::Taker;
