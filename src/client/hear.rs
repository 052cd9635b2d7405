//! What a broker says, whatever the protocol.

use std::time::Duration;

use super::scatter::Told;
use super::topics::News;
use crate::wire::message::Frames;
use crate::wire::mjp::AskHeader;

/// What a broker says to a client. Without an id an answer is for the only call of its connection.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    Part {
        id: Option<u64>,
        body: Frames<'a>,
    },
    Final {
        id: Option<u64>,
        body: Frames<'a>,
    },
    /// The request was refused, or has failed.
    Refused {
        id: u64,
        code: String,
        message: String,
        retry: Option<Duration>,
        epoch: Option<u64>,
    },
    /// Something happens in the middle of a call.
    Event {
        id: u64,
        header: &'a [u8],
        body: Frames<'a>,
    },
    /// The worker of a call asks.
    Question {
        id: u64,
        header: &'a [u8],
        says: AskHeader<'a>,
        body: Frames<'a>,
    },
    /// The answer to a question to the broker itself: a header, as it stands on the wire.
    Status {
        id: u64,
        header: &'a [u8],
    },
    /// Something about a scatter. Boxed: it is rare, and large.
    Told {
        id: u64,
        told: Box<Told>,
    },
    /// The answer to ADMIN, or one of several: a header, as it stands on the wire.
    Admin {
        id: u64,
        header: &'a [u8],
    },
    /// About a lease: a header, as it stands on the wire.
    Lease {
        id: u64,
        header: &'a [u8],
    },
    /// Something for a subscription.
    Topic {
        id: u64,
        news: News,
    },
    /// How many subscriptions it was for.
    Published {
        id: u64,
        subscriptions: u64,
    },
    /// The broker takes no more calls.
    Draining,
    /// Something for the connection itself, that is to be written down.
    Complaint {
        code: String,
        message: String,
    },
}
