//! `majordomo group ls|info|watch`: from outside.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use majordomo::group::{Event, GroupInfo, Groups, Leader, MemberId, Peer, Sight};
use serde_json::{Value, json};

use super::LineArgs;
use super::show::{event_json, kind_json, kind_text, leader_json, line, member_json};
use super::trouble::of_group;
use crate::failure::CliError;
use crate::manage::not_found;
use crate::output::{Table, complain, harmless, print, print_json};

pub(super) const LS_EXAMPLES: &str = "\
Examples:
  majordomo group ls
  majordomo group ls Escort. --json";

pub(super) const INFO_EXAMPLES: &str = "\
Examples:
  majordomo group info Escort.1
  majordomo group info Escort.1 --json

Exit code 6: there is no such group.";

pub(super) const WATCH_EXAMPLES: &str = "\
Examples:
  majordomo group watch Escort.1
  majordomo group watch Escort.1 --count 10 --json

Who is there, and then each change as it happens: who has joined, is suspect or has left and why, who
leads, and what polls decide. The group need not be there. It goes on over lost connections, and says
then what is otherwise; what has come and gone meanwhile is not seen.";

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only groups whose names begin so
    prefix: Option<String>,
    #[command(flatten)]
    pub(super) line: LineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The group
    group: String,
    #[command(flatten)]
    pub(super) line: LineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The group
    group: String,
    /// End behind so many changes [default: go on until interrupted]
    #[arg(long, short = 'n', value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    pub(super) line: LineArgs,
}

