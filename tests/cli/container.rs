//! `container`: what is said when there are no servers. With servers: `tests/nuropb`, and
//! `tests/interop/test_container.py`.
#![cfg(all(feature = "etcd", feature = "rabbitmq"))]

use serde_json::{Value, json};

use super::{home, majordomo, run};

const NOWHERE: &str = "amqp://joe:s3cret@127.0.0.1:1/mesh";

#[test]
fn what_cannot_be_asked_is_refused_before_anybody_is_asked() {
    let home = home();
    let home = home.path();
    for (arguments, code, text) in [
        (
            &["call", "sums", "add", "--queues", "rabbitmq"][..],
            2,
            "majordomo: say where RabbitMQ is; give --amqp",
        ),
        (
            &["call", "sums", "add", "--queues", "x"],
            2,
            "error: invalid value 'x' for '--queues <QUEUES>'",
        ),
        (&["call", "sums", "add", "--level", "x"], 2, "error: invalid value 'x' for '--level <"),
        (&["call", "sums", "add", "--protocol", "mdp01"], 2, "majordomo: service containers speak"),
        (&["call", "sums", "add", "[1]"], 2, "error: invalid value '[1]' for '[JSON]'"),
        (&["call", "sums", "add", "{"], 2, "error: invalid value '{' for '[JSON]'"),
        (&["event", "a", "x"], 2, "error: invalid value 'x' for '[JSON]'"),
        (&["ls", "--leases", "etcd"], 2, "majordomo: say where etcd is; give --etcd"),
        (&["pause", "sums", "--leases", "etcd"], 2, "majordomo: say where etcd is; give --etcd"),
        (&["pause", "sums", "--leases", "none"], 2, "majordomo: without a leader nobody says it"),
        (
            &["run", "sums", "--method", "m=cat", "--quorum"],
            2,
            "majordomo: our broker has no quorum queues",
        ),
        (
            &["run", "sums", "--on", "a..b=cat"],
            2,
            "majordomo: `a..b` is nothing that can be subscribed to",
        ),
        (&["run", "sums", "--amqp", NOWHERE], 2, "majordomo: the service can do nothing"),
        (&["run", "sums", "--method", "add"], 2, "error: invalid value 'add' for '--method"),
        (&["run", "sums", "--prefetch", "0"], 2, "error: invalid value '0' for '--prefetch"),
        (
            &["run", "a/b", "--method", "m=cat", "--amqp", NOWHERE],
            2,
            "majordomo: `a/b` is no name: 1 to 96 octets",
        ),
        (
            &["run", "a", "--method", "m=cat", "--ttl", "1s", "--amqp", NOWHERE],
            2,
            "majordomo: ttl is 1000 ms, and has to be 2 s to 10 min",
        ),
        (
            &["describe", "a", "--queues", "rabbitmq", "--amqp", "amqps://h/x"],
            2,
            "majordomo: the URL of RabbitMQ: only",
        ),
        (
            &["describe", "a", "--queues", "rabbitmq", "--amqp", "nonsense"],
            2,
            "majordomo: the URL of RabbitMQ: ",
        ),
        (
            &["ls", "--leases", "etcd", "--etcd", "localhost:2379"],
            2,
            "majordomo: `localhost:2379` is no endpoint",
        ),
    ] {
        let (exit, _, err) = run(&mut majordomo(home, &[&["container"], arguments].concat()));
        assert_eq!(exit, code, "{arguments:?}: {err}");
        assert!(err.starts_with(text), "{arguments:?}: {err}");
    }
}

#[test]
fn servers_that_are_not_there_are_3_and_their_passwords_are_not_shown() {
    let home = home();
    for arguments in [
        &["call", "sums", "add", "--timeout", "300ms", "--queues", "rabbitmq"][..],
        &["event", "sums.done", "--timeout", "300ms", "--queues", "rabbitmq"],
        &["describe", "sums", "--timeout", "300ms", "--queues", "rabbitmq"],
        &["ls", "--leases", "etcd", "--etcd", "http://127.0.0.1:1"],
        &["ls", "--queues", "rabbitmq", "--amqp-api", "http://joe:s3cret@127.0.0.1:1/api"],
        &["pause", "sums", "--leases", "etcd", "--etcd", "http://127.0.0.1:1"],
        &["call", "sums", "add", "--timeout", "300ms", "--endpoint", "tcp://127.0.0.1:1"],
        &["event", "sums.done", "--timeout", "300ms", "--endpoint", "tcp://127.0.0.1:1"],
        &["ls", "--endpoint", "tcp://127.0.0.1:1"],
        &["pause", "sums", "--endpoint", "tcp://127.0.0.1:1"],
    ] {
        let words = [&["container"], arguments, &["--json"]].concat();
        let mut command = majordomo(home.path(), &words);
        let (exit, out, err) = run(command.env("MAJORDOMO_AMQP", NOWHERE));
        assert_eq!(exit, 3, "{arguments:?}: {err}");
        let said: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&said["v"], &said["error"]["code"]), (&json!(1), &json!("cannot_connect")));
        assert!(err.contains("refused"), "{err}");
        assert!(!format!("{out}{err}").contains("s3cret"), "{err}");
    }
}
