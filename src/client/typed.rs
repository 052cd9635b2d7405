//! Calls with values of serde: one frame there, one frame back.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CallError;
use crate::wire::message::Message;

fn cannot(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> CallError {
    move |error| CallError::Convert { what, reason: error.to_string() }
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<Message, CallError> {
    let octets = serde_json::to_vec(value);
    octets.map(Message::from).map_err(|error| cannot("write the argument as JSON")(&error))
}

pub(super) fn read_json<T: DeserializeOwned>(message: &Message) -> Result<T, CallError> {
    let value = serde_json::from_slice(message.first());
    value.map_err(|error| cannot("read the answer as JSON")(&error))
}

/// Structs are maps with the names of their fields.
pub(super) fn msgpack<T: Serialize>(value: &T) -> Result<Message, CallError> {
    let octets = rmp_serde::to_vec_named(value);
    octets.map(Message::from).map_err(|error| cannot("write the argument as MessagePack")(&error))
}

pub(super) fn read_msgpack<T: DeserializeOwned>(message: &Message) -> Result<T, CallError> {
    let value = rmp_serde::from_slice(message.first());
    value.map_err(|error| cannot("read the answer as MessagePack")(&error))
}
