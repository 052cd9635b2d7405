//! Scatters, against an embedded broker with real workers.

use std::collections::BTreeMap;

use futures::StreamExt;
use majordomo::client::{Miss, Outcome, Scatter, ScatterUpdate, To};
use majordomo::wire::mjp::Tally;

use super::*;

/// A worker of that name, and label `zone`, that replies with its name.
async fn named(endpoint: &str, name: &'static str, zone: &str) -> Worker {
    let builder = Worker::builder(endpoint, "who").unwrap().identity(name).label("zone", zone);
    let handler = move |request: Request| async move {
        match request.first() {
            b"fail" => Err(Failure::new("no_paper", "the tray is empty")),
            b"parts" => {
                request.part("half").await?;
                Ok(Message::from(name))
            }
            _ => Ok(Message::from(name)),
        }
    };
    let worker = builder.start(handler).unwrap();
    worker.registered().await;
    worker
}

/// One that says when it has a request, and then holds it until that is cancelled.
async fn holds(endpoint: &str, name: &str, seen: mpsc::Sender<&'static str>) -> Worker {
    let handler = move |request: Request| {
        let seen = seen.clone();
        async move {
            seen.send("began").await?;
            request.cancelled().cancelled().await;
            seen.send("was cancelled").await?;
            Err::<Message, _>(Failure::new("cancelled", "as its caller wished"))
        }
    };
    let worker = Worker::builder(endpoint, "who").unwrap().identity(name).start(handler).unwrap();
    worker.registered().await;
    worker
}

fn by_target(outcomes: Vec<Outcome>) -> BTreeMap<String, Result<Message, (Miss, String)>> {
    let rows = outcomes.into_iter().map(|Outcome { target, result }| {
        (target, result.map_err(|error| (error.miss, error.code)))
    });
    rows.collect()
}

async fn next(scatter: &mut Scatter) -> Outcome {
    scatter.next().await.expect("an outcome").expect("no error")
}

#[tokio::test]
async fn each_worker_that_is_meant_has_an_outcome_and_then_there_is_a_tally() {
    let (_broker, endpoint) = broker();
    let _a = named(&endpoint, "a", "north").await;
    let _b = named(&endpoint, "b", "south").await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let mut all = client.scatter("who", To::All, "x").await.unwrap();
    assert_eq!(all.targets(), ["a", "b"]);
    assert_eq!(all.tally(), None, "nobody has been heard");
    let replies = by_target(all.rest().await.unwrap());
    assert_eq!(replies["a"].as_ref().unwrap().first(), b"a");
    assert_eq!(replies["b"].as_ref().unwrap().first(), b"b");
    assert_eq!(all.tally(), Some(Tally { replied: 2, ..Tally::default() }));
    assert!(all.next().await.is_none(), "and no more");

    let names = To::names(["b", "nobody", "b"]);
    let mut one = client.scatter("who", names, "parts").await.unwrap();
    assert_eq!(one.targets(), ["b"]);
    let reply = next(&mut one).await.result.unwrap();
    assert!(reply.frames().eq([&b"half"[..], b"b"]), "parts are joined: {reply:?}");

    let labels = To::labels([("zone", "north")]);
    let failed: Vec<_> = client.scatter("who", labels, "fail").await.unwrap().collect().await;
    let [Ok(Outcome { target, result: Err(error) })] = &failed[..] else { panic!("{failed:?}") };
    let said = "failed: no_paper: the tray is empty";
    assert_eq!(
        (target.as_str(), error.miss, error.to_string().as_str()),
        ("a", Miss::Failed, said)
    );
}

#[tokio::test]
async fn a_scatter_to_nobody_is_an_error() {
    let (_broker, endpoint) = broker();
    let _a = named(&endpoint, "a", "north").await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    for to in [To::names(["b"]), To::Names(Vec::new()), To::labels([("zone", "east")])] {
        let error = client.scatter("who", to.clone(), "x").await.unwrap_err();
        let refused = matches!(&error, CallError::Refused { code, .. } if code == "no_target");
        assert!(refused, "{to:?}: {error}");
    }
    let error = client.scatter("", To::All, "x").await.unwrap_err();
    assert!(matches!(error, CallError::Service(_)), "{error}");
    let many = To::names((0..2000).map(|number| format!("worker-{number}")));
    let error = client.scatter("who", many, "x").await.unwrap_err();
    assert!(matches!(error, CallError::TooBig { what: "header", .. }), "{error}");
    assert_eq!(client.call("who", "x").await.unwrap().first(), b"a", "the connection stays");
}

#[tokio::test]
async fn mdp_has_no_scatter() {
    let (_broker, endpoint) = broker();
    for protocol in [Protocol::Mdp01, Protocol::Mdp02] {
        let client = client(&endpoint, protocol).connect().await.unwrap();
        let error = client.scatter("who", To::All, "x").await.unwrap_err();
        assert_eq!(error, CallError::Unsupported { what: "SCATTER" });
    }
}

