//! Values instead of octets: MessagePack, structs as maps with the names of their fields.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::GroupError;
use crate::wire::message::Message;

pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Message, GroupError> {
    let octets = rmp_serde::to_vec_named(value);
    octets.map(Message::from).map_err(|error| GroupError::Convert {
        what: "write the value as MessagePack",
        reason: error.to_string(),
    })
}

pub(super) fn read<T: DeserializeOwned>(message: &Message) -> Result<T, GroupError> {
    rmp_serde::from_slice(message.first()).map_err(|error| GroupError::Convert {
        what: "read the value as MessagePack",
        reason: error.to_string(),
    })
}
