//! Management as clients of a broker see it, over sockets.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::broker::acceptor::Acceptor;
use crate::broker::{Around, Broker, LogLimits, LogRing};
use crate::config::BrokerConfig;
use crate::id::Identity;
use crate::proto::core::{Core, Hello};
use crate::transport::session::{Session, SessionConfig, SessionError};
use crate::wire::codec::Encoder;
use crate::wire::message::Message;
use crate::wire::nfp::{FromClient, FromWorker, Job, Kind, Reply, ToClient, ToWorker, Verb};

const WAIT: Duration = Duration::from_secs(30);

/// A broker with an open listener and one for administration.
struct House {
    broker: Broker,
    _folder: TempDir,
}

impl House {
    fn new(ring: Option<LogRing>, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");
        let mut config = BrokerConfig::default();
        config.broker.bind = vec![
            "tcp://127.0.0.1:0".parse().unwrap(),
            format!("ipc://{}", path.display()).parse().unwrap(),
        ];
        // No keepalive comes in between.
        config.nfp.keepalive = Duration::from_secs(60);
        change(&mut config);
        let around = Around { logs: ring, ..Around::default() };
        let broker = Broker::bind_around(config, around, |_, _| Ok(())).unwrap();
        Self { broker, _folder: folder }
    }

    async fn join(&self, endpoint: usize, name: &str) -> Visitor {
        let config = SessionConfig {
            identity: Identity::try_from(name.as_bytes()).ok(),
            ..SessionConfig::default()
        };
        let endpoint = &self.broker.local_addrs()[endpoint];
        Visitor { session: Session::connect(endpoint, &config).await.unwrap(), heard: Vec::new() }
    }

    async fn client(&self) -> Visitor {
        self.join(0, "client").await
    }

    async fn admin(&self) -> Visitor {
        self.join(1, "admin").await
    }

    /// A worker of NFP that the broker knows, and has heard to live.
    async fn worker(&self, name: &str) -> Visitor {
        let mut worker = self.join(0, name).await;
        worker.say(|out| FromWorker::Ready { service: b"work" }.encode(out)).await;
        worker.say(|out| FromWorker::Keepalive { service: b"work" }.encode(out)).await;
        let mut client = self.join(0, "waiter").await;
        let known = |rows: &Value| {
            let mut rows = rows.as_array().unwrap().iter();
            rows.any(|row| row["name"] == name && row["keepalives tx/rx"] == "0 / 1")
        };
        while !known(&client.ask("show_workers", json!({})).await) {}
        worker
    }
}

/// A peer.
struct Visitor {
    session: Session,
    heard: Vec<Message>,
}

impl Visitor {
    async fn say(&mut self, write: impl FnOnce(&mut Encoder)) {
        self.session.send(write);
        self.session.flush().await.unwrap();
    }

    /// The next message; none if the broker has hung up.
    async fn hear(&mut self) -> Option<Message> {
        while self.heard.is_empty() {
            let heard = &mut self.heard;
            let turn = self.session.turn(|said| heard.push(said.to_message()));
            match tokio::time::timeout(WAIT, turn).await.expect("nothing came") {
                Ok(_) => {}
                Err(SessionError::HungUp) => return None,
                Err(error) => panic!("{error}"),
            }
        }
        Some(self.heard.remove(0))
    }

    async fn ask(&mut self, task: &str, kwargs: Value) -> Value {
        let body = json!({"task": task, "kwargs": kwargs, "args": []});
        self.ask_with(&serde_json::to_vec(&body).unwrap()).await
    }

    async fn ask_with(&mut self, body: &[u8]) -> Value {
        self.ask_of(Management::NAME, body).await
    }

    /// Asks, and looks at both copies of the answer.
    async fn ask_of(&mut self, service: &str, body: &[u8]) -> Value {
        let body = Message::new([body.to_vec()]);
        let (service, target, uuid) = (service.as_bytes(), b"all", b"some-uuid");
        let job = Job { verb: Verb::Mmi, service, target, uuid, body: body.frames() };
        self.say(|out| FromClient::Job(job).encode(out)).await;
        let mut copies = Vec::new();
        for expected in [Kind::Response, Kind::Mmi] {
            let message = self.hear().await.expect("the broker hung up");
            let (_, ToClient::Reply(reply)) = ToClient::decode(message.frames()).unwrap() else {
                panic!("{message:?}")
            };
            let Reply { kind, service: by, uuid: about, status, mut body } = reply;
            assert_eq!((kind, by, about, status), (expected, service, &uuid[..], &b"200"[..]));
            copies.push(body.take_first().unwrap().to_vec());
        }
        assert_eq!(copies[0], copies[1]);
        serde_json::from_slice(&copies[0]).unwrap()
    }

