//! Groups: members that know of each other, hear what is said in one order, have one leader at a
//! time, and decide by polls (SPEC 9.15).
//!
//! ```
//! use std::time::Duration;
//!
//! use majordomo::broker::Broker;
//! use majordomo::config::BrokerConfig;
//! use majordomo::group::{Event, GroupError, GroupKind, Groups, Vote};
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
//! // Any number of groups go over one connection.
//! let groups = Groups::connect(&endpoint).await?;
//! let kind = GroupKind::default().leader(true);
//! let anna = groups.group("Escort.1").member("anna").kind(kind.clone()).join().await?;
//! let bert = groups.group("Escort.1").member("bert").kind(kind).join().await?;
//!
//! // A member answers what it is asked.
//! let mut events = bert.events();
//! let task = tokio::spawn(async move {
//!     while let Some(event) = events.next().await {
//!         match event {
//!             Event::VoteRequest(ballot) => {
//!                 let north = ballot.decode::<String>()? == "north";
//!                 ballot.vote(if north { Vote::Yes } else { Vote::No }).await?;
//!             }
//!             Event::LeaderElected(leader) => println!("{} leads", leader.member),
//!             Event::Message(message) => println!("{}: {:?}", message.from, message.body),
//!             _ => {}
//!         }
//!     }
//!     Ok::<_, GroupError>(())
//! });
//! anna.leader_known().await?;
//! anna.send_value(&("here", 7)).await?;
//! # let mine = anna.events();
//! # tokio::spawn(async move {
//! #     let mut mine = mine;
//! #     while let Some(event) = mine.next().await {
//! #         if let Event::VoteRequest(ballot) = event { ballot.vote(Vote::Yes).await.ok(); }
//! #     }
//! # });
//! let result = anna.poll_value(&"north")?.timeout(Duration::from_secs(1)).open().await?;
//! assert!(result.is_yes());
//! # bert.leave().await?;
//! # task.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # Members, views, leaders
//!
//! All members see the same views under the same numbers, and all that happens in one order. Who
//! joins is told how things are ([`Event::Joined`]); from then on every change is an [`Event`], or
//! a call of a [`Handler`], which has the names of RIAPS. [`Group::view`], [`Group::leader`] and the
//! rest say how things are now.
//!
//! The broker decides who leads. Whoever does believes it only until its lease is over, by its own
//! monotonic clock, and what it says with [`Leading`] is refused by the broker when it is late:
//! a leader that was stopped, or was cut off, can do no harm.
//!
//! # When the connection is lost
//!
//! The member has left, and leads no more. It joins again by itself, with back-off, as a new
//! incarnation: [`Event::Parted`] and then [`Event::Joined`] say so. A poll that it has opened goes
//! on being waited for; a message is never sent twice.
//!
//! # Timed actions
//!
//! [`Group::poll_action`] asks all members whether they will do something at a moment, by the clock
//! of the broker, which each member measures with the error that it may have. Who says
//! [`ActionBallot::yes`] gives what is to be done, and the library begins it: never without a yes,
//! never twice, never early. All or nothing cannot be promised, as a member may hear of the yes too
//! late; [`Event::Outcomes`] says what became of it everywhere.
//!
//! # Values instead of octets
//!
//! Whatever is sent or asked is one frame or more; the calls with `value` write one frame of
//! MessagePack, and `decode` reads it.

mod action;
mod ballot;
mod builder;
mod error;
mod event;
mod events;
mod groups;
mod handler;
mod kind;
mod leading;
mod line;
mod member;
mod observe;
mod poll;
mod queue;
mod seat;
mod shared;
mod survey;
mod task;
mod typed;
mod words;

pub use ballot::{ActionBallot, Ballot};
pub use builder::{GroupsBuilder, Join};
pub use error::{ConnectError, GroupError};
pub use event::{Ack, Event, Gap, GroupMessage, Outcome, Outcomes, Parted, PollResult, Status, To};
pub use events::Events;
pub use groups::Groups;
pub use handler::Handler;
pub use kind::GroupKind;
pub use leading::Leading;
pub use member::Group;
pub use observe::{Observation, Sight};
pub use poll::Poll;
pub use survey::{GroupInfo, GroupRow};
pub use words::{BrokerTime, Leader, MemberId, Peer, PollId, Reading, Reason, Recipient, View};

pub use crate::proto::group::{Charter, Electorate, Polls, Rule, Vote};

use member::Inner;