#[tokio::test]
async fn who_is_late_is_said_to_be_late_and_the_others_have_replied() {
    let (_broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let _late = holds(&endpoint, "late", seen).await;
    let _a = named(&endpoint, "a", "north").await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let ask = client.scatter("who", To::All, "x").timeout(Duration::from_millis(200));
    let mut scatter = ask.await.unwrap();
    let outcomes = by_target(scatter.rest().await.unwrap());
    assert!(outcomes["a"].is_ok());
    assert_eq!(outcomes["late"], Err((Miss::TimedOut, "timeout".into())));
    assert_eq!(scatter.tally(), Some(Tally { replied: 1, timed_out: 1, ..Tally::default() }));
    assert_eq!(came.recv().await, Some("began"));
    assert_eq!(came.recv().await, Some("was cancelled"));
}

#[tokio::test]
async fn a_lost_worker_is_an_outcome_and_its_part_is_given_to_nobody_else() {
    let (_broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let lost = holds(&endpoint, "lost", seen).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let mut scatter = client.scatter("who", To::All, "x").await.unwrap();
    assert_eq!(came.recv().await, Some("began"));
    let _other = named(&endpoint, "other", "north").await;
    drop(lost);
    let outcome = next(&mut scatter).await;
    let error = outcome.result.unwrap_err();
    assert_eq!((outcome.target.as_str(), error.miss), ("lost", Miss::Lost));
    assert!(scatter.next().await.is_none());
    assert_eq!(scatter.tally(), Some(Tally { lost: 1, ..Tally::default() }));
}

#[tokio::test]
async fn a_dropped_scatter_is_cancelled_at_its_workers() {
    let (_broker, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let _a = holds(&endpoint, "a", seen.clone()).await;
    let _b = holds(&endpoint, "b", seen).await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let scatter = client.scatter("who", To::All, "x").await.unwrap();
    assert_eq!([came.recv().await, came.recv().await], [Some("began"); 2]);
    drop(scatter);
    assert_eq!([came.recv().await, came.recv().await], [Some("was cancelled"); 2]);
}

#[tokio::test]
async fn a_lost_connection_ends_a_scatter_with_an_error_and_it_is_not_sent_again() {
    let (first, endpoint) = broker();
    let (seen, mut came) = mpsc::channel(8);
    let _holds = holds(&endpoint, "holds", seen).await;
    let _a = named(&endpoint, "a", "north").await;
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let mut scatter = client.scatter("who", To::All, "x").await.unwrap();
    assert_eq!(next(&mut scatter).await.target, "a");
    assert_eq!(came.recv().await, Some("began"));
    // Without a goodbye.
    drop(first);
    // The broker may have time left to say that the worker has gone, too.
    let mut item = scatter.next().await;
    if let Some(Ok(outcome)) = &item {
        assert_eq!(outcome.target, "holds");
        assert!(outcome.result.is_err(), "{outcome:?}");
        item = scatter.next().await;
    }
    match item {
        Some(Err(error)) => {
            assert!(matches!(error, CallError::Disconnected { .. }), "{error}");
            assert!(scatter.next().await.is_none(), "it is the last item");
            assert_eq!(scatter.tally(), None, "nobody knows");
        }
        None => assert!(scatter.tally().is_some(), "it has ended in order"),
        Some(Ok(outcome)) => panic!("a third outcome of two: {outcome:?}"),
    }
}

#[tokio::test]
async fn outcomes_that_are_not_read_cost_their_own_scatter_and_nothing_else() {
    let (_broker, endpoint) = broker();
    let mut workers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        workers.push(named(&endpoint, name, "north").await);
    }
    let mut builder = client(&endpoint, Protocol::Mjp);
    builder.config().parts_max = 2;
    let client = builder.connect().await.unwrap();
    let scatter = client.scatter("who", To::All, "x").await.unwrap();
    assert_eq!(scatter.targets().len(), 4);
    // What the broker says when all parts have ended comes behind their outcomes.
    let ask = StatusHeader { what: What::Broker, service: None, after: None, max: None };
    while client.status(&ask).await.unwrap().report().broker.unwrap().open > 0 {}
    let outcomes: Vec<_> = scatter.collect().await;
    assert_eq!(outcomes.len(), 4, "three that found room, and why there are no more");
    assert_eq!(outcomes[3], Err(CallError::Overrun { max: 2 }));
    assert_eq!(client.call("who", "x").await.unwrap().frames().len(), 1);
}

#[tokio::test]
async fn what_happens_at_the_workers_is_told_with_their_names() {
    let (_broker, endpoint) = broker();
    let handler = |request: Request| async move {
        for step in ["begun", "half"] {
            request.event(step).await?;
        }
        Ok::<_, Failure>("done")
    };
    let mut workers = Vec::new();
    for name in ["a", "b"] {
        let builder = Worker::builder(&endpoint, "steps").unwrap().identity(name);
        workers.push(builder.start(handler).unwrap());
    }
    for worker in &workers {
        worker.registered().await;
    }
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let mut scatter = client.scatter("steps", To::All, "").events(true).await.unwrap();
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(update) = scatter.update().await {
        let (target, what) = match update.unwrap() {
            ScatterUpdate::Event { target, event } => (target, event.message.unwrap_or_default()),
            ScatterUpdate::Outcome(Outcome { target, result }) => {
                (target, String::from_utf8_lossy(result.unwrap().first()).into_owned())
            }
            other => panic!("{other:?}"),
        };
        said.entry(target).or_default().push(what);
    }
    let steps = ["begun", "half", "done"].map(str::to_owned).to_vec();
    assert_eq!(said, BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), steps.clone()))));
    assert_eq!(scatter.tally().map(|tally| tally.replied), Some(2));
    // Who does not want to know is told no less of the ends.
    let mut scatter = client.scatter("steps", To::All, "").await.unwrap();
    assert_eq!(scatter.rest().await.unwrap().len(), 2);
}
