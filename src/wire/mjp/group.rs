//! GROUP: members, views, one leader, messages in one order, polls and timed actions (SPEC 9.15).

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::header::{some_octets, some_text_or_bin};
use super::kind;
use super::lease::some_name;
use super::malformed::Malformed;
use super::opening::{Opening, open, with_body};
use super::pack::{self, Packed};
use super::repeat::some_key;
use super::texts::some_texts;
use crate::wire::codec::Encoder;
use crate::wire::frame::MORE;
use crate::wire::message::Frames;

/// Longest name of a group, octets.
pub const GROUP_NAME_MAX: usize = 240;

/// What GROUP can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupVerb {
    /// Be a member.
    Join,
    /// Be none any more.
    Leave,
    /// Show life, hold the leadership, and ask for the broker's clock.
    Beat,
    /// Say something to all, to the leader or to one member.
    Send,
    /// Lead no more.
    Resign,
    /// Open a poll, on a value or on an action.
    Open,
    /// Vote in a poll.
    Vote,
    /// Ask for the result of a poll again.
    Result,
    /// Tell what became of an action.
    Outcome,
    /// Which groups there are.
    List,
    /// Who is in a group.
    Info,
    /// The same, and from then on what changes.
    Observe,
}

impl GroupVerb {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Join,
        Self::Leave,
        Self::Beat,
        Self::Send,
        Self::Resign,
        Self::Open,
        Self::Vote,
        Self::Result,
        Self::Outcome,
        Self::List,
        Self::Info,
        Self::Observe,
    ];

    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Beat => "beat",
            Self::Send => "send",
            Self::Resign => "resign",
            Self::Open => "open",
            Self::Vote => "vote",
            Self::Result => "result",
            Self::Outcome => "outcome",
            Self::List => "list",
            Self::Info => "info",
            Self::Observe => "observe",
        }
    }

    /// The verb of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == name)
    }

    /// Whether frames may stand behind the header.
    #[must_use]
    pub fn has_body(self) -> bool {
        matches!(self, Self::Send | Self::Open)
    }
}

/// GROUP of a peer.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// Comes back with the answer; 0, where no answer is wanted.
    pub id: u64,
    /// What is to be done.
    pub says: GroupHeader<'a>,
    /// What is sent, or what a poll is about; no frame or more, opaque.
    pub body: Frames<'a>,
}

impl<'a> Group<'a> {
    pub(super) fn decode(opening: &Opening<'a>) -> Result<Self, Malformed> {
        Ok(Self { id: opening.id, says: pack::read(opening.header)?, body: opening.rest })
    }

    /// Writes it as a peer does.
    pub fn encode(&self, out: &mut Encoder) {
        encode(self.id, Packed::new(&self.says).octets(), &self.body, out);
    }
}

/// Writes GROUP as a broker does.
pub(super) fn encode(id: u64, header: &[u8], body: &Frames<'_>, out: &mut Encoder) {
    open(kind::GROUP, id, MORE, out);
    with_body(header, &[], body, out);
}

/// What a peer says of a group: a verb, and what it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHeader<'a> {
    /// What is to be done, see [`GroupVerb`].
    pub verb: &'a str,
    /// Of `join`, `info`, `observe`: the group, 1 to 240 octets.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_name"
    )]
    pub group: Option<&'a str>,
    /// Of all verbs but `join`, `info`, `observe`, `list`: the id of the `join`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<u64>,
    /// Of `join`: what the member calls itself; of `send`, `resign`: for whom it is. 1 to 255 octets.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_name"
    )]
    pub member: Option<&'a str>,
    /// Of `send`, `resign`: only that incarnation of the member. Default: whichever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// Of `join`: what kind of group it is, for the first member, or is expected to be.
    #[serde(
        default,
        borrow,
        rename = "type",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::map"
    )]
    pub kind_of_group: Option<GroupType<'a>>,
    /// Of `join`: what the member sends to all comes back to it. Default: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<bool>,
    /// Of `send`: `all`, `leader` or `member`. Default `all`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// Of `beat`, `send`, `open`, `resign`: the member leads, by this epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Of `send`: when that was, by the broker's clock, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Of `open`, `vote`, `result`, `outcome`: the poll, 1 to 128 octets, text or bin.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_key",
        serialize_with = "some_text_or_bin"
    )]
    pub poll: Option<&'a [u8]>,
    /// Of `open`: `majority` or `unanimous`. Default `majority`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'a str>,
    /// Of `open`: time until it ends, ms. Default: `consensus_timeout` of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Of `open`: it is about an action at that moment, by the broker's clock, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<u64>,
    /// Of `open`, instead of `when`: it is about an action so long from when it is opened, µs.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub within: Option<u64>,
    /// Of `open`: how wrong the clock of who acts may be; of `vote`: how wrong it may be here, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<u64>,
    /// Of `vote`: `yes`, `no` or `abstain`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub vote: Option<&'a str>,
    /// Of `outcome`: `done`, `missed` or `failed`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'a str>,
    /// Of `list`: only groups whose names begin so.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<&'a str>,
    /// Of `list`: `next` of the page before.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub after: Option<&'a str>,
    /// Of `list`: entries of a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<NonZeroU16>,
}

impl GroupHeader<'_> {
    /// A verb of a member.
    #[must_use]
    pub fn new(verb: GroupVerb, seat: u64) -> Self {
        Self { verb: verb.as_str(), seat: Some(seat), ..Self::default() }
    }

    /// Entries of a page: 100 by default, and at most 1,000.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.map_or(100, |max| usize::from(max.get()).min(1000))
    }
}

