//! What a service container does, whatever its home is: the same questions to each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use majordomo::container::{
    Builder, Call, CallError, Caller, Client, Event, Failure, Method, PropertyError,
    ServiceContainer, ServiceKey, State, class,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Of the lease of a leader.
pub(crate) const TTL: Duration = Duration::from_secs(5);

/// Where services are at home.
pub(crate) trait Home {
    /// An instance of a service there.
    fn instance(&self, service: &str, name: &str) -> Builder;

    /// The same, by somebody who may end connections.
    fn keeper(&self, service: &str, name: &str) -> Builder {
        self.instance(service, name)
    }

    /// The beginning of the name by which a client there is known, and `*`.
    fn caller_name(client: &str) -> String;

    /// A client there.
    fn client(&self, name: &str) -> Client;

    /// Whether there is a lease of the leader.
    const LED: bool;

    /// Letters in the queue of the dead ones of a service, with those of others if the home does
    /// not tell them apart.
    fn dead(&self, service: &str) -> impl Future<Output = usize>;
}

/// Asks a home.
pub(crate) async fn every_home_does_it<H: Home>(home: &H) {
    a_service_does_what_its_documentation_says(home).await;
    what_asks_to_be_called_again_is(home).await;
    what_is_encrypted_only_the_two_ends_can_read(home).await;
    a_command_is_carried_out_and_what_fails_is_a_dead_letter(home).await;
    each_service_that_listens_is_told_once(home).await;
    what_an_instance_had_that_has_died_comes_to_another(home).await;
    who_stops_finishes_what_it_has(home).await;
    what_nobody_waits_for_any_more_takes_no_place(home).await;
}

#[derive(Debug, Deserialize)]
struct Add {
    a: i64,
    #[serde(default)]
    b: i64,
}

#[derive(Debug, Serialize)]
struct Sum {
    sum: i64,
}

async fn add(call: Call<Add>) -> Result<Sum, Failure> {
    let sum = call.args.a.checked_add(call.args.b);
    let sum = sum.ok_or_else(|| Failure::rejected("Overflow", "too large"))?;
    call.emit("sums.done", &json!({"sum": sum}))?;
    Ok(Sum { sum })
}

async fn claims(call: Call<Value>) -> Result<Value, Failure> {
    Ok(call.claims)
}

async fn authorize(token: String) -> Result<Value, Failure> {
    match token.as_str() {
        "good" => Ok(json!({"user": "joe"})),
        "worst" => panic!("on purpose"),
        _ => Err(Failure::rejected(class::AUTHORIZATION, "not you")),
    }
}

async fn panics(_: Call<Value>) -> Result<(), Failure> {
    panic!("on purpose")
}

async fn emits(call: Call<Value>) -> Result<(), Failure> {
    call.emit(&"x".repeat(97), &json!(1))
}

async fn asks_itself(call: Call<Add>) -> Result<Value, Failure> {
    Ok(call.caller.request("sums", "add", &json!({"a": call.args.a})).await?)
}

fn remote(answer: Result<Value, CallError>) -> (String, String) {
    match answer {
        Err(CallError::Remote { class, text }) => (class, text),
        other => panic!("{other:?}"),
    }
}

