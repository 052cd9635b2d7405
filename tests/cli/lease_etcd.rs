//! `lease … --etcd`: the same commands over a real etcd.

#[path = "../common/etcd.rs"]
#[expect(dead_code, reason = "leases need more of it")]
mod server;

use serde_json::{Value, json};

use super::process::Process;
use super::{home, majordomo, run};
use server::EtcdServer;

#[test]
fn a_lease_in_etcd_is_held_listed_watched_and_handed_over() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(EtcdServer::start());
    let (home, url) = (home(), server.url());
    let at = |words: &[&str]| -> Vec<String> {
        let cut = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        let words = [&words[..cut], &["--etcd", &url], &words[cut..]].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    fn all(words: &[String]) -> Vec<&str> {
        words.iter().map(String::as_str).collect()
    }
    let start = |words: &[&str]| Process::start(home.path(), &all(&at(words)));
    let ask = |words: &[&str]| run(&mut majordomo(home.path(), &all(&at(words))));
    let mut watch = start(&["lease", "watch", "billing"]);
    assert_eq!(watch.line(), "billing\tfree");
    let words = ["lease", "campaign", "billing", "--name", "node-1", "--value", "10.0.0.1"];
    let mut first = start(&words);
    let line = first.line();
    let epoch: u64 = line.strip_prefix("billing\theld\t").unwrap().parse().unwrap();
    assert_eq!(watch.line(), format!("billing\theld\t{epoch}\tnode-1\t10.0.0.1"));
    let (code, out, _) = ask(&["lease", "campaign", "billing", "--wait", "0s", "--json"]);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["error"]["code"]), (8, &json!("held")));
    let mut second =
        start(&["lease", "campaign", "billing", "--", "sh", "-c", "echo $MAJORDOMO_EPOCH"]);
    let row = || {
        let (code, out, err) = ask(&["lease", "ls", "bill", "--json"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<Value>(&out).unwrap()["leases"][0].clone()
    };
    while row()["waiting"] != 1 {}
    assert_eq!((&row()["epoch"], &row()["name"]), (&json!(epoch), &json!("node-1")));
    first.signal("INT");
    let next: u64 = second.line().parse().unwrap();
    assert!(next > epoch, "{next} behind {epoch}");
    // The command has ended, and nobody holds it.
    while !watch.line().starts_with("billing\tfree") {}
    let (code, _, err) = ask(&["lease", "campaign", "billing", "--lock-delay", "1s"]);
    assert_eq!(code, 2, "{err}");
    let (code, _, err) = ask(&["lease", "ls", "--endpoint", "tcp://127.0.0.1:1"]);
    assert_eq!(code, 2, "{err}");
}