    /// The reason of a refusal.
    async fn refusal(&mut self, task: &str, kwargs: Value) -> String {
        let answer = self.ask(task, kwargs).await;
        assert_eq!(answer["status"], "FAILED", "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    }
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn asked(task: &str, kwargs: Value) -> Asked {
    let Value::Object(kwargs) = kwargs else { panic!("{kwargs}") };
    Asked { task: task.into(), kwargs }
}

#[tokio::test]
async fn workers_services_and_clients_are_listed() {
    let house = House::new(None, |_| {});
    let _worker = house.worker("w1").await;
    let mut client = house.client().await;
    let rows = client.ask("show_workers", json!({})).await;
    let [row] = rows.as_array().unwrap().as_slice() else { panic!("{rows}") };
    assert_eq!(
        (&row["name"], &row["service"], &row["status"]),
        (&"w1".into(), &"work".into(), &"alive".into())
    );
    assert!(row["alive (s)"].as_str().unwrap().parse::<u64>().is_ok(), "{row}");
    let hold: f64 = row["holdtime"].as_str().unwrap().parse().unwrap();
    assert!(hold > 300.0 && hold <= 360.0, "{hold}");
    for (filter, found) in [
        (json!({"service": "all", "status": "any"}), true),
        (json!({"service": "work", "status": "alive"}), true),
        (json!({"service": "other"}), false),
        (json!({"status": "dead"}), false),
    ] {
        let rows = client.ask("show_workers", filter.clone()).await;
        let nobody = json!([{"name": "", "service": "", "status": ""}]);
        assert_eq!(rows != nobody, found, "{filter}: {rows}");
    }
    let services = client.ask("show_services", json!({})).await;
    let expected = json!([{"name": "work", "workers": 1, "waiting": 0, "in_flight": 0,
                           "accepted": 0, "replied": 0, "failed": 0}]);
    assert_eq!(services, expected);
    let mut admin = house.admin().await;
    let clients = admin.ask("show_clients", json!({})).await;
    let clients: Map<String, Value> = clients
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].as_str().unwrap().to_owned(), row["admin"].clone()))
        // Whoever waited for the worker may not have gone yet.
        .filter(|(name, _)| name != "waiter")
        .collect();
    assert_eq!(Value::Object(clients), json!({"client": false, "admin": true}));
}

