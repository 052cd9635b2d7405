//! `publish` and `subscribe`.

use serde_json::{Value, json};

use super::process::Process;
use super::{home, majordomo, run};

#[test]
fn what_is_published_is_printed_by_who_has_subscribed() {
    let home = home();
    let home = home.path();
    let mut broker = Process::broker(home, &["--bind", "tcp://127.0.0.1:0"]);
    let endpoint = broker.line();
    let at = ["--endpoint", &endpoint];
    let words = ["subscribe", "weather.*.wind", "news", "--count", "2", "--json"];
    let mut listener = Process::start(home, &[&words[..], &at].concat());
    let object = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    let patterns = ["weather.*.wind", "news"];
    assert_eq!(
        object(listener.line()),
        json!({"v": 1, "event": "subscribed", "patterns": patterns})
    );
    let publish = |words: &[&str]| run(&mut majordomo(home, &[&["publish"], words, &at].concat()));
    let (code, out, err) = publish(&["weather.oslo.wind", "9 m/s", ""]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "published to 1 subscription\n", ""));
    let (code, out, _) = publish(&["weather.oslo.rain", "none", "--json"]);
    let said = json!({"v": 1, "subject": "weather.oslo.rain", "subscriptions": 0});
    assert_eq!((code, object(out)), (0, said));
    publish(&["news", "-1"]);
    let message = |subject, frames: &[&str]| {
        json!({
            "v": 1, "event": "message", "subject": subject, "frames": frames, "publisher": null,
        })
    };
    assert_eq!(object(listener.line()), message("weather.oslo.wind", &["9 m/s", ""]));
    assert_eq!(object(listener.line()), message("news", &["-1"]));
    assert!(listener.wait().0.success());
}

#[test]
fn for_people_a_frame_is_a_line_behind_its_subject() {
    let home = home();
    let home = home.path();
    let mut broker = Process::broker(home, &["--bind", "tcp://127.0.0.1:0"]);
    let endpoint = broker.line();
    let at = ["--endpoint", &endpoint];
    let mut listener = Process::start(home, &[&["subscribe", ">", "-n", "1"], &at[..]].concat());
    let publish = ["publish", "a.b", "one", "two"];
    // Until the subscriber is there.
    while run(&mut majordomo(home, &[&publish[..], &at].concat())).1.contains(" 0 ") {}
    assert_eq!([listener.line(), listener.line()], ["a.b\tone", "a.b\ttwo"]);
    let (status, said) = listener.wait();
    assert!(status.success());
    assert_eq!(said, "subscribed to >\n");
}

#[test]
fn what_cannot_be_said_is_refused_with_its_code() {
    let home = home();
    let home = home.path();
    let mut broker = Process::broker(home, &["--bind", "tcp://127.0.0.1:0"]);
    let endpoint = broker.line();
    let code = |words: &[&str]| {
        let at = ["--endpoint", &endpoint];
        let (code, _, err) = run(&mut majordomo(home, &[words, &at].concat()));
        (code, err)
    };
    assert_eq!(code(&["publish", "a.*", "x"]).0, 2);
    assert_eq!(code(&["publish", "a b", "x"]).0, 2);
    assert_eq!(code(&["subscribe", "a..b"]).0, 2);
    assert_eq!(code(&["subscribe"]).0, 2);
    let (forbidden, said) = code(&["publish", "$a", "x"]);
    assert_eq!(forbidden, 5, "{said}");
    assert_eq!(code(&["publish", "a", "x", "--protocol", "mdp02"]).0, 2);
}
