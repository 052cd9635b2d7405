//! What happens in a group, for people and for programs.

use anyhow::Result;
use majordomo::config::Text;
use majordomo::group::{
    Charter, Electorate, Event, GroupMessage, Leader, MemberId, Outcomes, PollResult, To, View,
};
use majordomo::wire::message::Message;
use serde_json::{Value, json};

use crate::call::body;
use crate::output::{complain, harmless, octets_json, print};

/// One event: a line on standard output, or on standard error where it is no data.
pub(super) fn event(as_json: bool, event: &Event) -> Result<()> {
    if as_json {
        return print(format!("{}\n", event_json(event)));
    }
    match event {
        Event::Message(message) => {
            for frame in message.body.frames() {
                let from = harmless(message.from.name());
                let mut line = format!("{from}\t{}\t", to(message)).into_bytes();
                let frame = Message::from(frame.to_vec());
                line.extend_from_slice(&body::show(frame.frames(), false));
                print(line)?;
            }
        }
        Event::Gap(gap) => {
            let missed = gap.messages.saturating_add(gap.others);
            complain(&format_args!("majordomo: {missed} events were dropped"));
        }
        other => print(format!("{}\n", harmless(&line(other))))?,
    }
    Ok(())
}

fn to(message: &GroupMessage) -> &'static str {
    match message.to {
        To::All => "all",
        To::Leader => "leader",
        To::Member => "member",
    }
}

pub(super) fn line(event: &Event) -> String {
    match event {
        Event::Joined(view) => {
            let names: Vec<_> = view.members.iter().map(|it| it.member.to_string()).collect();
            format!("joined as {}: {}", view.own, names.join(" "))
        }
        Event::Parted(parted) => format!("parted: {parted}"),
        Event::MemberJoined { member, size, .. } => format!("member joined: {member} ({size})"),
        Event::MemberSuspect { member, .. } => format!("member suspect: {member}"),
        Event::MemberAlive { member, .. } => format!("member alive: {member}"),
        Event::MemberLeft { member, reason, size, .. } => {
            format!("member left: {member}, {reason} ({size})")
        }
        Event::LeaderElected(leader) => {
            format!("leader elected: {} by epoch {}", leader.member, leader.epoch)
        }
        Event::LeaderExited { leader, reason } => {
            format!("leader exited: {} of epoch {}, {reason}", leader.member, leader.epoch)
        }
        Event::VoteRequest(ballot) => {
            format!("poll {} by {}: {}", ballot.id(), ballot.by(), text(ballot.topic()))
        }
        Event::ActionVoteRequest(ballot) => {
            let (poll, by, when) = (ballot.id(), ballot.by(), ballot.when());
            format!("poll {poll} by {by} on an action at {when}: {}", text(ballot.topic()))
        }
        Event::VoteResult(result) => {
            let PollResult { poll, yes, no, abstain, electorate, .. } = result;
            let status = result.status.as_str();
            format!(
                "result of {poll}: {status} ({yes} yes, {no} no, {abstain} abstain of {electorate})"
            )
        }
        Event::Acted { poll, outcome } => format!("acted for {poll}: {}", outcome.as_str()),
        Event::Outcomes(outcomes) => {
            let each = outcomes.members.iter();
            let each = each.map(|(member, outcome)| format!("{member} {}", outcome.as_str()));
            format!("outcomes of {}: {}", outcomes.poll, each.collect::<Vec<_>>().join(", "))
        }
        // They have words of their own, or come from a newer library.
        _ => format!("{event:?}"),
    }
}

fn text(body: &Message) -> String {
    String::from_utf8_lossy(body.first()).into_owned()
}

fn frames(body: &Message) -> Vec<Value> {
    body.frames().map(octets_json).collect()
}

pub(super) fn member_json(member: &MemberId) -> Value {
    json!({"member": member.name(), "incarnation": member.incarnation()})
}

pub(super) fn leader_json(leader: &Leader) -> Value {
    let Leader { member, epoch } = leader;
    json!({"member": member.name(), "incarnation": member.incarnation(), "epoch": epoch})
}

fn view_json(view: &View) -> Value {
    let members: Vec<_> = view.members.iter().map(|peer| member_json(&peer.member)).collect();
    json!({
        "v": 1, "event": "joined", "view": view.number, "own": member_json(&view.own),
        "members": members, "leader": view.leader.as_ref().map(leader_json),
    })
}

pub(super) fn result_json(result: &PollResult) -> Value {
    json!({
        "v": 1, "event": "result", "poll": octets_json(result.poll.as_bytes()),
        "status": result.status.as_str(), "rule": result.rule.as_str(), "yes": result.yes,
        "no": result.no, "abstain": result.abstain, "electorate": result.electorate,
        "epoch": result.epoch, "when_us": result.when.map(|when| when.0),
        "reason": result.reason.as_ref().map(|reason| reason.as_str()),
    })
}

pub(super) fn outcomes_json(outcomes: &Outcomes) -> Value {
    let members: Vec<_> = outcomes
        .members
        .iter()
        .map(|(member, outcome)| {
            json!({
                "member": member.name(), "incarnation": member.incarnation(),
                "outcome": outcome.as_str(),
            })
        })
        .collect();
    json!({
        "v": 1, "event": "outcomes", "poll": octets_json(outcomes.poll.as_bytes()),
        "when_us": outcomes.when.map(|when| when.0), "members": members,
    })
}

