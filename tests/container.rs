//! The container role as a Rust program holds it, on a real RabbitMQ and a real etcd. What NuroPb's
//! package and these say to one another, and what outages do, is in `tests/nuropb`.

#[path = "container/servers.rs"]
mod servers;

use std::sync::Arc;
use std::time::Duration;

use majordomo::container::{
    Call, CallError, Caller, Client, Event, Failure, Method, PropertyError, RabbitQueues,
    RabbitQueuesConfig, ServiceContainer, State, class,
};
use majordomo::engine::etcd::{Etcd, EtcdConfig, EtcdError, Txn, WatchEvent};
use majordomo::engine::rabbitmq::{Management, RabbitConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use servers::{EtcdServer, RabbitServer};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

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
        _ => Err(Failure::rejected(class::AUTHORIZATION, "not you")),
    }
}

async fn panics(_: Call<Value>) -> Result<(), Failure> {
    panic!("on purpose")
}

async fn asks_itself(call: Call<Add>) -> Result<Value, Failure> {
    Ok(call.caller.request("sums", "add", &json!({"a": call.args.a})).await?)
}

fn config(rabbit: &RabbitServer, vhost: &str) -> RabbitQueuesConfig {
    let mut config = RabbitQueuesConfig::new(RabbitConfig::new(rabbit.url(vhost).parse().unwrap()));
    let management = Management::new(&rabbit.api(), Duration::from_secs(5)).unwrap();
    config.management = Some(management);
    config
}

fn remote(answer: Result<Value, CallError>) -> (String, String) {
    match answer {
        Err(CallError::Remote { class, text }) => (class, text),
        other => panic!("{other:?}"),
    }
}

/// All of it with one RabbitMQ, since that takes seconds to start.
#[tokio::test]
async fn a_service_in_rust_does_what_its_documentation_says() {
    let (rabbit, etcd) = tokio::join!(RabbitServer::start(), EtcdServer::start());
    let store = Etcd::new(EtcdConfig::new(etcd.url())).unwrap();
    let (heard_to, mut heard) = mpsc::channel(16);
    let instance = |name: &str| {
        let heard_to = heard_to.clone();
        ServiceContainer::builder("sums")
            .instance(name)
            .version("3")
            .description("adds")
            .rabbitmq(config(&rabbit, "rust"))
            .etcd(store.clone())
            .ttl(Duration::from_secs(5))
            .hw_mark(100)
            .method("add", Method::new(add).parameter("a", "int").optional("b", "int", 0))
            .method("claims", Method::new(claims).authorized(authorize))
            .method("panics", Method::new(panics).hidden())
            .method("asks_itself", asks_itself)
            .on("sums.*", move |event: Event<Value>| {
                let heard_to = heard_to.clone();
                async move {
                    let _ = heard_to.send((event.topic, event.event)).await;
                    Ok(())
                }
            })
    };
    let first = instance("one").start().unwrap();
    assert_eq!(timeout(PATIENCE, first.running()).await.unwrap().state, State::RunningLeader);
    let second = instance("two").start().unwrap();
    assert_eq!(timeout(PATIENCE, second.running()).await.unwrap().state, State::RunningFollower);

    calls(&rabbit, &mut heard).await;
    properties(&first, &second).await;

    let served = first.stop(PATIENCE).await;
    let mut status = second.status();
    let led = status.wait_for(|status| status.state == State::RunningLeader);
    timeout(Duration::from_secs(3), led).await.expect("it hands over at once").unwrap();
    let other = second.stop(PATIENCE).await;
    assert_eq!(served.malformed + other.malformed, 0);
    assert!(served.requests + other.requests >= 8, "{served:?} {other:?}");
    engine(&store).await;
}