async fn a_service_does_what_its_documentation_says<H: Home>(home: &H) {
    // As many as come: an instance that cannot get rid of an event has no room for another message.
    let (heard_to, mut heard) = mpsc::channel(1024);
    let instance = |name: &str| {
        let heard_to = heard_to.clone();
        home.instance("sums", name)
            .version("3")
            .description("adds")
            .hw_mark(100)
            .method("add", Method::new(add).parameter("a", "int").optional("b", "int", 0))
            .method("claims", Method::new(claims).authorized(authorize))
            .method("panics", Method::new(panics).hidden())
            .method("asks_itself", asks_itself)
            .method("emits", emits)
            .on("sums.*", move |event: Event<Value>| {
                let heard_to = heard_to.clone();
                async move {
                    let _ = heard_to.send((event.topic, event.event)).await;
                    Ok(())
                }
            })
    };
    let first = instance("one").start().unwrap();
    let state = running(&first).await;
    assert_eq!(state, if H::LED { State::RunningLeader } else { State::RunningStandalone });
    let second = instance("two").start().unwrap();
    let state = running(&second).await;
    assert_eq!(state, if H::LED { State::RunningFollower } else { State::RunningStandalone });

    calls(home, &mut heard).await;
    if H::LED {
        properties(&first, &second).await;
    } else {
        let refused = first.update_service_property("colour", "blue").await;
        assert_eq!(refused, Err(PropertyError::NoCoordination));
    }

    let served = first.stop(PATIENCE).await;
    if H::LED {
        let mut status = second.status();
        let led = status.wait_for(|status| status.state == State::RunningLeader);
        timeout(Duration::from_secs(3), led).await.expect("it hands over at once").unwrap();
        let mut kept = second.properties();
        let coloured = kept.wait_for(|it| it.get("colour").is_some_and(|it| it == "blue"));
        timeout(PATIENCE, coloured).await.expect("what was said is kept").unwrap();
    }
    let other = second.stop(PATIENCE).await;
    assert_eq!(served.malformed + other.malformed, 0);
    assert!(served.requests + other.requests >= 8, "{served:?} {other:?}");
}

pub(crate) async fn running(container: &ServiceContainer) -> State {
    timeout(PATIENCE, container.running()).await.expect("it runs").state
}

async fn calls<H: Home>(home: &H, heard: &mut mpsc::Receiver<(String, Value)>) {
    let client = home.client("c1");
    let caller = client.caller();
    let sum = caller.request("sums", "add", &json!({"a": 40, "b": 2})).await;
    assert_eq!(sum, Ok(json!({"sum": 42})));
    let told = timeout(PATIENCE, heard.recv()).await.unwrap();
    assert_eq!(told, Some(("sums.done".into(), json!({"sum": 42}))));
    let sum = caller.request("sums", "asks_itself", &json!({"a": 7})).await;
    assert_eq!(sum, Ok(json!({"sum": 7})), "an instance calls itself over the same connection");
    timeout(PATIENCE, heard.recv()).await.unwrap();

    let (class, text) = remote(caller.request("sums", "add", &json!({"a": "x"})).await);
    assert_eq!(class, class::VALIDATION);
    assert!(text.starts_with("the arguments: invalid type: string \"x\", expected i64"), "{text}");
    let big = json!({"a": i64::MAX, "b": 1});
    assert_eq!(remote(caller.request("sums", "add", &big).await).0, "Overflow");
    assert!(heard.try_recv().is_err(), "what has failed says nothing");
    let (class, text) = remote(caller.request("sums", "panics", &Value::Null).await);
    assert_eq!((class.as_str(), text.as_str()), (class::EXCEPTION, "the method has panicked"));

    let (class, text) = remote(caller.request("sums", "emits", &Value::Null).await);
    assert_eq!(class, class::EXCEPTION);
    assert!(text.contains("is no name of a service or a topic"), "{text}");

    let token = |token: &str| {
        let context = json!({"Authorization": token, "more": 1});
        caller.clone().with_context(context.as_object().cloned().unwrap_or_default())
    };
    let none = Map::new();
    let claims = token("good").request("sums", "claims", &none).await;
    assert_eq!(claims, Ok(json!({"user": "joe"})));
    let (class, text) = remote(token("worst").request("sums", "claims", &none).await);
    let panicked = "the authorisation has panicked";
    assert_eq!((class.as_str(), text.as_str()), (class::EXCEPTION, panicked));
    assert_eq!(remote(token("bad").request("sums", "claims", &none).await).0, class::AUTHORIZATION);
    assert_eq!(remote(caller.request("sums", "claims", &none).await).0, class::AUTHENTICATION);

    let description = caller.describe_service("sums").await.unwrap();
    assert_eq!(description["service_version"], "3");
    assert_eq!(description["methods"]["panics"], Value::Null, "hidden");
    assert_eq!(
        description["methods"]["add"]["parameters"],
        json!({
            "type": "object",
            "properties": [
                ["a", {"type": "int", "description": "", "default": ""}],
                ["b", {"type": "int", "description": "", "default": 0}],
            ],
            "required": ["a"],
        })
    );

    refusals(&caller, heard).await;
    client.close().await;
    let closed =
        caller.with_timeout(Duration::from_millis(200)).request("sums", "add", &none).await;
    assert!(closed.is_err(), "{closed:?}");
}

