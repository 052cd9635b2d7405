//! A client of NFP: jobs to all, any, some by name and nobody, asked for again, fetched, deleted,
//! and those of others; it goes, and comes back under its name.

use std::collections::BTreeMap;

use crate::wire::message::{Frames, Message};
use crate::wire::nfp::{FromClient, Job, Kind as Says, Reply, ToClient, Verb};

use super::actor::{Act, Context, encoded};
use super::plan::{GHOST, JOBS, MIXED, MS, SERVED};
use super::rng::Rng;
use super::tag::Tag;

/// What sort of client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Pause between two commands at most.
    pause: u64,
    /// It leaves in the middle, once in so many commands.
    vanishes: Option<u64>,
    /// It says something odd once in so many.
    oddities: u64,
    timeout: Option<u64>,
    poison: u64,
}

impl Kind {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self {
            pause: rng.pick(&[5 * MS, 80 * MS]),
            vanishes: rng.pick(&[None, Some(12)]),
            oddities: rng.pick(&[4, 12]),
            timeout: rng.pick(&[None, Some(1), Some(2)]),
            poison: rng.pick(&[12, 60]),
        }
    }
}

/// A job of its own.
#[derive(Debug)]
struct Mine {
    service: &'static str,
    /// The connection that it was posted on.
    conn: u32,
    /// 202 has come there.
    dispatched: bool,
    /// Its result can be fetched, or one of them.
    ready: bool,
}

#[derive(Debug)]
pub(super) struct NfpClient {
    me: u32,
    kind: Kind,
    quota: u32,
    number: u32,
    conn: Option<u32>,
    mine: BTreeMap<Vec<u8>, Mine>,
    /// The last that it was asked: in which job, and the name of the question.
    asked: Option<(Vec<u8>, String)>,
    /// The last message of each worker's connection.
    heard: BTreeMap<u64, u64>,
    next_at: u64,
    connect_at: Option<u64>,
    /// In the calm at the end a job has to be done: none, still to be posted, or posted.
    probe: Option<Option<Vec<u8>>>,
    /// When it is posted again.
    probe_at: u64,
}

