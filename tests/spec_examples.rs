//! The octets in SPEC.md are read by the decoders and written by the encoders, so that the
//! document cannot say what the code does not do.
//!
//! A block is fenced as `hex KIND`. Its lines hold octets, then a comment after `;`. The last line
//! begins with `=` and says what the octets mean, in the words of [`meaning`].

use std::collections::BTreeSet;
use std::io::IoSlice;

use majordomo::wire::Limits;
use majordomo::wire::codec::{Decoder, Encoder, Item};
use majordomo::wire::command::{Command, CommandReader, Metadata};
use majordomo::wire::greeting::{GREETING_LEN, Greeting, GreetingReader, Mechanism, Version};
use majordomo::wire::mdp::{self, Answer, FromWorker, ToBroker, ToClient, ToWorker};
use majordomo::wire::message::{Frames, Message};

#[path = "spec_examples/login.rs"]
mod login;
#[path = "spec_examples/mjp.rs"]
mod mjp;
#[path = "spec_examples/zio.rs"]
mod zio;

const SPEC: &str = include_str!("../SPEC.md");

struct Example {
    kind: String,
    octets: Vec<u8>,
    says: String,
    line: usize,
}

fn examples(text: &str) -> Vec<Example> {
    let mut lines = text.lines().enumerate();
    let mut found = Vec::new();
    while let Some((line, text)) = lines.next() {
        let Some(kind) = text.strip_prefix("```hex ") else { continue };
        let mut example =
            Example { kind: kind.into(), octets: Vec::new(), says: String::new(), line: line + 1 };
        for (line, text) in lines.by_ref().take_while(|(_, text)| *text != "```") {
            match text.strip_prefix("= ") {
                Some(says) => example.says = says.into(),
                None => example.octets.extend(hex(text, line + 1)),
            }
        }
        found.push(example);
    }
    found
}

fn hex(text: &str, line: usize) -> Vec<u8> {
    let octets = text.split(';').next().unwrap_or_default().split_whitespace();
    octets
        .map(|octet| {
            assert_eq!(octet.len(), 2, "SPEC.md:{line}: `{octet}` is no octet");
            u8::from_str_radix(octet, 16).unwrap_or_else(|error| panic!("SPEC.md:{line}: {error}"))
        })
        .collect()
}

/// What octets of this kind mean, and the octets that the library writes for that meaning.
fn meaning(kind: &str, octets: &[u8]) -> (String, Option<Vec<u8>>) {
    match kind {
        "greeting" => greeting(octets),
        "refused-greeting" => (refused_greeting(octets), None),
        "refused-frame" => {
            let mut decoder = Decoder::new(Limits::default());
            let refused = decoder.next(&mut { octets }).is_err();
            (if refused { "closed" } else { "served" }.into(), None)
        }
        "command" => command(octets),
        "login" => login::command(octets),
        _ => {
            let mut decoder = Decoder::new(Limits::default());
            let mut input = octets;
            let item = decoder.next(&mut input).expect("a message");
            let Some(Item::Message(frames)) = item else { panic!("no message: {item:?}") };
            assert!(input.is_empty(), "octets are left behind the message");
            message(kind, frames)
        }
    }
}

fn greeting(octets: &[u8]) -> (String, Option<Vec<u8>>) {
    assert_eq!(octets.len(), GREETING_LEN);
    let mechanism = match octets[12] {
        b'C' => Mechanism::Curve,
        b'P' => Mechanism::Plain,
        _ => Mechanism::Null,
    };
    let read = GreetingReader::new(mechanism).read(&mut { octets });
    let greeting = read.expect("a greeting").expect("a whole greeting");
    let Greeting { version, mechanism, as_server } = greeting;
    let ours = Greeting { version: Version::OURS, mechanism, as_server }.encode();
    let server = if as_server { ", server" } else { "" };
    (format!("ours: ZMTP {version}, {mechanism}{server}"), Some(ours.to_vec()))
}

fn refused_greeting(octets: &[u8]) -> String {
    let mut input = octets;
    match GreetingReader::new(Mechanism::Null).read(&mut input) {
        Ok(_) => "served".into(),
        Err(_) => format!("refused at octet {}", octets.len() - input.len()),
    }
}

fn command(octets: &[u8]) -> (String, Option<Vec<u8>>) {
    let mut input = octets;
    let body = CommandReader::new(4096).read(&mut input).expect("a command").expect("a whole one");
    assert!(input.is_empty(), "octets are left behind the command");
    let command = Command::decode(&body).expect("a command that can be read");
    let mut written = Vec::new();
    command.encode(&mut written);
    let text = match command {
        Command::Ready(metadata) => {
            let Metadata { socket_type, identity } = Metadata::decode(metadata).expect("metadata");
            let identity =
                identity.map_or_else(|| "no identity".into(), |name| format!("identity {name}"));
            format!("READY of a {socket_type}, {identity}")
        }
        Command::Error { reason } => format!("ERROR {}", quoted(reason)),
        Command::Ping { ttl_deciseconds, context } => {
            format!("PING, time to live {ttl_deciseconds}, context {}", quoted(context))
        }
        Command::Pong { context } => format!("PONG, context {}", quoted(context)),
        _ => return ("ignored".into(), None),
    };
    (text, Some(written))
}

