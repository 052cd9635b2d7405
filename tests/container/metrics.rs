//! What an instance shows over HTTP, in each home.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use majordomo::container::{
    BuildError, Builder, Call, Event, Failure, HealthSettings, ServiceContainer,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::behaviour::{Home, PATIENCE, running};
use super::openmetrics::Scrape;

/// Status and body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: it\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), body.into())
}

fn scrape(container: &ServiceContainer) -> Scrape {
    let (status, text) = get(container.http_addr().unwrap(), "/metrics");
    assert_eq!(status, 200, "{text}");
    Scrape::read(&text)
}

/// The sum over instances, with that name behind the prefix.
fn sum(members: &[&ServiceContainer], name: &str, labels: &[(&str, &str)]) -> f64 {
    let name = format!("majordomo_container_{name}");
    members.iter().map(|member| scrape(member).sum(&name, labels)).sum()
}

async fn until(mut done: impl FnMut() -> bool, what: impl Fn() -> String) {
    let ends = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < ends, "{}", what());
        sleep(Duration::from_millis(20)).await;
    }
}

fn service(builder: Builder, gate: &Arc<Semaphore>) -> Builder {
    let gate = gate.clone();
    let hold = move |_: Call<Value>| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(())
        }
    };
    let later = |call: Call<Value>| async move {
        match call.redelivered {
            true => Ok(()),
            false => Err(Failure::CallAgain("not yet".into())),
        }
    };
    let fail = |_: Call<Value>| async { Err::<(), _>(Failure::rejected("No", "never")) };
    let quick =
        HealthSettings { interval: Duration::from_millis(200), ..HealthSettings::default() };
    builder
        .health(quick)
        .http(SocketAddr::from(([127, 0, 0, 1], 0)))
        .method("echo", |call: Call<Value>| async move { Ok(call.args) })
        .method("hold", hold)
        .method("later", later)
        .method("fail", fail)
        .on("counted.#", |_: Event<Value>| async { Ok(()) })
}

pub(crate) async fn an_instance_shows_its_numbers<H: Home>(home: &H, name: &str) {
    let gate = Arc::new(Semaphore::new(0));
    let one = service(home.instance(name, "one"), &gate).start().unwrap();
    running(&one).await;
    let two = service(home.instance(name, "two"), &gate).start().unwrap();
    running(&two).await;
    let both = [&one, &two];
    let client = home.client("counting");
    let caller = client.caller();
    for _ in 0..3 {
        caller.request(name, "echo", &json!({"a": 1})).await.unwrap();
    }
    caller.request(name, "later", &json!({})).await.unwrap();
    caller.request(name, "fail", &json!({})).await.unwrap_err();
    caller.command(name, "echo", &json!({})).await.unwrap();
    caller.publish_event("counted.once", &json!({})).await.unwrap();
    caller.command(name, "hold", &json!({})).await.unwrap();

    for (metric, labels, value) in [
        ("messages_total", &[("kind", "request"), ("outcome", "done")][..], 4.0),
        ("messages_total", &[("kind", "request"), ("outcome", "rejected")], 1.0),
        ("messages_total", &[("kind", "request"), ("outcome", "again")], 1.0),
        ("messages_total", &[("kind", "command"), ("outcome", "done")], 1.0),
        ("messages_total", &[("kind", "event"), ("outcome", "done")], 1.0),
        ("messages_total", &[("kind", "unreadable")], 0.0),
        ("messages_total", &[("outcome", "unsettled")], 0.0),
        ("messages_in_flight", &[], 1.0),
        ("service_time_seconds_count", &[("kind", "request")], 6.0),
        ("leader", &[], 1.0),
        ("terms_total", &[], 1.0),
        ("state", &[("state", "running-leader")], 1.0),
        ("state", &[("state", "running-follower")], 1.0),
        ("state", &[], 2.0),
        ("info", &[("name", "one"), ("service", name)], 1.0),
        ("connected", &[("server", "queues")], 2.0),
        ("connected", &[("server", "leases")], 2.0),
        ("connections_total", &[("server", "queues")], 2.0),
        ("connections_lost_total", &[], 0.0),
        // What only the leader knows.
        ("instances", &[], 2.0),
        ("queue_messages", &[], 0.0),
        ("dead_letters_alarm", &[], 0.0),
        ("signals_total", &[], 0.0),
    ] {
        let seen = || sum(&both, metric, labels);
        until(|| seen() == value, || format!("{metric} {labels:?}: {} is not {value}", seen()))
            .await;
    }
    let (leads, follows) = (scrape(&one), scrape(&two));
    let epoch = |scrape: &Scrape| scrape.sum("majordomo_container_epoch", &[]);
    assert_eq!(epoch(&leads), epoch(&follows));
    let prefetch = |scrape: &Scrape| scrape.sum("majordomo_container_prefetch", &[]);
    assert_eq!((prefetch(&leads), prefetch(&follows)), (5.0, 10.0));
    let knows = |scrape: &Scrape| {
        scrape.samples.iter().any(|sample| sample.name == "majordomo_container_instances")
    };
    assert!(knows(&leads) && !knows(&follows), "the leader alone looks at the queue");
    assert_eq!(one.meter().counts().terms, 1);
    it_is_ready_until_it_stops([one, two], &gate).await;
    client.close().await;
}

/// One of them has a message in work.
async fn it_is_ready_until_it_stops(members: [ServiceContainer; 2], gate: &Arc<Semaphore>) {
    let works = |member: &ServiceContainer| member.meter().counts().in_work == 1;
    let [one, two] = members;
    let (busy, idle) = if works(&one) { (one, two) } else { (two, one) };
    assert!(works(&busy) && !works(&idle));
    let address = busy.http_addr().unwrap();
    assert_eq!(get(address, "/livez"), (200, "live\n".into()));
    assert_eq!(get(address, "/readyz"), (200, "ready\n".into()));
    assert_eq!(get(address, "/").0, 404);
    let meter = busy.meter();
    let stopping = tokio::spawn(busy.stop(PATIENCE));
    until(|| get(address, "/readyz").0 == 503, || "still ready".into()).await;
    assert_eq!(get(address, "/readyz"), (503, "it is stopping\n".into()));
    assert_eq!(get(address, "/livez").0, 200);
    gate.add_permits(1);
    stopping.await.unwrap();
    assert_eq!((meter.counts().in_work, meter.live().is_err()), (0, true));
    assert!(TcpStream::connect(address).is_err(), "it still listens");
    idle.stop(PATIENCE).await;
}

/// These questions keep the runtime of the instance from running, since they block.
pub(crate) async fn a_loop_that_does_not_run_is_not_live(builder: Builder) {
    let container = service(builder, &Arc::new(Semaphore::new(0))).start().unwrap();
    running(&container).await;
    let address = container.http_addr().unwrap();
    let began = Instant::now();
    let stuck = loop {
        match get(address, "/livez") {
            (200, _) => assert!(began.elapsed() < PATIENCE, "still live"),
            (status, why) => break (status, why),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(stuck.0 == 503 && stuck.1.starts_with("the loop has not run for "), "{stuck:?}");
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
    until(|| get(address, "/livez").0 == 200, || "it runs again".into()).await;
    let taken = container.http_addr().unwrap();
    let second = ServiceContainer::builder("other").http(taken).start().unwrap_err();
    assert!(matches!(&second, BuildError::Http { address, .. } if *address == taken), "{second}");
    container.stop(PATIENCE).await;
}