impl NfpClient {
    pub(super) fn new(me: u32, kind: Kind, quota: u32) -> Self {
        Self {
            me,
            kind,
            quota,
            number: 0,
            conn: None,
            mine: BTreeMap::new(),
            asked: None,
            heard: BTreeMap::new(),
            next_at: 0,
            connect_at: Some(0),
            probe: None,
            probe_at: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.probe.is_none()
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        let busy = self.conn.is_some() && self.quota > 0;
        let probe = (self.conn.is_some() && self.probe.is_some()).then_some(self.probe_at);
        [self.connect_at, busy.then_some(self.next_at), probe].into_iter().flatten().min()
    }

    pub(super) fn connected(&mut self, conn: u32) {
        self.conn = Some(conn);
        self.connect_at = None;
    }

    pub(super) fn lost(&mut self, cx: &mut Context<'_>) {
        self.conn = None;
        self.connect_at = Some(cx.now + cx.rng.within(MS, 150 * MS));
    }

    pub(super) fn calm_down(&mut self) {
        self.kind.vanishes = None;
        self.quota = self.quota.min(8);
    }

    /// Now a job has to be done, and its result has to be had.
    pub(super) fn probe(&mut self) {
        self.quota = 0;
        self.probe = Some(None);
    }

    pub(super) fn woken(&mut self, cx: &mut Context<'_>) {
        if self.connect_at.is_some_and(|at| at <= cx.now) {
            self.connect_at = None;
            cx.act(Act::Connect);
        }
        let Some(conn) = self.conn else { return };
        if self.probe.is_some() && self.probe_at <= cx.now {
            self.probe_at = cx.now + 300 * MS;
            let uuid = self.post(conn, JOBS, "any", None, cx);
            self.probe = Some(Some(uuid));
        }
        if self.quota > 0 && self.next_at <= cx.now {
            self.quota -= 1;
            self.next_at = cx.now + cx.rng.within(MS / 2, self.kind.pause);
            if cx.rng.one_in(self.kind.oddities) {
                self.say_odd(conn, cx)
            } else {
                self.ask(conn, cx)
            }
            if self.kind.vanishes.is_some_and(|one_in| cx.rng.one_in(one_in)) {
                self.lost(cx);
                let quietly = cx.rng.one_in(4) && !cx.calm;
                cx.act(if quietly { Act::Vanish } else { Act::Close });
            }
        }
    }

    /// A new job, or something about one that it has.
    fn ask(&mut self, conn: u32, cx: &mut Context<'_>) {
        let known = self.mine.len();
        if known == 0 || cx.rng.one_in(2) {
            let service = cx.rng.pick(&[JOBS, JOBS, JOBS, MIXED, MIXED, "all", GHOST, SERVED[0]]);
            let target = target(cx.rng);
            let timeout = if cx.rng.one_in(10) { Some(0) } else { self.kind.timeout };
            self.post(conn, service, &target, timeout, cx);
            return;
        }
        let done = self.mine.iter().rev().find(|(_, mine)| mine.ready).filter(|_| cx.rng.one_in(3));
        let at = known - 1 - cx.rng.index(known.min(4));
        let Some((uuid, mine)) = done.or_else(|| self.mine.iter().nth(at)) else { return };
        let (uuid, service) = (uuid.clone(), mine.service);
        match cx.rng.within(0, 9) {
            0 | 1 => {
                // Said again, whether it is open or has ended.
                let timeout = cx.rng.pick(&[None, self.kind.timeout, Some(2)]);
                let body = self.body(conn, service, timeout, cx);
                say(Verb::Post, service, &target(cx.rng), &uuid, body, cx);
            }
            2 | 3 => say(Verb::Delete, service, "all", &uuid, b"{}".to_vec(), cx),
            4 => match self.asked.clone().filter(|_| cx.rng.one_in(2)) {
                // It may have been answered, or be another job's.
                Some((_, id)) => answer(service, &uuid, &id, cx),
                None => say(Verb::Put, service, &target(cx.rng), &uuid, b"{}".to_vec(), cx),
            },
            _ => say(Verb::Get, service, &target(cx.rng), &uuid, b"{}".to_vec(), cx),
        }
    }

    fn post(
        &mut self,
        conn: u32,
        service: &'static str,
        target: &str,
        timeout: Option<u64>,
        cx: &mut Context<'_>,
    ) -> Vec<u8> {
        let body = self.body(conn, service, timeout, cx);
        let uuid = format!("job{}-{:04}", self.me, self.number).into_bytes();
        let mine = Mine { service, conn, dispatched: false, ready: false };
        self.mine.insert(uuid.clone(), mine);
        say(Verb::Post, service, target, &uuid, body, cx);
        uuid
    }

    fn body(
        &mut self,
        conn: u32,
        service: &str,
        timeout: Option<u64>,
        cx: &mut Context<'_>,
    ) -> Vec<u8> {
        self.number += 1;
        // Who asks all of them would have all of them crash.
        let poison = !cx.calm && service != "all" && cx.rng.one_in(self.kind.poison);
        let tag = Tag { client: self.me, number: self.number, conn, poison };
        tag.to_job(timeout)
    }

    /// What does not concern a job of its own, or not in this way.
    fn say_odd(&mut self, conn: u32, cx: &mut Context<'_>) {
        let nothing = b"{}".to_vec();
        let unknown = format!("job{}-none", self.me).into_bytes();
        let others = cx.gossip_of_jobs.clone().map(|(uuid, _)| uuid);
        let others = others.unwrap_or_else(|| unknown.clone());
        match cx.rng.within(0, 11) {
            0 => say(Verb::Delete, JOBS, "all", &others, nothing, cx),
            1 => say(Verb::Get, JOBS, "all", &others, nothing, cx),
            2 => say(Verb::Put, JOBS, "all", &others, nothing, cx),
            3 => {
                let body = self.body(conn, JOBS, None, cx);
                say(Verb::Post, JOBS, "all", &others, body, cx);
            }
            4 => say(Verb::Delete, JOBS, "all", &unknown, nothing, cx),
            5 => say(Verb::Mmi, JOBS, "all", &unknown, nothing, cx),
            6 => say(Verb::Mmi, "mmi.service.broker", "all", &unknown, nothing, cx),
            7 => say(Verb::Post, JOBS, "all", b"~0000000100000001-1", nothing, cx),
            8 => say(Verb::Post, JOBS, "all", &unknown, b"no job".to_vec(), cx),
            9 => cx.act(Act::Say(encoded(|out| FromClient::Open.encode(out)))),
            10 => cx.act(Act::Say(encoded(|out| FromClient::Disconnect.encode(out)))),
            _ => {
                let command = cx.rng.pick(&[b"0x04", b"0x06", b"0x98"]);
                cx.act(Act::Say(encoded(|encoder| {
                    encoder.frame(b"");
                    encoder.frame(b"NFPC01");
                    encoder.frame(command);
                    encoder.frame(JOBS.as_bytes());
                    encoder.frame(b"all");
                    encoder.last_frame(&unknown);
                })));
            }
        }
    }

    /// # Errors
    /// The broker said something wrong.
    pub(super) fn heard(
        &mut self,
        message: Frames<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let (_, said) = ToClient::decode(message).map_err(|e| format!("a client heard: {e}"))?;
        let ToClient::Reply(reply) = said else { return Ok(()) };
        let body = reply.body.clone().next().unwrap_or_default();
        let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(owner) = body["owner"].as_str() {
            self.heard_worker(owner, &body)?;
        }
        // The broker's own words, of what it does not know, or gives to nobody.
        let refused = matches!(reply.status, b"400" | b"404") || body["severity"] == "WARNING";
        if let Some(Some(probe)) = &self.probe
            && probe == reply.uuid
        {
            match (reply.kind, reply.status) {
                (Says::Response, b"200") => self.probe = None,
                (Says::Event, _) if body["event_type"] == "result_ready" => {
                    say(Verb::Get, JOBS, "all", reply.uuid, b"{}".to_vec(), cx);
                }
                _ => {}
            }
        }
        if body["event_type"] == "input_request"
            && let Some(id) = body.pointer("/extras/input_request/id").and_then(|id| id.as_str())
        {
            self.asked = Some((reply.uuid.to_vec(), id.to_owned()));
        }
        let Some(mine) = self.mine.get_mut(reply.uuid) else { return Ok(()) };
        if reply.status == b"202" {
            mine.dispatched = true;
        } else if !refused && Some(mine.conn) == self.conn && !mine.dispatched {
            return Err(format!("{} heard of a job before 202: {}", self.me, shown(&reply)));
        }
        mine.ready |= body["event_type"] == "result_ready";
        let service = mine.service;
        if body["event_type"] == "input_request"
            && let Some((uuid, id)) = self.asked.clone()
            && !cx.rng.one_in(4)
        {
            answer(service, &uuid, &id, cx);
        }
        Ok(())
    }

    /// What a worker says is meant for this client, and comes in the order of saying.
    fn heard_worker(&mut self, owner: &str, body: &serde_json::Value) -> Result<(), String> {
        if owner != format!("actor{}", self.me) {
            return Err(format!("actor{} heard what was meant for {owner}", self.me));
        }
        let by = body["by"].as_u64().unwrap_or_default();
        let number = body["number"].as_u64().unwrap_or_default();
        let before = self.heard.insert(by, number).unwrap_or_default();
        if number <= before {
            return Err(format!("{number} of {by} comes behind {before}"));
        }
        Ok(())
    }
}

fn target(rng: &mut Rng) -> String {
    let name = |rng: &mut Rng| format!("actor{}", rng.within(0, 15));
    match rng.within(0, 11) {
        0..=3 => "all".into(),
        4..=6 => "any".into(),
        7 | 8 => name(rng),
        9 => rng.pick(&["[]", "", "a,b", "nobody"]).into(),
        _ => {
            let names: Vec<String> = (0..rng.within(1, 8)).map(|_| name(rng)).collect();
            format!(
                "[{}]",
                names.iter().map(|it| format!("\"{it}\"")).collect::<Vec<_>>().join(",")
            )
        }
    }
}

/// Answers a question, or says that it does not.
fn answer(service: &str, uuid: &[u8], id: &str, cx: &mut Context<'_>) {
    let cancel = cx.rng.one_in(4);
    let body = format!(r#"{{"input_id":"{id}","value":"so be it","cancel":{cancel}}}"#);
    let target = target(cx.rng);
    say(Verb::Put, service, &target, uuid, body.into_bytes(), cx);
}

fn shown(reply: &Reply<'_>) -> String {
    format!("{:?} {}", reply.kind, String::from_utf8_lossy(reply.status))
}

pub(super) fn say(
    verb: Verb,
    service: &str,
    target: &str,
    uuid: &[u8],
    body: Vec<u8>,
    cx: &mut Context<'_>,
) {
    let body = Message::new([body]);
    let (service, target, body) = (service.as_bytes(), target.as_bytes(), body.frames());
    let job = Job { verb, service, target, uuid, body };
    cx.act(Act::Say(encoded(|encoder| job.encode(encoder))));
}
