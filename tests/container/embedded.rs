//! What only our broker as a home can be asked: leaders that vanish, a broker that goes and comes
//! back, what it keeps.

use std::sync::Arc;
use std::time::Duration;

use majordomo::container::{
    BrokerQueues, Call, CallError, Client, Embedded, Event, Failure, Link, PropertyError,
    ServiceContainer, State,
};
use majordomo::wire::mjp::Level;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::behaviour::PATIENCE;
use super::homes::broker_with;
use super::relay::Relay;

const TTL: Duration = Duration::from_secs(2);

fn instance(home: &Embedded, name: &'static str) -> ServiceContainer {
    let who = move |_: Call<Value>| async move { Ok::<_, Failure>(name) };
    let builder = ServiceContainer::builder("svc").instance(name).broker(home.clone());
    builder.ttl(TTL).method("who", who).start().unwrap()
}

fn client(home: &Embedded) -> Client {
    Client::start(Arc::new(BrokerQueues::client(home.clone(), "client").unwrap()))
}

async fn state(container: &ServiceContainer, wanted: State) {
    let mut status = container.status();
    let reached = timeout(PATIENCE, status.wait_for(|status| status.state == wanted)).await;
    reached.unwrap_or_else(|_| panic!("{wanted:?}: {:?}", container.status().borrow())).unwrap();
}

/// The same broker, reached over a way that can be held up.
fn over(relay: &Relay) -> Embedded {
    Embedded::at(&relay.endpoint).unwrap()
}

