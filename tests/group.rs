//! Members of groups, all of them the library's, by way of an embedded broker.
#![expect(clippy::disallowed_methods, reason = "real sockets, real time")]

#[path = "group/actions.rs"]
mod actions;
#[path = "group/detour.rs"]
mod detour;
#[path = "group/house.rs"]
mod house;
#[path = "group/leaders.rs"]
mod leaders;
#[path = "group/members.rs"]
mod members;
#[path = "group/messages.rs"]
mod messages;
#[path = "group/polls.rs"]
mod polls;
