//! The table with a desk around it: what it says lies in queues, and nothing is delivered.

mod failures;
mod lanes;
mod reuse;
mod services;
mod stop;
mod transcripts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use slotmap::SlotMap;

use super::*;
use crate::id::PeerId;
use crate::proto::flow::output::{FlowEvent, Outcome, Refusal, Seat};
use crate::proto::flow::rules::Target;
use crate::wire::message::Message;
use crate::wire::mjp::LaneHeader;
use crate::wire::zio::{Cid, Coordinates, Direction, FlowLabel, Form, Zio};

/// Everything the table says.
#[derive(Debug, Default)]
struct Desk {
    said: BTreeMap<End, VecDeque<Message>>,
    /// The same in the order of its being said.
    order: Vec<End>,
    full: BTreeSet<End>,
    resumed: Vec<End>,
    decide: VecDeque<(FlowId, Message)>,
    assigned: VecDeque<(End, FlowId, Message)>,
    /// The credit in octets that went with what was said last to an end within MJP.
    bytes: BTreeMap<End, Option<u64>>,
    asked_bytes: Option<u64>,
    events: Vec<FlowEvent>,
    charged: usize,
    memory: Option<usize>,
}

impl FlowOutput for Desk {
    fn say(&mut self, to: End, Words { frames, header }: Words<'_>) {
        self.order.push(to);
        self.said.entry(to).or_default().push_back(frames.to_message());
        self.bytes.insert(to, LaneHeader::decode(header).unwrap().bytes);
    }

    fn forward(&mut self, to: End, words: Words<'_>, _: usize) -> bool {
        let room = !self.full.contains(&to);
        if room {
            self.say(to, words);
        }
        room
    }

    fn is_full(&mut self, to: End, _: usize) -> bool {
        self.full.contains(&to)
    }

    fn resume(&mut self, from: End) {
        self.resumed.push(from);
    }

    fn decide(&mut self, flow: FlowId, bot: &Message) {
        self.decide.push_back((flow, bot.clone()));
    }

    fn assign(&mut self, handler: End, flow: FlowId, bot: &Message, bytes: Option<u64>) {
        self.asked_bytes = bytes;
        self.assigned.push_back((handler, flow, bot.clone()));
    }

    fn charge(&mut self, bytes: usize) -> bool {
        let room = self.memory.is_none_or(|memory| self.charged + bytes <= memory);
        self.charged += if room { bytes } else { 0 };
        room
    }

    fn release(&mut self, bytes: usize) {
        self.charged -= bytes;
    }

    fn event(&mut self, event: FlowEvent) {
        self.events.push(event);
    }
}