pub(super) fn event_json(event: &Event) -> Value {
    let changed = |event: &str, member: &MemberId, view: &u64| {
        json!({
            "v": 1, "event": event, "member": member.name(),
            "incarnation": member.incarnation(), "view": view,
        })
    };
    match event {
        Event::Joined(view) => view_json(view),
        Event::Parted(parted) => json!({
            "v": 1, "event": "parted", "why": parted.to_string(), "final": parted.is_final(),
        }),
        Event::MemberJoined { member, view, .. } => changed("member_joined", member, view),
        Event::MemberSuspect { member, view } => changed("member_suspect", member, view),
        Event::MemberAlive { member, view } => changed("member_alive", member, view),
        Event::MemberLeft { member, reason, view, .. } => {
            let mut said = changed("member_left", member, view);
            said["reason"] = reason.as_str().into();
            said
        }
        Event::LeaderElected(leader) => {
            json!({"v": 1, "event": "leader_elected", "leader": leader_json(leader)})
        }
        Event::LeaderExited { leader, reason } => json!({
            "v": 1, "event": "leader_exited", "leader": leader_json(leader),
            "reason": reason.as_str(),
        }),
        Event::Message(message) => json!({
            "v": 1, "event": "message", "from": member_json(&message.from), "to": to(message),
            "epoch": message.epoch, "frames": frames(&message.body),
            "sent_us": message.sent.map(|sent| sent.0),
            "taken_us": message.taken.map(|taken| taken.0),
            "received_us": message.received.map(|received| received.0),
        }),
        Event::Gap(gap) => {
            json!({"v": 1, "event": "gap", "messages": gap.messages, "others": gap.others})
        }
        Event::VoteRequest(ballot) => json!({
            "v": 1, "event": "poll", "poll": octets_json(ballot.id().as_bytes()),
            "by": member_json(ballot.by()), "rule": ballot.rule().as_str(),
            "elector": ballot.is_elector(), "electorate": ballot.electorate(), "when_us": null,
            "frames": frames(ballot.topic()),
        }),
        Event::ActionVoteRequest(ballot) => json!({
            "v": 1, "event": "poll", "poll": octets_json(ballot.id().as_bytes()),
            "by": member_json(ballot.by()), "rule": ballot.rule().as_str(),
            "elector": ballot.is_elector(), "electorate": ballot.electorate(),
            "when_us": ballot.when().0, "frames": frames(ballot.topic()),
        }),
        Event::VoteResult(result) => result_json(result),
        Event::Acted { poll, outcome } => json!({
            "v": 1, "event": "acted", "poll": octets_json(poll.as_bytes()),
            "outcome": outcome.as_str(),
        }),
        Event::Outcomes(outcomes) => outcomes_json(outcomes),
        other => json!({"v": 1, "event": "other", "text": format!("{other:?}")}),
    }
}

/// What kind of group it is, in two lines.
pub(super) fn kind_text(kind: &Charter) -> String {
    let yes_or_no = |it: bool| if it { "yes" } else { "no" };
    let electorate = match &kind.electorate {
        Electorate::Present => "who is there".to_owned(),
        Electorate::Expected(size) => format!("{size} expected"),
        Electorate::Voters(names) => {
            harmless(&names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")).to_string()
        }
    };
    let message = kind.message.map(|size| format!(", message: {size} octets"));
    let rate = kind.rate.map(|rate| format!(", rate: {rate} a second"));
    let limits = [message, rate].map(Option::unwrap_or_default).concat();
    format!(
        "leader: {}, timed: {}, min size: {}, voters: {electorate}, polls: {}{limits}\n\
         heartbeat: {}, peer timeout: {}, consensus timeout: {}, ttl: {}; \
         unused: election min: {}, election max: {}\n",
        yes_or_no(kind.leader),
        yes_or_no(kind.timed),
        kind.min_size,
        kind.polls.as_str(),
        kind.heartbeat.write(),
        kind.peer_timeout.write(),
        kind.consensus_timeout.write(),
        kind.ttl.write(),
        kind.election_min.write(),
        kind.election_max.write(),
    )
}

pub(super) fn kind_json(kind: &Charter) -> Value {
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (voters, expected_size) = match &kind.electorate {
        Electorate::Present => (None, None),
        Electorate::Expected(size) => (None, Some(size)),
        Electorate::Voters(names) => (Some(names), None),
    };
    json!({
        "leader": kind.leader, "timed": kind.timed, "min_size": kind.min_size, "voters": voters,
        "expected_size": expected_size, "heartbeat_ms": ms(kind.heartbeat),
        "election_min_ms": ms(kind.election_min), "election_max_ms": ms(kind.election_max),
        "peer_timeout_ms": ms(kind.peer_timeout),
        "consensus_timeout_ms": ms(kind.consensus_timeout), "ttl_ms": ms(kind.ttl),
        "polls": kind.polls.as_str(), "message": kind.message, "rate": kind.rate, "unused": ["election_min", "election_max"],
    })
}
