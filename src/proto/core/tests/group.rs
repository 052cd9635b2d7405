//! GROUP at the desk: who is a member, what is said in which order, who leads, what polls decide.

mod leaders;
mod limits;
mod members;
mod messages;
mod observe;
mod polls;
mod refused;

use super::native::ECHO;
use super::*;
use crate::id::{Identity, Principal, PublicKey};
use crate::proto::group::{GroupLimits, GroupRule, GroupSettings};
use crate::proto::rights::{Rule, Source};
use crate::wire::mjp::{
    AdminEvent, AdminHeader, Fault, FromBroker, Group, GroupHeader, GroupReport, GroupRoster,
    GroupType, GroupVerb, LeaseHeader, LeaseReport, LeaseVerb, RequestHeader, ToBroker,
};

const NAME: &str = "Escort.1";
const MS: Duration = Duration::from_millis(1);

impl Desk {
    fn group(&mut self, peer: PeerId, id: u64, says: GroupHeader<'_>, body: &[&'static [u8]]) {
        let body = Message::new(body.to_vec());
        self.core.hear(self.now, peer, true);
        self.mjp(peer, &ToBroker::Group(Group { id, says, body: body.frames() }));
    }

    /// Joins under that name, by id 1.
    fn member(&mut self, name: &str) -> PeerId {
        let peer = self.join();
        self.group(peer, 1, joining(name, led(2)), &[]);
        peer
    }

    /// So many members of a group with a leader, and nothing has been said yet.
    fn members<const N: usize>(&mut self) -> [PeerId; N] {
        let names = ["a", "b", "c", "d", "e", "f"];
        let members = std::array::from_fn(|index| self.member(names[index]));
        members.iter().for_each(|member| drop(self.group_told(*member)));
        members
    }

    fn tell_all(&mut self, peer: PeerId, id: u64, body: &'static [u8]) {
        self.group(peer, id, of(GroupVerb::Send), &[body]);
    }

    fn group_told(&mut self, peer: PeerId) -> Vec<String> {
        let said = self.said.to.remove(peer).unwrap_or_default();
        said.iter().map(|message| words(message.frames())).collect()
    }

    /// Each says something in time.
    fn beat_all(&mut self, peers: &[PeerId], time: Duration) {
        for _ in 0..time.as_millis() / 250 {
            self.pass(250 * MS);
            for peer in peers {
                self.mjp(*peer, &ToBroker::Heartbeat);
                let now = self.now;
                self.core.hear(now, *peer, true);
            }
        }
    }
}

