//! Ends of ZIO flows (SPEC 13): one-way streams of messages with credit, by way of a broker.
//!
//! A client asks for a flow and says what it will do, [`FlowBuilder::give`] or
//! [`FlowBuilder::take`]; its attributes decide who comes for it. A [`Handler`] is given those of a
//! flow service; who was assigned one in another way opens its end with [`FlowBuilder::open`]. Whoever gives has a [`Giver`], a
//! [`Sink`](futures::Sink); whoever takes has a [`Taker`], a [`Stream`](futures::Stream).
//!
//! ```no_run
//! use majordomo::flow::FlowBuilder;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # let endpoint = "tcp://127.0.0.1:5555";
//! let mut giver = FlowBuilder::new(endpoint)?.attribute("run", 7)?.give().await?;
//! for number in 0..1000 {
//!     giver.give(format!("measurement {number}")).await?;
//! }
//! giver.finish().await?;
//!
//! let mut taker = FlowBuilder::new(endpoint)?.credit(10).attribute("run", 7)?.take().await?;
//! while let Some(message) = taker.next().await {
//!     println!("{:?}", message?.first());
//! }
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

pub use assignment::{Assignment, Opened};
pub use builder::FlowBuilder;
pub use error::{AssignmentError, AttributeError, FlowError};
pub use giver::Giver;
pub use handler::{Handler, Offered};
pub use message::FlowMessage;
pub use taker::Taker;
