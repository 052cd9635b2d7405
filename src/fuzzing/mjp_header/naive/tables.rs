//! The tables of SPEC 9.3: which keys each header has, and what they may have.

use crate::wire::mjp::kind;

/// What a key may have.
#[derive(Clone, Copy)]
pub(super) enum Type {
    Name,
    Key,
    Octets,
    Text,
    Subject,
    Bool,
    Int(u64, u64),
    Versions,
    Texts,
    Labels,
    Limits,
    What,
    Level,
    To,
    Names,
    Kind,
}

pub(super) type Keys = &'static [(&'static str, Type)];

const ANY: Type = Type::Int(0, u64::MAX);
const FAULT: Keys = &[
    ("code", Type::Text),
    ("message", Type::Text),
    ("retry", ANY),
    ("epoch", ANY),
    ("again", Type::Bool),
];
const LEASE: Keys = &[
    ("verb", Type::Text),
    ("lease", Type::Subject),
    ("epoch", ANY),
    ("ttl", ANY),
    ("wait", ANY),
    ("grace", ANY),
    ("lock_delay", ANY),
    ("name", Type::Subject),
    ("value", Type::Octets),
    ("to", Type::Subject),
    ("prefix", Type::Text),
    ("after", Type::Text),
    ("max", Type::Int(1, u16::MAX as u64)),
];
const GROUP: Keys = &[
    ("verb", Type::Text),
    ("group", Type::Subject),
    ("seat", ANY),
    ("member", Type::Subject),
    ("incarnation", ANY),
    ("type", Type::Kind),
    ("own", Type::Bool),
    ("to", Type::Text),
    ("epoch", ANY),
    ("sent", ANY),
    ("poll", Type::Key),
    ("kind", Type::Text),
    ("timeout", ANY),
    ("when", ANY),
    ("in", ANY),
    ("error", ANY),
    ("vote", Type::Text),
    ("outcome", Type::Text),
    ("prefix", Type::Text),
    ("after", Type::Text),
    ("max", Type::Int(1, u16::MAX as u64)),
];
pub(super) const GROUP_TYPE: Keys = &[
    ("leader", Type::Bool),
    ("timed", Type::Bool),
    ("min_size", ANY),
    ("voters", Type::Names),
    ("expected_size", ANY),
    ("heartbeat", ANY),
    ("election_min", ANY),
    ("election_max", ANY),
    ("peer_timeout", ANY),
    ("consensus_timeout", ANY),
    ("ttl", ANY),
    ("polls", Type::Text),
    ("message", ANY),
    ("rate", ANY),
];
pub(super) const REQUEST: Keys = &[
    ("service", Type::Name),
    ("timeout", ANY),
    ("attempts", Type::Int(1, u32::MAX as u64)),
    ("ack", Type::Bool),
    ("parts", Type::Bool),
    ("trace", Type::Text),
    ("state", Type::Text),
    ("events", Type::Bool),
    ("asks", Type::Bool),
    ("key", Type::Key),
    ("lease", Type::Subject),
    ("epoch", ANY),
    ("order", Type::Name),
    ("delay", ANY),
    ("level", Type::Level),
    ("wait", Type::Bool),
];
const READY: Keys = &[
    ("service", Type::Name),
    ("role", Type::Text),
    ("credit", Type::Int(1, u16::MAX as u64)),
    ("labels", Type::Labels),
    ("version", Type::Text),
    ("description", Type::Text),
    ("fence", Type::Subject),
];
const ASK: Keys = &[("ask", ANY), ("message", Type::Text)];
const TELL: Keys = &[("ask", ANY), ("code", Type::Text), ("message", Type::Text)];
const SCATTER: Keys = &[
    ("service", Type::Name),
    ("to", Type::To),
    ("timeout", ANY),
    ("events", Type::Bool),
    ("lease", Type::Subject),
    ("epoch", ANY),
];
const OUTCOME: Keys = &[
    ("target", Type::Text),
    ("outcome", Type::Text),
    ("code", Type::Text),
    ("message", Type::Text),
    ("epoch", ANY),
];
pub(super) const DELIVERY: Keys = &[
    ("attempt", Type::Int(1, u32::MAX as u64)),
    ("timeout", ANY),
    ("identity", Type::Octets),
    ("fingerprint", Type::Text),
    ("name", Type::Text),
];
const PUBLISH: Keys = &[("subject", Type::Subject), ("lease", Type::Subject), ("epoch", ANY)];
const NEWS: Keys =
    &[("subject", Type::Subject), ("seq", ANY), ("missed", ANY), ("identity", Type::Octets)];
