//! Which transitions a suite of seeds has to take: every row of every state table that any input
//! can reach.

use std::collections::BTreeSet;

use crate::proto::stats::{Loss, Outcome};
use crate::proto::witness::Transition;

/// The table of Majordomo peers, `dialect/mdp.rs`. Rows that cannot be taken, because the core
/// makes these events only for a peer that is registered: `final`, `partial` (who holds a request
/// is a worker) and `expired` (only workers are watched) in every other state. `other version`
/// stands for any event where the state compares versions: a client's own requests, and all that
/// a worker says.
const MDP: [(&str, &[&str]); 5] = [
    ("unknown", &STRAY),
    ("client", &STRAY),
    ("client", &["other version"]),
    ("worker", &STRAY),
    ("worker", &["final", "partial", "expired", "other version"]),
];
/// What a peer without a request can do.
const STRAY: [&str; 8] =
    ["request", "ready", "bad ready", "stray", "stray part", "heartbeat", "disconnect", "invalid"];
/// The table of MJP peers, `dialect/mjp.rs`. Rows that cannot be taken: who is no worker holds
/// nothing, and is not watched; and no worker here can be asked.
const ANYBODY: [&str; 15] = [
    "hello",
    "request",
    "cancel",
    "status",
    "topic",
    "heartbeat",
    "ready",
    "bad ready",
    "credit",
    "drain",
    "bye",
    "stray",
    "stray part",
    "stray talk",
    "invalid",
];
const HOLDER: [&str; 6] = ["final", "partial", "failed", "event", "ask", "expired"];
/// What becomes of what is said in the middle of requests.
const TALK: [(&str, &[&str]); 3] = [
    ("event", &["told", "unwanted", "missed"]),
    ("ask", &["asked", "no_caller", "duplicate_id", "overloaded"]),
    ("tell", &["open", "void"]),
];
/// The table of NFP peers, `dialect/nfp.rs`. Only workers are watched.
const NFP: [&str; 4] = ["new", "client", "worker", "dismissed"];
const NFP_ANYBODY: [&str; 10] = [
    "ask",
    "refused",
    "open",
    "leave",
    "ready",
    "bad ready",
    "keepalive",
    "disconnect",
    "report",
    "invalid",
];
/// A worker that holds nothing is not asked by PING, and its silence ends as `expired`: whoever
/// has nothing to do has to speak.
const KEEPALIVE: [(&str, &[&str]); 3] = [
    ("idle", &["lives", "expired", "beat"]),
    ("busy", &["lives", "expired", "silent", "beat", "ping"]),
    ("busy and beating", &["lives", "expired", "silent", "beat", "ping"]),
];
/// `last holder` of a request that is in flight again, and others wherever it is, come too late.
const LATE: [(&str, &[&str]); 3] = [
    ("waiting", &["last holder", "other"]),
    ("suspect", &["last holder", "other"]),
    ("in flight", &["last holder", "other"]),
];
/// The parts of scatters: what becomes of them when they come, while they wait for their workers,
/// and there. They are delivered once, so nobody answers them late. Workers of NFP are given what
/// they are to refuse as soon as it could be delivered. Queued jobs end as requests do.
const PARTS: [(&str, &[&str]); 4] = [
    ("comes", &["given", "waits", "due"]),
    ("waiting", &["given", "timed_out", "cancelled", "caller_gone", "worker_lost", "refused"]),
    (
        "in flight",
        &[
            "replied",
            "unclaimed",
            "failed",
            "answer_too_big",
            "worker_lost",
            "timed_out",
            "cancelled",
            "caller_gone",
        ],
    ),
    (
        "queued",
        &[
            "replied",
            "unclaimed",
            "failed",
            "answer_too_big",
            "dead",
            "expired",
            "timed_out",
            "cancelled",
            "caller_gone",
        ],
    ),
];
/// A request with a key, by what was known under that, and whether it was taken.
const KEYS: [(&str, &[&str]); 4] =
    [("new", &["yes", "no"]), ("running", &["yes", "no"]), ("done", &["yes"]), ("other", &["no"])];
/// How what may not be delivered yet is held no more.
const HOLDS: [(&str, &[&str]); 2] =
    [("delayed", &["due", "ended"]), ("behind", &["first", "ended"])];
