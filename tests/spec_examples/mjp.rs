//! The examples of MJP/1: kind, id, headers in the manner of JSON, and body.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use majordomo::wire::codec::Encoder;
use majordomo::wire::message::Frames;
use majordomo::wire::mjp::{
    AcceptedHeader, AdminEvent, AdminHeader, AdminReport, Answer, AskHeader, BrokerHello,
    BrokerReport, ClientReport, DeadHeader, DeadReport, DeliveryHeader, EndReport, EventHeader,
    ExplainReport, Fault, FlowReport, FromBroker, GapHeader, GroupHeader, GroupReport, GroupRoster,
    GroupRow, GroupType, HelloLimits, JobReport, Lane, LaneHeader, LeaseHeader, LeaseReport,
    LeaseRow, LetterReport, MemberRow, NewsHeader, NoteHeader, OutcomeHeader, Packed, PeerHello,
    PolicyReport, PublishHeader, PublishedHeader, ReadyHeader, RegistrationReport, Report,
    RequestHeader, SIGNATURE, ScatterHeader, SeenReport, ServiceReport, StandReport, StateReport,
    StatusHeader, StoreReport, SubscribeHeader, Tally, TargetReport, Targets, TellHeader, ToBroker,
    WorkerReport, kind,
};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{SPEC, bodies, examples, written};

const KINDS: [(u8, &str); 31] = [
    (kind::HELLO, "HELLO"),
    (kind::HEARTBEAT, "HEARTBEAT"),
    (kind::DRAIN, "DRAIN"),
    (kind::BYE, "BYE"),
    (kind::REQUEST, "REQUEST"),
    (kind::CANCEL, "CANCEL"),
    (kind::STATUS, "STATUS"),
    (kind::SUBSCRIBE, "SUBSCRIBE"),
    (kind::UNSUBSCRIBE, "UNSUBSCRIBE"),
    (kind::PUBLISH, "PUBLISH"),
    (kind::ADMIN, "ADMIN"),
    (kind::SCATTER, "SCATTER"),
    (kind::FLOW, "FLOW"),
    (kind::LEASE, "LEASE"),
    (kind::GROUP, "GROUP"),
    (kind::LANE, "LANE"),
    (kind::ACCEPTED, "ACCEPTED"),
    (kind::PARTIAL, "PARTIAL"),
    (kind::FINAL, "FINAL"),
    (kind::ERROR, "ERROR"),
    (kind::EVENT, "EVENT"),
    (kind::ASK, "ASK"),
    (kind::TELL, "TELL"),
    (kind::TARGETS, "TARGETS"),
    (kind::OUTCOME, "OUTCOME"),
    (kind::MESSAGE, "MESSAGE"),
    (kind::PUBLISHED, "PUBLISHED"),
    (kind::GAP, "GAP"),
    (kind::NOTE, "NOTE"),
    (kind::READY, "READY"),
    (kind::CREDIT, "CREDIT"),
];

/// What the octets mean as said to a broker or by one, and what the library writes for it.
pub(super) fn message(way: &str, frames: Frames<'_>) -> (String, Option<Vec<u8>>) {
    let mut out = Encoder::default();
    match way {
        "mjp" => {
            let command = ToBroker::decode(frames).expect("a peer's command");
            command.encode(&mut out);
            fields_are_all_known(&command, frames);
        }
        "mjp-broker" => {
            let command = FromBroker::decode(frames).expect("a broker's command");
            command.encode(&mut out);
            match command {
                FromBroker::Request(delivery) => {
                    let says = RequestHeader::decode(delivery.header).expect("a client's header");
                    assert_eq!(Packed::new(&says).octets(), delivery.header);
                }
                FromBroker::Admin { header, .. } => match AdminEvent::decode(header) {
                    Ok(event) => assert_eq!(Packed::new(&event).octets(), header),
                    Err(_) => {
                        let says = AdminReport::decode(header).expect("a report");
                        let dead = DeadReport::decode(header).expect("a report");
                        let written = [Packed::new(&says), Packed::new(&dead)];
                        assert!(written.iter().any(|says| says.octets() == header));
                    }
                },
                FromBroker::Group { header, .. } => {
                    let says = GroupReport::decode(header).expect("a report");
                    assert_eq!(Packed::new(&says).octets(), header);
                }
                FromBroker::Lease { header, .. } => {
                    let says = LeaseReport::decode(header).expect("a report");
                    assert_eq!(Packed::new(&says).octets(), header);
                }
                FromBroker::Status { header, .. } => {
                    let says = Report::decode(header).expect("a report");
                    assert_eq!(Packed::new(&says).octets(), header);
                }
                FromBroker::Targets(targets) => {
                    let names = targets.names().expect("names");
                    assert_eq!(Targets::pack(&names), targets.names);
                }
                FromBroker::Final(answer) if !answer.header.is_empty() => {
                    let tally = Tally::decode(answer.header).expect("a tally");
                    assert_eq!(Packed::new(&tally).octets(), answer.header);
                }
                FromBroker::Flow(Answer { header, .. }) | FromBroker::Lane(Lane { header, .. })
                    if !header.is_empty() =>
                {
                    let says = LaneHeader::decode(header).expect("a credit in octets");
                    assert_eq!(Packed::new(&says).octets(), header);
                }
                _ => {}
            }
        }
        "mjp-invalid" => {
            let rejected = ToBroker::decode(frames).expect_err("no command");
            return (rejected.to_string(), None);
        }
        other => panic!("`{other}` is no kind of example"),
    }
    (text(way, frames), Some(written(&out)))
}