#[tokio::test]
async fn a_leader_whose_connections_end_is_replaced_at_once() {
    let (_broker, home) = broker_with(|_| ());
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let (mut waits, mut epochs) = (Vec::new(), Vec::new());
    let mut leader = instance(&home, "0");
    state(&leader, State::RunningLeader).await;
    let caller = client(&home);
    for name in names {
        let next = instance(&home, name);
        state(&next, State::RunningFollower).await;
        epochs.push(leader.status().borrow().epoch.unwrap());
        drop(leader);
        let began = Instant::now();
        state(&next, State::RunningLeader).await;
        waits.push(began.elapsed());
        let answer = caller.caller().request("svc", "who", &json!({})).await;
        assert_eq!(answer, Ok(json!(name)));
        leader = next;
    }
    waits.sort_unstable();
    println!("from the end of the leader to the next one: {waits:?}");
    assert!(waits[waits.len() / 2] < TTL / 4, "it is not waited for the lease: {waits:?}");
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[tokio::test]
async fn a_leader_that_is_silent_stops_before_another_one_leads_and_is_refused_later() {
    let (_broker, home) = broker_with(|_| ());
    let relay = Relay::to(&home.client.endpoint.to_string()).await;
    let first = instance(&over(&relay), "one");
    state(&first, State::RunningLeader).await;
    let second = instance(&home, "two");
    state(&second, State::RunningFollower).await;
    let mut led = first.status();
    relay.hold_up(true);
    let began = Instant::now();
    timeout(PATIENCE, led.wait_for(|status| !status.leading)).await.unwrap().unwrap();
    let stopped = Instant::now();
    assert_ne!(second.status().borrow().state, State::RunningLeader, "not before the first stops");
    state(&second, State::RunningLeader).await;
    let (stopped, took) = (stopped - began, began.elapsed());
    println!("silent: stopped after {stopped:?}, the next one leads after {took:?}, of {TTL:?}");
    assert!(took < TTL + Duration::from_secs(1), "{took:?}");
    relay.hold_up(false);
    state(&first, State::RunningFollower).await;
    let mut status = first.status();
    let follows = status.wait_for(|status| status.leader.as_deref() == Some("two"));
    timeout(PATIENCE, follows).await.unwrap().unwrap();
    let refused = first.update_service_property("colour", "red").await;
    assert_eq!(refused, Err(PropertyError::NotLeader(Some("two".into()))));
    second.update_service_property("colour", "blue").await.unwrap();
    let mut seen = first.properties();
    let blue = seen.wait_for(|it| it.get("colour").is_some_and(|it| it == "blue"));
    timeout(PATIENCE, blue).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_or_goes_is_waited_for() {
    let (broker, home) = broker_with(|_| ());
    broker.shutdown(Duration::ZERO).await;
    let (one, two) = (instance(&home, "one"), instance(&home, "two"));
    let mut status = one.status();
    let down = status.wait_for(|status| matches!(status.coordination, Link::Down(_)));
    timeout(PATIENCE, down).await.unwrap().unwrap();
    assert_eq!(status.borrow().state, State::StartupLeaderElection);
    // It can be stopped meanwhile.
    let idle = instance(&home, "three");
    sleep(Duration::from_millis(100)).await;
    timeout(Duration::from_secs(5), idle.stop(PATIENCE)).await.expect("it ends");
    let caller = client(&home);
    let short = caller.caller().with_timeout(Duration::from_millis(300));
    let refused = short.request("svc", "who", &json!({})).await;
    assert!(matches!(refused, Err(CallError::NotConnected { .. })), "{refused:?}");

    let again = || broker_with(|config| config.broker.bind = vec![home.client.endpoint.clone()]).0;
    let mut broker = again();
    let mut epoch = 0;
    for round in 0..3 {
        for member in [&one, &two] {
            timeout(PATIENCE, member.running()).await.expect("it runs");
            let mut status = member.status();
            let well = |status: &majordomo::container::Status| {
                status.queues == Link::Up && status.coordination == Link::Up
            };
            timeout(PATIENCE, status.wait_for(well)).await.expect("all is well").unwrap();
        }
        let one_leads = async {
            loop {
                let leading = [&one, &two].map(|it| it.status().borrow().state);
                if leading.iter().filter(|state| **state == State::RunningLeader).count() == 1 {
                    return [&one, &two].map(|it| it.status().borrow().epoch.unwrap_or_default());
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let epochs = timeout(PATIENCE, one_leads).await.expect("one leads");
        let newest = epochs.into_iter().max().unwrap();
        assert!(newest > epoch, "round {round}: {newest} behind {epoch}");
        epoch = newest;
        let answer = caller.caller().request("svc", "who", &json!({})).await;
        assert!(answer.is_ok(), "round {round}: {answer:?}");
        broker.shutdown(Duration::ZERO).await;
        let mut status = one.status();
        let down = status.wait_for(|status| matches!(status.queues, Link::Down(_)));
        timeout(PATIENCE, down).await.expect("it is told").unwrap();
        broker = again();
    }
    drop(broker);
}

/// Instances that keep what they are told, each number with the name of the method.
fn keeper(home: &Embedded, name: &str, to: &mpsc::Sender<(&'static str, i64)>) -> ServiceContainer {
    let (commands, events) = (to.clone(), to.clone());
    let keep = move |call: Call<Numbered>| {
        let commands = commands.clone();
        async move {
            let _ = commands.send(("command", call.args.n)).await;
            Ok::<_, Failure>(())
        }
    };
    let hear = move |event: Event<i64>| {
        let events = events.clone();
        async move {
            let _ = events.send(("event", event.event)).await;
            Ok(())
        }
    };
    let builder = ServiceContainer::builder("keeper").instance(name).broker(home.clone());
    builder.ttl(TTL).method("keep", keep).on("told.#", hear).start().unwrap()
}

#[derive(serde::Deserialize)]
struct Numbered {
    n: i64,
}

#[tokio::test]
async fn what_the_disk_has_outlives_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let start = |endpoint: Option<String>| {
        broker_with(|config| {
            config.store.path = Some(dir.path().join("store"));
            if let Some(endpoint) = endpoint {
                config.broker.bind = vec![endpoint.parse().unwrap()];
            }
        })
    };
    let (broker, home) = start(None);
    let home = home.level(Level::Disk);
    let (to, mut kept) = mpsc::channel(64);
    let first = keeper(&home, "one", &to);
    timeout(PATIENCE, first.running()).await.unwrap();
    let caller = client(&home);
    caller.caller().command("keeper", "keep", &json!({"n": 0})).await.unwrap();
    assert_eq!(timeout(PATIENCE, kept.recv()).await.unwrap(), Some(("command", 0)));
    first.stop(PATIENCE).await;
    // Nobody is there, and they wait.
    for n in 1..=5 {
        caller.caller().command("keeper", "keep", &json!({"n": n})).await.unwrap();
    }
    caller.close().await;
    broker.shutdown(Duration::ZERO).await;
    let (_broker, _) = start(Some(home.client.endpoint.to_string()));
    let _second = keeper(&home, "two", &to);
    let mut numbers = Vec::new();
    for _ in 1..=5 {
        let (kind, n) = timeout(PATIENCE, kept.recv()).await.expect("it is kept").unwrap();
        assert_eq!(kind, "command");
        numbers.push(n);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn what_is_taken_is_carried_out_though_its_caller_and_instances_go() {
    let (_broker, home) = broker_with(|_| ());
    let (to, mut kept) = mpsc::channel(4096);
    let mut members = vec![keeper(&home, "first", &to), keeper(&home, "second", &to)];
    for member in &members {
        timeout(PATIENCE, member.running()).await.unwrap();
    }
    let mut wanted = Vec::new();
    for round in 0..6_i64 {
        let caller = client(&home);
        for n in round * 20..round * 20 + 20 {
            if n % 2 == 0 {
                caller.caller().command("keeper", "keep", &json!({"n": n})).await.unwrap();
                wanted.push(("command", n));
            } else {
                caller.caller().publish_event("told.of.it", &n).await.unwrap();
                wanted.push(("event", n));
            }
        }
        // The caller goes, and one instance as if it were killed; another one comes.
        drop(caller);
        drop(members.remove(0));
        members.push(keeper(&home, ["x", "y", "z"][usize::try_from(round).unwrap() % 3], &to));
        timeout(PATIENCE, members[1].running()).await.unwrap();
    }
    let mut told = std::collections::BTreeSet::new();
    let all: std::collections::BTreeSet<_> = wanted.into_iter().collect();
    let complete = async {
        while !all.is_subset(&told) {
            told.insert(kept.recv().await.unwrap());
        }
    };
    let complete = timeout(PATIENCE, complete).await;
    assert!(complete.is_ok(), "lost: {:?}", all.difference(&told).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_level_that_the_broker_has_not_is_refused() {
    let (_broker, home) = broker_with(|_| ());
    let (to, _kept) = mpsc::channel(1);
    let member = keeper(&home, "one", &to);
    timeout(PATIENCE, member.running()).await.unwrap();
    let caller = client(&home.level(Level::Disk));
    let refused = caller.caller().command("keeper", "keep", &json!({"n": 1})).await.unwrap_err();
    assert!(matches!(refused, CallError::Send(_)), "{refused:?}");
    assert!(refused.to_string().contains("store"), "{refused}");
}

/// A plain worker is no service of a container, and a container none of plain clients.
#[tokio::test]
async fn what_is_no_message_of_a_container_is_refused_and_stops_nobody() {
    let (broker, home) = broker_with(|_| ());
    let member = instance(&home, "one");
    timeout(PATIENCE, member.running()).await.unwrap();
    let endpoint = broker.local_addrs()[0].to_string();
    let plain = majordomo::client::Client::connect(&endpoint).await.unwrap();
    for body in [vec!["hello"], vec!["request"], vec!["request", "{"], vec!["response", "{}"]] {
        let body: Vec<Vec<u8>> = body.into_iter().map(|frame| frame.as_bytes().to_vec()).collect();
        let refused = plain.call("svc", majordomo::wire::message::Message::new(body)).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    let caller = client(&home);
    let answer = caller.caller().request("svc", "who", &json!({})).await;
    assert_eq!(answer, Ok(json!("one")));
    assert_eq!(member.served().malformed, 4);
    let echo = |request: majordomo::worker::Request| async move {
        Ok::<_, majordomo::worker::Failure>(request.body)
    };
    let worker = majordomo::worker::Worker::builder(&endpoint, "plain").unwrap();
    let worker = worker.start(echo).unwrap();
    worker.registered().await;
    let answer = caller.caller().request("plain", "who", &json!({})).await;
    let Err(CallError::Remote { class, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(class, "malformed_answer");
}

#[tokio::test]
async fn instances_that_start_together_have_one_leader() {
    let (_broker, home) = broker_with(|_| ());
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let members = names.map(|name| instance(&home, name));
    for member in &members {
        timeout(PATIENCE, member.running()).await.unwrap();
    }
    let leads = members.iter().filter(|it| it.status().borrow().leading).count();
    assert_eq!(leads, 1);
}

#[tokio::test]
async fn an_instance_whose_connections_are_cut_comes_back_and_follows() {
    let (_broker, home) = broker_with(|_| ());
    let relay = Relay::to(&home.client.endpoint.to_string()).await;
    let first = instance(&over(&relay), "one");
    state(&first, State::RunningLeader).await;
    let second = instance(&home, "two");
    state(&second, State::RunningFollower).await;
    let before = relay.accepted();
    relay.cut();
    state(&second, State::RunningLeader).await;
    let mut status = first.status();
    let well = status.wait_for(|status| {
        status.state == State::RunningFollower
            && status.leader.as_deref() == Some("two")
            && status.queues == Link::Up
            && status.prefetch == Some(10)
    });
    timeout(PATIENCE, well).await.expect("it is back").unwrap();
    assert!(relay.accepted() > before, "over new connections");
    second.stop(PATIENCE).await;
    state(&first, State::RunningLeader).await;
    let caller = client(&home);
    let answer = caller.caller().request("svc", "who", &json!({})).await;
    assert_eq!(answer, Ok(json!("one")));
}

#[tokio::test]
async fn what_a_method_emits_and_the_broker_refuses_fails_the_call_and_takes_no_place() {
    let (_broker, home) = broker_with(|_| ());
    let emits = |call: Call<Value>| async move { call.emit("no subject", &1) };
    let builder = ServiceContainer::builder("svc").instance("one").broker(home.clone());
    let builder = builder.prefetch(2, 2).call_again(1, Duration::from_millis(10));
    let member = builder.method("emits", emits).start().unwrap();
    timeout(PATIENCE, member.running()).await.unwrap();
    let caller = client(&home);
    for _ in 0..4 {
        let answer = caller.caller().request("svc", "emits", &json!({})).await;
        let Err(CallError::Remote { class, text }) = answer else { panic!("{answer:?}") };
        assert_eq!(class, majordomo::container::class::CALL_AGAIN_REJECT);
        assert!(text.contains("subject"), "{text}");
    }
}

#[tokio::test]
async fn a_subscription_that_a_broker_refuses_is_made_again() {
    let (broker, home) = broker_with(|_| ());
    let (to, mut heard) = mpsc::channel(64);
    let hear = move |event: Event<i64>| {
        let to = to.clone();
        async move {
            let _ = to.send(event.topic).await;
            Ok(())
        }
    };
    let builder = ServiceContainer::builder("ears").instance("one").broker(home.clone()).ttl(TTL);
    let member = builder.on("first.a", hear.clone()).on("second.b", hear).start().unwrap();
    timeout(PATIENCE, member.running()).await.unwrap();
    broker.shutdown(Duration::ZERO).await;
    let again = |per_peer: usize| {
        broker_with(|config| {
            config.broker.bind = vec![home.client.endpoint.clone()];
            config.limits.subscriptions_per_peer = per_peer;
        })
    };
    // Of the two this one takes one.
    let (broker, _) = again(1);
    sleep(Duration::from_secs(2)).await;
    broker.shutdown(Duration::ZERO).await;
    let (_broker, _) = again(100);
    let caller = client(&home);
    let mut missing = vec!["first.a".to_owned(), "second.b".to_owned()];
    let both = async {
        while !missing.is_empty() {
            for topic in &missing {
                let _ = caller.caller().publish_event(topic, &1).await;
            }
            while let Ok(Some(topic)) = timeout(Duration::from_millis(300), heard.recv()).await {
                missing.retain(|it| *it != topic);
            }
        }
    };
    let both = timeout(PATIENCE, both).await;
    assert!(both.is_ok(), "{missing:?} is not heard");
}