/// The library's worker itself, `serve/state.rs`. It is told once to stop.
const SERVE: [(&str, &[&str]); 5] = [
    ("away", &["due", "stop"]),
    ("dialling", &["connected", "lost", "stop"]),
    ("serving", &["lost", "silent", "dismissed", "stop"]),
    ("draining", &["lost", "silent", "dismissed", "echo", "time up"]),
    ("leaving", &["lost", "silent", "dismissed", "idle", "time up"]),
];
/// How flows end, and what happens in them. Rights to flows do not change here.
const FLOWS: [(&str, &[&str]); 2] = [
    (
        "ended",
        &[
            "finished",
            "refused",
            "given_up",
            "lost",
            "no_answer",
            "abandoned",
            "violated",
            "stopped",
            "overrun",
        ],
    ),
    ("seen", &["held", "idle", "whole", "octets"]),
];
/// What becomes of a publication at a subscription.
const PUBLISHED: [&str; 4] = ["told", "told with a gap", "told of a gap", "missed"];
const PAUSES: [&str; 5] = ["own", "service", "broker", "name", "rate"];
const CLAIMS: [&str; 3] = ["holder", "contender", "refused"];
const KINSHIPS: [&str; 3] = ["same", "other", "unproven"];
const ADMISSIONS: [&str; 3] = ["open", "wait", "refused"];
/// `stuck` and `shutdown` are decided by the shell.
const CLOSES: [&str; 6] =
    ["slow reader", "silent", "ping expired", "identity in use", "replaced", "revoked"];

pub(super) fn check(seen: &BTreeSet<Transition>) {
    let mut wanted = BTreeSet::<Transition>::new();
    let mut want = |table, from, all: &[&'static str]| {
        wanted.extend(all.iter().map(|by| (table, from, *by)));
    };
    for (state, events) in MDP.into_iter().chain([("owed", &STRAY[..]), ("silent", &STRAY)]) {
        want("mdp", state, events);
    }
    for (worker, verdicts) in KEEPALIVE {
        want("keepalive", worker, verdicts);
    }
    for (place, whose) in LATE {
        want("late answer", place, whose);
    }
    // Leases have a simulation of their own.
    let fenced = |outcome: &Outcome| matches!(outcome, Outcome::StaleEpoch | Outcome::Unfenced);
    let outcomes = Outcome::ALL.into_iter().filter(|outcome| !fenced(outcome));
    want("request", "ended", &outcomes.map(Outcome::label).collect::<Vec<_>>());
    for state in NFP {
        want("nfp", state, &NFP_ANYBODY);
    }
    want("nfp", "worker", &["expired"]);
    for (known, taken) in KEYS {
        want("key", known, taken);
    }
    for (place, ends) in HOLDS {
        want("hold", place, ends);
    }
    for (place, events) in PARTS {
        want("part", place, events);
    }
    want("mjp", "caller", &ANYBODY);
    want("mjp", "caller", &["tell", "lane"]);
    for state in ["worker", "draining"] {
        want("mjp", state, &ANYBODY);
        want("mjp", state, &HOLDER);
    }
    for (what, becomes) in FLOWS {
        want("flow", what, becomes);
    }
    for (what, becomes) in TALK {
        want("talk", what, becomes);
    }
    for (state, events) in SERVE {
        want("serve", state, events);
    }
    want("servant", "stopped", &["with nothing", "given back"]);
    want("servant", "crashed", &["by poison"]);
    // Retry has a simulation of its own; here workers are lost, and say no more than that.
    want("letter", "dead", &["poison"]);
    want("request", "redelivered", &Loss::ALL.map(Loss::label));
    want("worker", "lost", &Loss::ALL.map(Loss::label));
    want("topic", "published", &PUBLISHED);
    want("caller", "paused", &PAUSES);
    want("name", "claim", &CLAIMS);
    want("name", "kinship", &KINSHIPS);
    want("peer", "joined", &ADMISSIONS);
    want("peer", "closed", &CLOSES);
    let strange: Vec<_> = seen.difference(&wanted).collect();
    assert!(strange.is_empty(), "transitions that were said to be impossible: {strange:?}");
    let missing: Vec<_> = wanted.difference(seen).collect();
    assert!(missing.is_empty(), "transitions that no seed took: {missing:?}");
}
