//! Members of groups, all of them the library's, by way of an embedded broker.
#![expect(clippy::disallowed_methods, reason = "real sockets, real time")]

#[path = "group/actions.rs"]
mod actions;
#[path = "group/house.rs"]
mod house;
#[path = "group/leaders.rs"]
mod leaders;
#[path = "group/members.rs"]
mod members;
#[path = "group/messages.rs"]
mod messages;
#[path = "group/observe.rs"]
mod observe;
#[path = "group/polls.rs"]
mod polls;
#[path = "common/relay.rs"]
#[expect(dead_code, reason = "clients and leases need more of it")]
mod relay;
