//! What must hold for the commands of NFP clients, as seen from outside: 202 comes first and names
//! those who are then given the job, each once; what is refused is given to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::wire::nfp::body::Target;
use crate::wire::nfp::{Job as Command, Kind, Malformed, Order, Refused, Reply, Verb};

use super::super::tag::Tag;
use super::Judge;
use super::parts::{Job, Table};
use super::put::Put;
use super::queued::Queued;

/// What is known of jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub(super) known: BTreeMap<Vec<u8>, Job>,
    /// The jobs that requests stand for, by what is in their bodies.
    pub(super) tags: BTreeMap<Tag, Vec<u8>>,
    /// Those that wait for any worker, likewise.
    pub(super) queued: BTreeMap<Tag, Vec<u8>>,
    pub(super) asking: Option<Asking>,
    /// Those that the broker's own table is to be compared for.
    pub(super) touched: BTreeSet<Vec<u8>>,
    pub(super) turn: Option<super::stand_in::Turn>,
    /// Requests for parts that ended in this step, each with its worker.
    pub(super) ended_now: Vec<(Tag, String)>,
    /// What ended so long ago that the broker has to have forgotten it.
    pub(super) over: Vec<Vec<u8>>,
    /// Memory was refused in this turn.
    pub(super) short: bool,
    /// It was once: ended jobs have made room.
    pub(super) was_short: bool,
}

/// A command of a client that is being carried out.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) conn: usize,
    pub(super) verb: Option<Verb>,
    pub(super) service: Vec<u8>,
    pub(super) uuid: Vec<u8>,
    pub(super) body: Vec<u8>,
    expects: Expects,
    /// Statuses of the answers so far.
    pub(super) statuses: Vec<String>,
    /// The workers that 202 names.
    named: BTreeSet<usize>,
    /// Who was given it so far.
    pub(super) given: BTreeSet<usize>,
    /// Who is to be told DELETE, or in whose name the broker is to say something.
    due: BTreeSet<usize>,
    /// In whose name it is to say something though they have gone.
    gone: BTreeSet<String>,
}

/// What a client is to be answered.
#[derive(Debug)]
enum Expects {
    /// Status 400, so many times, and nothing is given to anybody.
    Refusal(usize),
    /// One answer without a status.
    Plain,
    /// 202 where there is one, and the workers.
    Dispatch(Meant),
    /// DELETE, of a job that is known or not.
    Deleted(bool),
    /// The broker stands for whoever takes it.
    Queued(Queued),
    /// PUT, where the broker stands for the workers.
    Put(Put),
}

/// Who is meant.
#[derive(Debug, Default)]
struct Meant {
    sure: BTreeSet<usize>,
    /// Workers of MDP, of which it is not known what they offer.
    maybe: BTreeSet<usize>,
    /// One of them, or of each service.
    any: bool,
    /// Whether it may be refused nevertheless: some limit may be reached.
    may_refuse: bool,
}

impl Judge {
    /// POST, GET, DELETE, PUT or MMI of a client, which may ask or not.
    pub(super) fn job_asked(&mut self, conn: usize, job: &Command<'_>, asks: bool, table: &Table) {
        self.look_up(job.uuid, table);
        let body = job.body.clone().next().unwrap_or_default().to_vec();
        let expects = self.expects(conn, job, asks);
        let mut asking = Asking::new(conn, job.uuid, expects);
        (asking.verb, asking.service) = (Some(job.verb), job.service.to_vec());
        asking.body = body;
        if let Expects::Deleted(true) = asking.expects {
            asking.due = self.workers_of(job.uuid);
            self.note_deleted(job.uuid);
        }
        if let Expects::Queued(Queued { comes: Some(tag), .. }) = asking.expects {
            self.job_queued(conn, tag, job);
        }
        self.jobs.asking = Some(asking);
    }

    /// A command of a client that is no good.
    pub(super) fn job_refused(&mut self, conn: usize, refused: &Refused<'_>) {
        let plain = refused.why == Malformed::UnknownCommand || refused.uuid.is_empty();
        let expects = if plain { Expects::Plain } else { Expects::Refusal(1) };
        self.jobs.asking = Some(Asking::new(conn, refused.uuid, expects));
    }

