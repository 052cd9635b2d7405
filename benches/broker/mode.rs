//! The modes of load, and what is held against what in each.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
pub(crate) enum Mode {
    /// 64 octets, one request in flight, everything on one CPU
    #[value(name = "W1")]
    W1,
    /// 64 octets, one client with 1000 in flight, one worker
    #[value(name = "W2")]
    W2,
    /// As W2, strict MDP: one request at the worker, everything on one CPU
    #[value(name = "S1")]
    S1,
    /// As S1 with 64 workers
    #[value(name = "S64")]
    S64,
    /// 64 octets, 16 clients with 64 in flight each, 4 workers
    #[value(name = "W3")]
    W3,
    /// 1 MiB, one client with 8 in flight, one worker
    #[value(name = "W4")]
    W4,
    /// A flow of 1 KiB messages with a credit of 100
    #[value(skip)]
    Flow,
    /// A flow of 4 MiB messages with a credit of 8
    #[value(skip)]
    Tensors,
    /// A thousand flows of 1 KiB messages with a credit of 10 each
    #[value(skip)]
    Flows,
}

/// The figures of a mode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) clients: u32,
    pub(crate) window: u32,
    pub(crate) workers: u32,
    pub(crate) size: usize,
    /// Requests that a worker has at a time.
    pub(crate) prefetch: u16,
    pub(crate) one_cpu: bool,
}

impl Mode {
    pub(crate) fn shape(self) -> Shape {
        let base =
            Shape { clients: 1, window: 1000, workers: 1, size: 64, prefetch: 1, one_cpu: false };
        match self {
            Self::W1 => Shape { window: 1, one_cpu: true, ..base },
            Self::W2 => Shape { prefetch: 1000, ..base },
            // It is held against W1.
            Self::S1 => Shape { one_cpu: true, ..base },
            Self::S64 => Shape { workers: 64, ..base },
            Self::W3 => Shape { clients: 16, window: 64, workers: 4, prefetch: 64, ..base },
            Self::W4 => Shape { window: 8, size: 1 << 20, prefetch: 8, ..base },
            Self::Flow => Shape { window: 100, size: 1 << 10, ..base },
            Self::Tensors => Shape { window: 8, size: 4 << 20, ..base },
            Self::Flows => Shape { clients: 1000, window: 10, size: 1 << 10, ..base },
        }
    }

    /// Flows have ends of their own.
    pub(crate) fn is_flow(self) -> bool {
        matches!(self, Self::Flow | Self::Tensors | Self::Flows)
    }

    /// Strict MDP is something only the broker has.
    pub(crate) fn is_strict(self) -> bool {
        matches!(self, Self::S1 | Self::S64)
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
pub(crate) enum Peer {
    /// The broker, by MDP/0.1
    Majordomo,
    /// The broker, by MJP/1
    MajordomoMjp,
    /// As majordomo-mjp, with the client library in the place of the load generator's clients
    Library,
    /// The raw relay, in both of its ways to write
    Relay,
    #[value(skip)]
    RelayTurn,
    /// libzmq's own proxy
    Zmq,
    /// The broker, by MDP/0.1 over CURVE
    MajordomoCurve,
    /// libzmq's own proxy over CURVE, with as many frames on the way as with the broker
    ZmqCurve,
    /// Debian's nats-server, by a queue group
    Nats,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Majordomo => "majordomo",
            Self::MajordomoMjp => "majordomo-mjp",
            Self::Library => "library",
            Self::Relay => "relay",
            Self::RelayTurn => "relay, turn",
            Self::Zmq => "zmq proxy",
            Self::MajordomoCurve => "majordomo, curve",
            Self::ZmqCurve => "zmq proxy, curve",
            Self::Nats => "nats",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// As on the command line.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or_else(|| self.name(), |value| value.get_name()))
    }
}
