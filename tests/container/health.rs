//! A leader that looks after the health of its service (SPEC 17.6): the same in each home, and what
//! each of them has to be asked in its own way.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use majordomo::container::{
    Builder, Call, CallError, CallerSettings, Client, Event, Failure, Figures, HealthSettings,
    ServiceContainer, Signal,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::behaviour::{Home, PATIENCE, running};

/// A service that is looked after quickly.
fn quick() -> HealthSettings {
    HealthSettings {
        interval: Duration::from_millis(200),
        hw_mark: Some(4),
        hold: Duration::from_millis(400),
        calm: Duration::from_secs(1),
        cool_down: Duration::from_millis(500),
        instances: 1..=2,
        window: Duration::from_secs(20),
        ..HealthSettings::default()
    }
}

/// A service whose messages end when they are let go.
#[derive(Clone)]
struct Gate(Arc<Semaphore>);

impl Gate {
    fn service(&self, builder: Builder) -> Builder {
        let gate = self.0.clone();
        let hold = move |_: Call<Value>| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(())
            }
        };
        let fail = |_: Call<Value>| async { Err::<(), _>(Failure::rejected("No", "never")) };
        builder.prefetch(1, 1).method("hold", hold).method("fail", fail)
    }
}

type Signals = mpsc::Receiver<(Signal, Figures)>;

fn signals(builder: Builder) -> (Builder, Signals) {
    let (to, signals) = mpsc::channel(100);
    let told = move |signal, figures| {
        let to = to.clone();
        async move {
            let _ = to.send((signal, figures)).await;
        }
    };
    (builder.on_signal(told), signals)
}

async fn next(signals: &mut Signals) -> (Signal, Figures) {
    timeout(PATIENCE, signals.recv()).await.expect("a signal").unwrap()
}

async fn signal(signals: &mut Signals, wanted: impl Fn(&Signal) -> bool) -> (Signal, Figures) {
    loop {
        let (signal, figures) = next(signals).await;
        if wanted(&signal) {
            return (signal, figures);
        }
    }
}

/// A leader wants more instances, then fewer, says so in each way, and tells of dead letters.
pub(crate) async fn a_leader_looks_after_its_service<H: Home>(home: &H, service: &str) {
    let gate = Gate(Arc::new(Semaphore::new(0)));
    let instance = |name| gate.service(home.instance(service, name)).health(quick());
    let (builder, mut heard) = signals(instance("one"));
    let leader = builder.start().unwrap();
    running(&leader).await;
    let (events_to, mut events) = mpsc::channel(100);
    let hear = move |told: Event<Value>| {
        let to = events_to.clone();
        async move {
            let _ = to.send((told.topic, told.event)).await;
            Ok(())
        }
    };
    let topics = format!("container.{service}.*");
    let listener = home.instance(&format!("{service}-ops"), "ops").on(topics, hear);
    let listener = listener.start().unwrap();
    running(&listener).await;

    let client = home.client("joe");
    for _ in 0..7 {
        client.caller().command(service, "hold", &json!({})).await.unwrap();
    }
    let up = |wanted| Signal::ScaleUp { wanted };
    let (first, figures) = next(&mut heard).await;
    assert_eq!(first, up(2));
    assert!(figures.waiting > 4 && figures.instances == 1, "{figures:?}");
    let mut seen = leader.properties();
    let wanted = |count: &'static str| {
        move |it: &majordomo::container::Properties| it.get("wanted").is_some_and(|it| it == count)
    };
    timeout(PATIENCE, seen.wait_for(wanted("2"))).await.unwrap().unwrap();
    let (topic, event) = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!(topic, format!("container.{service}.scale_up"));
    assert_eq!((&event["signal"], &event["wanted"]), (&json!("scale_up"), &json!(2)));
    assert_eq!((&event["instance"], &event["figures"]), (&json!("one"), &json!(figures)));
    assert_eq!(event["epoch"].as_u64(), leader.status().borrow().epoch);

    let second = instance("two").start().unwrap();
    running(&second).await;
    gate.0.add_permits(7);
    let (down, figures) = signal(&mut heard, |it| matches!(it, Signal::ScaleDown { .. })).await;
    assert_eq!((down, figures.instances), (Signal::ScaleDown { wanted: 1 }, 2));
    timeout(PATIENCE, seen.wait_for(wanted("1"))).await.unwrap().unwrap();
    let said = |it: &majordomo::container::Properties| it.contains_key("health");
    timeout(PATIENCE, second.properties().wait_for(said)).await.unwrap().unwrap();
    assert_eq!(*second.figures().borrow(), None, "only the leader looks");

    // Each caller waits for its answer, so that its letter is kept in every home.
    for _ in 0..10 {
        let failed = client.caller().request(service, "fail", &json!({})).await;
        assert!(matches!(failed, Err(CallError::Remote { .. })), "{failed:?}");
    }
    let (piled, figures) = signal(&mut heard, |it| matches!(it, Signal::DeadLetters { .. })).await;
    assert!(matches!(piled, Signal::DeadLetters { grown: 10.., .. }), "{piled:?}");
    assert!(figures.alarm, "{figures:?}");

    client.close().await;
    for instance in [leader, second, listener] {
        instance.stop(PATIENCE).await;
    }
}

