//! Ends of flows, all of them the library's, by way of an embedded broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, SinkExt, StreamExt, TryStreamExt};
use majordomo::broker::{Around, AskedFlow, Broker, FlowFactory};
use majordomo::config::{Authorized, BrokerConfig, CurveFiles, Otherwise, ServerKey};
use majordomo::flow::{Assignment, FlowBuilder, FlowError, FlowMessage, Giver, Opened, Taker};
use majordomo::id::ServiceName;
use majordomo::keys::write_pair;
use majordomo::proto::flow::{Decision, Target};
use tokio::sync::mpsc;

/// Says yes to whatever has no attribute `refuse`, and hands it on.
#[derive(Debug)]
struct Desk(mpsc::Sender<Assignment>);

impl FlowFactory for Desk {
    fn decide(&self, asked: AskedFlow) -> BoxFuture<'static, Decision> {
        let assignment = Assignment::read(asked.octets().to_vec()).unwrap();
        let to = self.0.clone();
        async move {
            if assignment.bot().get::<bool>("refuse") == Some(true) {
                return Decision::Refuse;
            }
            to.send(assignment).await.unwrap();
            Decision::Accept
        }
        .boxed()
    }
}

struct House {
    _broker: Broker,
    assigned: mpsc::Receiver<Assignment>,
    builder: FlowBuilder,
}

impl House {
    fn new() -> Self {
        Self::with(BrokerConfig::default(), None)
    }

    fn with(mut config: BrokerConfig, curve: Option<CurveFiles>) -> Self {
        config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
        config.flow.otherwise = Otherwise::Is(Target::Factory);
        let (to, assigned) = mpsc::channel(64);
        let around = Around { factory: Some(Arc::new(Desk(to))), ..Around::default() };
        let broker = Broker::bind_around(config, around, |_, _| Ok(())).unwrap();
        let mut builder = FlowBuilder::new(&broker.local_addrs()[0].to_string()).unwrap();
        builder.config().curve = curve;
        Self { _broker: broker, assigned, builder }
    }

    async fn handler(&mut self, credit: u32) -> Opened {
        let assignment = self.assigned.recv().await.unwrap();
        self.builder.clone().credit(credit).open(&assignment).await.unwrap()
    }

    /// A client that gives, and its handler.
    async fn extract(&mut self, credit: u32) -> (Giver, Taker) {
        let giver = tokio::spawn(self.builder.clone().attribute("run", 7).unwrap().give());
        let Opened::Takes(taker) = self.handler(credit).await else { panic!("it is to take") };
        (giver.await.unwrap().unwrap(), taker)
    }

    /// A client that takes, and its handler.
    async fn inject(&mut self, credit: u32) -> (Giver, Taker) {
        let taker = tokio::spawn(self.builder.clone().take());
        let Opened::Gives(giver) = self.handler(credit).await else { panic!("it is to give") };
        (giver, taker.await.unwrap().unwrap())
    }
}