/// What reaches nobody, and what cannot be asked.
async fn refusals(caller: &Caller, heard: &mut mpsc::Receiver<(String, Value)>) {
    let none = Map::<String, Value>::new();
    let nobody = caller.request("nobody", "add", &none).await;
    assert_eq!(nobody, Err(CallError::NoService("nobody".into())));
    assert_eq!(caller.command("nobody", "add", &none).await, nobody.map(|_| ()));
    // Whoever asks nobody is told so, and nobody else is, however many ask at a time.
    let asks = (0..200).map(|number| {
        let caller = caller.clone();
        async move {
            match number % 2 {
                0 => {
                    let sum = caller.request("sums", "add", &json!({"a": number})).await;
                    assert_eq!(sum, Ok(json!({"sum": number})));
                }
                _ => {
                    let nobody = caller.request("nobody", "add", &json!({"a": number})).await;
                    assert_eq!(nobody, Err(CallError::NoService("nobody".into())));
                }
            }
        }
    });
    futures::future::join_all(asks).await;
    while timeout(Duration::from_millis(300), heard.recv()).await.is_ok() {}
    for wrong in ["", "a\nb", &"x".repeat(200)] {
        let refused = caller.request(wrong, "add", &none).await;
        assert!(matches!(refused, Err(CallError::Name(_))), "{refused:?}");
    }
    assert!(matches!(caller.request("sums", "add", &[1]).await, Err(CallError::Convert(_))));
}

async fn properties(leader: &ServiceContainer, follower: &ServiceContainer) {
    let mut seen = follower.properties();
    let marked =
        |it: &BTreeMap<String, String>| it.get("hw_mark").is_some_and(|mark| mark == "100");
    timeout(PATIENCE, seen.wait_for(marked)).await.unwrap().unwrap();
    leader.update_service_property("colour", "blue").await.unwrap();
    let coloured = |it: &BTreeMap<String, String>| it.contains_key("colour");
    timeout(PATIENCE, seen.wait_for(coloured)).await.unwrap().unwrap();
    let refused = follower.update_service_property("colour", "red").await;
    assert_eq!(refused, Err(PropertyError::NotLeader(Some("one".into()))));
    for wrong in ["", "leader", "a/b"] {
        let refused = leader.update_service_property(wrong, "x").await;
        assert_eq!(refused, Err(PropertyError::Name(wrong.into())));
    }
    leader.update_service_property("consume", "False").await.unwrap();
    let mut status = follower.status();
    let paused = status.wait_for(|status| status.prefetch.is_none());
    timeout(Duration::from_secs(1), paused).await.expect("within a second").unwrap();
    leader.update_service_property("consume", "True").await.unwrap();
    let resumed = status.wait_for(|status| status.prefetch == Some(10));
    timeout(Duration::from_secs(1), resumed).await.expect("within a second").unwrap();
}

