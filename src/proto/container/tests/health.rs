//! When a service wants more instances or fewer, and when somebody is to be told (SPEC 17.6).

use std::time::{Duration, Instant};

use crate::proto::container::{
    CallerSettings, Callers, Dealt, Health, HealthSettings, Reading, Signal, Tally,
};

fn settings() -> HealthSettings {
    HealthSettings { hw_mark: Some(100), prefetch: 4, ..HealthSettings::default() }
}

/// A service that is looked at each second.
struct Service {
    health: Health,
    now: Instant,
}

impl Service {
    fn new(settings: HealthSettings) -> Self {
        let now = tokio::time::Instant::now().into_std();
        Self { health: Health::new(settings, None), now }
    }

    /// What it signals within so many seconds, and in which of them.
    fn looks(&mut self, seconds: u64, reading: Reading) -> Vec<(u64, Signal)> {
        let mut signals = Vec::new();
        for second in 0..seconds {
            self.now += Duration::from_secs(1);
            let new = self.health.look(self.now, reading);
            signals.extend(new.into_iter().map(|signal| (second, signal)));
        }
        signals
    }
}

fn reading(waiting: u64, in_work: u64, instances: u64) -> Reading {
    Reading { waiting, in_work: Some(in_work), instances, ..Reading::default() }
}

#[test]
fn too_much_that_lasts_wants_more_and_a_peak_does_not() {
    let mut service = Service::new(settings());
    assert!(service.looks(4, reading(101, 4, 1)).is_empty(), "a peak");
    assert!(service.looks(1, reading(100, 4, 1)).is_empty(), "and it is over");
    let up = |wanted| Signal::ScaleUp { wanted };
    // As many as would have it back at the mark, but never more than twice as many at once.
    assert_eq!(service.looks(10, reading(160, 4, 1)), [(5, up(2))]);
    assert_eq!(service.health.figures().wanted, Some(2));
    // It is said again until somebody does it, and not more often than the cool-down allows.
    assert_eq!(service.looks(60, reading(160, 4, 1)), [(25, up(2)), (55, up(2))]);
    let mut service = Service::new(settings());
    assert_eq!(service.looks(10, reading(160, 16, 4)), [(5, up(7))]);
    assert_eq!(service.looks(60, reading(160, 28, 7)), [(25, up(8)), (55, up(8))]);
    // More than the most there are never.
    assert_eq!(service.looks(60, reading(10_000, 32, 8)), []);
}

#[test]
fn one_that_leads_next_goes_on_from_what_was_wanted() {
    let mut health = Health::new(settings(), Some(5));
    let now = tokio::time::Instant::now().into_std();
    assert!(health.look(now, reading(50, 4, 2)).is_empty());
    assert_eq!(health.figures().wanted, Some(5));
    // What nobody may want is not wanted.
    let mut health = Health::new(settings(), Some(50));
    health.look(now, reading(50, 4, 2));
    assert_eq!(health.figures().wanted, Some(8));
}

#[test]
fn little_that_lasts_wants_one_fewer_if_the_others_could_do_it_twice_over() {
    let mut service = Service::new(settings());
    let down = |wanted| Signal::ScaleDown { wanted };
    // Two instances less one have 4 messages at a time: 2 in work are half of it.
    assert_eq!(service.looks(61, reading(25, 2, 2)), [(60, down(1))]);
    // The last one stays.
    assert_eq!(service.looks(200, reading(0, 0, 1)), []);
    let mut service = Service::new(settings());
    assert_eq!(service.looks(200, reading(25, 3, 2)), [], "they have work");
    assert_eq!(service.looks(200, reading(26, 0, 2)), [], "it is not little");
    let unknown = Reading { in_work: None, ..reading(0, 0, 2) };
    assert_eq!(service.looks(200, unknown), [], "nobody knows what they have");
    // More was wanted a moment ago.
    assert_eq!(service.looks(6, reading(101, 4, 1)).len(), 1);
    let quick = HealthSettings { calm: Duration::from_secs(3), ..settings() };
    let mut service = Service::new(quick);
    assert_eq!(service.looks(6, reading(101, 4, 1)).len(), 1);
    assert_eq!(service.looks(40, reading(0, 0, 2)), [(29, down(1))]);
    // Between the marks nothing is wanted, so that it does not go up and down.
    assert_eq!(service.looks(500, reading(60, 4, 2)), []);
}

