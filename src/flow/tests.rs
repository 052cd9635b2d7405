use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::net::UnixStream;

use super::end::End;
use super::*;
use crate::config::FlowConfig;
use crate::proto::flow::Violation;
use crate::transport::session::{Session, SessionConfig};
use crate::transport::stream::Stream;
use crate::wire::command::SocketType;
use crate::wire::zio::{Direction, Shape, Zio};

const DAT: &str = r#"{"flow": "DAT"}"#;
const EOT: &str = r#"{"flow": "EOT"}"#;

/// The other end, and the broker between: the test says what they say.
struct Other {
    session: Session,
    heard: Vec<FlowMessage>,
}

impl Other {
    async fn say(&mut self, label: &str, payload: &'static str) {
        let message = FlowMessage::from(payload).with_label(label).unwrap();
        self.session.send(|out| message.as_zio().encode_single(out));
        self.session.flush().await.unwrap();
    }

    async fn pay(&mut self, credit: u64) {
        self.say(&format!(r#"{{"flow": "PAY", "credit": {credit}}}"#), "").await;
    }

    async fn hear(&mut self) -> FlowMessage {
        while self.heard.is_empty() {
            let heard = &mut self.heard;
            let turn = self.session.turn(|frames| {
                heard.push(FlowMessage::of(&Zio::decode(Shape::Single, frames).unwrap()));
            });
            turn.await.unwrap();
        }
        self.heard.remove(0)
    }

    /// What comes without waiting any longer.
    async fn heard(&mut self) -> Vec<FlowMessage> {
        // Both ends and the task between them get their turns.
        for _ in 0..50 {
            tokio::task::yield_now().await;
            let heard = &mut self.heard;
            let turn = self.session.turn(|frames| {
                heard.push(FlowMessage::of(&Zio::decode(Shape::Single, frames).unwrap()));
            });
            let _ = turn.now_or_never();
        }
        std::mem::take(&mut self.heard)
    }

    /// Both EOTs, the other end's first; then it hangs up.
    async fn end(mut self) -> FlowMessage {
        self.say(EOT, "").await;
        let eot = self.hear().await;
        self.session.close().await.unwrap();
        eot
    }
}

fn config() -> FlowConfig {
    let soon = Some(Duration::from_millis(30));
    FlowConfig { credit: 4, answer_timeout: soon, end_timeout: soon, ..FlowConfig::default() }
}

/// Two ends of a connection.
async fn line() -> (Session, Other) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let config = |socket_type| SessionConfig { socket_type, ..SessionConfig::default() };
    let (client, server) = (config(SocketType::Client), config(SocketType::Server));
    let (ours, theirs) = tokio::join!(
        Session::over(Stream::Unix(ours), &client),
        Session::over(Stream::Unix(theirs), &server)
    );
    (ours.unwrap(), Other { session: theirs.unwrap(), heard: Vec::new() })
}

/// A flow that the other end has agreed to, with that credit.
async fn flow(direction: Direction, credit: u32) -> (End, Other) {
    let (session, mut other) = line().await;
    let config = config();
    let bot = FlowMessage::from("hi").with("run", 1).unwrap();
    let open = End::over(session, &config, direction, config.credit, bot);
    let answer = async {
        let bot = other.hear().await;
        let name = direction.name();
        let said = format!(r#"{{"run": 1, "flow": "BOT", "credit": 4, "direction": "{name}"}}"#);
        assert_eq!((bot.label(), bot.first()), (said.as_str(), &b"hi"[..]));
        let direction = direction.reversed().name();
        let bot = format!(r#"{{"flow": "BOT", "credit": {credit}, "direction": "{direction}"}}"#);
        other.say(&bot, "welcome").await;
    };
    let (end, ()) = tokio::join!(open, answer);
    let end = end.unwrap();
    assert_eq!(end.answer().first(), b"welcome");
    (end, other)
}

async fn giver(credit: u32) -> (Giver, Other) {
    let (end, other) = flow(Direction::Extract, credit).await;
    (Giver::new(end), other)
}

async fn taker(credit: u32) -> (Taker, Other) {
    let (end, other) = flow(Direction::Inject, credit).await;
    (Taker::new(end), other)
}

fn firsts(messages: &[FlowMessage]) -> Vec<&[u8]> {
    messages.iter().map(FlowMessage::first).collect()
}

#[tokio::test]
async fn a_giver_gives_what_is_paid_for_in_order_and_ends_behind_it() {
    let (mut giver, mut other) = giver(3).await;
    assert_eq!((giver.credit(), giver.held()), (3, 0));
    assert!(giver.give("too soon").now_or_never().is_none());
    other.pay(2).await;
    giver.give("one").await.unwrap();
    giver.give("two").await.unwrap();
    assert!(giver.give("three").now_or_never().is_none());
    let heard = other.heard().await;
    assert_eq!(firsts(&heard), [b"one", b"two"]);
    assert_eq!(heard.iter().map(|dat| dat.seqno).collect::<Vec<_>>(), [1, 2]);
    other.pay(3).await;
    giver.feed("three".into()).await.unwrap();
    let last = FlowMessage::default().with("count", 3).unwrap();
    let finish = tokio::spawn(giver.finish_with(last));
    assert_eq!(other.hear().await.first(), b"three");
    assert_eq!(other.hear().await.label(), r#"{"count": 3, "flow": "EOT"}"#);
    assert!(!finish.is_finished());
    other.say(EOT, "").await;
    other.session.close().await.unwrap();
    finish.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_taker_pays_for_what_was_taken_and_its_stream_ends_behind_the_last() {
    let (mut taker, mut other) = taker(4).await;
    assert_eq!(other.hear().await.label(), r#"{"flow": "PAY", "credit": 4}"#);
    for payload in ["1", "2", "3", "4"] {
        other.say(DAT, payload).await;
    }
    assert_eq!(other.heard().await, [], "nobody has taken anything");
    assert_eq!(taker.next().await.unwrap().unwrap().first(), b"1");
    assert_eq!(other.heard().await, [], "half of it is paid at a time");
    assert_eq!(taker.next().await.unwrap().unwrap().first(), b"2");
    assert_eq!(other.hear().await.label(), r#"{"flow": "PAY", "credit": 2}"#);
    let eot = other.end().await;
    assert_eq!((eot.label(), eot.seqno), (EOT, 3));
    assert!(taker.ending().is_some());
    let rest: Vec<_> = (&mut taker).map(Result::unwrap).collect().await;
    assert_eq!(firsts(&rest), [b"3", b"4"]);
    assert!(taker.next().await.is_none());
    taker.finish().await.unwrap();
}

#[tokio::test]
async fn a_taker_hands_out_no_more_than_it_asked_for() {
    let (mut taker, mut other) = taker(1000).await;
    assert_eq!(taker.credit(), 1000);
    assert_eq!(other.hear().await.get::<u64>("credit"), Some(4));
    let mut paid = 4;
    for _ in 0..100 {
        while paid > 0 {
            other.say(DAT, "x").await;
            paid -= 1;
        }
        while paid == 0 {
            taker.next().await.unwrap().unwrap();
            paid +=
                other.heard().await.iter().filter_map(|pay| pay.get::<u64>("credit")).sum::<u64>();
        }
        assert!(paid <= 4);
    }
}

#[tokio::test]
async fn a_refusal_says_why_if_it_does() {
    for (label, expected) in [
        (r#"{"run": 1, "reason": "full", "flow": "EOT", "direction": "inject"}"#, Some("full")),
        (r#"{"run": 1, "flow": "EOT", "direction": "inject"}"#, None),
    ] {
        let (session, mut other) = line().await;
        let bot = FlowMessage::default().with("run", 1).unwrap();
        let config = config();
        let open = End::over(session, &config, Direction::Extract, 4, bot);
        let (end, ()) = tokio::join!(open, async {
            other.hear().await;
            other.say(label, "").await;
        });
        let Err(FlowError::Refused { reason, eot }) = end else { panic!("{end:?}") };
        assert_eq!((reason.as_deref(), eot.get::<u32>("run")), (expected, Some(1)));
    }
}

#[tokio::test]
async fn answers_that_do_not_come_are_not_waited_for() {
    let (session, other) = line().await;
    let config = config();
    let end = End::over(session, &config, Direction::Extract, 4, FlowMessage::default()).await;
    assert!(matches!(end, Err(FlowError::NoAnswer { .. })), "{end:?}");
    drop(other);
    let (giver, mut other) = giver(2).await;
    let (ended, eot) = tokio::join!(giver.finish(), other.hear());
    assert_eq!(eot.label(), EOT);
    assert!(matches!(ended, Err(FlowError::NoEnd { .. })), "{ended:?}");
}

#[tokio::test]
async fn who_breaks_the_rules_and_who_is_lost_ends_the_flow_and_is_named() {
    let (mut giver, mut other) = giver(2).await;
    other.pay(3).await;
    let error = giver.give("x").await.unwrap_err();
    assert!(matches!(error, FlowError::Violated(Violation::TooMuch { credit: 3, .. })), "{error}");
    assert!(matches!(giver.give("x").await, Err(FlowError::Closed)));
    assert!(matches!(giver.finish().await, Err(FlowError::Closed)));

    let (mut taker, mut other) = taker(2).await;
    for _ in 0..3 {
        other.say(DAT, "x").await;
    }
    for _ in 0..2 {
        taker.next().await.unwrap().unwrap();
    }
    let end = taker.next().await;
    assert!(matches!(end, Some(Err(FlowError::Violated(_)))), "{end:?}");
    assert!(taker.next().await.is_none());

    let (mut taker, mut other) = self::taker(2).await;
    assert_eq!(other.hear().await.get("credit"), Some(2));
    other.say(DAT, "before").await;
    drop(other);
    assert_eq!(taker.next().await.unwrap().unwrap().first(), b"before");
    assert!(matches!(taker.next().await, Some(Err(FlowError::Lost(_)))));
    assert!(taker.next().await.is_none());
}

#[tokio::test]
async fn a_giver_whose_taker_wants_no_more_is_told_and_has_answered() {
    let (mut giver, mut other) = giver(2).await;
    other.pay(2).await;
    giver.give("one").await.unwrap();
    assert_eq!(other.hear().await.first(), b"one");
    assert_eq!(other.end().await.label(), EOT);
    assert!(matches!(giver.give("two").await, Err(FlowError::Ended)));
    assert_eq!(giver.ending().unwrap().label(), EOT);
    giver.close().await.unwrap();
    giver.finish().await.unwrap();
}

#[tokio::test]
async fn a_taker_that_ends_the_flow_drops_what_still_comes() {
    let (taker, mut other) = taker(4).await;
    other.hear().await;
    let finish = tokio::spawn(taker.finish());
    assert_eq!(other.hear().await.label(), EOT);
    other.say(DAT, "late").await;
    other.say(EOT, "").await;
    other.session.close().await.unwrap();
    finish.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_flow_goes_on() {
    let (session, mut other) = line().await;
    let config = FlowConfig { message: 1024, ..config() };
    let open = End::over(session, &config, Direction::Extract, 4, FlowMessage::default());
    let (end, ()) = tokio::join!(open, async {
        other.hear().await;
        other.say(r#"{"flow": "BOT", "credit": 4, "direction": "inject"}"#, "").await;
        other.pay(1).await;
    });
    let mut giver = Giver::new(end.unwrap());
    let error = giver.give(vec![0; 1024]).await.unwrap_err();
    assert!(matches!(error, FlowError::TooBig { max: 1024, .. }), "{error}");
    assert_eq!(giver.held(), 1);
    giver.send("small".into()).await.unwrap();
    assert_eq!(other.hear().await.first(), b"small");
}

#[tokio::test]
async fn a_giver_waits_while_the_socket_takes_nothing() {
    let (session, mut other) = line().await;
    let config = FlowConfig { outbox: 64 << 10, ..config() };
    let open = End::over(session, &config, Direction::Extract, 1000, FlowMessage::default());
    let (end, ()) = tokio::join!(open, async {
        other.hear().await;
        other.say(r#"{"flow": "BOT", "credit": 1000, "direction": "inject"}"#, "").await;
        other.pay(1000).await;
    });
    let mut giver = Giver::new(end.unwrap());
    let mut given = 0;
    while giver.give(vec![7; 50_000]).now_or_never().is_some() || {
        // What the socket takes at once.
        tokio::task::yield_now().await;
        giver.give(vec![7; 50_000]).now_or_never().is_some()
    } {
        given += 1;
        assert!(given < 500, "it never waits");
    }
    let other = tokio::spawn(async move {
        while other.hear().await.label() == DAT {}
        other.say(EOT, "").await;
        other.session.close().await.unwrap();
    });
    giver.give("last").await.unwrap();
    giver.finish().await.unwrap();
    other.await.unwrap();
}

#[tokio::test]
async fn what_is_no_message_of_a_flow_is_dropped() {
    let (mut taker, mut other) = taker(4).await;
    other.session.send(|out| out.last_frame(b"nonsense"));
    other.session.send(|out| {
        out.frame(b"two");
        out.last_frame(b"frames");
    });
    other.say(r#"{"flow": "NEW"}"#, "").await;
    other.say(DAT, "good").await;
    assert_eq!(taker.next().await.unwrap().unwrap().first(), b"good");
}

#[tokio::test]
async fn a_dropped_end_hangs_up() {
    let (giver, mut other) = giver(2).await;
    drop(giver);
    let end = other.session.turn(|frames| panic!("{frames:?}")).await;
    assert!(end.is_err());
}
