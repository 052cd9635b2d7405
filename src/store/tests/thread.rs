//! The thread of the store: what it tells, when, and when it waits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::*;
use crate::proto::durable::{Event, Found, Order};
use crate::store::Store;
use crate::store::thread::testing;

/// A store on that disk, with so much free space, and what it tells.
fn started(
    model: &Model,
    free: impl Fn() -> Option<u64> + Send + 'static,
) -> (Store, mpsc::Receiver<Event>) {
    let (told, events) = mpsc::channel();
    let tell = move |event: &Event| drop(told.send(event.clone()));
    let disk = Box::new(open(model).unwrap());
    (testing::start(disk, free, tell, |error| panic!("{error}")), events)
}

#[test]
fn what_is_told_to_be_stored_has_been_synchronised() {
    let model = Model::default();
    let disk = Box::new(open(&model).unwrap());
    let (told, events) = mpsc::channel();
    let watched = model.clone();
    let tell = move |event: &Event| {
        // At this moment, and not later.
        let _ = told.send((event.clone(), watched.synchronised()));
    };
    let store = testing::start(disk, || Some(1 << 40), tell, |error| panic!("{error}"));
    let mut dice = Dice(3);
    let mut number = 0;
    while number < 200 {
        let some = 1 + dice.below(20);
        store.order((number + 1..=number + some).map(|n| Order::Store(batch(n))).collect());
        number += some;
        if dice.below(3) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    store.stop();
    let mut last = 0;
    for (event, image) in events {
        let Event::Stored(up_to) = event else { panic!("{event:?}") };
        assert!(up_to > last);
        last = up_to;
        let state = all(&mut open(&Model::of(image)).unwrap()).unwrap();
        for batch in (1..=up_to).map(batch) {
            for write in batch.writes {
                let Write::Put(key, value) = write else { continue };
                let kept = state.get(key.octets()).map(Vec::as_slice);
                assert_eq!(kept, Some(&value[..]), "{up_to} was told too early");
            }
        }
    }
    assert_eq!(last, number);
}

#[test]
fn nothing_is_told_to_be_stored_after_a_failure() {
    let model = Model::default();
    let disk = Box::new(open(&model).unwrap());
    model.fail(model.count() + 20, io::ErrorKind::Other);
    let (told, events) = mpsc::channel();
    let failed = told.clone();
    let tell = move |event: &Event| drop(told.send(Some(event.clone())));
    let fail = move |_| drop(failed.send(None));
    let store = testing::start(disk, || Some(1 << 40), tell, fail);
    for number in 1..=200 {
        store.order(vec![Order::Store(batch(number))]);
        std::thread::sleep(Duration::from_micros(500));
    }
    store.stop();
    let events: Vec<_> = events.into_iter().collect();
    let failed = events.iter().position(|event| *event == Some(Event::Failed)).unwrap();
    assert_eq!(events[failed + 1..], [None], "how it failed comes last");
    let stored = events.iter().flatten().filter_map(|event| match event {
        Event::Stored(up_to) => Some(*up_to),
        _ => None,
    });
    let last = stored.last().unwrap_or(0);
    let state = all(&mut open(&Model::of(model.synchronised())).unwrap()).unwrap();
    assert!(state.len() as u64 >= 2 * last, "{last} were told, {} are there", state.len() / 2);
}

#[test]
fn without_room_what_is_new_is_refused_until_there_is_some() {
    let free = Arc::new(AtomicU64::new(0));
    let seen = free.clone();
    let space = move || Some(seen.load(Ordering::Relaxed));
    let (store, events) = started(&Model::default(), space);
    assert_eq!(events.recv(), Ok(Event::Full(None)));
    store.order(vec![Order::Store(batch(1))]);
    assert_eq!(events.recv(), Ok(Event::Stored(1)), "what goes on goes on");
    free.store(1, Ordering::Relaxed);
    assert_eq!(events.recv(), Ok(Event::Room));
    store.stop();
}

/// The next event that is of something ordered.
fn next(events: &mpsc::Receiver<Event>) -> Option<Event> {
    events.iter().find(|event| !matches!(event, Event::Room | Event::Full(None)))
}

#[test]
fn what_is_to_be_read_waits_for_room_and_is_not_told_to_be_missing() {
    let model = Model::default();
    let (store, events) = started(&model, || Some(1));
    let stored = |number| Order::Store(batch(number));
    store.order(vec![stored(1)]);
    assert_eq!(next(&events), Some(Event::Stored(1)));
    model.fill(true);
    store.order(vec![stored(2)]);
    assert_eq!(next(&events), Some(Event::Full(Some(2))));
    let key = Key::new(b'h', &[1, 1]);
    let (prefix, from) = (Key::new(b'h', &[1]), key.clone());
    let range = Order::Range { ticket: 8, prefix, from, count: 9, bytes: 1 << 20 };
    store.order(vec![stored(3), Order::Load { ticket: 7, key }, stored(4), range, stored(5)]);
    assert_eq!(next(&events), Some(Event::Full(Some(5))), "nothing is stored before it is read");
    model.fill(false);
    let value = 1_u64.to_be_bytes().to_vec();
    assert_eq!(next(&events), Some(Event::Loaded(7, Some(value.clone().into()))));
    let records = vec![(vec![b'h', 1, 1].into(), value.into())];
    assert_eq!(next(&events), Some(Event::Ranged(8, Found { records, more: false })));
    store.order(vec![stored(6)]);
    assert_eq!(next(&events), Some(Event::Stored(6)));
    store.stop();
}

#[test]
fn who_stops_does_not_wait_for_room_to_read() {
    let model = Model::default();
    let (store, events) = started(&model, || Some(1));
    model.fill(true);
    store.order(vec![Order::Store(batch(1))]);
    assert_eq!(next(&events), Some(Event::Full(Some(1))));
    store.order(vec![Order::Load { ticket: 7, key: Key::new(b'h', &[1, 1]) }]);
    store.stop();
    assert_eq!(next(&events), None);
}

#[test]
fn room_is_looked_for_as_soon_as_much_was_stored() {
    let room = Arc::new(AtomicBool::new(true));
    let seen = room.clone();
    let space = move || Some(u64::from(seen.load(Ordering::Relaxed)));
    let (store, events) = started(&Model::default(), space);
    store.order(vec![Order::Store(batch(1))]);
    assert_eq!(events.recv(), Ok(Event::Stored(1)));
    room.store(false, Ordering::Relaxed);
    let mut large = batch(2);
    large.writes.push(Write::Put(Key::new(b'h', b"large"), vec![0; 64 << 10].into()));
    store.order(vec![Order::Store(large)]);
    assert_eq!(events.recv(), Ok(Event::Stored(2)));
    store.order(vec![Order::Store(batch(3))]);
    assert_eq!(events.recv(), Ok(Event::Full(None)), "before the next is stored");
    assert_eq!(events.recv(), Ok(Event::Stored(3)));
    store.stop();
}

#[test]
fn a_copy_is_what_one_commit_has_left_while_others_go_on() {
    let (store, events) = started(&Model::default(), || Some(1 << 40));
    let mut number = 0;
    let mut order = |count| {
        store.order((number + 1..=number + count).map(|n| Order::Store(batch(n))).collect());
        number += count;
    };
    let mut sizes = Vec::new();
    for _ in 0..20 {
        order(5);
        while events.recv() != Ok(Event::Stored(5 * (sizes.len() as u64 + 1))) {}
        let snapshot = store.snapshot().unwrap();
        let mut state = State::new();
        let taken = snapshot.scan(&mut |key, value| {
            if state.is_empty() {
                // That is stored while it is read.
                let key = Key::new(b'h', b"a later one");
                let writes = vec![Write::Put(key, "x".into())];
                store.order(vec![Order::Store(Batch { number: 0, what: "test", writes })]);
                while events.recv() != Ok(Event::Stored(0)) {}
            }
            state.insert(key.to_vec(), value.to_vec());
            Ok(())
        });
        taken.unwrap();
        sizes.push(state.keys().filter(|key| key.len() == 3).count());
    }
    let whole: Vec<_> = (1..=20).map(|n| 2 * 5 * n).collect();
    assert_eq!(sizes, whole, "both records of each batch, and of no later one");
    store.stop();
}
