//! What a message is: the first octet of its second frame (SPEC 9.1).

/// Both ways.
pub const HELLO: u8 = 0x01;
/// Both ways.
pub const HEARTBEAT: u8 = 0x02;
/// Both ways.
pub const DRAIN: u8 = 0x03;
/// Both ways.
pub const BYE: u8 = 0x04;
/// From a client, and to a worker.
pub const REQUEST: u8 = 0x10;
/// From a client, and to a worker.
pub const CANCEL: u8 = 0x11;
/// From a client, and back.
pub const STATUS: u8 = 0x12;
/// From a client.
pub const SUBSCRIBE: u8 = 0x13;
/// From a client.
pub const UNSUBSCRIBE: u8 = 0x14;
/// From any peer.
pub const PUBLISH: u8 = 0x15;
/// From a client, and back.
pub const ADMIN: u8 = 0x16;
/// To a worker that offers a flow service.
pub const FLOW: u8 = 0x19;
/// From a client.
pub const SCATTER: u8 = 0x18;
/// From a client, and back.
pub const LEASE: u8 = 0x1A;
/// From a client, and back.
pub const GROUP: u8 = 0x1B;
/// Both ways: a message of a flow one end of which is within the connection.
pub const LANE: u8 = 0x1C;
/// To a client.
pub const ACCEPTED: u8 = 0x20;
/// From a worker, and to a client.
pub const PARTIAL: u8 = 0x21;
/// From a worker, and to a client.
pub const FINAL: u8 = 0x22;
/// From a worker, and to a client or, for what it said itself, to any peer.
pub const ERROR: u8 = 0x23;
/// From a worker, and to a client.
pub const EVENT: u8 = 0x24;
/// From a worker, and to a client.
pub const ASK: u8 = 0x25;
/// From a client, and to a worker.
pub const TELL: u8 = 0x26;
/// To a client.
pub const TARGETS: u8 = 0x27;
/// To a client.
pub const OUTCOME: u8 = 0x28;
/// To a subscriber.
pub const MESSAGE: u8 = 0x29;
/// To who has published.
pub const PUBLISHED: u8 = 0x2A;
/// To a subscriber.
pub const GAP: u8 = 0x2B;
/// To a client.
pub const NOTE: u8 = 0x2C;
/// From a worker.
pub const READY: u8 = 0x30;
/// From a worker.
pub const CREDIT: u8 = 0x31;
