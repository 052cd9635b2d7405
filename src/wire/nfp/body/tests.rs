use super::*;

const ABOUT: About<'_> = About { service: b"svcZ", target: b"x1", uuid: b"6dde" };

fn json(octets: &[u8]) -> serde_json::Value {
    serde_json::from_slice(octets).unwrap()
}

fn texts(names: &[&str]) -> Target<'static> {
    Target::Names(names.iter().map(|name| Cow::Owned((*name).to_owned())).collect())
}

// Golden: facts of NorFab 0.25.0, "Bodies": broker 202, broker 400, worker 201.
#[test]
fn bodies_have_the_keys_that_norfab_looks_for() {
    let about = About { target: b"[\"w1\",\"w2\"]", ..ABOUT };
    assert_eq!(
        dispatched(&["w1", "w2"], about),
        br#"{"workers":["w1","w2"],"uuid":"6dde","target":"[\"w1\",\"w2\"]","status":"DISPATCHED","service":"svcZ"}"#
    );
    assert_eq!(
        failed(ABOUT, &"why \"not\""),
        br#"{"workers":null,"uuid":"6dde","target":"x1","status":"FAILED","service":"svcZ","errors":["why \"not\""],"error":"why \"not\""}"#
    );
    assert_eq!(
        state("w1", b"svcZ", b"6dde", "ACCEPTED"),
        br#"{"worker":"w1","uuid":"6dde","status":"ACCEPTED","service":"svcZ"}"#
    );
}

#[test]
fn a_body_is_json_whatever_a_client_said() {
    let about = About { service: b"\xff\"", target: b"\x00\xc3", uuid: b"\\" };
    assert_eq!(json(&failed(about, &"no"))["service"], "\u{fffd}\"");
    assert_eq!(json(&dispatched(&[""; 0], about))["target"], "\0\u{fffd}");
}