    fn expects(&mut self, conn: usize, job: &Command<'_>, asks: bool) -> Expects {
        let house = job.service.ends_with(b".service.broker");
        let twice = house && job.service != b"fss.service.broker" || job.verb == Verb::Mmi;
        let refusal = Expects::Refusal(1 + usize::from(twice));
        let me = self.scatters.name_of(conn);
        let others = self.jobs.owner_of(job.uuid).is_some_and(|owner| owner != me);
        if !asks || house || job.verb == Verb::Mmi || job.uuid.starts_with(b"~") || others {
            return refusal;
        }
        if job.verb == Verb::Delete {
            return Expects::Deleted(self.jobs.known.contains_key(job.uuid));
        }
        if job.verb == Verb::Put
            && let Some(put) = self.puts(conn, job)
        {
            return Expects::Put(put);
        }
        if self.is_for_queue(job) {
            return self.queues(job).map_or(refusal, Expects::Queued);
        }
        let body = job.body.clone().next().unwrap_or_default();
        let harms = Tag::decode(body).is_none() || self.is_draining;
        let mut meant = self.meant(job);
        let kept = job.verb == Verb::Get && self.has_ended_stand_ins(job.uuid);
        let nobody = meant.sure.is_empty() && meant.maybe.is_empty();
        meant.may_refuse |= nobody;
        if nobody && !kept || job.verb == Verb::Post && harms {
            refusal
        } else {
            Expects::Dispatch(meant)
        }
    }

    /// Who is meant, as far as that is known from outside.
    fn meant(&self, job: &Command<'_>) -> Meant {
        let all = job.service == b"all";
        let there = |conn: &usize| !self.is_gone(*conn);
        let offers = self
            .offers
            .iter()
            .filter(|(conn, offer)| there(conn) && (all || *offer == job.service));
        let mut sure: BTreeSet<usize> = offers.map(|(conn, _)| *conn).collect();
        let stock = |side: &super::Side| {
            side.version.is_some() && !side.dismissed && !side.left && !side.gone
        };
        let stock = self.sides.iter().filter(|(_, side)| stock(side));
        let mut maybe: BTreeSet<usize> = stock.map(|(conn, _)| *conn).collect();
        let target = Target::parse(job.target);
        let any = target == Target::Any;
        match target {
            Target::All | Target::Any => {}
            Target::Invalid(_) => return Meant::default(),
            Target::Name(name) => self.retain_named(&[name], &mut sure, &mut maybe),
            Target::Names(names) => {
                let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
                self.retain_named(&names, &mut sure, &mut maybe);
            }
        }
        let (jobs, post) = (&self.settings.nfp.jobs, job.verb == Verb::Post);
        let full = |conn: &usize| self.nfp.is_pressed(*conn) || !self.nfp.is_worker(*conn);
        let few = jobs.jobs_max < 1000 || jobs.open_per_client_max < 1000;
        let nobody_sure = sure.is_empty();
        let limits = few || !maybe.is_empty() || sure.iter().any(full);
        Meant { sure, maybe, any, may_refuse: nobody_sure || post && limits }
    }

    fn retain_named(
        &self,
        names: &[&str],
        sure: &mut BTreeSet<usize>,
        maybe: &mut BTreeSet<usize>,
    ) {
        let named: BTreeSet<_> = names.iter().filter_map(|name| self.nfp.holder(name)).collect();
        sure.retain(|conn| named.contains(conn));
        maybe.retain(|conn| named.contains(conn));
    }

    /// An NFP worker is given something about a job.
    pub(super) fn order_given(&mut self, conn: usize, order: &Order<'_>) {
        let Some(mut asking) = self.jobs.asking.take() else {
            return self.fail(|| format!("{conn} is given {order:?}, and nobody asked"));
        };
        let owner = self.scatters.name_of(asking.conn);
        let once = match &asking.expects {
            // Nothing of PUT is answered, so that is all that is known.
            Expects::Dispatch(meant) if asking.verb == Some(Verb::Put) => {
                asking.given.insert(conn) && meant.sure.contains(&conn)
            }
            Expects::Dispatch(_) => asking.named.contains(&conn) && asking.given.insert(conn),
            Expects::Deleted(_) => asking.due.remove(&conn),
            Expects::Queued(_) | Expects::Put(_) | Expects::Refusal(_) | Expects::Plain => false,
        };
        let early = asking.statuses.iter().any(|status| status != "202");
        let same = asking.verb == Some(order.verb)
            && order.uuid == asking.uuid
            && order.client == owner.as_bytes()
            && order.body.eq([&asking.body[..]]);
        self.demand(once && !early && same, || {
            format!("{conn} is given {order:?}: once {once}, same {same}, of {asking:?}")
        });
        self.jobs.asking = Some(asking);
    }

