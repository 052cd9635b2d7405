//! Socket types, and which of them talk to each other (RFC 37, "The Socket-Type Property").

use std::fmt;

/// What a peer says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of RFC 37 and say all there is")]
pub enum SocketType {
    Req,
    Rep,
    Dealer,
    Router,
    Pub,
    XPub,
    Sub,
    XSub,
    Push,
    Pull,
    Pair,
    Client,
    Server,
    Radio,
    Dish,
    Scatter,
    Gather,
    Peer,
    Channel,
}

impl SocketType {
    /// All of them, in the order of RFC 37.
    pub const ALL: [Self; 19] = [
        Self::Req,
        Self::Rep,
        Self::Dealer,
        Self::Router,
        Self::Pub,
        Self::XPub,
        Self::Sub,
        Self::XSub,
        Self::Push,
        Self::Pull,
        Self::Pair,
        Self::Client,
        Self::Server,
        Self::Radio,
        Self::Dish,
        Self::Scatter,
        Self::Gather,
        Self::Peer,
        Self::Channel,
    ];

    /// The name as metadata spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Req => "REQ",
            Self::Rep => "REP",
            Self::Dealer => "DEALER",
            Self::Router => "ROUTER",
            Self::Pub => "PUB",
            Self::XPub => "XPUB",
            Self::Sub => "SUB",
            Self::XSub => "XSUB",
            Self::Push => "PUSH",
            Self::Pull => "PULL",
            Self::Pair => "PAIR",
            Self::Client => "CLIENT",
            Self::Server => "SERVER",
            Self::Radio => "RADIO",
            Self::Dish => "DISH",
            Self::Scatter => "SCATTER",
            Self::Gather => "GATHER",
            Self::Peer => "PEER",
            Self::Channel => "CHANNEL",
        }
    }

    /// The type with that name. Case matters: libzmq refuses `dealer` too.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|socket_type| socket_type.name().as_bytes() == name)
    }

    /// Whether RFC 37 lets a socket of this type talk to one of the other.
    #[must_use]
    pub fn compatible(self, other: Self) -> bool {
        match self {
            Self::Req => matches!(other, Self::Rep | Self::Router),
            Self::Rep => matches!(other, Self::Req | Self::Dealer),
            Self::Dealer => matches!(other, Self::Rep | Self::Dealer | Self::Router),
            Self::Router => matches!(other, Self::Req | Self::Dealer | Self::Router),
            Self::Pub | Self::XPub => matches!(other, Self::Sub | Self::XSub),
            Self::Sub | Self::XSub => matches!(other, Self::Pub | Self::XPub),
            Self::Push => other == Self::Pull,
            Self::Pull => other == Self::Push,
            Self::Client => other == Self::Server,
            Self::Server => other == Self::Client,
            Self::Radio => other == Self::Dish,
            Self::Dish => other == Self::Radio,
            Self::Scatter => other == Self::Gather,
            Self::Gather => other == Self::Scatter,
            Self::Pair | Self::Peer | Self::Channel => other == self,
        }
    }

    /// Whether the type announces an Identity. RFC 37: that of any other type shall be ignored.
    #[must_use]
    pub fn has_identity(self) -> bool {
        matches!(self, Self::Req | Self::Dealer | Self::Router)
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legal_combinations_are_those_of_rfc_37() {
        // Golden: the table of RFC 37, row by row.
        let table = [
            ("REQ", "REP ROUTER"),
            ("REP", "REQ DEALER"),
            ("DEALER", "REP DEALER ROUTER"),
            ("ROUTER", "REQ DEALER ROUTER"),
            ("PUB", "SUB XSUB"),
            ("XPUB", "SUB XSUB"),
            ("SUB", "PUB XPUB"),
            ("XSUB", "PUB XPUB"),
            ("PUSH", "PULL"),
            ("PULL", "PUSH"),
            ("PAIR", "PAIR"),
            ("CLIENT", "SERVER"),
            ("SERVER", "CLIENT"),
            ("RADIO", "DISH"),
            ("DISH", "RADIO"),
            ("SCATTER", "GATHER"),
            ("GATHER", "SCATTER"),
            ("PEER", "PEER"),
            ("CHANNEL", "CHANNEL"),
        ];
        assert_eq!(table.len(), SocketType::ALL.len());
        for (row, legal) in table {
            let ours = SocketType::from_name(row.as_bytes()).unwrap();
            let talks = SocketType::ALL.into_iter().filter(|theirs| ours.compatible(*theirs));
            let names: Vec<_> = talks.map(|theirs| theirs.to_string()).collect();
            assert_eq!(names.join(" "), legal, "{row}");
        }
    }

    #[test]
    fn names_are_exact() {
        for name in ["", "dealer", "Dealer", "DEALER\0", "STREAM", "ROUTE"] {
            assert_eq!(SocketType::from_name(name.as_bytes()), None, "{name}");
        }
    }
}