#[test]
fn a_refusal_says_service_target_and_what_to_do() {
    let (service, target) = (ABOUT.service, ABOUT.target);
    let long = [b'x'; 300];
    let comma = BadTarget::CommaList;
    let cases: &[(NotSent<'_>, &[&str])] = &[
        (NotSent::NoWorker { service }, &["'svcZ'", "start one", "show_workers"]),
        (NotSent::NoMatch { service, target }, &["'svcZ'", "'x1'", "show_workers"]),
        (NotSent::OtherService { service, target }, &["'svcZ'", "'x1'", "cross_service"]),
        (NotSent::BadTarget { service, target: b"a,b", why: comma }, &["'a,b'", "[\"w1\",\"w2\"]"]),
        (NotSent::BadJob { service, why: BadJob::NoTask }, &["'svcZ'", "`task`"]),
        (NotSent::NoWorker { service: &long }, &["xxx...'"]),
        (NotSent::NoWorker { service: b"\n\xff'" }, &["'\\n\u{fffd}\\''"]),
    ];
    for (why, parts) in cases {
        let text = why.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(text.len() < 500 && !text.contains("b'svcZ"), "{text}");
    }
    assert_eq!(unsupported(b"0x99"), "NFPBroker - Unsupported client command '0x99'");
}

// Golden: facts of NorFab 0.25.0, "Targeting".
#[test]
fn targets_are_read_as_norfab_does() {
    let bad = Target::Invalid;
    let cases: &[(&[u8], Target<'_>)] = &[
        (b"all", Target::All),
        (b"any", Target::Any),
        (b"dummy-1", Target::Name("dummy-1")),
        (b"ALL", Target::Name("ALL")),
        ("wörker 1".as_bytes(), Target::Name("wörker 1")),
        (b"42", Target::Name("42")),
        (br#"["w1","w2"]"#, texts(&["w1", "w2"])),
        (br#" [ "w2" , "w1" , "w2" ] "#, texts(&["w2", "w1"])),
        (br#"["w\u0031","w1","all"]"#, texts(&["w1", "all"])),
        (b"", bad(BadTarget::Empty)),
        (b"  ", bad(BadTarget::Empty)),
        (b"[]", bad(BadTarget::Empty)),
        (b"w1,w2", bad(BadTarget::CommaList)),
        (br#"{"w1":1}"#, bad(BadTarget::NotNames)),
        (br#"["w1",2]"#, bad(BadTarget::NotNames)),
        (br#"["w1",null]"#, bad(BadTarget::NotNames)),
        (br#"[["w1"]]"#, bad(BadTarget::NotNames)),
        (br#"["w1"] "w2""#, bad(BadTarget::NotNames)),
        (br#"["w1","#, bad(BadTarget::NotNames)),
        (br#"["\ud800"]"#, bad(BadTarget::NotNames)),
        (b"\xff", bad(BadTarget::NotText)),
        (b"[\"\xff\"]", bad(BadTarget::NotText)),
        (&[b'w'; 256], bad(BadTarget::TooLong)),
    ];
    for (octets, expected) in cases {
        assert_eq!(&Target::parse(octets), expected, "{}", octets.escape_ascii());
    }
    assert_eq!(Target::parse(&[b'w'; 255]), Target::Name(&"w".repeat(255)));
}

#[test]
fn a_target_has_a_bounded_number_of_names_and_each_once() {
    let list = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("w{n}")).collect();
        // Twice: what is there already does not count.
        serde_json::to_vec(&[&names[..], &names[..]].concat()).unwrap()
    };
    assert!(matches!(Target::parse(&list(NAMES_MAX)), Target::Names(names)
        if names.len() == NAMES_MAX && names[0] == "w0" && names[9_999] == "w9999"));
    let too_many = list(NAMES_MAX + 1);
    assert_eq!(Target::parse(&too_many), Target::Invalid(BadTarget::TooManyNames));
}

#[test]
fn a_job_is_one_json_object_with_a_task() {
    let job = |task: &'static str, timeout| Ok(JobBody { task: task.into(), timeout });
    let nested = |levels: usize| {
        format!("{{\"task\":\"t\",\"args\":{}{}}}", "[".repeat(levels), "]".repeat(levels))
    };
    let cases: &[(&[u8], Result<JobBody<'_>, BadJob>)] = &[
        (
            br#"{"task":"t","kwargs":{"a":[1,-2,3.5,true,null,"x"]},"timeout":600}"#,
            job("t", Some(600)),
        ),
        (br#"{"task":"\u0074","args":[]}"#, job("t", None)),
        (br#"{"task":"t","timeout":-1}"#, job("t", None)),
        (br#"{"task":"t","timeout":"60"}"#, job("t", None)),
        (br#"{"task":"a","task":"b"}"#, job("b", None)),
        (br#"{"task":7}"#, Err(BadJob::NoTask)),
        (br#"{"kwargs":{"task":"t"}}"#, Err(BadJob::NoTask)),
        (b"{}", Err(BadJob::NoTask)),
        (b"", Err(BadJob::NotObject)),
        (b"not json", Err(BadJob::NotObject)),
        (br#"["task","t"]"#, Err(BadJob::NotObject)),
        (br#""task""#, Err(BadJob::NotObject)),
        (br#"{"task":"t"} x"#, Err(BadJob::NotObject)),
        (br#"{"task":"t","kwargs":NaN}"#, Err(BadJob::NotObject)),
        (br#"{"task":"t","kwargs":{"a":"\ud800"}}"#, Err(BadJob::NotObject)),
        (br#"{"task":"t","\ud800":1}"#, Err(BadJob::NotObject)),
        (b"{\"task\":\"t\",\"kwargs\":\"\xff\"}", Err(BadJob::NotText)),
    ];
    for (octets, expected) in cases {
        assert_eq!(&JobBody::read(octets), expected, "{}", octets.escape_ascii());
    }
    assert_eq!(JobBody::read(nested(126).as_bytes()), job("t", None));
    assert_eq!(JobBody::read(nested(127).as_bytes()), Err(BadJob::NotObject));
    assert_eq!(JobBody::read(nested(1_000_000).as_bytes()), Err(BadJob::NotObject));
}

// Golden: facts of NorFab 0.25.0, "Bodies": event body.
#[test]
fn an_event_says_what_it_is_about() {
    let octets = br#"{"worker":"w1","service":"dummy","uuid":"6dde","event_type":"result_ready","message":"completed","task":"add","status":"completed","resource":["a"],"severity":"INFO","timestamp":"22-Nov-2026 12:17:56.891"}"#;
    let event = Event::read(octets);
    assert_eq!(event.event_type, EventType::ResultReady);
    let texts = [&event.message, &event.status, &event.severity, &event.task];
    assert_eq!(texts, ["completed", "completed", "INFO", "add"]);
    let cases: &[(&[u8], EventType)] = &[
        (br#"{"event_type":"progress"}"#, EventType::Progress),
        (br#"{"event_type":"input_request","message":{}}"#, EventType::InputRequest),
        (br#"{"event_type":"input_response"}"#, EventType::InputResponse),
        (br#"{"event_type":"Result_Ready"}"#, EventType::Other),
        (br#"{"event_type":["result_ready"]}"#, EventType::Other),
        (br#"{"extras":{"event_type":"result_ready"}}"#, EventType::Other),
        (br#"["result_ready"]"#, EventType::Other),
        (br#"{"event_type":"result_ready""#, EventType::Other),
        (b"", EventType::Other),
        (b"\xff", EventType::Other),
    ];
    for (octets, expected) in cases {
        assert_eq!(EventType::read(octets), *expected, "{}", octets.escape_ascii());
    }
}

#[test]
fn labels_are_stable() {
    let labels = [BadJob::NotText, BadJob::NotObject, BadJob::NoTask].map(BadJob::label);
    assert_eq!(labels, ["job_not_text", "job_not_object", "job_no_task"]);
}

#[test]
fn only_an_event_of_a_common_size_is_looked_into() {
    let event = |len: usize| {
        let filler = "x".repeat(len - r#"{"event_type":"result_ready","message":""}"#.len());
        format!(r#"{{"event_type":"result_ready","message":"{filler}"}}"#)
    };
    let reads = |len| EventType::read(event(len).as_bytes());
    assert_eq!(reads(Event::LEN_MAX), EventType::ResultReady);
    assert_eq!(reads(Event::LEN_MAX + 1), EventType::Other);
}
