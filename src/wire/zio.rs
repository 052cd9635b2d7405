//! ZIO messages, and the labels of its flow protocol (SPEC 13).
//!
//! A message is a prefix, 24 octets of coordinates and any number of payload parts. Sockets of one
//! frame (CLIENT, SERVER) have all parts in that frame, each behind its size; others (DEALER,
//! ROUTER) have a frame for each, behind an empty one. What is forwarded is never written anew:
//! only the labels of BOT and of refusals are edited, and in them only what has to change.

mod edit;
mod flow;
mod header;
mod json;
mod label;
mod malformed;
mod part;
mod payload;
mod view;

pub use edit::{remove, set};
pub use flow::{Cid, Direction, FlowLabel, Kind, attribute};
pub use header::{Coordinates, Form, Level, Prefix};
pub use label::{Label, Member, Members, Value};
pub use malformed::Malformed;
pub use payload::Payload;
pub use view::{Shape, Zio, is_zio};

/// Longest label, octets. Labels of tensors are long; one that is longer belongs into the payload.
pub const LABEL_MAX: usize = 1 << 20;
/// Most parts of a message, the prefix and the coordinates included.
pub const PARTS_MAX: usize = 1024;
/// Levels of arrays and objects within an attribute of a label.
pub const DEPTH_MAX: u32 = 128;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod vectors;