async fn what_asks_to_be_called_again_is<H: Home>(home: &H) {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let reluctant = move |call: Call<Add>| {
        let count = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            assert_eq!(call.redelivered, count > 1, "delivery {count}");
            // As often as it is told to.
            if i64::from(count) > call.args.a {
                return Ok(count);
            }
            Err(Failure::CallAgain("not yet".into()))
        }
    };
    let builder = home.instance("again", "one").call_again(2, Duration::from_millis(20));
    let instance = builder.method("try", reluctant).start().unwrap();
    running(&instance).await;
    let client = home.client("c2");
    let tries = |refusals: i64| {
        asked.store(0, Ordering::SeqCst);
        let caller = client.caller();
        async move { caller.request("again", "try", &json!({"a": refusals})).await }
    };
    assert_eq!(tries(0).await, Ok(json!(1)));
    assert_eq!(tries(1).await, Ok(json!(2)));
    assert_eq!(tries(2).await, Ok(json!(3)));
    let before = home.dead("again").await;
    let (class, text) = remote(tries(9).await);
    assert_eq!((class.as_str(), text.as_str()), (class::CALL_AGAIN_REJECT, "not yet"));
    assert_eq!(asked.load(Ordering::SeqCst), 3, "once, and twice again");
    dead(home, "again", before + 1).await;
    client.close().await;
    instance.stop(PATIENCE).await;
}

async fn what_is_encrypted_only_the_two_ends_can_read<H: Home>(home: &H) {
    let key = ServiceKey::generate().unwrap();
    let (done_to, mut done) = mpsc::channel(8);
    let keep = move |call: Call<Add>| {
        let done_to = done_to.clone();
        async move {
            let _ = done_to.send(call.args.a).await;
            Ok(())
        }
    };
    let secret = home.instance("secret", "one").service_key(key.clone());
    let secret = secret.method("add", Method::new(add).encrypted()).method("open", add);
    let secret = secret.method("keep", Method::new(keep).encrypted()).start().unwrap();
    let plain = home.instance("plain", "one").method("add", add).start().unwrap();
    running(&secret).await;
    running(&plain).await;
    let client = home.client("c7");
    let caller = client.caller().encrypted();
    let sum = json!({"a": 40, "b": 2});
    for method in ["add", "open"] {
        assert_eq!(caller.request("secret", method, &sum).await, Ok(json!({"sum": 42})));
    }
    caller.command("secret", "keep", &sum).await.unwrap();
    assert_eq!(timeout(PATIENCE, done.recv()).await.unwrap(), Some(40));
    let (class, text) =
        remote(caller.request("secret", "add", &json!({"a": i64::MAX, "b": 1})).await);
    assert_eq!((class.as_str(), text.as_str()), ("Overflow", "too large"));
    let (class, text) = remote(client.caller().request("secret", "add", &sum).await);
    let refused = "calls of add have to be encrypted";
    assert_eq!((class.as_str(), text.as_str()), (class::AUTHORIZATION, refused));
    assert_eq!(client.caller().request("secret", "open", &sum).await, Ok(json!({"sum": 42})));
    let described = client.caller().describe_service("secret").await.unwrap();
    assert_eq!(described["public_key"], json!(key.public_pem()));
    let refused = caller.request("plain", "add", &sum).await;
    assert!(matches!(refused, Err(CallError::NotEncrypted { .. })), "{refused:?}");
    let builder = home.instance("keyless", "one").method("add", Method::new(add).encrypted());
    let refused = builder.start().unwrap_err().to_string();
    assert_eq!(refused, "the method `add` has to be encrypted, and the service has no key");
    client.close().await;
    secret.stop(PATIENCE).await;
    plain.stop(PATIENCE).await;
}