/// Headers are forwarded as they are; written from their fields they must be the same.
fn fields_are_all_known(command: &ToBroker<'_>, mut frames: Frames<'_>) {
    let header = frames.nth(2).unwrap_or_default();
    match command {
        ToBroker::Request(request) => assert_eq!(Packed::new(&request.says).octets(), header),
        ToBroker::Scatter(scatter) => assert_eq!(Packed::new(&scatter.says).octets(), header),
        ToBroker::Error(_) => {
            let fault = Fault::decode(header).expect("code and message");
            assert_eq!(Packed::new(&fault).octets(), header);
        }
        ToBroker::Event(_) => {
            let says = EventHeader::decode(header).expect("what the convention has");
            assert_eq!(Packed::new(&says).octets(), header);
        }
        ToBroker::Lane(lane) if !header.is_empty() => {
            assert_eq!(Packed::new(&lane.says).octets(), header);
        }
        ToBroker::Ask(ask) => assert_eq!(Packed::new(&ask.says).octets(), header),
        ToBroker::Tell(tell) => assert_eq!(Packed::new(&tell.says).octets(), header),
        _ => {}
    }
}

/// Read off the frames by the table of SPEC 9.1, without the decoder.
fn text(way: &str, mut frames: Frames<'_>) -> String {
    assert_eq!(frames.next(), Some(&SIGNATURE[..]));
    let second = frames.next().expect("kind and id");
    let (kind, id) = (second[0], u64::from_be_bytes(second[1..].try_into().expect("8 octets")));
    let name = KINDS.iter().find(|(octet, _)| *octet == kind).expect("a known kind").1;
    let mut text = name.to_owned();
    if id != 0 {
        write!(text, " {id}").unwrap();
    }
    let two = way == "mjp-broker"
        && matches!(kind, kind::REQUEST | kind::OUTCOME | kind::NOTE | kind::MESSAGE);
    let headers = if two { 2 } else { 1 };
    for header in frames.by_ref().take(headers) {
        let header = if header.is_empty() { &[0x80] } else { header };
        let header: Json = rmp_serde::from_slice(header).expect("MessagePack");
        write!(text, " {}", header.0).unwrap();
    }
    if !frames.is_empty() {
        write!(text, ": {}", bodies(frames)).unwrap();
    }
    text
}