    /// A client is told that it said something that means nothing.
    pub(super) fn told_plainly(&mut self, conn: usize) {
        let asking = self.jobs.asking.as_mut().filter(|asking| asking.conn == conn);
        let Some(asking) = asking else {
            return self.fail(|| format!("{conn} is told something, and has not asked"));
        };
        asking.statuses.push("plain".into());
    }

    /// A client is told something by the broker.
    pub(super) fn told_reply(&mut self, conn: usize, reply: &Reply<'_>) {
        let Some(mut asking) = self.jobs.asking.take_if(|asking| asking.conn == conn) else {
            return self.fail(|| format!("{conn} is told {reply:?}, and has not asked"));
        };
        let same = reply.uuid == asking.uuid;
        self.demand(same, || format!("{conn} is told {reply:?} to {asking:?}"));
        let status = String::from_utf8_lossy(reply.status).into_owned();
        let body = reply.body.clone().next().unwrap_or_default();
        let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        match (&asking.expects, &status[..]) {
            (Expects::Dispatch(_), "202") if asking.statuses.is_empty() => {
                self.told_dispatched(&mut asking, reply, &body);
            }
            (Expects::Dispatch(_), "201") if asking.verb == Some(Verb::Post) => {
                self.told_accepted(&mut asking, &body);
            }
            (Expects::Dispatch(_), "200" | "300" | "404" | "500")
                if asking.verb == Some(Verb::Get) =>
            {
                self.told_result(&mut asking, reply, &body);
            }
            (Expects::Queued(queued), _) => {
                let queued = *queued;
                self.told_of_queued(&asking, queued, reply, &body);
            }
            (Expects::Dispatch(_) | Expects::Refusal(_), "400") => {
                let none = asking.given.is_empty() && asking.named.is_empty();
                self.demand(none && body["workers"].is_null(), || {
                    format!("{conn} is refused what was given: {asking:?}")
                });
            }
            (Expects::Deleted(true), "200") | (Expects::Deleted(false), "404") => {}
            _ => self.fail(|| format!("{conn} is told {reply:?} to {asking:?}")),
        }
        let kind = reply.kind == Kind::Response
            || reply.kind == Kind::Mmi && matches!(asking.expects, Expects::Refusal(2));
        self.demand(kind, || format!("{conn} is told {reply:?}"));
        asking.statuses.push(status);
        self.jobs.asking = Some(asking);
    }

    fn told_dispatched(
        &mut self,
        asking: &mut Asking,
        reply: &Reply<'_>,
        body: &serde_json::Value,
    ) {
        let Expects::Dispatch(meant) = &asking.expects else { return };
        let names = body["workers"].as_array().into_iter().flatten().filter_map(|it| it.as_str());
        let fetched = asking.verb == Some(Verb::Get);
        let known = |conn: &usize| meant.sure.contains(conn) || meant.maybe.contains(conn);
        // It may be there, and no worker any more.
        let is_gone = |name: &&str| fetched && !self.conn_of(name).is_some_and(|it| known(&it));
        let (gone, names): (Vec<&str>, Vec<&str>) = names.partition(is_gone);
        let were_there = gone.iter().all(|name| self.was_stand_in(&asking.uuid, name));
        let named: BTreeSet<usize> = names.iter().filter_map(|it| self.conn_of(it)).collect();
        let all = if meant.any { !named.is_empty() } else { meant.sure.is_subset(&named) };
        let one = !meant.any || asking.service == b"all" || named.len() == 1;
        let fits = named.len() == names.len() && named.iter().all(known) && all && one;
        let says = body["status"] == "DISPATCHED" && reply.service == asking.service;
        let verb = matches!(asking.verb, Some(Verb::Post | Verb::Get));
        self.demand(fits && says && verb && were_there, || {
            format!("{names:?}, which are {named:?}, and {gone:?} are named of {asking:?}")
        });
        if meant.any && asking.verb == Some(Verb::Post) {
            self.check_any(asking, &named);
        }
        if asking.verb == Some(Verb::Post) {
            let tag = Tag::decode(&asking.body);
            self.job_dispatched(asking.conn, &asking.uuid, &asking.body, &named, tag);
            asking.due = self.stand_ins_of(&asking.uuid, tag);
        } else {
            let stock = |conn: &usize| !self.nfp.is_worker(*conn);
            asking.due = named.iter().copied().filter(stock).collect();
        }
        asking.named = named;
        asking.gone = gone.into_iter().map(str::to_owned).collect();
    }