/// Waits for so many dead letters, and no more.
async fn dead<H: Home>(home: &H, service: &str, count: usize) {
    let ends = Instant::now() + PATIENCE;
    loop {
        let there = home.dead(service).await;
        assert!(there <= count, "{there} dead letters, not {count}");
        if there == count {
            return;
        }
        assert!(Instant::now() < ends, "{there} dead letters, not {count}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn a_command_is_carried_out_and_what_fails_is_a_dead_letter<H: Home>(home: &H) {
    let (done_to, mut done) = mpsc::channel(64);
    let instance = |name: &str| {
        let done_to = done_to.clone();
        let keep = move |call: Call<Add>| {
            let done_to = done_to.clone();
            async move {
                assert!(call.command);
                if call.args.a < -1 {
                    sleep(Duration::from_millis(300)).await;
                }
                if call.args.a < 0 {
                    return Err(Failure::rejected("Negative", "less than nothing"));
                }
                let _ = done_to.send(call.args.a).await;
                Ok(())
            }
        };
        home.instance("store", name).method("keep", keep)
    };
    let members = [instance("one").start().unwrap(), instance("two").start().unwrap()];
    for member in &members {
        running(member).await;
    }
    let client = home.client("c3");
    let before = home.dead("store").await;
    for number in 0..20 {
        client.caller().command("store", "keep", &json!({"a": number})).await.unwrap();
    }
    client.caller().command("store", "keep", &json!({"a": -1})).await.unwrap();
    client.caller().command("store", "nothing", &json!({})).await.unwrap();
    let mut kept = Vec::new();
    while kept.len() < 20 {
        kept.push(timeout(PATIENCE, done.recv()).await.expect("it is done").unwrap());
    }
    kept.sort_unstable();
    assert_eq!(kept, (0..20).collect::<Vec<_>>());
    dead(home, "store", before + 2).await;
    assert!(done.try_recv().is_err(), "each once");
    client.close().await;
    // Who has gone when it fails has it carried out all the same.
    let hasty = home.client("c3b");
    hasty.caller().command("store", "keep", &json!({"a": -2})).await.unwrap();
    hasty.close().await;
    let carried_out = async {
        while members.iter().map(|member| member.served().failed).sum::<u64>() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, carried_out).await.expect("it goes on");
    let mut served = Vec::new();
    for member in members {
        served.push(member.stop(PATIENCE).await);
    }
    assert_eq!(served.iter().map(|it| it.commands).sum::<u64>(), 23, "{served:?}");
    assert_eq!(served.iter().map(|it| it.failed).sum::<u64>(), 3, "{served:?}");
}

async fn each_service_that_listens_is_told_once<H: Home>(home: &H) {
    let (heard_to, mut heard) = mpsc::channel(256);
    let instance = |service: &'static str, name: &str, topics: &[&str]| {
        let mut builder = home.instance(service, name).method("add", add);
        for topic in topics {
            let heard_to = heard_to.clone();
            builder = builder.on(*topic, move |event: Event<i64>| {
                let heard_to = heard_to.clone();
                async move {
                    let _ = heard_to.send((service, event.topic, event.event)).await;
                    Ok(())
                }
            });
        }
        builder.start().unwrap()
    };
    let members = [
        instance("audit", "one", &["orders.#"]),
        instance("audit", "two", &["orders.#"]),
        instance("mail", "one", &["orders.*.paid"]),
        instance("mail", "two", &["orders.*.paid"]),
    ];
    for member in &members {
        running(member).await;
    }
    let client = home.client("c4");
    let topics = ["orders", "orders.1", "orders.1.paid", "orders.1.paid.late", "other"];
    for (number, topic) in (0_i64..).zip(topics) {
        client.caller().publish_event(topic, &number).await.unwrap();
    }
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for _ in 0..5 {
        let (service, topic, number) =
            timeout(PATIENCE, heard.recv()).await.expect("somebody is told").unwrap();
        assert_eq!(topics[usize::try_from(number).unwrap()], topic);
        told.entry(service).or_default().push(number);
    }
    told.values_mut().for_each(|numbers| numbers.sort_unstable());
    assert_eq!(told, BTreeMap::from([("audit", vec![0, 1, 2, 3]), ("mail", vec![2])]));
    let more = timeout(Duration::from_millis(300), heard.recv()).await;
    assert!(more.is_err(), "each service once: {more:?}");
    client.close().await;
    for member in members {
        member.stop(PATIENCE).await;
    }
}

async fn what_an_instance_had_that_has_died_comes_to_another<H: Home>(home: &H) {
    let begun = Arc::new(Notify::new());
    let instance = |name: &'static str| {
        let begun = begun.clone();
        let who = move |call: Call<Value>| {
            let begun = begun.clone();
            async move {
                if !call.redelivered {
                    begun.notify_one();
                    // It dies with it.
                    std::future::pending::<()>().await;
                }
                Ok::<_, Failure>(name)
            }
        };
        home.instance("mortal", name).method("who", who)
    };
    let first = instance("one").start().unwrap();
    running(&first).await;
    let client = home.client("c5");
    let caller = client.caller();
    let asked = tokio::spawn(async move { caller.request("mortal", "who", &json!({})).await });
    timeout(PATIENCE, begun.notified()).await.expect("it is begun");
    let second = instance("two").start().unwrap();
    running(&second).await;
    let epoch = second.status().borrow().epoch;
    // As if it were killed: nothing is said to anybody.
    drop(first);
    let answer = timeout(PATIENCE, asked).await.expect("another one answers").unwrap();
    assert_eq!(answer, Ok(json!("two")));
    if H::LED {
        let mut status = second.status();
        let led = status.wait_for(|status| status.state == State::RunningLeader);
        timeout(TTL + PATIENCE, led).await.expect("and leads").unwrap();
        assert!(second.status().borrow().epoch > epoch);
    }
    client.close().await;
    second.stop(PATIENCE).await;
}

