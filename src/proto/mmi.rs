//! MMI (RFC 8): what the broker answers about itself.

use crate::wire::message::Frames;

use super::router::Router;

/// Names that start so are the broker's own; no worker may serve them.
pub const PREFIX: &[u8] = b"mmi.";

/// The status that answers who may not ask.
pub const DENIED: &[u8] = b"403";

/// The status that answers a request for an `mmi.` service: `200`, `404` or `501`.
#[must_use]
pub fn status(router: &Router, service: &[u8], mut body: Frames<'_>) -> &'static [u8] {
    match service {
        b"mmi.service" => match (body.take_first(), body.is_empty()) {
            (Some(name), true) if router.is_served(name) => b"200",
            _ => b"404",
        },
        _ => b"501",
    }
}