pub(super) async fn list(args: &LsArgs) -> Result<ExitCode> {
    let groups = args.line.connect().await?;
    let rows = groups.list(args.prefix.as_deref().unwrap_or_default()).await;
    let rows = rows.map_err(|error| of_group("the groups", &error))?;
    if args.line.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "group": row.group, "size": row.size, "view": row.view, "leader": row.leader,
                    "epoch": row.epoch, "polls": row.polls,
                })
            })
            .collect();
        return print_json(json!({"v": 1, "groups": rows}));
    }
    let mut table = Table::new(["GROUP", "MEMBERS", "LEADER", "EPOCH", "VIEW", "POLLS"]);
    for row in &rows {
        let [size, view, polls] = [row.size, row.view, row.polls].map(|it| it.to_string());
        let epoch = row.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
        let leader = row.leader.as_deref().unwrap_or_default();
        table.row([&row.group, &size, leader, &epoch, &view, &polls]);
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

async fn look(groups: &Groups, group: &str) -> Result<Option<GroupInfo>, CliError> {
    groups.info(group).await.map_err(|error| of_group(group, &error))
}

pub(super) async fn info(args: &InfoArgs) -> Result<ExitCode> {
    let groups = args.line.connect().await?;
    let Some(info) = look(&groups, &args.group).await? else {
        let error = not_found(&args.group, "no group has that name");
        return Err(error.hint("`majordomo group ls` lists the groups").into());
    };
    if args.line.json {
        let members: Vec<_> = info.members.iter().map(peer_json).collect();
        return print_json(json!({
            "v": 1, "group": info.group, "view": info.view, "members": members,
            "leader": info.leader.as_ref().map(leader_json), "kind": kind_json(&info.kind),
        }));
    }
    print(kind_text(&info.kind))?;
    let mut table = Table::new(["MEMBER", "INCARNATION", "STATE", "EPOCH"]);
    for Peer { member, suspect } in &info.members {
        let leads = info.leader.as_ref().filter(|leader| leader.member == *member);
        let state = match (leads, suspect) {
            (Some(_), _) => "leads",
            (None, true) => "suspect",
            (None, false) => "alive",
        };
        let epoch = leads.map(|leader| leader.epoch.to_string()).unwrap_or_default();
        table.row([member.name(), &member.incarnation().to_string(), state, &epoch]);
    }
    print(table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn peer_json(peer: &Peer) -> Value {
    let mut said = member_json(&peer.member);
    said["suspect"] = peer.suspect.into();
    said
}

/// How a group looked.
#[derive(Default)]
struct Seen {
    view: u64,
    members: Vec<Peer>,
    leader: Option<Leader>,
}

pub(super) async fn watch(args: &WatchArgs) -> Result<ExitCode> {
    let trouble = |error| of_group(&args.group, &error);
    let groups = args.line.connect().await?;
    let mut sights = groups.observe(&args.group).await.map_err(trouble)?;
    let (mut seen, mut left) = (Seen::default(), args.count);
    while let Some(sight) = sights.next().await {
        let said = match sight.map_err(trouble)? {
            Sight::Info(info) => {
                let now = info.map_or_else(Seen::default, |info| Seen {
                    view: info.view,
                    members: info.members,
                    leader: info.leader,
                });
                let changes = seen.changes(&now);
                seen = now;
                changes
            }
            Sight::Event(event) => {
                seen.note(&event);
                vec![(line(&event), event_json(&event))]
            }
            Sight::Unknown => {
                if args.line.json {
                    print(format!("{}\n", json!({"v": 1, "event": "unknown"})))?;
                } else {
                    complain(&"majordomo: the connection is lost; how the group is, is unknown");
                }
                continue;
            }
            _ => continue,
        };
        for (words, value) in said {
            if args.line.json {
                print(format!("{value}\n"))?;
            } else {
                print(format!("{}\n", harmless(&words)))?;
            }
            left = left.map(|left| left - 1);
            if left == Some(0) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Seen {
    /// Something has happened.
    fn note(&mut self, event: &Event) {
        let mut suspect = |member: &MemberId, suspect| {
            let peer = self.members.iter_mut().find(|peer| peer.member == *member);
            peer.into_iter().for_each(|peer| peer.suspect = suspect);
        };
        match event {
            Event::MemberJoined { member, .. } => {
                self.members.push(Peer { member: member.clone(), suspect: false });
            }
            Event::MemberSuspect { member, .. } => suspect(member, true),
            Event::MemberAlive { member, .. } => suspect(member, false),
            Event::MemberLeft { member, .. } => self.members.retain(|peer| peer.member != *member),
            Event::LeaderElected(leader) => self.leader = Some(leader.clone()),
            Event::LeaderExited { leader, .. } => {
                self.leader.take_if(|known| known.epoch == leader.epoch);
            }
            _ => {}
        }
    }

    fn find(&self, member: &MemberId) -> Option<&Peer> {
        self.members.iter().find(|peer| peer.member == *member)
    }

    /// What is otherwise: in words, and for programs.
    fn changes(&self, now: &Self) -> Vec<(String, Value)> {
        let mut changes = Vec::new();
        let mut add = |event: &str, words: &str, member: &MemberId| {
            let value = json!({
                "v": 1, "event": event, "member": member.name(),
                "incarnation": member.incarnation(), "view": now.view,
            });
            changes.push((format!("{words}: {member}"), value));
        };
        for peer in self.members.iter().filter(|peer| now.find(&peer.member).is_none()) {
            add("member_left", "member left", &peer.member);
        }
        for peer in &now.members {
            let before = self.find(&peer.member);
            if before.is_none() {
                add("member_joined", "member joined", &peer.member);
            }
            match (before.is_some_and(|before| before.suspect), peer.suspect) {
                (false, true) => add("member_suspect", "member suspect", &peer.member),
                (true, false) => add("member_alive", "member alive", &peer.member),
                (true, true) | (false, false) => {}
            }
        }
        if self.leader != now.leader {
            if let Some(leader) = &self.leader {
                let words = format!("leader exited: {} of epoch {}", leader.member, leader.epoch);
                let value =
                    json!({"v": 1, "event": "leader_exited", "leader": leader_json(leader)});
                changes.push((words, value));
            }
            if let Some(leader) = &now.leader {
                let words = format!("leader elected: {} by epoch {}", leader.member, leader.epoch);
                let value =
                    json!({"v": 1, "event": "leader_elected", "leader": leader_json(leader)});
                changes.push((words, value));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, incarnation: u64, suspect: bool) -> Peer {
        Peer { member: MemberId::new(name, incarnation), suspect }
    }

    #[test]
    fn what_is_otherwise_is_told_once() {
        let leader = |epoch| Some(Leader { member: MemberId::new("anna", 1), epoch });
        let one = Seen {
            view: 2,
            members: vec![peer("anna", 1, false), peer("bert", 2, false)],
            leader: leader(7),
        };
        let other = Seen {
            view: 5,
            members: vec![peer("anna", 1, true), peer("bert", 3, false)],
            leader: leader(8),
        };
        let words = |seen: &Seen, now: &Seen| {
            seen.changes(now).into_iter().map(|(words, _)| words).collect::<Vec<_>>()
        };
        assert_eq!(words(&one, &one), [""; 0]);
        assert_eq!(
            words(&one, &other),
            [
                "member left: bert#2",
                "member suspect: anna#1",
                "member joined: bert#3",
                "leader exited: anna#1 of epoch 7",
                "leader elected: anna#1 by epoch 8",
            ]
        );
        assert_eq!(words(&Seen::default(), &one).len(), 3);
    }
}