/// A value of MessagePack in the manner of JSON; a bin has `b` before it.
struct Json(String);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
                Ok(Json(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
                Ok(Json(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
                Ok(Json(format!("{value:?}")))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
                Ok(Json(format!("{value:?}")))
            }

            fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Json, E> {
                Ok(Json(format!("b\"{}\"", value.escape_ascii())))
            }

            fn visit_unit<E: Error>(self) -> Result<Json, E> {
                Ok(Json("null".into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(Json(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json(format!("[{}]", items.join(", "))))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some((Json(key), Json(value))) = map.next_entry()? {
                    items.push(format!("{key}: {value}"));
                }
                Ok(Json(format!("{{{}}}", items.join(", "))))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The rows of the table whose first column is a kind: octet and name.
fn table() -> Vec<(u8, String, [bool; 2])> {
    let rows = SPEC.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let octet = u8::from_str_radix(cells.first()?.strip_suffix('`')?, 16).ok()?;
        let name = *cells.get(1)?;
        let ways = [cells.get(2)?, cells.get(3)?].map(|cell| !cell.is_empty());
        (cells.len() == 7 && name.chars().all(char::is_uppercase))
            .then(|| (octet, name.to_owned(), ways))
    });
    rows.collect()
}

#[test]
fn the_table_of_kinds_is_that_of_the_library_and_every_kind_has_an_example_each_way() {
    let table = table();
    let named: Vec<_> = table.iter().map(|(octet, name, _)| (*octet, name.as_str())).collect();
    assert_eq!(named, KINDS);
    let found: BTreeSet<_> = examples(SPEC)
        .iter()
        .map(|example| {
            let name = example.says.split(' ').next().unwrap_or_default();
            (example.kind.clone(), name.to_owned())
        })
        .collect();
    for (_, name, [to, from]) in table {
        for (way, goes) in [("mjp", to), ("mjp-broker", from)] {
            assert_eq!(found.contains(&(way.into(), name.clone())), goes, "{way} {name}");
        }
    }
}

/// Tells which fields are asked for.
struct Fields;

impl<'de> Deserializer<'de> for Fields {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        Err(Error::custom(fields.join(" ")))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: Deserialize<'static>>() -> String {
    T::deserialize(Fields).err().expect("the names of the fields").to_string()
}

#[test]
fn every_key_of_a_header_is_in_spec_md() {
    let headers = [
        fields::<PeerHello<'_>>(),
        fields::<BrokerHello<'_>>(),
        fields::<HelloLimits>(),
        fields::<RequestHeader<'_>>(),
        fields::<DeliveryHeader<'_>>(),
        fields::<StatusHeader<'_>>(),
        fields::<AdminHeader<'_>>(),
        fields::<AdminReport<'_>>(),
        fields::<AdminEvent<'_>>(),
        fields::<JobReport<'_>>(),
        fields::<TargetReport<'_>>(),
        fields::<ClientReport<'_>>(),
        fields::<RegistrationReport<'_>>(),
        fields::<FlowReport<'_>>(),
        fields::<EndReport<'_>>(),
        fields::<AcceptedHeader<'_>>(),
        fields::<Fault<'_>>(),
        fields::<ReadyHeader<'_>>(),
        fields::<Report<'_>>(),
        fields::<BrokerReport<'_>>(),
        fields::<StoreReport>(),
        fields::<ServiceReport<'_>>(),
        fields::<WorkerReport<'_>>(),
        fields::<ScatterHeader<'_>>(),
        fields::<OutcomeHeader<'_>>(),
        fields::<NoteHeader<'_>>(),
        fields::<Tally>(),
        fields::<EventHeader<'_>>(),
        fields::<AskHeader<'_>>(),
        fields::<TellHeader<'_>>(),
        fields::<SubscribeHeader<'_>>(),
        fields::<PublishHeader<'_>>(),
        fields::<PublishedHeader>(),
        fields::<NewsHeader<'_>>(),
        fields::<GapHeader>(),
        fields::<LeaseHeader<'_>>(),
        fields::<LeaseReport<'_>>(),
        fields::<LeaseRow<'_>>(),
        fields::<GroupHeader<'_>>(),
        fields::<GroupType<'_>>(),
        fields::<GroupReport<'_>>(),
        fields::<GroupRow<'_>>(),
        fields::<GroupRoster<'_>>(),
        fields::<MemberRow<'_>>(),
        fields::<LaneHeader>(),
    ];
    missing_from("### 9.3 ", &headers);
    let headers = [
        fields::<DeadHeader<'_>>(),
        fields::<DeadReport<'_>>(),
        fields::<LetterReport<'_>>(),
        fields::<SeenReport<'_>>(),
        fields::<ExplainReport<'_>>(),
        fields::<StandReport<'_>>(),
        fields::<StateReport<'_>>(),
        fields::<PolicyReport<'_>>(),
    ];
    missing_from("## 16. ", &headers);
}

fn missing_from(section: &str, headers: &[String]) {
    let end = if section.starts_with("###") { "\n### " } else { "\n## " };
    let text = SPEC.split(section).nth(1).and_then(|text| text.split(end).next());
    let section = text.expect("the section");
    let missing = |key: &&str| {
        let quoted = format!("`{key}`");
        !section.lines().any(|line| {
            (line.starts_with("| `") || line.starts_with("**ACCEPTED")) && line.contains(&quoted)
        })
    };
    let keys: Vec<_> = headers.iter().flat_map(|fields| fields.split(' ')).collect();
    assert!(keys.len() > 40, "{keys:?}");
    let missing: Vec<_> = keys.into_iter().filter(missing).collect();
    assert!(missing.is_empty(), "no row of SPEC has {missing:?}");
}

#[test]
fn the_codes_are_those_of_the_library() {
    use majordomo::wire::mjp::Code;
    let section = SPEC.split("### 9.4 ").nth(1).and_then(|text| text.split("### ").next());
    let rows = section.expect("the codes").lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split('|').collect();
        let [code, _, retry, ..] = cells[..] else { return None };
        Some((code.trim().trim_matches('`').to_owned(), retry.trim() == "yes"))
    });
    let expected = Code::ALL.map(|code| (code.as_str().to_owned(), code.may_retry()));
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}