#[tokio::test]
async fn reports_have_the_keys_that_norfab_reads() {
    let house = House::new(None, |_| {});
    let _worker = house.worker("w1").await;
    let mut client = house.client().await;
    let stats = client.ask("get_stats", json!({})).await;
    let endpoint = house.broker.local_addrs()[0].to_string();
    assert_eq!(stats["endpoint"], endpoint);
    assert_eq!(
        keys(&stats),
        [
            "collected_at",
            "endpoint",
            "keepalive_interval_ms",
            "keepalive_multiplier",
            "messaging",
            "name",
            "process",
            "role",
            "schema_version",
            "service_count",
            "status",
            "worker_count",
            "workers"
        ]
    );
    assert_eq!(
        keys(&stats["process"]),
        [
            "cpu_percent",
            "memory_rss_mbyte",
            "open_file_descriptors",
            "tcp_sockets",
            "threads",
            "uptime_seconds"
        ]
    );
    let process = &stats["process"];
    assert!(process["cpu_percent"].is_f64() && process["uptime_seconds"].is_u64(), "{process}");
    assert!(process["memory_rss_mbyte"].as_f64().unwrap() > 1.0, "{process}");
    assert!(process["tcp_sockets"].as_u64().unwrap() >= 3, "{process}");
    assert!(process["threads"].as_u64().unwrap() >= 2, "{process}");
    let messaging = &stats["messaging"];
    assert_eq!(
        keys(messaging),
        ["events_received", "receive_failures", "received", "send_failures", "sent"]
    );
    let again = client.ask("get_stats", json!({})).await;
    for (key, more) in [("received", 1), ("sent", 2)] {
        let count = |stats: &Value| stats["messaging"][key].as_u64().unwrap();
        assert!(count(&again) >= count(&stats) + more, "{key}");
    }
    let [worker] = stats["workers"].as_array().unwrap().as_slice() else { panic!("{stats}") };
    assert_eq!(
        keys(worker),
        [
            "holdtime_seconds",
            "keepalives_received",
            "keepalives_sent",
            "name",
            "service",
            "status",
            "uptime_seconds"
        ]
    );
    assert!(worker["holdtime_seconds"].is_f64() && worker["keepalives_received"] == 1, "{worker}");
    assert_eq!((&stats["worker_count"], &stats["service_count"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn the_other_reports_say_what_they_are_asked_for() {
    let house = House::new(None, |_| {});
    let _worker = house.worker("w1").await;
    let mut client = house.client().await;
    let status = client.ask("get_status", json!({})).await;
    assert_eq!(keys(&status), ["directories", "endpoint", "name", "role", "security", "status"]);
    let shown = client.ask("show_broker", json!({})).await;
    assert_eq!(shown["keepalives"], json!({"interval": 60_000, "multiplier": 6}));
    assert_eq!((&shown["workers count"], &shown["services count"]), (&1.into(), &1.into()));
    let version = client.ask("show_broker_version", json!({})).await;
    assert!(version.as_object().unwrap().values().all(Value::is_string), "{version}");
    assert_eq!(version["majordomo"], env!("CARGO_PKG_VERSION"));
    let inventory = client.ask("show_broker_inventory", json!({})).await;
    assert_eq!(inventory["broker"]["majordomo"]["limits"]["frame"], "16MiB");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_call_is_said() {
    let house = House::new(None, |_| {});
    let mut client = house.client().await;
    for body in [
        &b""[..],
        b"no json",
        b"\xff",
        b"[1]",
        b"3",
        b"{}",
        br#"{"task":3}"#,
        br#"{"task":"get_stats","kwargs":[]}"#,
    ] {
        let answer = client.ask_with(body).await;
        assert_eq!(answer["status"], "FAILED", "{}", body.escape_ascii());
    }
    let padded = |len: usize| {
        let call = br#"{"task":"nothing"}"#;
        [&call[..], &vec![b' '; len - call.len()]].concat()
    };
    let longest = client.ask_with(&padded(Call::BODY_MAX)).await;
    assert_eq!(longest, "Unsupported task 'nothing'");
    let answer = client.ask_with(&padded(Call::BODY_MAX + 1)).await;
    let why = "the body is over 65536 octets, the most that a service of the broker reads";
    assert_eq!((&answer["status"], &answer["error"]), (&json!("FAILED"), &json!(why)));
    assert_eq!(client.ask("nothing", json!({})).await, "Unsupported task 'nothing'");
    let why = client.refusal("show_workers", json!({"service": 3})).await;
    assert_eq!(why, "argument service is a text, not 3");
    // Whoever reads log records expects nothing else.
    for kwargs in [json!({"last": 1}), json!({"last": -1})] {
        let records = client.ask("get_logs", kwargs).await;
        assert_eq!(records[0]["level"], "ERROR", "{records}");
        assert!(records[0]["message"].as_str().unwrap().contains("no log records"), "{records}");
    }
}

#[tokio::test]
async fn the_last_records_are_told_by_level_logger_and_time() {
    let ring = LogRing::new(LogLimits::default());
    let subscriber = tracing_subscriber::registry().with(ring.clone());
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..150 {
            tracing::debug!(target: "a::b", number, "counted");
        }
        tracing::warn!(target: "a", "beware");
        tracing::info!(target: "ab", "well");
    });
    let house = House::new(Some(ring), |_| {});
    let mut client = house.client().await;
    let mut found = async |kwargs: Value| {
        let records = client.ask("get_logs", kwargs).await;
        let records = records.as_array().unwrap().iter().map(|record| {
            let text = |key: &str| record[key].as_str().unwrap().to_owned();
            (text("logger"), text("level"), text("message"))
        });
        records.collect::<Vec<_>>()
    };
    let record = |logger: &str, level: &str, message: &str| {
        (logger.to_owned(), level.to_owned(), message.to_owned())
    };
    let all = found(json!({})).await;
    assert_eq!(all.len(), 100);
    assert_eq!(all[0], record("a::b", "DEBUG", "counted number=52"));
    assert_eq!(all[98..], [record("a", "WARNING", "beware"), record("ab", "INFO", "well")]);
    assert_eq!(found(json!({"last": 0})).await.len(), 152);
    assert_eq!(found(json!({"last": 2})).await, all[98..]);
    assert_eq!(found(json!({"level": "warning"})).await, all[98..99]);
    assert_eq!(found(json!({"level": "CRITICAL"})).await, []);
    assert_eq!(found(json!({"logger": "a", "last": 1000})).await.len(), 151);
    assert_eq!(found(json!({"logger": "ab", "level": null})).await, all[99..]);
    assert_eq!(found(json!({"since": "2999-01-01"})).await, []);
    assert_eq!(found(json!({"until": "2026-01-01T00:00:00Z"})).await, []);
    assert_eq!(found(json!({"since": "2026-01-01", "until": "2999-01-01"})).await.len(), 100);
    for (kwargs, why) in [
        (json!({"since": "yesterday"}), "argument since is a date"),
        (json!({"level": "loud"}), "argument level is one of"),
        (json!({"last": "many"}), "argument last is a count"),
        (json!({"logger": 3}), "argument logger is a text"),
    ] {
        let [(_, level, message)] = &found(kwargs).await[..] else { panic!("{why}") };
        assert!(level == "ERROR" && message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn records_that_find_no_room_are_counted() {
    let ring = LogRing::new(LogLimits::default());
    let subscriber = tracing_subscriber::registry().with(ring.clone());
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..50 {
            tracing::info!(number, "counted");
        }
    });
    let octets = logs::get(Some(&ring), &asked("get_logs", json!({})), 4000);
    assert!(octets.len() <= 4000, "{}", octets.len());
    let records: Vec<Value> = serde_json::from_slice(&octets).unwrap();
    let left_out = 51 - records.len();
    assert_eq!(records[0]["message"], format!("{left_out} older records find no room"));
    assert_eq!(records.last().unwrap()["message"], "counted number=49");
}

#[tokio::test]
async fn only_clients_of_an_administration_listener_change_anything() {
    let house = House::new(None, |_| {});
    let mut worker = house.worker("w1").await;
    let (mut client, mut admin) = (house.client().await, house.admin().await);
    for task in ["disconnect", "restart", "shutdown"] {
        let why = client.refusal(task, json!({"name": "w1"})).await;
        assert!(why.starts_with(&format!("{task} is not allowed here")), "{why}");
    }
    let why = admin.refusal("disconnect", json!({})).await;
    assert_eq!(why, "task disconnect needs the argument name");
    for name in ["nobody", "mmi.service.broker"] {
        let why = admin.refusal("disconnect", json!({"name": name})).await;
        assert_eq!(why, format!("no peer has the name {name}"));
    }
    let done = admin.ask("disconnect", json!({"name": "w1"})).await;
    assert_eq!(done, json!({"status": "DISCONNECTED", "name": "w1"}));
    let said = worker.hear().await.unwrap();
    assert!(matches!(ToWorker::decode(said.frames()), Ok((_, ToWorker::Disconnect { .. }))));
    assert!(worker.hear().await.is_none(), "the connection is closed");
    let nobody = json!([{"name": "", "service": "", "status": ""}]);
    assert_eq!(admin.ask("show_workers", json!({})).await, nobody);
}

#[tokio::test]
async fn a_restart_is_asked_of_the_program_around_the_broker_and_answered_before_it_stops() {
    let house = House::new(None, |_| {});
    let mut admin = house.admin().await;
    let why = admin.refusal("restart", json!({})).await;
    assert!(why.contains("does not take such requests"), "{why}");
    let asked = house.broker.asked();
    let answer = async { (admin.ask("restart", json!({})).await, admin) };
    let stop = async {
        assert_eq!(asked.await, AdminRequest::Restart);
        assert_eq!(house.broker.asked().await, AdminRequest::Restart, "it is still wanted");
        house.broker.shutdown(WAIT).await
    };
    let ((answer, mut admin), report) = tokio::join!(answer, stop);
    assert_eq!(answer, json!({"status": "RESTARTING"}));
    assert_eq!(report.abandoned, 0);
    assert!(admin.hear().await.is_none());
}

#[tokio::test]
async fn a_shutdown_is_asked_of_the_program_around_the_broker() {
    let house = House::new(None, |_| {});
    let mut admin = house.admin().await;
    let asked = house.broker.asked();
    assert_eq!(admin.ask("shutdown", json!({})).await, json!({"status": "STOPPING"}));
    assert_eq!(asked.await, AdminRequest::Shutdown);
}

/// A broker without sockets that has so many workers.
fn crowd(workers: usize) -> Shared {
    let shared = Shared::for_tests(BrokerConfig::default());
    for number in 0..workers {
        let identity = Identity::try_from(format!("worker-{number:05}").as_bytes()).ok();
        let mut ready = Encoder::default();
        FromWorker::Ready { service: b"crowd" }.encode(&mut ready);
        let octets = ready.take_buffer();
        let mut decoder = crate::wire::codec::Decoder::new(crate::wire::Limits::default());
        let Ok(Some(crate::wire::codec::Item::Message(said))) = decoder.next(&mut &octets[..])
        else {
            panic!("no message")
        };
        shared.with_core(|core, out| {
            let (id, _) = core.join(now(), Hello { identity, ..Hello::default() }, out);
            core.message(now(), id, said, out);
        });
    }
    shared
}

#[tokio::test]
async fn twenty_thousand_workers_are_listed_as_far_as_there_is_room() {
    const WORKERS: usize = 20_000;
    let shared = crowd(WORKERS);
    let all = asked("show_workers", json!({}));
    let rows = async |max| {
        let octets = tables::workers(&shared, &all, max).await.unwrap();
        assert!(octets.len() <= max, "{} of {max}", octets.len());
        serde_json::from_slice::<Vec<Value>>(&octets).unwrap()
    };
    let listed = rows(16 << 20).await;
    assert_eq!(listed.len(), WORKERS);
    assert!(listed.windows(2).all(|two| two[0]["name"].as_str() < two[1]["name"].as_str()));
    let some = rows(100_000).await;
    let (last, shown) = some.split_last().unwrap();
    let names = |rows: &[Value]| -> Vec<Value> { rows.iter().map(|r| r["name"].clone()).collect() };
    assert_eq!(names(shown), names(&listed[..shown.len()]));
    assert!(shown.len() > 500, "{}", shown.len());
    let more = WORKERS - shown.len();
    let says = format!("{more} more workers find no room; name a service");
    assert_eq!(last, &json!({"name": "", "service": "", "status": says}));
    let stats = stats::stats(&shared, &mut stats::Cpu::new(), 100_000).await.unwrap();
    assert!(stats.len() <= 100_000);
    let stats: Value = serde_json::from_slice(&stats).unwrap();
    assert_eq!(stats["worker_count"], WORKERS);
    assert!(stats["workers"].as_array().unwrap().len() < WORKERS);
}

/// A service that is longer about an answer than a silent worker has.
struct Slow;

impl Service for Slow {
    const NAME: &str = "slow.service.broker";

    async fn answer(&mut self, _: &Call) -> Vec<u8> {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        b"\"done\"".to_vec()
    }
}

#[tokio::test]
async fn a_service_of_the_broker_that_takes_long_is_not_given_up() {
    let house = House::new(None, |config| {
        config.nfp.keepalive = Duration::from_millis(100);
        config.nfp.multiplier = 5;
    });
    let shared = house.broker.shared.clone();
    let acceptor = Acceptor::new(shared.clone(), vec![Handle::current()], TaskTracker::new());
    let mut client = house.client().await;
    let asking = async {
        let served = |core: &mut Core| core.router().is_served(Slow::NAME.as_bytes());
        while shared.look(served).await != Some(true) {
            tokio::task::yield_now().await;
        }
        client.ask_of(Slow::NAME, b"{}").await
    };
    let mut slow = Slow;
    tokio::select! {
        ended = super::super::serve(&shared, &acceptor, &mut slow) => panic!("{ended:?}"),
        answer = asking => assert_eq!(answer, "done"),
    }
}