fn number(message: &FlowMessage) -> u32 {
    std::str::from_utf8(message.first()).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_given_is_taken_in_order_in_both_directions() {
    let mut house = House::new();
    for credit in [1, 3, 100] {
        for (mut giver, taker) in [house.extract(credit).await, house.inject(credit).await] {
            assert_eq!((giver.credit(), taker.credit()), (credit.into(), credit.into()));
            let give = async {
                for number in 0..1000 {
                    giver.give(number.to_string()).await?;
                }
                giver.finish().await
            };
            let take = taker.map_ok(|message| number(&message)).try_collect::<Vec<_>>();
            let (given, taken) = tokio::join!(give, take);
            given.unwrap();
            assert_eq!(taken.unwrap(), (0..1000).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn within_mjp_no_more_octets_are_under_way_than_both_have_agreed_on() {
    const BYTES: u64 = 256 << 10;
    let mut house = House::new();
    house.builder = house.builder.clone().over_mjp(256 << 10);
    for (mut giver, mut taker) in [house.extract(100).await, house.inject(100).await] {
        assert_eq!((giver.credit_bytes(), taker.credit_bytes()), (Some(BYTES), Some(BYTES)));
        // The label and the coordinates have a cost, too.
        let error = giver.give(vec![0; 128 << 10]).await.unwrap_err();
        assert!(matches!(error, FlowError::TooBig { max, .. } if max == 128 << 10), "{error}");
        let mut given = 0;
        let soon = Duration::from_millis(300);
        while let Ok(done) = tokio::time::timeout(soon, giver.give(vec![7; 50_000])).await {
            done.unwrap();
            given += 1;
        }
        // Prefix and coordinates of a DAT are 47 octets.
        assert_eq!((given, giver.held_bytes()), (5, Some(BYTES - 5 * 50_047)));
        // What is larger goes as soon as half of all is taken.
        let large = tokio::spawn(async move {
            giver.give(vec![8; 120_000]).await.unwrap();
            giver.finish().await.unwrap();
        });
        let mut octets = 0;
        while let Some(message) = taker.next().await {
            octets += message.unwrap().len();
        }
        large.await.unwrap();
        assert_eq!(octets, 5 * 50_000 + 120_000);
    }
}

#[tokio::test]
async fn an_end_within_mjp_and_a_zio_socket_have_flows_with_one_another() {
    let mut house = House::new();
    let (zio, mjp) = (house.builder.clone(), house.builder.clone().over_mjp(1 << 20));
    for (client, handler) in [(zio.clone(), mjp.clone()), (mjp, zio)] {
        house.builder = handler;
        let give = tokio::spawn(client.clone().give());
        let Opened::Takes(taker) = house.handler(5).await else { panic!("it is to take") };
        let give = give.await.unwrap().unwrap();
        let take = tokio::spawn(client.take());
        let Opened::Gives(giver) = house.handler(5).await else { panic!("it is to give") };
        let take = take.await.unwrap().unwrap();
        for (mut giver, taker) in [(give, taker), (giver, take)] {
            assert_eq!(
                (giver.credit(), giver.credit_bytes(), taker.credit_bytes()),
                (5, None, None)
            );
            let give = async {
                for number in 0..300 {
                    giver.give([Bytes::from(number.to_string()), vec![1; 9000].into()]).await?;
                }
                giver.finish().await
            };
            let take = taker.map_ok(|message| number(&message)).try_collect::<Vec<_>>();
            let (given, taken) = tokio::join!(give, take);
            given.unwrap();
            assert_eq!(taken.unwrap(), (0..300).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn sinks_within_mjp_are_ready_when_there_is_credit_for_any_message() {
    let mut house = House::new();
    house.builder = house.builder.clone().over_mjp(64 << 10);
    let (giver, taker) = house.extract(100).await;
    let sent: Vec<FlowMessage> =
        (0..200).map(|size| vec![7; 1 + (size * 997) % 32_000].into()).collect();
    let feed = futures::stream::iter(sent.clone()).map(Ok).forward(giver);
    let (fed, taken) = tokio::join!(feed, taker.try_collect::<Vec<_>>());
    fed.unwrap();
    let sizes = |all: &[FlowMessage]| all.iter().map(FlowMessage::len).collect::<Vec<_>>();
    assert_eq!(sizes(&taken.unwrap()), sizes(&sent));
}

#[tokio::test]
async fn bots_of_both_ends_and_eot_reach_the_other() {
    let mut house = House::new();
    let builder = house.builder.clone().attribute("run", 7).unwrap().payload(["hello"]);
    let client = tokio::spawn(builder.origin(5).give());
    let assignment = house.assigned.recv().await.unwrap();
    let bot = assignment.bot();
    assert_eq!((bot.get("run"), bot.first(), bot.origin), (Some(7), &b"hello"[..], 5));
    let handler = house.builder.clone().attribute("file", "x.raw").unwrap();
    let Opened::Takes(mut taker) = handler.open(&assignment).await.unwrap() else { panic!() };
    let giver = client.await.unwrap().unwrap();
    let answer = giver.answer();
    assert_eq!(
        (answer.get("run"), answer.get::<String>("file").as_deref(), answer.get::<u32>("cid")),
        (Some(7), Some("x.raw"), None)
    );
    let last = FlowMessage::from("bye").with("messages", 0).unwrap();
    let finish = tokio::spawn(giver.finish_with(last));
    assert!(taker.next().await.is_none());
    let eot = taker.ending().unwrap();
    assert_eq!((eot.get("messages"), eot.first()), (Some(0), &b"bye"[..]));
    finish.await.unwrap().unwrap();
}

#[tokio::test]
async fn sinks_and_streams_are_joined_to_one_another() {
    let mut house = House::new();
    let (first, from) = house.extract(10).await;
    let (to, last) = house.inject(7).await;
    let parts = [Bytes::from("small"), Bytes::from(vec![7; 100_000])];
    let sent: Vec<_> = (0..50)
        .map(|origin| {
            let mut message = FlowMessage::new(parts.clone());
            message.origin = origin;
            message
        })
        .collect();
    let feed = futures::stream::iter(sent.clone()).map(Ok).forward(first);
    let (fed, passed, taken) = tokio::join!(feed, from.forward(to), last.try_collect::<Vec<_>>());
    fed.unwrap();
    passed.unwrap();
    let taken = taken.unwrap();
    assert_eq!(taken.len(), sent.len());
    for (taken, sent) in taken.iter().zip(&sent) {
        assert_eq!((taken.origin, &taken.payload), (sent.origin, &sent.payload));
    }
}

#[tokio::test]
async fn a_flow_that_nobody_wants_is_refused_and_one_that_nobody_comes_for_is_given_up() {
    let mut house = House::new();
    let refused = house.builder.clone().attribute("refuse", true).unwrap().give().await;
    assert!(matches!(refused, Err(FlowError::Refused { .. })), "{refused:?}");
    let soon = Some(Duration::from_millis(100));
    let late = house.builder.clone().timeouts(soon, soon).take().await;
    assert!(matches!(late, Err(FlowError::NoAnswer { .. })), "{late:?}");
    // Its handler comes too late.
    let assignment = house.assigned.recv().await.unwrap();
    let handler = house.builder.clone().open(&assignment).await;
    assert!(matches!(handler, Err(FlowError::Refused { .. })), "{handler:?}");
}

#[tokio::test]
async fn the_partner_of_an_end_that_is_dropped_hears_of_it() {
    let mut house = House::new();
    let (giver, mut taker) = house.extract(10).await;
    drop(giver);
    assert!(taker.next().await.is_none());
    let (mut giver, taker) = house.extract(10).await;
    drop(taker);
    let ended = loop {
        if let Err(error) = giver.send("x".into()).await {
            break error;
        }
    };
    assert!(matches!(ended, FlowError::Ended), "{ended}");
    giver.finish().await.unwrap();
}

#[tokio::test]
async fn a_taker_that_takes_nothing_holds_up_its_giver_and_no_other_flow() {
    let mut house = House::new();
    let (mut slow, mut taker) = house.extract(4).await;
    for number in 0..4 {
        slow.give(number.to_string()).await.unwrap();
    }
    let wait = tokio::time::timeout(Duration::from_millis(50), slow.give("4"));
    assert!(wait.await.is_err(), "there is no credit");
    let (mut giver, other) = house.extract(4).await;
    let (given, taken) = tokio::join!(
        async {
            for number in 0..100 {
                giver.give(number.to_string()).await?;
            }
            giver.finish().await
        },
        other.try_collect::<Vec<_>>()
    );
    given.unwrap();
    assert_eq!(taken.unwrap().len(), 100);
    assert_eq!(number(&taker.next().await.unwrap().unwrap()), 0);
    taker.finish().await.unwrap();
    assert!(matches!(slow.give("x").await, Err(FlowError::Ended)));
}

#[tokio::test]
async fn a_handler_is_given_the_flows_of_its_service_and_what_it_drops_is_refused() {
    let mut config = BrokerConfig::default();
    config.broker.bind = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    let service = ServiceName::try_from(&b"writers"[..]).unwrap();
    config.flow.otherwise = Otherwise::Is(Target::Service(service));
    let broker = Broker::bind(config).unwrap();
    let builder = FlowBuilder::new(&broker.local_addrs()[0].to_string()).unwrap();
    let mut handler = builder.clone().credit(5).handle("writers", 2).unwrap();

    let refused = tokio::spawn(builder.clone().attribute("run", 1).unwrap().take());
    let offered = handler.next().await.unwrap();
    assert_eq!(offered.assignment().bot().get("run"), Some(1));
    drop(offered);
    let refused = refused.await.unwrap();
    assert!(matches!(refused, Err(FlowError::Refused { .. })), "{refused:?}");

    // More of them than it handles at a time, one after the other.
    for _ in 0..5 {
        let giver = tokio::spawn(builder.clone().give());
        let Opened::Takes(mut taker) = handler.next().await.unwrap().open().await.unwrap() else {
            panic!("it is to take")
        };
        let mut giver = giver.await.unwrap().unwrap();
        assert_eq!(giver.credit(), 5);
        giver.give("x").await.unwrap();
        let finish = tokio::spawn(giver.finish());
        assert_eq!(taker.next().await.unwrap().unwrap().first(), b"x");
        assert!(taker.next().await.is_none());
        finish.await.unwrap().unwrap();
    }
    drop(handler);
    let soon = Some(Duration::from_millis(200));
    let nobody = builder.timeouts(soon, soon).give().await;
    assert!(matches!(nobody, Err(FlowError::NoAnswer { .. })), "{nobody:?}");
}

#[tokio::test]
async fn flows_go_through_curve_and_large_messages_arrive_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (_, secret, _) = write_pair(dir.path(), "broker").unwrap();
    let (_, own, _) = write_pair(dir.path(), "own").unwrap();
    let mut config = BrokerConfig::default();
    config.auth.secret = Some(secret);
    config.auth.authorized = Authorized::Any;
    let server = ServerKey::File(dir.path().join("broker.pub"));
    let mut house = House::with(config, Some(CurveFiles { secret: own, server }));
    let (mut giver, taker) = house.extract(3).await;
    let sizes = [0, 1, 254, 255, 4095, 4096, 1 << 20, 3 << 20];
    let give = async {
        for size in sizes {
            giver.give([Bytes::from(vec![9; size]), "x".into()]).await?;
        }
        giver.finish().await
    };
    let (given, taken) = tokio::join!(give, taker.try_collect::<Vec<_>>());
    given.unwrap();
    let taken: Vec<_> = taken.unwrap().iter().map(|it| it.payload[0].len()).collect();
    assert_eq!(taken, sizes);
}