    /// `any` is the one with the least to do, where all speak NFP and read what they were sent.
    fn check_any(&mut self, asking: &Asking, named: &BTreeSet<usize>) {
        let Expects::Dispatch(meant) = &asking.expects else { return };
        let plain = |conn: &usize| self.nfp.is_worker(*conn) && !self.nfp.is_pressed(*conn);
        let idle = |conn: &usize| self.sides.get(conn).is_none_or(|side| side.held.is_empty());
        let all = || meant.sure.iter();
        if asking.service == b"all"
            || !meant.maybe.is_empty()
            || !all().all(|it| plain(it) && idle(it))
        {
            return;
        }
        let load = |conn: &usize| self.open_parts_of(*conn);
        let (least, took) = (all().map(load).min(), named.iter().map(load).max());
        self.demand(took <= least, || format!("{named:?} have {took:?} to do, others {least:?}"));
    }

    /// The broker says for a worker that it has the job.
    fn told_accepted(&mut self, asking: &mut Asking, body: &serde_json::Value) {
        let conn = body["worker"].as_str().and_then(|name| self.conn_of(name));
        let due = conn.is_some_and(|conn| asking.due.remove(&conn));
        self.demand(due && !asking.named.is_empty(), || format!("{body} is said to {asking:?}"));
    }

    /// The broker answers GET for a worker.
    fn told_result(&mut self, asking: &mut Asking, reply: &Reply<'_>, body: &serde_json::Value) {
        let of_result = body.as_object().and_then(|all| all.keys().next()).cloned();
        let name = body["worker"].as_str().map(str::to_owned).or(of_result).unwrap_or_default();
        let conn = self.conn_of(&name);
        let due = conn.is_some_and(|conn| asking.due.remove(&conn)) || asking.gone.remove(&name);
        self.demand(due, || format!("{body} is said of {name} to {asking:?}"));
        self.check_result(&asking.uuid, &name, reply.status, &body[&name]);
    }

    /// After a message: it was answered as it has to be.
    pub(super) fn end_asking(&mut self) {
        let short = std::mem::take(&mut self.jobs.short);
        let Some(asking) = self.jobs.asking.take() else { return };
        if let Expects::Queued(Queued { comes: Some(tag), .. }) = asking.expects {
            self.queued_taken(tag, &asking);
        }
        if self.is_gone(asking.conn) {
            return;
        }
        let count = |status: &str| asking.statuses.iter().filter(|it| *it == status).count();
        let (refused, total) = (count("400"), asking.statuses.len());
        let fits = match &asking.expects {
            Expects::Plain => count("plain") == 1 && total == 1,
            Expects::Refusal(times) => refused == *times && total == *times,
            Expects::Deleted(_) => total == 1 && asking.due.is_empty(),
            Expects::Queued(queued) => queued.is_answered(&asking, short),
            Expects::Put(put) => put.is_answered(&asking),
            Expects::Dispatch(meant) if refused > 0 => total == 1 && (short || meant.may_refuse),
            Expects::Dispatch(meant) if asking.verb == Some(Verb::Put) => {
                total == count("warned") && self.may_warn(meant).contains(&total)
            }
            Expects::Dispatch(_) => {
                let said = asking.due.is_empty() && asking.gone.is_empty();
                count("202") == 1 && said && self.got(&asking)
            }
        };
        self.demand(fits, || format!("this is how something ends: {asking:?}, short: {short}"));
    }

    /// How often a client may be told that its PUT reaches nobody: where no worker of NFP is meant.
    fn may_warn(&self, meant: &Meant) -> RangeInclusive<usize> {
        let direct = meant.sure.iter().filter(|conn| self.nfp.is_worker(**conn)).count();
        let all = direct == meant.sure.len() && meant.maybe.is_empty();
        match direct {
            0 => 1..=1,
            _ if all || !meant.any => 0..=0,
            _ => 0..=1,
        }
    }

    /// Whether all that were to be given it have it. GET may leave out who does not read.
    fn got(&self, asking: &Asking) -> bool {
        let mut direct = asking.named.iter().filter(|conn| self.nfp.is_worker(**conn));
        direct.all(|conn| {
            let skipped = asking.verb == Some(Verb::Get) && self.nfp.is_pressed(*conn);
            asking.given.contains(conn) || skipped
        })
    }

    /// The connection that has the name, made up or not.
    pub(super) fn conn_of(&self, name: &str) -> Option<usize> {
        self.nfp.holder(name)
    }
}

impl Asking {
    fn new(conn: usize, uuid: &[u8], expects: Expects) -> Self {
        Self {
            conn,
            verb: None,
            service: Vec::new(),
            uuid: uuid.to_vec(),
            body: Vec::new(),
            expects,
            statuses: Vec::new(),
            named: BTreeSet::new(),
            given: BTreeSet::new(),
            due: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }
}
