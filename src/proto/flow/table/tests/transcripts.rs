//! The recorded flows through ZIO's broker, made again: two ends and the table between them say
//! the same octets in the same order.

use super::*;
use crate::proto::flow::Load;
use crate::proto::flow::endpoint::{Endpoint, Heard, Side, State, Terms};
use crate::wire::zio::Label;
use crate::wire::zio::vectors::{Transcript, vectors};

/// One of the two, and what it says of its own.
#[derive(Clone)]
struct Actor {
    end: End,
    endpoint: Endpoint,
    /// What has been sent to it and not heard: when it hears is not recorded.
    inbox: VecDeque<Message>,
    refused: bool,
    /// The label of its BOT.
    bot: String,
    payload: Vec<&'static [u8]>,
}

impl Actor {
    fn new(end: End, direction: Direction, credit: u64, bot: &str) -> Self {
        let endpoint = Endpoint::new(Terms {
            side: Side::Client,
            direction,
            credit: u32::try_from(credit).unwrap(),
            bytes: None,
            answer_timeout: Some(secs(5)),
            end_timeout: None,
        });
        let payload = vec![&b"0"[..], b"1", b"2"];
        let (inbox, refused) = (VecDeque::new(), false);
        Self { end, endpoint, inbox, refused, bot: bot.to_owned(), payload }
    }

    /// Says something by itself, as its application has it; none if it may not yet.
    fn say(&mut self, kind: Kind) -> Option<Message> {
        let stamp = self.endpoint.say(Time::default(), kind, 0).ok()?;
        let (own, payload) = match kind {
            Kind::Bot => (self.bot.as_str(), Some(&b"hello"[..])),
            Kind::Dat => ("{}", Some(self.payload.remove(0))),
            Kind::Pay | Kind::Eot => ("{}", None),
        };
        let label = stamp.label(Label::parse(own).unwrap()).unwrap();
        Some(frame(&label, stamp.seqno, payload.as_slice()))
    }

    /// Says what was recorded, at the first moment when that is what it says.
    fn say_recorded(&mut self, recorded: &Message, step: &str) -> Message {
        loop {
            let mut now = self.clone();
            if let Some(said) = now.say(kind(recorded))
                && said == *recorded
            {
                *self = now;
                return said;
            }
            assert!(self.hear_next(), "{step}: {:?} is never said", read(recorded));
        }
    }

    fn hear_next(&mut self) -> bool {
        let Some(message) = self.inbox.pop_front() else { return false };
        let label = read(&message).0;
        let label = FlowLabel::read(&label).unwrap();
        let heard = self.endpoint.hear(Time::default(), &label, Load::default());
        self.refused |= heard.unwrap() == Heard::Refused;
        true
    }
}

fn play(transcript: &Transcript) -> [State; 2] {
    let mut scene = Scene::with_factory();
    let direction = match transcript.client_direction.as_str() {
        "extract" => Direction::Extract,
        "inject" => Direction::Inject,
        other => panic!("{other}"),
    };
    let [client, handler] = scene.ends();
    let mut client = Actor::new(client, direction, transcript.credit, r#"{"stream": "s1"}"#);
    let mut handler = Actor::new(handler, direction.reversed(), transcript.credit, "{}");
    let mut asked = None;
    for (at, (step, octets)) in transcript.steps().into_iter().enumerate() {
        let name = &transcript.name;
        let recorded = Message::new([octets]);
        let recorded = as_ours(recorded, transcript.cid, asked.as_ref());
        let (from, to) = step.split_once('>').unwrap();
        match (from, to) {
            ("client" | "handler", "broker") => {
                let actor = if from == "client" { &mut client } else { &mut handler };
                let said = actor.say_recorded(&recorded, &format!("{name}, step {at}"));
                scene.say(actor.end, &said);
            }
            ("broker", "client" | "handler") => {
                let actor = if to == "client" { &mut client } else { &mut handler };
                let said = scene.desk.said.get_mut(&actor.end).and_then(VecDeque::pop_front);
                let said = said.unwrap_or_else(|| panic!("{name}, step {at}: nothing was said"));
                assert_eq!(said, recorded, "{name}, step {at}: {:?}", read(&said));
                actor.inbox.push_back(said);
            }
            _ => panic!("{step}"),
        }
        if let Some((flow, bot)) = scene.desk.decide.pop_front() {
            let given = Message::new([transcript.factory_bot()]);
            let given = as_ours(given, transcript.cid, Some(&bot));
            // The recording of the refused flow was changed after the factory had it.
            let label = read(&given).0.replace("EOT", "BOT");
            assert_eq!(read(&bot), (label.clone(), 0), "{name}");
            handler.bot = label;
            asked = Some(bot);
            let refuse = name == "refused";
            scene.decided(flow, if refuse { Decision::Refuse } else { Decision::Accept });
        }
    }
    let left: usize = scene.desk.said.values().map(VecDeque::len).sum();
    assert_eq!((left, scene.table.len()), (0, 0), "{}", transcript.name);
    while client.hear_next() || handler.hear_next() {}
    assert_eq!(client.refused, transcript.name == "refused");
    [client.endpoint.state(), handler.endpoint.state()]
}

/// What was recorded, with the client's id that this broker gave.
fn as_ours(recorded: Message, theirs: u32, asked: Option<&Message>) -> Message {
    let (label, seqno) = read(&recorded);
    let Some(asked) = asked else { return recorded };
    let zio = Zio::decode(Shape::Single, recorded.frames()).unwrap();
    let label = label.replace(&theirs.to_string(), &cid_of(asked).to_string());
    assert_eq!(zio.coordinates.seqno, seqno);
    zio.with_label(&label).to_message(Shape::Single)
}

#[test]
fn the_recorded_flows_are_made_again_octet_by_octet() {
    let vectors = vectors();
    let names: Vec<&str> = vectors.transcripts.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["extract_client_eot", "inject_taker_eot", "refused", "both_eot"]);
    for transcript in &vectors.transcripts {
        let states = play(transcript);
        let expected = match transcript.name.as_str() {
            "refused" => [State::Refused, State::Idle],
            _ => [State::Fin; 2],
        };
        assert_eq!(states, expected, "{}", transcript.name);
    }
}