async fn calls(rabbit: &RabbitServer, heard: &mut mpsc::Receiver<(String, Value)>) {
    let client = Client::start(Arc::new(RabbitQueues::client(config(rabbit, "rust"), "c1")));
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

    let token = |token: &str| {
        let context = json!({"Authorization": token, "more": 1});
        caller.clone().with_context(context.as_object().cloned().unwrap_or_default())
    };
    let none = Map::new();
    let claims = token("good").request("sums", "claims", &none).await;
    assert_eq!(claims, Ok(json!({"user": "joe"})));
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
    let marked = |it: &std::collections::BTreeMap<String, String>| {
        it.get("hw_mark").is_some_and(|mark| mark == "100")
    };
    timeout(PATIENCE, seen.wait_for(marked)).await.unwrap().unwrap();
    leader.update_service_property("colour", "blue").await.unwrap();
    let coloured = |it: &std::collections::BTreeMap<String, String>| it.contains_key("colour");
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

/// What the client of etcd promises by itself.
async fn engine(etcd: &Etcd) {
    let lease = etcd.grant(Duration::from_secs(5)).await.unwrap();
    let put =
        |lease| Txn::default().if_missing("/t/k").then_put("/t/k", b"1", lease).else_get("/t/k");
    let before = etcd.prefix("/t/").await.unwrap();
    let mut watch = etcd.watch("/t/", before.revision + 1);
    assert!(etcd.txn(put(lease.id)).await.unwrap().succeeded);
    let second = etcd.txn(put(lease.id)).await.unwrap();
    assert!(!second.succeeded);
    assert_eq!(second.ranges[0][0].value, b"1");
    assert!(etcd.keep_alive(lease.id).await.unwrap() >= Duration::from_secs(4));
    let WatchEvent::Changes(changes) = timeout(PATIENCE, watch.next()).await.unwrap() else {
        panic!("no change");
    };
    assert_eq!(changes[0].value.as_deref(), Some(&b"1"[..]));
    etcd.revoke(lease.id).await.unwrap();
    let WatchEvent::Changes(changes) = timeout(PATIENCE, watch.next()).await.unwrap() else {
        panic!("no change");
    };
    assert_eq!(changes[0].value, None);
    assert_eq!(etcd.keep_alive(lease.id).await, Err(EtcdError::LeaseGone));
    assert_eq!(etcd.revoke(lease.id).await, Err(EtcdError::LeaseGone));
    assert_eq!(etcd.txn(put(lease.id)).await, Err(EtcdError::LeaseGone));
    etcd.put("/t/k", b"2", 0).await.unwrap();
    assert_eq!(etcd.get("/t/k").await.unwrap().unwrap().value, b"2");
    assert!(etcd.delete("/t/k").await.unwrap());
    assert!(!etcd.delete("/t/k").await.unwrap());
    // Of several members the next one is asked when one is not there.
    let mut config = EtcdConfig::new("http://127.0.0.1:1");
    config.endpoints.push("http://127.0.0.1:1".into());
    let nowhere = Etcd::new(config).unwrap();
    for _ in 0..3 {
        let refused = nowhere.get("/t/k").await;
        assert!(matches!(refused, Err(EtcdError::Unreachable { .. })), "{refused:?}");
    }
}

#[test]
fn what_cannot_be_a_container_is_refused() {
    for name in ["", "a/b", "a\n", &"x".repeat(97)] {
        let refused = ServiceContainer::builder(name).start();
        assert!(refused.is_err(), "{name:?}");
    }
    let refused = ServiceContainer::builder("a").ttl(Duration::from_secs(1)).start().unwrap_err();
    assert_eq!(refused.to_string(), "ttl is 1000 ms, and has to be 2 s to 10 min");
    let refused = ServiceContainer::builder("a").prefetch(0, 1).start().unwrap_err();
    assert_eq!(refused.to_string(), "prefetch is 0, and has to be 1 to 65535");
    let refused = ServiceContainer::builder("a").start().unwrap_err();
    assert_eq!(refused.to_string(), "say where requests and events come from: .queues(...)");
}
