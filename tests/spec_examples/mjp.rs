//! The examples of MJP/1: kind, id, headers in the manner of JSON, and body.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use majordomo::wire::codec::Encoder;
use majordomo::wire::message::Frames;
use majordomo::wire::mjp::{
    BrokerHello, DeliveryHeader, Fault, FromBroker, Packed, PeerHello, ReadyHeader, RequestHeader,
    SIGNATURE, StatusHeader, ToBroker, kind,
};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{SPEC, bodies, examples, written};

const KINDS: [(u8, &str); 13] = [
    (kind::HELLO, "HELLO"),
    (kind::HEARTBEAT, "HEARTBEAT"),
    (kind::DRAIN, "DRAIN"),
    (kind::BYE, "BYE"),
    (kind::REQUEST, "REQUEST"),
    (kind::CANCEL, "CANCEL"),
    (kind::STATUS, "STATUS"),
    (kind::ACCEPTED, "ACCEPTED"),
    (kind::PARTIAL, "PARTIAL"),
    (kind::FINAL, "FINAL"),
    (kind::ERROR, "ERROR"),
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
            if let FromBroker::Request(delivery) = command {
                let says = RequestHeader::decode(delivery.header).expect("a client's header");
                assert_eq!(Packed::new(&says).octets(), delivery.header);
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
        ToBroker::Error(_) => {
            let fault = Fault::decode(header).expect("code and message");
            assert_eq!(Packed::new(&fault).octets(), header);
        }
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
    let headers = if (way, kind) == ("mjp-broker", kind::REQUEST) { 2 } else { 1 };
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

#[test]
fn every_key_of_a_header_is_in_spec_md() {
    // Every field that the library writes, none left out.
    let one = std::num::NonZeroU32::MIN;
    let headers = [
        Packed::new(&PeerHello { agent: Some("a"), ..Default::default() }),
        Packed::new(&BrokerHello {
            version: 1,
            agent: Some("a"),
            features: vec!["a"],
            heartbeat: Some(1),
            liveness: Some(1),
            limits: Some(Default::default()),
        }),
        Packed::new(&RequestHeader {
            service: b"a",
            timeout: Some(1),
            attempts: Some(one),
            ack: Some(true),
            parts: Some(true),
            trace: Some("a"),
            state: Some("a"),
        }),
        Packed::new(&DeliveryHeader { attempt: one, timeout: Some(1), identity: Some(b"a") }),
        Packed::new(&StatusHeader {
            what: majordomo::wire::mjp::What::Broker,
            service: Some(b"a"),
            after: Some(1),
            max: Some(std::num::NonZeroU16::MIN),
        }),
        Packed::new(&Fault { code: "a", message: Some("a"), retry: Some(1) }),
        Packed::new(&ReadyHeader {
            service: b"a",
            credit: Some(std::num::NonZeroU16::MIN),
            labels: [("a", "a")].into_iter().collect(),
            version: Some("a"),
            description: Some("a"),
        }),
    ];
    let section = SPEC.split("## 9. ").nth(1).expect("the section of MJP/1");
    for header in headers {
        let header: std::collections::BTreeMap<String, serde::de::IgnoredAny> =
            rmp_serde::from_slice(header.octets()).expect("a map");
        assert!(!header.is_empty());
        for key in header.keys() {
            let row = section.lines().any(|line| {
                line.starts_with("| `")
                    && line.split('|').nth(1).unwrap_or_default().contains(&format!("`{key}`"))
            });
            assert!(row, "no row of SPEC 9 has `{key}`");
        }
    }
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
