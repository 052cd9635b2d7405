//! Calls over MDP/0.1 and MDP/0.2: one at a time on a connection, as answers carry no id.

use super::hear::Heard;
use super::pending::Request;
use crate::wire::codec::Encoder;
use crate::wire::mdp::{self, ToClient, Version};
use crate::wire::message::Frames;

/// Writes a request.
pub(super) fn encode(version: Version, request: &Request, out: &mut Encoder) {
    let (service, body) = (request.service.as_slice(), request.body.frames());
    mdp::Request { version, envelope: Frames::default(), service, body }.encode(out);
}

/// Reads what a broker says. `None`: nothing that an MDP client is told.
pub(super) fn decode(version: Version, frames: Frames<'_>) -> Option<Heard<'_>> {
    match ToClient::decode(frames) {
        Ok(answer) if answer.version == version => Some(if answer.last {
            Heard::Final { id: None, body: answer.body }
        } else {
            Heard::Part { id: None, body: answer.body }
        }),
        Ok(_) => None,
        Err(why) => {
            tracing::debug!(%why, "the broker said what no client understands");
            None
        }
    }
}