/// A caller whose messages fail is ended, though the leader sees few of them, and another one is
/// not. Gives the name by which it was ended.
pub(crate) async fn a_bad_caller_is_ended<H: Home>(
    home: &H,
    service: &str,
    mut watch: impl AsyncFnMut(&str) -> Option<String>,
) {
    let gate = Gate(Arc::new(Semaphore::new(0)));
    let exempt = vec![H::caller_name("good").parse().unwrap()];
    let settings = CallerSettings { percent: 50, messages_min: 10, exempt };
    let instance = |name| {
        let builder = gate.service(home.keeper(service, name));
        builder.health(quick()).end_callers(settings.clone())
    };
    let (builder, mut heard) = signals(instance("one"));
    let leader = builder.start().unwrap();
    running(&leader).await;
    let second = instance("two").start().unwrap();
    running(&second).await;
    // The leader has a message for as long as this takes, and takes no other.
    let (good, bad) = (home.client("good"), home.client("bad"));
    good.caller().command(service, "hold", &json!({})).await.unwrap();
    good.caller().command(service, "hold", &json!({})).await.unwrap();
    gate.0.add_permits(1);
    let fail = async |client: &Client| {
        let failed = client.caller().request(service, "fail", &json!({})).await;
        assert!(matches!(failed, Err(CallError::Remote { .. })), "{failed:?}");
    };
    for _ in 0..12 {
        fail(&good).await;
    }
    for _ in 0..9 {
        fail(&bad).await;
    }
    // A server may need seconds until it says who is connected.
    let connected = async {
        loop {
            if let Some(connection) = watch("bad").await {
                return connection;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let before = timeout(PATIENCE, connected).await.expect("it is connected");
    fail(&bad).await;
    let (ended, _) = signal(&mut heard, |it| matches!(it, Signal::EndCaller { .. })).await;
    let Signal::EndCaller { caller, messages: 10, failed: 10 } = ended else {
        panic!("{ended:?}");
    };
    assert!(caller.contains("bad"), "{caller}");
    // It may come again, by another connection.
    let another = async {
        while watch("bad").await.is_none_or(|now| now == before) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, another).await.expect("its connection is ended");
    gate.0.add_permits(10);
    for client in [good, bad] {
        client.close().await;
    }
    for instance in [leader, second] {
        instance.stop(PATIENCE).await;
    }
}

#[tokio::test]
async fn what_cannot_be_cared_for_so_is_refused() {
    let refused = |settings| {
        let builder = ServiceContainer::builder("a").health(settings);
        builder.start().unwrap_err().to_string()
    };
    let interval = HealthSettings { interval: Duration::from_millis(99), ..quick() };
    assert_eq!(refused(interval), "interval is 99 ms, and has to be 100 ms to 1 min");
    let window = HealthSettings { window: Duration::from_millis(199), ..quick() };
    assert_eq!(refused(window), "window is 199 ms, and has to be the interval to 1 h");
    for instances in [0..=1, RangeInclusive::new(3, 2), 1..=1_001] {
        let said = format!("{} to {}", instances.start(), instances.end());
        let refused = refused(HealthSettings { instances, ..quick() });
        assert_eq!(
            refused,
            format!("instances is {said}, and has to be 1 to 1000, the fewest first")
        );
    }
    let callers = CallerSettings { percent: 101, ..CallerSettings::default() };
    let refused = ServiceContainer::builder("a").end_callers(callers).start().unwrap_err();
    assert_eq!(refused.to_string(), "percent is 101, and has to be 1 to 100");
}
