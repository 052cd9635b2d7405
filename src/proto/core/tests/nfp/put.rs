//! PUT: answers to what is asked in the middle of a job, and what goes to nobody.

use serde_json::{Value, json};

use super::*;

impl Desk {
    /// What a client was told by events since it was last looked at: type, worker, body.
    fn job_events(&mut self, client: PeerId) -> Vec<(String, String, Value)> {
        let told = self.told(client).into_iter().filter(|(kind, ..)| *kind == Kind::Event);
        told.map(|(.., body)| {
            let body: Value = serde_json::from_str(&body).unwrap();
            let of = |key: &str| body[key].as_str().unwrap().to_owned();
            (of("event_type"), of("worker"), body)
        })
        .collect()
    }

    /// The one question that a client was asked since.
    fn asked(&mut self, client: PeerId) -> (String, Value) {
        let mut events = self.job_events(client);
        let (kind, worker, body) = events.pop().unwrap();
        assert!(kind == "input_request" && events.is_empty(), "{kind}");
        (worker, body.pointer("/extras/input_request").unwrap().clone())
    }

    fn put(&mut self, client: PeerId, service: &str, uuid: &str, body: &Value) {
        self.job_with(client, Verb::Put, service, "all", uuid, &body.to_string());
    }

    /// Why a PUT reached nobody.
    fn warned(&mut self, client: PeerId) -> String {
        let events = self.job_events(client);
        let [(kind, _, body)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((&kind[..], &body["severity"]), ("progress", &json!("WARNING")));
        body["message"].as_str().unwrap().to_owned()
    }
}

fn queueing() -> Desk {
    Desk::new(ServicePolicy { queue: true, ..ServicePolicy::default() })
}

#[test]
fn a_native_worker_asks_an_nfp_client_and_is_told() {
    for mut desk in [desk(), queueing()] {
        let (worker, client) = (desk.native_worker(2), desk.enter("c", false));
        for uuid in ["u", "other"] {
            desk.job_with(client, Verb::Post, "echo", "any", uuid, &ADD.replace("add", uuid));
        }
        desk.told(client);
        let [first, other] = [0, 1].map(|at| desk.works(worker)[at].token);
        desk.heard(worker);
        desk.question_of(worker, first, 7);
        let (name, asked) = desk.asked(client);
        assert_eq!(
            (&asked["question"], &asked["metadata"]),
            (&json!(""), &json!({"body": "who?"}))
        );
        desk.question_of(worker, other, 7);
        let (_, another) = desk.asked(client);
        assert_ne!(asked["id"], another["id"], "each has a name of its own");

        // The answer to a question of another job is none here.
        desk.put(client, "echo", "u", &json!({"input_id": another["id"], "value": 1}));
        assert!(desk.warned(client).contains("not open"));
        desk.put(client, "echo", "u", &json!({"input_id": asked["id"], "value": "me"}));
        let events = desk.job_events(client);
        let [(kind, worker_named, body)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(
            (&kind[..], worker_named, &body["status"]),
            ("input_response", &name, &json!("received"))
        );
        assert_eq!(body.pointer("/extras/input_response/input_id"), Some(&asked["id"]));
        desk.put(client, "echo", "other", &json!({"input_id": another["id"], "cancel": true}));
        assert_eq!(desk.job_events(client)[0].2["status"], "cancelled");
        let heard = desk.heard(worker);
        let task = |uuid| ADD.replace("add", uuid);
        let wanted =
            [format!("TELL {} 7 me", task("u")), format!("TELL {} 7 declined", task("other"))];
        assert_eq!(heard, wanted);
        // Once.
        desk.put(client, "echo", "u", &json!({"input_id": asked["id"], "value": "me"}));
        assert!(desk.warned(client).contains("not open"));
        assert_eq!(desk.heard(worker), [""; 0]);
        desk.check();
    }
}

#[test]
fn what_a_lost_worker_has_asked_is_answered_to_nobody() {
    let mut desk = queueing();
    let (first, client) = (desk.native_worker(1), desk.enter("c", false));
    desk.job(client, Verb::Post, "echo", "any", "u");
    let token = desk.works(first)[0].token;
    desk.told(client);
    desk.question_of(first, token, 1);
    let (_, asked) = desk.asked(client);
    let second = desk.native_worker(1);
    desk.leave(first);
    desk.heard(second);
    desk.put(client, "echo", "u", &json!({"input_id": asked["id"], "value": 1}));
    assert!(desk.warned(client).contains("not open"));
    assert_eq!(desk.heard(second), [""; 0]);
    // Nor does somebody else answer, or the client on another connection.
    let token = desk.works(second)[0].token;
    desk.question_of(second, token, 2);
    let (_, asked) = desk.asked(client);
    let thief = desk.enter("d", false);
    desk.put(thief, "echo", "u", &json!({"input_id": asked["id"], "value": 1}));
    assert_eq!(desk.statuses(thief), ["400"]);
    assert_eq!(desk.heard(second), [""; 0]);
}

#[test]
fn a_worker_of_nfp_that_takes_a_queued_job_asks_its_client() {
    let mut desk = queueing();
    let (worker, client) = (desk.nfp_ready("w", "svc"), desk.enter("c", false));
    desk.job(client, Verb::Post, "svc", "any", "u");
    desk.told(client);
    let (_, caller, uuid, _) = desk.orders(worker).pop().unwrap();
    let asks = json!({
        "event_type": "input_request", "message": "go on?",
        "extras": {"input_request": {"id": "own", "question": "go on?", "default": 1}},
    });
    desk.report(worker, Kind::Event, &caller, &uuid, "200", &asks.to_string());
    let (name, asked) = desk.asked(client);
    assert_eq!(
        (&name[..], &asked["question"], &asked["default"]),
        ("any", &json!("go on?"), &json!(1))
    );
    assert_ne!(asked["id"], "own");
    let answer =
        json!({"input_id": asked["id"], "value": "1", "cancel": false, "metadata": {"a": 2}});
    desk.put(client, "svc", "u", &answer);
    assert_eq!(desk.job_events(client)[0].0, "input_response");
    let (verb, to, about, body) = desk.orders(worker).pop().unwrap();
    assert_eq!((verb, &to, &about), (Verb::Put, &caller, &uuid));
    let wanted = json!({"input_id": "own", "value": "1", "cancel": false, "metadata": {"a": 2}});
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), wanted);
    // What nobody has asked goes to a worker of NFP as it is.
    desk.put(client, "svc", "u", &json!({"offset": 7}));
    let (verb, _, _, body) = desk.orders(worker).pop().unwrap();
    assert_eq!((verb, &body[..]), (Verb::Put, r#"{"offset":7}"#));
    assert_eq!(desk.told(client), []);
}

#[test]
fn a_put_that_reaches_nobody_is_told_and_ends_nothing() {
    let mut desk = queueing();
    let client = desk.enter("c", false);
    desk.job(client, Verb::Post, "echo", "any", "u");
    desk.told(client);
    let free = json!({"offset": 7});
    desk.put(client, "echo", "u", &free);
    assert!(desk.warned(client).contains("no worker has the job"));
    let worker = desk.native_worker(1);
    desk.put(client, "echo", "u", &free);
    assert!(desk.warned(client).contains("does not speak NFP"));
    assert_eq!(desk.heard(worker).len(), 1, "the request alone");
    desk.reply(worker, ADD, true);
    desk.told(client);
    desk.put(client, "echo", "u", &free);
    assert!(desk.warned(client).contains("has ended"));
    desk.job(client, Verb::Get, "echo", "any", "u");
    assert_eq!(desk.statuses(client), ["202", "200"]);

    // And where a worker was named that speaks another dialect.
    desk.job(client, Verb::Post, "echo", "all", "v");
    desk.told(client);
    desk.put(client, "echo", "v", &free);
    assert!(desk.warned(client).contains("does not speak NFP"));
    let nfp = desk.nfp_ready("w", "echo");
    desk.put(client, "echo", "v", &free);
    assert_eq!(desk.orders(nfp).len(), 1);
    assert_eq!(desk.told(client), [], "one takes it");
}