fn message(kind: &str, frames: Frames<'_>) -> (String, Option<Vec<u8>>) {
    let mut out = Encoder::default();
    let text = match kind {
        "message" => return (format!("{} frames: {}", frames.len(), bodies(frames)), None),
        "invalid" => return (ToBroker::decode(frames).expect_err("no MDP").to_string(), None),
        "client" => {
            let Ok(ToBroker::Request(request)) = ToBroker::decode(frames) else {
                panic!("not a client's request")
            };
            request.encode(&mut out);
            let envelope = match request.envelope.len() {
                0 | 1 => String::new(),
                frames => format!(", envelope of {frames} frames"),
            };
            let (service, body) = (quoted(request.service), bodies(request.body));
            format!("{} REQUEST {service}: {body}{envelope}", version(request.version))
        }
        "worker" => {
            let Ok(ToBroker::Worker(spoken, command)) = ToBroker::decode(frames) else {
                panic!("not a worker's command")
            };
            command.encode(spoken, &mut out);
            let text = match command {
                FromWorker::Ready { service } => format!("READY {}", quoted(service)),
                FromWorker::Partial(answer) => said("PARTIAL", &answer),
                FromWorker::Final(answer) => said("FINAL", &answer),
                FromWorker::Heartbeat => "HEARTBEAT".into(),
                FromWorker::Disconnect => "DISCONNECT".into(),
                FromWorker::BadReady(_) => return (format!("{} bad READY", version(spoken)), None),
                FromWorker::BadAnswer(_) => {
                    return (format!("{} bad answer", version(spoken)), None);
                }
                FromWorker::Invalid(_) => return (format!("{} invalid", version(spoken)), None),
            };
            format!("{} {text}", version(spoken))
        }
        "to-worker" => {
            let (spoken, command) = ToWorker::decode(frames).expect("a broker's command");
            command.encode(spoken, &mut out);
            let text = match command {
                ToWorker::Request(request) => said("REQUEST", &request),
                ToWorker::Heartbeat => "HEARTBEAT".into(),
                ToWorker::Disconnect => "DISCONNECT".into(),
            };
            format!("{} {text}", version(spoken))
        }
        "to-client" => {
            let answer = ToClient::decode(frames).expect("a broker's answer");
            let (delimiter, none) = (Frames::DELIMITER, Frames::default());
            let (envelope, name) = match (answer.version, answer.last) {
                (mdp::Version::V01, _) => (&delimiter, "REPLY"),
                (mdp::Version::V02, false) => (&none, "PARTIAL"),
                (mdp::Version::V02, true) => (&none, "FINAL"),
            };
            answer.encode(envelope, &[] as &[Message], &mut out);
            let (service, body) = (quoted(answer.service), bodies(answer.body));
            format!("{} {name} {service}: {body}", version(answer.version))
        }
        "zio" | "refused-zio" => return zio::message(frames),
        other => return mjp::message(other, frames),
    };
    (text, Some(written(&out)))
}

fn version(version: mdp::Version) -> &'static str {
    match version {
        mdp::Version::V01 => "MDP/0.1",
        mdp::Version::V02 => "MDP/0.2",
    }
}

fn said(name: &str, answer: &Answer<'_>) -> String {
    let address: String = answer.address.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{name} for {address}: {}", bodies(answer.body))
}

fn bodies(frames: Frames<'_>) -> String {
    frames.map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(octets: &[u8]) -> String {
    format!("\"{}\"", octets.escape_ascii())
}

fn written(out: &Encoder) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = out.chunks(&mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

#[test]
fn the_octets_of_spec_md_mean_what_it_says() {
    for Example { kind, octets, says, line } in examples(SPEC) {
        let (means, written) = meaning(&kind, &octets);
        assert_eq!(means, says, "SPEC.md:{line}, {kind}");
        if let Some(written) = written {
            assert_eq!(written, octets, "SPEC.md:{line}, {kind}: the library writes otherwise");
        }
    }
}

#[test]
fn every_command_has_an_example_in_each_version() {
    let found: BTreeSet<_> = examples(SPEC)
        .iter()
        .map(|example| {
            let words: Vec<_> = example.says.split([' ', ',']).take(2).collect();
            format!("{} {}", example.kind, words.join(" "))
        })
        .collect();
    for (version, parts, last) in [("MDP/0.1", false, "REPLY"), ("MDP/0.2", true, "FINAL")] {
        let mut wanted = vec![("client", "REQUEST"), ("to-client", last)];
        wanted.extend(["READY", "FINAL", "HEARTBEAT", "DISCONNECT"].map(|name| ("worker", name)));
        wanted.extend(["REQUEST", "HEARTBEAT", "DISCONNECT"].map(|name| ("to-worker", name)));
        if parts {
            wanted.extend([("worker", "PARTIAL"), ("to-client", "PARTIAL")]);
        }
        for (kind, name) in wanted {
            let wanted = format!("{kind} {version} {name}");
            assert!(found.contains(&wanted), "SPEC.md has no example of {wanted}");
        }
    }
}

#[test]
fn every_test_that_spec_md_names_is_there() {
    let mut named = 0;
    for name in
        SPEC.split('`').filter(|text| text.starts_with("src/") || text.starts_with("tests/"))
    {
        let Some((file, test)) = name.split_once("::") else { continue };
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let is_there = ["fn", "def"].iter().any(|word| text.contains(&format!("{word} {test}(")));
        assert!(is_there, "SPEC.md names {name}, which is not there");
        named += 1;
    }
    assert!(named > 20, "{named} tests are named");
}

#[test]
fn a_wrong_example_is_found() {
    let beat = "```hex worker\n01 06 4d 44 50 57 30 32 00 01 05 ; five\n= MDP/0.2 HEARTBEAT\n```\n";
    let [example] = &examples(beat)[..] else { panic!("one block") };
    assert_eq!(example.octets.len(), 11);
    assert_eq!(meaning(&example.kind, &example.octets).0, example.says);
    let wrong = beat.replace("00 01 05", "00 01 06");
    let [example] = &examples(&wrong)[..] else { panic!("one block") };
    assert_ne!(meaning(&example.kind, &example.octets).0, example.says);
}