#[test]
fn age_counts_too_and_is_reckoned_where_it_is_not_known() {
    let old = HealthSettings {
        hw_mark: None,
        age_max: Some(Duration::from_secs(10)),
        ..HealthSettings::default()
    };
    let mut service = Service::new(old.clone());
    let oldest = Some(Duration::from_secs(11));
    let told = Reading { oldest, ..reading(3, 1, 1) };
    assert_eq!(service.looks(6, told), [(5, Signal::ScaleUp { wanted: 2 })]);
    // Nothing moves: it is as old as that.
    let mut service = Service::new(old.clone());
    let stuck = Reading { done: Some(7), ..reading(3, 1, 1) };
    assert_eq!(service.looks(17, stuck), [(16, Signal::ScaleUp { wanted: 2 })]);
    // Two in a second, and thirty wait: 15 s.
    let mut service = Service::new(old);
    let mut seen = Vec::new();
    for done in 0..20 {
        seen.extend(service.looks(1, Reading { done: Some(2 * done), ..reading(30, 1, 1) }));
    }
    assert_eq!(seen.len(), 1);
    let figures = service.health.figures();
    assert_eq!((figures.rate, figures.oldest_ms), (Some(2.0), Some(15_000)));
    // The server has begun to count anew: nobody knows.
    service.looks(1, Reading { done: Some(1), ..reading(30, 1, 1) });
    assert_eq!(service.health.figures().rate, None);
}

#[test]
fn fewer_than_the_fewest_are_too_few() {
    let mut service = Service::new(HealthSettings { instances: 3..=8, ..settings() });
    assert_eq!(service.looks(6, reading(0, 0, 1)), [(5, Signal::ScaleUp { wanted: 3 })]);
    let mut without = Service::new(HealthSettings { hw_mark: None, ..settings() });
    assert_eq!(without.looks(60, reading(1_000_000, 0, 1)), [], "nobody has said what is too much");
    assert_eq!(without.health.figures().wanted, None);
    without.health.set_hw_mark(10);
    assert_eq!(without.looks(6, reading(1_000_000, 0, 1)).len(), 1);
}

#[test]
fn dead_letters_that_pile_up_are_told_of_once_in_a_while() {
    let mut service = Service::new(HealthSettings { hw_mark: None, ..settings() });
    let dead = |dead| Reading { dead: Some(dead), ..reading(0, 0, 1) };
    assert_eq!(service.looks(5, dead(500)), [], "they were there before");
    assert_eq!(service.looks(5, dead(509)), []);
    let grown = Signal::DeadLetters { dead: 510, grown: 10 };
    assert_eq!(service.looks(31, dead(510)), [(0, grown.clone()), (30, grown)]);
    assert!(service.health.figures().alarm);
    // After the window that is how things are.
    assert_eq!(service.looks(90, dead(510)), []);
    assert!(!service.health.figures().alarm);
    // A window of an hour is one, however often it is looked.
    let long = HealthSettings { window: Duration::from_secs(3_600), ..settings() };
    let mut service = Service::new(HealthSettings { hw_mark: None, ..long });
    assert_eq!(service.looks(1, dead(0)), []);
    assert_eq!(service.looks(3_000, dead(9)), []);
    assert_eq!(service.looks(1, dead(10)), [(0, Signal::DeadLetters { dead: 10, grown: 10 })]);
    // Those that were put back do not count.
    let mut service = Service::new(HealthSettings { hw_mark: None, ..settings() });
    assert_eq!(service.looks(1, dead(510)), []);
    assert_eq!(service.looks(1, dead(0)), []);
    assert_eq!(service.looks(1, dead(9)), []);
}

fn tally(caller: &str, messages: u64, failed: u64) -> Tally {
    Tally([(caller.to_owned(), Dealt { messages, failed })].into())
}

#[test]
fn a_caller_whose_messages_fail_is_ended_and_others_are_not() {
    let now = tokio::time::Instant::now().into_std();
    let exempt = vec!["nightly-*".parse().unwrap()];
    let settings = CallerSettings { exempt, ..CallerSettings::default() };
    let mut callers = Callers::new(now, settings, Duration::from_secs(60));
    assert_eq!(callers.hear(now, tally("joe", 19, 19)), [], "too few to say");
    let end = Signal::EndCaller { caller: "joe".into(), messages: 20, failed: 20 };
    assert_eq!(callers.hear(now, tally("joe", 1, 1)), [end]);
    assert_eq!(callers.hear(now, tally("joe", 1, 1)), [], "it begins anew");
    assert_eq!(callers.hear(now, tally("ann", 1_000, 499)), [], "fewer than half");
    assert_eq!(callers.hear(now, tally("nightly-7", 1_000, 1_000)), [], "it may");
    // What instances tell comes together, over two windows.
    assert_eq!(callers.hear(now, tally("eve", 10, 10)), []);
    let later = now + Duration::from_secs(60);
    assert_eq!(callers.hear(later, tally("eve", 10, 10)).len(), 1);
    assert_eq!(callers.hear(later, tally("bob", 10, 10)), []);
    let much_later = later + Duration::from_secs(180);
    assert_eq!(callers.hear(much_later, tally("bob", 10, 10)), [], "that was long ago");
}

#[test]
fn no_more_callers_are_counted_than_there_is_room_for() {
    let mut tally = Tally::default();
    for caller in 0..2_000 {
        tally.count(&caller.to_string(), false);
    }
    assert_eq!(tally.0.len(), 1_000);
    assert!(!tally.is_bad());
    tally.count("7", true);
    assert!(tally.is_bad());
    assert_eq!(tally.0["7"], Dealt { messages: 2, failed: 1 });
}