/// What kind of group it is: in `join` what its first member wants, or others expect, and from the
/// broker what holds. Times are in ms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupType<'a> {
    /// Whether there is a leader, and with it polls. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<bool>,
    /// Whether messages say when they were sent and taken. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timed: Option<bool>,
    /// Fewer members have no leader. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// Who votes, by name. Default: who is there.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_texts"
    )]
    pub voters: Option<Vec<&'a str>>,
    /// So many vote, be they there or not. Default: as many as are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_size: Option<u64>,
    /// A member shows life so often. Default 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<u64>,
    /// Not used: the broker decides who leads. Default 1,500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub election_min: Option<u64>,
    /// Not used, but as a bound of others. Default 2,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub election_max: Option<u64>,
    /// Who is silent for so long is no member any more. Default 3,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_timeout: Option<u64>,
    /// A poll that says no `timeout` ends after this. Default 1,500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus_timeout: Option<u64>,
    /// A leader that does not beat leads for so long. Default 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// What becomes of polls when the leader changes: `aborted` or `durable`. Default `aborted`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub polls: Option<&'a str>,
    /// One message, or what a poll is about, octets. Default: as for all groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<u64>,
    /// Messages and polls of one member a second. Default: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

/// GROUP of a broker: an answer, or something that has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport<'a> {
    /// What it is. To a member: `joined`, `view`, `elected`, `exited`, `message`, `gap`, `poll`,
    /// `result`, `outcomes`; in answer: `left`, `beat`, `ack`, `resigned`, `opened`, `voted`,
    /// `noted`, `result`, `list`, `info`.
    pub event: &'a str,
    /// Its place in the one order of all that happens in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The number of the view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<u64>,
    /// With `view`: `joined`, `suspect`, `alive` or `left`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub change: Option<&'a str>,
    /// Whom it is about, or who has said it.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub member: Option<&'a str>,
    /// The incarnation of that member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// Why.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of the leader; with a message or a poll: its sender leads, or led, by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Who leads. Absent: nobody.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub leader: Option<&'a str>,
    /// What kind of group it is.
    #[serde(
        default,
        borrow,
        rename = "type",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::map"
    )]
    pub kind_of_group: Option<GroupType<'a>>,
    /// Parts of `type` that were said and change nothing.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_texts"
    )]
    pub unused: Option<Vec<&'a str>>,
    /// With `message`: `all`, `leader` or `member`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// So many messages were dropped right before, as there was no room for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// When its sender has sent it, by the broker's clock, as that says, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// When the broker took it, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<u64>,
    /// The broker's clock when it took what this answers, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<u64>,
    /// To a leader: it leads for so long if nothing is heard, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// The poll.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_octets",
        serialize_with = "some_text_or_bin"
    )]
    pub poll: Option<&'a [u8]>,
    /// `majority` or `unanimous`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'a str>,
    /// Time until the poll ends, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// When the action is, by the broker's clock, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<u64>,
    /// How wrong the clock of who acts may be, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<u64>,
    /// With `poll`: whether this member may vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elector: Option<bool>,
    /// With `voted`: as it counts.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub vote: Option<&'a str>,
    /// It was said before, and counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<bool>,
    /// With `result`: `yes`, `no`, `timeout`, `aborted` or `no_quorum`; in answer also `open`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// Votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yes: Option<u64>,
    /// Votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no: Option<u64>,
    /// Votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abstain: Option<u64>,
    /// So many votes there could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub electorate: Option<u64>,
    /// With `list`: a page of groups, in the order of their names.
    #[serde(
        default,
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "pack::maps"
    )]
    pub groups: Option<Vec<GroupRow<'a>>>,
    /// With `list`: there is more, and it comes if this is given as `after`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub next: Option<&'a str>,
}

impl<'a> GroupReport<'a> {
    /// Reads the header from the octets of its frame.
    ///
    /// # Errors
    /// As any header.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read(octets)
    }
}

/// One group in a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow<'a> {
    /// Its name.
    pub group: &'a str,
    /// Members.
    #[serde(default)]
    pub size: u64,
    /// The number of its view.
    #[serde(default)]
    pub view: u64,
    /// Who leads; absent: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<&'a str>,
    /// By which epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Polls that are open.
    #[serde(default)]
    pub polls: u64,
}

/// The body of `joined`, `info` and `outcomes`: one frame, which is not as short as a header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRoster<'a> {
    /// In the order of their incarnations.
    #[serde(default, borrow, deserialize_with = "pack::maps")]
    pub members: Option<Vec<MemberRow<'a>>>,
}

/// One member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow<'a> {
    /// What it calls itself.
    pub member: &'a str,
    /// The how manieth member of all groups it is.
    #[serde(default)]
    pub incarnation: u64,
    /// It has been silent for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<bool>,
    /// With `outcomes`: `done`, `missed`, `failed` or `silent`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'a str>,
}

impl<'a> GroupRoster<'a> {
    /// Longest roster, octets.
    pub const BYTES_MAX: usize = 16 << 20;

    /// Reads the roster from its frame.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(octets: &'a [u8]) -> Result<Self, Malformed> {
        pack::read_within(octets, Self::BYTES_MAX)
    }
}