async fn who_stops_finishes_what_it_has<H: Home>(home: &H) {
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let slow = move |_: Call<Value>| {
        begins.notify_one();
        async {
            sleep(Duration::from_millis(500)).await;
            Ok::<_, Failure>("done")
        }
    };
    let instance = home.instance("slow", "one").method("work", slow).start().unwrap();
    running(&instance).await;
    let client = home.client("c6");
    let caller = client.caller().with_timeout(Duration::MAX);
    let asked = tokio::spawn(async move { caller.request("slow", "work", &json!({})).await });
    timeout(PATIENCE, begun.notified()).await.expect("it is begun");
    let served = timeout(PATIENCE, instance.stop(Duration::MAX)).await.expect("it ends");
    assert_eq!((served.requests, served.unsettled), (1, 0));
    assert_eq!(timeout(PATIENCE, asked).await.unwrap().unwrap(), Ok(json!("done")));
    client.close().await;
}

/// Whoever asks does not wait as long as the method takes.
async fn what_nobody_waits_for_any_more_takes_no_place<H: Home>(home: &H) {
    let sleepy = async |call: Call<Add>| {
        sleep(Duration::from_millis(call.args.a.unsigned_abs())).await;
        Ok::<_, Failure>(call.args.b)
    };
    let builder = home.instance("sleepy", "one").prefetch(4, 4);
    let instance = builder.method("work", sleepy).start().unwrap();
    running(&instance).await;
    let client = home.client("c8");
    let hasty = client.caller().with_timeout(Duration::from_millis(100));
    let caller = client.caller();
    let quick = json!({"a": 1, "b": 7});
    let quick = async || timeout(PATIENCE, caller.request("sleepy", "work", &quick)).await;
    assert_eq!(quick().await.expect("it is there"), Ok(json!(7)));
    // Of each round there are as many in work as there are places.
    for _ in 0..2 {
        let asks = (0..4).map(|b| {
            let hasty = hasty.clone();
            async move { hasty.request("sleepy", "work", &json!({"a": 300, "b": b})).await }
        });
        for answer in futures::future::join_all(asks).await {
            assert!(matches!(answer, Err(CallError::TimedOut(_))), "{answer:?}");
        }
        assert_eq!(quick().await.expect("there is a place"), Ok(json!(7)));
    }
    client.close().await;
    instance.stop(PATIENCE).await;
}