pub(super) const LIMITS: Keys = &[
    ("frame", ANY),
    ("message", ANY),
    ("frames", ANY),
    ("header", ANY),
    ("requests", ANY),
    ("bytes", ANY),
];

/// The keys that are read, and whether the first has to be there; `None`: no such kind.
pub(super) fn keys(to_broker: bool, kind: u8) -> Option<(Keys, bool)> {
    Some(match (kind, to_broker) {
        (kind::HELLO, true) => (&[("agent", Type::Text), ("versions", Type::Versions)], false),
        (kind::HELLO, false) => (
            &[
                ("version", ANY),
                ("agent", Type::Text),
                ("features", Type::Texts),
                ("heartbeat", ANY),
                ("liveness", Type::Int(0, u32::MAX as u64)),
                ("limits", Type::Limits),
            ],
            true,
        ),
        (kind::DRAIN, false) => (&[("within", ANY)], false),
        (kind::BYE, false) => (FAULT, true),
        (kind::REQUEST, true) => (REQUEST, true),
        (kind::STATUS, true) => (
            &[
                ("what", Type::What),
                ("service", Type::Name),
                ("after", ANY),
                ("max", Type::Int(1, u16::MAX as u64)),
            ],
            true,
        ),
        (kind::ADMIN, true) => (
            &[
                ("verb", Type::Text),
                ("service", Type::Name),
                ("uuid", Type::Octets),
                ("name", Type::Text),
                ("owner", Type::Text),
                ("state", Type::Text),
                ("prefix", Type::Text),
                ("after", ANY),
                ("max", Type::Int(1, u16::MAX as u64)),
                ("lease", Type::Subject),
                ("epoch", ANY),
            ],
            true,
        ),
        (kind::ACCEPTED, false) => (&[("level", Type::Text), ("repeat", Type::Bool)], true),
        (kind::READY, true) => (READY, true),
        (kind::CREDIT, true) => (&[("credit", Type::Int(0, u16::MAX as u64))], true),
        (kind::SCATTER, true) => (SCATTER, true),
        (kind::OUTCOME, false) => (OUTCOME, true),
        (kind::LEASE, true) => (LEASE, true),
        (kind::GROUP, true) => (GROUP, true),
        (kind::NOTE, false) => (&[("target", Type::Text)], true),
        (kind::SUBSCRIBE, true) => (&[("subject", Type::Subject), ("ack", Type::Bool)], true),
        (kind::PUBLISH, true) => (PUBLISH, true),
        (kind::MESSAGE, false) => (NEWS, true),
        (kind::PUBLISHED, false) => (&[("subscriptions", ANY)], true),
        (kind::GAP, false) => (&[("missed", ANY)], true),
        (kind::ASK, _) => (ASK, true),
        (kind::TELL, _) => (TELL, true),
        (kind::FLOW, false) => (&[], false),
        (kind::LANE, _) => (&[("bytes", ANY)], false),
        (kind::ACCEPTED | kind::TARGETS | kind::OUTCOME | kind::NOTE | kind::FLOW, true)
        | (kind::MESSAGE | kind::PUBLISHED | kind::GAP, true)
        | (kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::PUBLISH, false)
        | (kind::SCATTER | kind::READY | kind::CREDIT, false) => return None,
        (kind::HELLO..=kind::BYE, _)
        | (kind::REQUEST..=kind::STATUS | kind::UNSUBSCRIBE | kind::ADMIN, _)
        | (kind::LEASE | kind::GROUP, _)
        | (kind::PARTIAL..=kind::EVENT | kind::TARGETS, _) => (&[], false),
        _ => return None,
    })
}