fn words(frames: Frames<'_>) -> String {
    match FromBroker::decode(frames).unwrap() {
        FromBroker::Group { id, header, mut body } => {
            let says = GroupReport::decode(header).unwrap();
            let mut text = format!("{id} {}", says.event);
            let who = says.member.map(|name| format!("{name}/{}", says.incarnation.unwrap_or(0)));
            let epoch = says.epoch.map(|epoch| format!("#{epoch}"));
            let view = says.view.map(|view| format!("v{view}"));
            let counts = says.yes.zip(says.no).zip(says.abstain);
            let counts = counts.map(|((yes, no), abstain)| {
                format!("{yes}+{no}-{abstain}o/{}", says.electorate.unwrap_or(0))
            });
            let elector = says.elector.map(|elector| if elector { "elector" } else { "looks on" });
            let own = [says.change, says.to, says.vote, says.status, says.reason, elector];
            let own = own.into_iter().flatten().map(str::to_owned);
            let missed = says.missed.map(|missed| format!("missed {missed}"));
            let repeat = says.repeat.map(|_| "again".to_owned());
            let parts = view.into_iter().chain(who).chain(epoch).chain(own).chain(counts);
            for part in parts.chain(missed).chain(repeat) {
                text = format!("{text} {part}");
            }
            for row in says.groups.into_iter().flatten() {
                text = format!("{text} {}:{}:{}", row.group, row.size, row.leader.unwrap_or("-"));
            }
            if let Some(next) = says.next {
                text = format!("{text} next {next}");
            }
            match body.take_first() {
                None => text,
                Some(body) if ["joined", "info", "outcomes"].contains(&says.event) => {
                    let members = GroupRoster::decode(body).unwrap().members.unwrap();
                    let members = members.iter().map(|row| {
                        let suspect = row.suspect.map_or("", |_| "?");
                        let outcome = row.outcome.map(|it| format!("={it}")).unwrap_or_default();
                        format!("{}{suspect}{outcome}", row.member)
                    });
                    format!("{text} [{}]", members.collect::<Vec<_>>().join(" "))
                }
                Some(body) => format!("{text} {}", body.escape_ascii()),
            }
        }
        FromBroker::Error(failure) => {
            let fault = Fault::decode(failure.header).unwrap();
            let epoch = fault.epoch.map(|epoch| format!(" #{epoch}")).unwrap_or_default();
            format!("{} {}{epoch}", failure.id, fault.code)
        }
        FromBroker::Lease { id, header } => {
            let says = LeaseReport::decode(header).unwrap();
            let epoch = says.epoch.map(|epoch| format!(" #{epoch}")).unwrap_or_default();
            let name = says.name.map(|name| format!(" {name}")).unwrap_or_default();
            let rows = says.leases.into_iter().flatten().map(|row| {
                let (epoch, name) = (row.epoch.unwrap_or(0), row.name.unwrap_or("-"));
                format!(" {}:{epoch}:{name}:{}", row.lease, row.observers)
            });
            let next = says.next.map(|next| format!(" next {next}")).unwrap_or_default();
            format!("{id} {}{epoch}{name}{}{next}", says.event, rows.collect::<String>())
        }
        FromBroker::Heartbeat => "heartbeat".into(),
        FromBroker::Admin { header, .. } => {
            let says = AdminEvent::decode(header).unwrap();
            let [name, state] = [says.name, says.state].map(Option::unwrap_or_default);
            format!("{} {} {name} {state}", says.event, says.group.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

fn of(verb: GroupVerb) -> GroupHeader<'static> {
    GroupHeader::new(verb, 1)
}

/// A group with a leader from so many members on.
fn led(min_size: u64) -> GroupType<'static> {
    GroupType { leader: Some(true), min_size: Some(min_size), ..GroupType::default() }
}

fn joining<'a>(name: &'a str, kind: GroupType<'a>) -> GroupHeader<'a> {
    GroupHeader {
        verb: "join",
        group: Some(NAME),
        member: Some(name),
        kind_of_group: Some(kind),
        ..GroupHeader::default()
    }
}

fn polling(verb: GroupVerb, poll: &'static str) -> GroupHeader<'static> {
    GroupHeader { poll: Some(poll.as_bytes()), ..of(verb) }
}

fn vote(poll: &'static str, vote: &'static str) -> GroupHeader<'static> {
    GroupHeader { vote: Some(vote), ..polling(GroupVerb::Vote, poll) }
}

fn desk() -> Desk {
    Desk::new(ServicePolicy::default())
}

impl Desk {
    fn of_group_key(&mut self, key: u8, rules: &[&str]) -> PeerId {
        let principal = Principal::Key(PublicKey([key; 32]));
        let hello = Hello { principal, grants: grants(rules), ..Hello::default() };
        self.core.join(self.now, hello, &mut self.said).0
    }
}

fn grants(rules: &[&str]) -> Grants {
    let rules = rules.iter().map(|rule| {
        let (verb, pattern) = rule.split_once(' ').unwrap();
        let source = Source { place: "test".into(), line: 1 };
        let (verb, pattern) = (verb.parse().unwrap(), pattern.try_into().unwrap());
        Rule { deny: false, verb, pattern, source }
    });
    Grants::new(rules.collect::<Vec<_>>()).unwrap()
}
