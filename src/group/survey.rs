//! Which groups there are, and who is in them, for who is no member.

use tokio::sync::oneshot;

use super::error::GroupError;
use super::groups::{Command, Groups};
use super::seat::Reply;
use super::words::{Leader, MemberId, Peer};
use crate::proto::group::Charter;
use crate::wire::codec::Encoder;
use crate::wire::message::{Frames, Message};
use crate::wire::mjp::{Group, GroupHeader, GroupReport, GroupRoster, GroupVerb};

/// One group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupRow {
    /// Its name.
    pub group: String,
    /// Members.
    pub size: u64,
    /// The number of its view.
    pub view: u64,
    /// Who leads.
    pub leader: Option<String>,
    /// By which epoch.
    pub epoch: Option<u64>,
    /// Polls that are open.
    pub polls: u64,
}

/// What a group is, and who is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name.
    pub group: String,
    /// The number of its view.
    pub view: u64,
    /// All members, in the order in which they have joined.
    pub members: Vec<Peer>,
    /// Who leads.
    pub leader: Option<Leader>,
    /// What kind of group it is.
    pub kind: Charter,
}

/// What is asked of the broker by who is no member.
pub(super) enum Survey {
    List { prefix: String, after: Option<String> },
    Info { group: String },
    Observe { group: String },
}

/// The header of an answer and what follows it.
pub(super) type Answer = (Vec<u8>, Message);

impl Survey {
    pub(super) fn encode(&self, id: u64, out: &mut Encoder) {
        let says = match self {
            Self::List { prefix, after } => GroupHeader {
                verb: GroupVerb::List.as_str(),
                prefix: Some(prefix).filter(|prefix| !prefix.is_empty()).map(String::as_str),
                after: after.as_deref(),
                ..GroupHeader::default()
            },
            Self::Info { group } => about(GroupVerb::Info, group),
            Self::Observe { group } => about(GroupVerb::Observe, group),
        };
        Group { id, says, body: Frames::default() }.encode(out);
    }
}

impl Groups {
    /// All groups whose names begin with `prefix`, by name. Needs the right to look.
    ///
    /// # Errors
    /// [`GroupError::Denied`], [`GroupError::Apart`], and as any question.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn list(&self, prefix: &str) -> Result<Vec<GroupRow>, GroupError> {
        let mut rows = Vec::new();
        let mut after = None;
        loop {
            let survey = Survey::List { prefix: prefix.to_owned(), after: after.take() };
            let (header, _) = self.survey(survey).await?;
            let report = GroupReport::decode(&header).map_err(|why| malformed(&why))?;
            rows.extend(report.groups.unwrap_or_default().iter().map(|row| GroupRow {
                group: row.group.to_owned(),
                size: row.size,
                view: row.view,
                leader: row.leader.map(str::to_owned),
                epoch: row.epoch,
                polls: row.polls,
            }));
            match report.next {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(rows),
            }
        }
    }

    /// What a group is, and who is in it; `None` if there is no such group. Needs the right to look.
    ///
    /// # Errors
    /// As [`Self::list`].
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn info(&self, group: &str) -> Result<Option<GroupInfo>, GroupError> {
        let answer = self.survey(Survey::Info { group: group.to_owned() }).await;
        let (header, body) = match answer {
            Err(GroupError::Refused { code, .. }) if code == "not_found" => return Ok(None),
            answer => answer?,
        };
        let report = GroupReport::decode(&header).map_err(|why| malformed(&why))?;
        info_of(group, &report, &body)
    }

    async fn survey(&self, survey: Survey) -> Result<Answer, GroupError> {
        let (reply, answer): (Reply<Answer>, _) = oneshot::channel();
        let command = Command::Survey { survey, reply };
        self.channel().commands.send(command).await.map_err(|_| GroupError::Closed)?;
        answer.await.unwrap_or(Err(GroupError::Closed))
    }
}

fn about(verb: GroupVerb, group: &str) -> GroupHeader<'_> {
    GroupHeader { verb: verb.as_str(), group: Some(group), ..GroupHeader::default() }
}

/// What "info" says of a group.
pub(super) fn info_of(
    group: &str,
    report: &GroupReport<'_>,
    body: &Message,
) -> Result<Option<GroupInfo>, GroupError> {
    let Some(view) = report.view else { return Ok(None) };
    let roster = GroupRoster::decode(body.first()).map_err(|why| malformed(&why))?;
    let members = roster.members.unwrap_or_default();
    let members: Vec<_> = members
        .iter()
        .map(|row| Peer {
            member: MemberId::new(row.member, row.incarnation),
            suspect: row.suspect.unwrap_or_default(),
        })
        .collect();
    let leader = report.leader.zip(report.epoch).and_then(|(name, epoch)| {
        let leads = members.iter().find(|peer| peer.member.name() == name)?;
        Some(Leader { member: leads.member.clone(), epoch })
    });
    let kind = super::seat::charter(report);
    Ok(Some(GroupInfo {
        group: group.to_owned(),
        view,
        members,
        leader,
        kind: kind.map(|kind| Charter::clone(&kind)).unwrap_or_default(),
    }))
}

fn malformed(why: &dyn std::fmt::Display) -> GroupError {
    GroupError::Refused { code: "malformed_answer".into(), message: why.to_string() }
}