/// A table, its desk, and ends that speak.
struct Scene {
    table: FlowTable,
    desk: Desk,
    now: Time,
    peers: SlotMap<PeerId, ()>,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A message of one frame.
fn frame(label: &str, seqno: u64, payload: &[&'static [u8]]) -> Message {
    shaped(Shape::Single, label, seqno, payload)
}

fn shaped(shape: Shape, label: &str, seqno: u64, payload: &[&'static [u8]]) -> Message {
    let payload: Vec<Bytes> = payload.iter().map(|part| Bytes::from_static(part)).collect();
    let coordinates = Coordinates { seqno, ..Coordinates::default() };
    Zio { form: Form::FLOW, label, coordinates, payload: payload[..].into(), ..Zio::default() }
        .to_message(shape)
}

fn bot(direction: Direction, credit: i64) -> Message {
    let direction = direction.name();
    frame(&format!(r#"{{"flow": "BOT", "credit": {credit}, "direction": "{direction}"}}"#), 0, &[])
}

fn dat(seqno: u64) -> Message {
    frame(r#"{"flow": "DAT"}"#, seqno, &[b"data"])
}

fn pay(credit: u64, seqno: u64) -> Message {
    frame(&format!(r#"{{"flow": "PAY", "credit": {credit}}}"#), seqno, &[])
}

fn eot(seqno: u64) -> Message {
    frame(r#"{"flow": "EOT"}"#, seqno, &[])
}

/// Label and number of a message of one frame.
fn read(message: &Message) -> (String, u64) {
    let zio = Zio::decode(Shape::Single, message.frames()).unwrap();
    (zio.label.to_owned(), zio.coordinates.seqno)
}

fn kind(message: &Message) -> Kind {
    FlowLabel::read(&read(message).0).unwrap().kind()
}

fn cid_of(bot: &Message) -> NonZeroU32 {
    match FlowLabel::read(&read(bot).0).unwrap().cid() {
        Cid::Is(cid) => cid,
        other => panic!("{other:?}"),
    }
}

impl Scene {
    fn new(settings: FlowSettings) -> Self {
        let table = FlowTable::new(settings, [7; 32]);
        Self { table, desk: Desk::default(), now: Time::default(), peers: SlotMap::with_key() }
    }

    /// Every flow is the factory's to decide.
    fn with_factory() -> Self {
        Self::new(FlowSettings { otherwise: Target::Factory, ..FlowSettings::default() })
    }

    fn end(&mut self) -> End {
        self.shaped_end(Shape::Single)
    }

    fn shaped_end(&mut self, shape: Shape) -> End {
        let end = End::of(self.peers.insert(()));
        assert!(self.table.join(end, shape));
        end
    }

    fn ends<const N: usize>(&mut self) -> [End; N] {
        std::array::from_fn(|_| self.end())
    }

    /// Says something that is taken.
    fn say(&mut self, from: End, message: &Message) {
        assert_eq!(self.offer(from, message), Taken::Yes, "{:?}", read(message));
    }

    fn offer(&mut self, from: End, message: &Message) -> Taken {
        let taken = self.table.message(self.now, from, message.frames(), &mut self.desk);
        self.audit();
        taken
    }

    fn audit(&self) {
        self.table.audit().unwrap();
        assert_eq!(self.table.charged(), self.desk.charged);
    }

    fn decided(&mut self, flow: FlowId, decision: Decision) {
        self.table.decided(self.now, flow, decision, &mut self.desk);
        self.audit();
    }

    fn lose(&mut self, end: End) {
        self.table.leave(self.now, end.peer, &mut self.desk);
        self.audit();
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.table.tick(self.now, &mut self.desk);
        self.audit();
    }

    fn relieve(&mut self, end: End) {
        self.desk.full.remove(&end);
        self.table.relieved(end.peer, &mut self.desk);
        self.audit();
    }

    /// Takes what was said to an end.
    fn heard(&mut self, end: End) -> Vec<Message> {
        self.desk.said.remove(&end).map(Vec::from).unwrap_or_default()
    }

    fn kinds(&mut self, end: End) -> Vec<Kind> {
        self.heard(end).iter().map(kind).collect()
    }

    /// A client asks, and the factory is asked.
    fn ask(&mut self, client: End, bot: &Message) -> (FlowId, Message) {
        self.say(client, bot);
        let asked = self.desk.decide.pop_front().expect("the factory is asked");
        assert!(self.desk.decide.is_empty());
        asked
    }

    /// A flow that runs: the client does `direction`, and all was heard.
    fn pair(&mut self, direction: Direction, credit: i64) -> [End; 2] {
        let ends = self.ends();
        self.pair_up(ends, direction, credit);
        ends
    }

    fn pair_up(&mut self, [client, handler]: [End; 2], direction: Direction, credit: i64) {
        let (flow, for_handler) = self.ask(client, &bot(direction, credit));
        self.decided(flow, Decision::Accept);
        self.say(handler, &for_handler);
        assert_eq!(self.kinds(handler), [Kind::Bot]);
        assert_eq!(self.kinds(client), [Kind::Bot]);
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let ended = self.desk.events.iter().filter_map(|event| match event {
            FlowEvent::Ended { outcome, .. } => Some(*outcome),
            _ => None,
        });
        ended.collect()
    }

    fn dropped(&self, why: &str) -> u64 {
        self.table.dropped().get(why).copied().unwrap_or_default()
    }

    fn refused(&self, why: Refusal) -> u64 {
        self.table.refused().get(why.label()).copied().unwrap_or_default()
    }

    /// The flow between them runs: a DAT and a PAY get through.
    fn assert_runs(&mut self, giver: End, taker: End) {
        self.say(taker, &pay(1, 100));
        assert_eq!(self.heard(giver), [pay(1, 100)]);
        self.say(giver, &dat(100));
        assert_eq!(self.heard(taker), [dat(100)]);
    }
}

#[test]
fn a_client_gets_its_answer_after_its_handler() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.ends();
    let label =
        r#"{"flow":"BOT","credit":5,"direction":"inject","n":1.50,"big":123456789012345678901}"#;
    let (flow, for_handler) = scene.ask(client, &frame(label, 0, &[b"free"]));
    let cid = cid_of(&for_handler);
    let expected =
        label.replace("inject", "extract").replace("01}", &format!("01, \"cid\": {cid}}}"));
    assert_eq!(for_handler, frame(&expected, 0, &[b"free"]));
    assert_eq!(scene.heard(client), []);
    scene.decided(flow, Decision::Accept);
    // The handler lowers the credit, and adds what it wants.
    let own = format!(
        r#"{{"cid": {cid}, "flow": "BOT", "credit": 2, "direction": "extract", "x": [1e3]}}"#
    );
    scene.desk.order.clear();
    scene.say(handler, &frame(&own, 0, &[b"", b"mine"]));
    assert_eq!(scene.desk.order, [handler, client]);
    let plain = r#"{"flow": "BOT", "credit": 2, "direction": "extract", "x": [1e3]}"#;
    let mirrored = plain.replace("extract", "inject");
    assert_eq!(scene.heard(handler), [frame(&mirrored, 0, &[b"", b"mine"])]);
    assert_eq!(scene.heard(client), [frame(plain, 0, &[b"", b"mine"])]);
    scene.assert_runs(handler, client);
}

#[test]
fn what_is_between_the_bots_and_the_eots_goes_on_octet_by_octet() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 2);
    let odd =
        b"\xff\x00\x00\x00\x28ZIO7TENS{ \"x\":1e+2 ,\"flow\" : \"D\\u0041T\"}\xff\x00\x00\x00\x18";
    let mut octets = odd.to_vec();
    octets.extend_from_slice(&[9; 24]);
    octets.extend_from_slice(b"\xff\x00\x00\x00\x01a\x00");
    let odd = Message::new([octets]);
    scene.say(handler, &pay(2, 1));
    scene.say(client, &odd);
    assert_eq!(scene.heard(handler), [odd]);
    assert_eq!(scene.heard(client), [pay(2, 1)]);
    let last = frame(r#"{"flow": "EOT", "why": "done"}"#, 7, &[b"sum"]);
    scene.say(client, &last);
    assert_eq!(scene.heard(handler), [last]);
}

#[test]
fn ends_of_both_shapes_talk() {
    let mut scene = Scene::with_factory();
    let dealer = scene.shaped_end(Shape::Multipart);
    let client = scene.end();
    let label = r#"{"flow": "BOT", "credit": 2, "direction": "extract"}"#;
    let (flow, for_handler) = scene.ask(dealer, &shaped(Shape::Multipart, label, 0, &[b"x"]));
    scene.decided(flow, Decision::Accept);
    scene.say(client, &for_handler);
    assert_eq!(scene.kinds(client), [Kind::Bot]);
    let answer = shaped(Shape::Multipart, &label.replace("extract", "inject"), 0, &[b"x"]);
    assert_eq!(scene.heard(dealer), [answer]);
    scene.say(client, &pay(1, 1));
    assert_eq!(scene.heard(dealer), [shaped(Shape::Multipart, &read(&pay(1, 1)).0, 1, &[])]);
    scene.say(dealer, &shaped(Shape::Multipart, r#"{"flow": "DAT"}"#, 1, &[b"data"]));
    assert_eq!(scene.heard(client), [dat(1)]);
    scene.lose(client);
    assert_eq!(scene.heard(dealer), [shaped(Shape::Multipart, &read(&eot(2)).0, 2, &[])]);
}

#[test]
fn a_silent_flow_is_said_to_be_idle_once() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Extract, 2);
    let idle = |scene: &Scene| {
        scene.desk.events.iter().filter(|it| matches!(it, FlowEvent::Idle { .. })).count()
    };
    scene.wait(secs(59));
    scene.say(handler, &pay(2, 1));
    scene.wait(secs(59));
    assert_eq!(idle(&scene), 0);
    scene.wait(secs(1));
    scene.wait(secs(300));
    assert_eq!(idle(&scene), 1);
    scene.say(client, &dat(1));
    scene.wait(secs(59));
    assert_eq!(idle(&scene), 1);
    scene.wait(secs(1));
    assert_eq!(idle(&scene), 2);
    assert_eq!(scene.outcomes(), []);
    assert_eq!(scene.table.next_timeout(), None);
}

#[test]
fn a_listing_has_every_flow_page_by_page() {
    let mut scene = Scene::with_factory();
    let [client, handler] = scene.pair(Direction::Inject, 3);
    let waiting = scene.end();
    scene.say(waiting, &bot(Direction::Extract, 1));
    scene.assert_runs(handler, client);
    scene.now = scene.now.after(secs(2));
    let (rows, next) = scene.table.page(scene.now, 0, 1);
    let row = &rows[0];
    assert_eq!((row.client, row.handler), (client, Some(handler)));
    assert_eq!((row.stage, row.credit, row.dats), (Stage::Open, 3, 1));
    assert_eq!((row.direction, row.age, row.silent), (Direction::Inject, secs(2), secs(2)));
    let (rows, next) = scene.table.page(scene.now, next.unwrap(), 10);
    assert_eq!((rows.len(), rows[0].client, rows[0].stage), (1, waiting, Stage::Deciding));
    assert_eq!(next, None);
    let counts = scene.table.counts();
    assert_eq!((counts.asked, counts.paired, counts.dats), (2, 1, 1));
}
