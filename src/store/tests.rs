use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use super::disk::{Disk, DiskError, RECORDS_NAME, Range, RedbDisk, checked};
use super::model::{Model, Op, Survives, crash};
use super::salvage;
use super::thread::testing;
use crate::proto::depot::{Depot, DepotLimits};
use crate::proto::durable::{Batch, Event, Found, Key, Order, Write};

const CACHE: usize = 1 << 20;

/// A dead letter, as it is stored.
const LETTER: &[u8] = include_bytes!("../../fuzz/corpus/store_record/letter");

/// What is kept.
type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers that a seed gives.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn open(
    model: &Model,
) -> Result<RedbDisk<impl Fn() -> io::Result<Model> + Send + use<>>, DiskError> {
    let model = model.clone();
    RedbDisk::open(move || Ok(model.clone()), CACHE)
}

fn all(disk: &mut dyn Disk) -> Result<State, DiskError> {
    let mut state = State::new();
    disk.scan(None, &mut |key, value| {
        state.insert(key.to_vec(), value.to_vec());
        Ok(())
    })?;
    Ok(state)
}

/// A request becomes a dead letter, or a letter a request: each removes what it was.
fn moves(dice: &mut Dice) -> Vec<Write> {
    let number = [u8::try_from(dice.below(6)).unwrap()];
    // Some stand apart from the others.
    let request = if number[0] < 3 { b'r' } else { b'w' };
    let (from, to) = if dice.below(2) == 0 { (request, b'd') } else { (b'd', request) };
    let value = LETTER.iter().copied().chain([u8::try_from(dice.below(256)).unwrap()]);
    let put = Write::Put(Key::new(to, &number), value.collect::<Vec<_>>().into());
    vec![Write::Remove(Key::new(from, &number)), put]
}

/// One to four changes, of a few keys.
fn changes(dice: &mut Dice) -> Vec<Write> {
    if dice.below(3) == 0 {
        return moves(dice);
    }
    let change = |dice: &mut Dice| {
        let key = Key::new(b'h', &[u8::try_from(dice.below(12)).unwrap()]);
        let len = match dice.below(4) {
            0 => 9000,
            _ => 40,
        };
        match dice.below(3) {
            0 => Write::Remove(key),
            _ => Write::Put(key, vec![u8::try_from(dice.below(256)).unwrap(); len].into()),
        }
    };
    (0..=dice.below(4)).map(|_| change(dice)).collect()
}

fn change(state: &mut State, writes: &[Write]) {
    for write in writes {
        match write {
            Write::Put(key, value) => {
                state.insert(key.octets().to_vec(), value.to_vec());
            }
            Write::Remove(key) => {
                state.remove(key.octets());
            }
        }
    }
}

/// Commits; the states between them, and the log of the disk.
fn history(seed: u64, commits: usize) -> (Vec<State>, Model) {
    let (mut dice, model) = (Dice(seed), Model::default());
    let mut disk = open(&model).unwrap();
    model.said(0);
    let mut states = vec![State::new()];
    for number in 1..=commits {
        let writes = changes(&mut dice);
        let mut state = states[number - 1].clone();
        change(&mut state, &writes);
        states.push(state);
        disk.commit(&mut writes.iter()).unwrap();
        model.said(number);
    }
    (states, model)
}

/// What is found after the loss of power is what was said last, or what was under way.
fn found(log: &[Op], states: &[State], image: Vec<u8>, what: &str) {
    let said = log.iter().rev().find_map(|op| match op {
        Op::Said(number) => Some(*number),
        _ => None,
    });
    let disk = open(&Model::of(image));
    let Some(said) = said else {
        // Nothing was said to be stored, not even that there is a store.
        return;
    };
    let mut disk = disk.unwrap_or_else(|error| panic!("{what}: it does not open: {error}"));
    let state = all(&mut disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let next = states.get(said + 1).unwrap_or(&states[said]);
    assert!(state == states[said] || state == *next, "{what}: something else is found");
    for key in state.keys().filter(|key| key[0] == b'd') {
        let is_there = |space| state.contains_key(&[&[space], &key[1..]].concat());
        let is_request = is_there(b'r') || is_there(b'w');
        assert!(!is_request, "{what}: it is a request and a dead letter");
    }
}

#[test]
fn the_loss_of_power_after_any_operation_loses_nothing_that_was_said() {
    let (states, model) = history(7, 12);
    let log = model.log();
    let mut dice = Dice(8);
    for end in 0..=log.len() {
        let log = &log[..end];
        found(log, &states, crash(log, |_, _| Survives::No), &format!("none, {end}"));
        found(log, &states, crash(log, |_, _| Survives::Yes), &format!("all, {end}"));
        for _ in 0..2 {
            let some = crash(log, |_, _| match dice.below(2) {
                0 => Survives::No,
                _ => Survives::Yes,
            });
            found(log, &states, some, &format!("some, {end}"));
            let torn = crash(log, |_, _| Survives::Torn(dice.next()));
            found(log, &states, torn, &format!("torn, {end}"));
        }
    }
}

#[test]
fn the_loss_of_power_in_many_histories_loses_nothing_that_was_said() {
    let seeds = std::env::var("MAJORDOMO_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in 0..seeds.unwrap_or(2000_u64).min(20_000) / 10 {
        let mut dice = Dice(seed ^ 0xabcd);
        let commits = 1 + usize::try_from(dice.below(10)).unwrap();
        let (states, model) = history(seed, commits);
        let log = model.log();
        for _ in 0..10 {
            let end = usize::try_from(dice.below(log.len() as u64 + 1)).unwrap();
            let log = &log[..end];
            let image = crash(log, |_, _| match dice.below(3) {
                0 => Survives::No,
                1 => Survives::Yes,
                _ => Survives::Torn(dice.next()),
            });
            found(log, &states, image, &format!("seed {seed}, {end}"));
        }
    }
}

/// After a commit that found no room the database is opened anew, for which there has to be some:
/// until then nothing is read, and nothing told to be missing.
fn reads_wait_for_room(model: &Model, disk: &mut dyn Disk, state: &State) {
    let all = Key::new(b'h', &[]);
    let range = Range { prefix: &all, from: &all, count: 100, bytes: 1 << 20 };
    let some = Key::new(b'h', &[1]);
    model.fill(true);
    for _ in 0..2 {
        assert!(matches!(disk.load(&some), Err(DiskError::Full(_))));
        assert!(matches!(disk.range(&range, &mut |_| ()), Err(DiskError::Full(_))));
    }
    model.fill(false);
    let found = disk.range(&range, &mut |_| ()).unwrap();
    let kept = state.iter().filter(|(key, _)| key[0] == b'h');
    assert!(
        found
            .records
            .iter()
            .map(|(key, value)| (&key[..], &value[..]))
            .eq(kept.map(|(key, value)| (&key[..], &value[..])))
    );
    assert_eq!(disk.load(&some).unwrap().as_deref(), state.get(some.octets()).map(Vec::as_slice));
}

/// Runs a history on a disk of which one operation fails. Returns whether it came to that.
fn with_failure(at: u64, kind: io::ErrorKind) -> bool {
    let (mut dice, model) = (Dice(7), Model::default());
    let mut disk = open(&model).unwrap();
    model.said(0);
    let mut states = vec![State::new()];
    model.fail(model.count() + at, kind);
    for number in 1..=60 {
        let writes = changes(&mut dice);
        let mut state = states[number - 1].clone();
        change(&mut state, &writes);
        states.push(state);
        match disk.commit(&mut writes.iter()) {
            Ok(()) => model.said(number),
            Err(DiskError::Full(_)) => {
                assert_eq!(kind, io::ErrorKind::StorageFull);
                reads_wait_for_room(&model, &mut disk, &states[number - 1]);
                disk.commit(&mut writes.iter()).unwrap();
                model.said(number);
                assert_eq!(all(&mut disk).unwrap(), states[number], "{at}: after there was room");
            }
            Err(DiskError::Fatal(_)) => {
                let again = disk.commit(&mut [].iter());
                assert!(matches!(again, Err(DiskError::Fatal(_))), "{at}: it goes on: {again:?}");
                drop(disk);
                let log = model.log();
                for survives in [Survives::No, Survives::Yes, Survives::Torn(dice.next())] {
                    let what = format!("{kind} at {at}, {survives:?}");
                    found(&log, &states, crash(&log, |_, _| survives), &what);
                }
                return true;
            }
            Err(error) => panic!("{kind} at {at}: {error:?}"),
        }
    }
    model.count() >= at
}

#[test]
fn whatever_operation_fails_nothing_that_was_said_is_lost() {
    for at in 1..=300 {
        assert!(
            with_failure(at, io::ErrorKind::Other),
            "the history has less than {at} operations"
        );
    }
}

#[test]
fn a_full_disk_is_tried_again_and_a_failed_synchronisation_never() {
    for at in 1..=300 {
        with_failure(at, io::ErrorKind::StorageFull);
    }
}

fn batch(number: u64) -> Batch {
    let put = |name: u8| {
        let key = Key::new(b'h', &[name, u8::try_from(number).unwrap()]);
        Write::Put(key, number.to_be_bytes().to_vec().into())
    };
    Batch { number, what: "test", writes: vec![put(1), put(2)] }
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let free = Arc::new(AtomicU64::new(0));
    let (told, events) = mpsc::channel();
    let tell = move |event: &Event| drop(told.send(event.clone()));
    let disk = Box::new(open(&Model::default()).unwrap());
    let seen = free.clone();
    let space = move || Some(seen.load(Ordering::Relaxed));
    let store = testing::start(disk, space, tell, |error| panic!("{error}"));
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
    let (told, events) = mpsc::channel();
    let tell = move |event: &Event| drop(told.send(event.clone()));
    let disk = Box::new(open(&model).unwrap());
    let store = testing::start(disk, || Some(1), tell, |error| panic!("{error}"));
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
    let (told, events) = mpsc::channel();
    let tell = move |event: &Event| drop(told.send(event.clone()));
    let disk = Box::new(open(&model).unwrap());
    let store = testing::start(disk, || Some(1), tell, |error| panic!("{error}"));
    model.fill(true);
    store.order(vec![Order::Store(batch(1))]);
    assert_eq!(next(&events), Some(Event::Full(Some(1))));
    store.order(vec![Order::Load { ticket: 7, key: Key::new(b'h', &[1, 1]) }]);
    store.stop();
    assert_eq!(next(&events), None);
}

#[test]
fn room_is_looked_for_as_soon_as_much_was_stored() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let room = Arc::new(AtomicBool::new(true));
    let (told, events) = mpsc::channel();
    let tell = move |event: &Event| drop(told.send(event.clone()));
    let seen = room.clone();
    let space = move || Some(u64::from(seen.load(Ordering::Relaxed)));
    let disk = Box::new(open(&Model::default()).unwrap());
    let store = testing::start(disk, space, tell, |error| panic!("{error}"));
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

/// A store with a few hundred records, closed.
fn closed_store() -> (Vec<u8>, State) {
    let model = Model::default();
    let mut disk = open(&model).unwrap();
    let mut state = State::new();
    for number in 0..100 {
        let mut writes = batch(number).writes;
        let key = Key::new(b'd', &number.to_be_bytes());
        // Without the kind and the name that the fuzzer has before it.
        writes.push(Write::Put(key, LETTER[10..].into()));
        change(&mut state, &writes);
        disk.commit(&mut writes.iter()).unwrap();
    }
    disk.close().unwrap();
    (model.octets(), state)
}

fn all_or_refused(image: Vec<u8>, state: &State, what: &str) -> bool {
    let read = open(&Model::of(image)).and_then(|mut disk| all(&mut disk));
    match read {
        Ok(found) => {
            assert!(found == *state, "{what}: something is lost, and nobody says so");
            let mut depot = Depot::new(DepotLimits::default(), 7, 1);
            for (key, value) in found.iter().filter(|(key, _)| key[0] == b'd') {
                assert_eq!(depot.recover(key, value), Ok(()), "{what}");
            }
        }
        Err(DiskError::Full(error)) => panic!("{what}: {error}"),
        Err(_) => return false,
    }
    true
}

#[test]
fn a_flipped_bit_is_found_or_does_not_matter() {
    let (image, state) = closed_store();
    let mut dice = Dice(11);
    let mut refused = 0;
    for _ in 0..1000 {
        let (at, bit) = (dice.below(image.len() as u64), dice.below(8));
        let mut image = image.clone();
        image[usize::try_from(at).unwrap()] ^= 1 << bit;
        refused += u32::from(!all_or_refused(image, &state, &format!("bit {bit} of {at}")));
    }
    assert!(refused > 0);
}

#[test]
fn a_file_that_was_cut_is_refused_or_whole() {
    let (image, state) = closed_store();
    for len in (0..image.len()).step_by(4096).skip(1) {
        all_or_refused(image[..len].to_vec(), &state, &format!("{len} octets"));
    }
}

#[test]
fn another_format_is_refused() {
    let model = Model::default();
    drop(open(&model).unwrap());
    {
        let database = redb::Database::builder().create_with_backend(model.clone()).unwrap();
        let write = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("majordomo");
        write.open_table(meta).unwrap().insert("format", 2).unwrap();
        write.commit().unwrap();
    }
    assert_eq!(open(&model).map(drop).unwrap_err(), DiskError::Format(2));
}

#[test]
fn a_copy_is_what_one_commit_has_left_while_others_go_on() {
    let model = Model::default();
    let disk = Box::new(open(&model).unwrap());
    let (told, events) = mpsc::channel();
    let tell = move |event: &Event| drop(told.send(event.clone()));
    let store = testing::start(disk, || Some(1 << 40), tell, |error| panic!("{error}"));
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

/// Goes through an image page by page; what was found, and whether that is said to be all.
fn salvaged(image: &[u8]) -> Result<(State, bool), &'static str> {
    let (mut state, mut bad) = (State::new(), 0);
    let walked =
        salvage::walk(&image, RECORDS_NAME, &mut |key, octets| match checked(key, octets) {
            Ok(value) => drop(state.insert(key.to_vec(), value.to_vec())),
            Err(_) => bad += 1,
        })?;
    let is_whole = walked.gaps.is_empty() && bad == 0 && walked.told == state.len() as u64;
    Ok((state, is_whole))
}

impl salvage::Octets for &[u8] {
    fn read(&self, at: u64, out: &mut [u8]) -> bool {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let octets = at.checked_add(out.len()).and_then(|end| self.get(at..end));
        octets.is_some_and(|octets| {
            out.copy_from_slice(octets);
            true
        })
    }
}

#[test]
fn all_of_a_whole_store_is_found_page_by_page() {
    let (image, state) = closed_store();
    assert_eq!(salvaged(&image), Ok((state, true)));
    // A history with large values, and pages that were used before; the last commit was not closed.
    let (states, model) = history(5, 60);
    assert_eq!(salvaged(&model.octets()), Ok((states[60].clone(), true)));
}

#[test]
fn what_is_saved_of_a_damaged_store_is_what_was_stored() {
    let (image, state) = closed_store();
    let (mut dice, mut some, mut part) = (Dice(21), 0, 0);
    for _ in 0..1000 {
        let (at, bit) = (dice.below(image.len() as u64), dice.below(8));
        let mut image = image.clone();
        image[usize::try_from(at).unwrap()] ^= 1 << bit;
        let Ok((found, is_whole)) = salvaged(&image) else { continue };
        for (key, value) in &found {
            assert_eq!(state.get(key), Some(value), "bit {bit} of {at}: it was never stored");
        }
        assert!(!is_whole || found == state, "bit {bit} of {at}: some are missing, in silence");
        some += 1;
        part += usize::from(!is_whole && !found.is_empty());
    }
    assert!(some > 900 && part > 0, "{some} of 1000 could be read, {part} in part");
    for len in (0..image.len()).step_by(4096) {
        let Ok((found, is_whole)) = salvaged(&image[..len]) else { continue };
        let is_stored = |(key, value): (&Vec<u8>, _)| state.get(key) == Some(value);
        assert!(found.iter().all(is_stored), "{len} octets");
        assert!(!is_whole || found == state, "{len} octets: some are missing, in silence");
    }
}

#[test]
fn a_first_page_of_nonsense_is_refused_or_leads_nowhere() {
    let (image, state) = closed_store();
    let mut dice = Dice(31);
    for _ in 0..2000 {
        // Whatever stands in the header and in the two commits.
        let mut image = image.clone();
        for _ in 0..=dice.below(8) {
            let at = 10 + usize::try_from(dice.below(310)).unwrap();
            image[at] = u8::try_from(dice.below(256)).unwrap();
        }
        if let Ok((found, is_whole)) = salvaged(&image) {
            assert!(found.iter().all(|(key, value)| state.get(key) == Some(value)));
            assert!(!is_whole || found == state);
        }
    }
}

#[test]
fn what_is_no_store_is_refused() {
    for image in [vec![], vec![0; 100], vec![0; 8192], b"redb\x1a\x0a\xa9\x0d\x0a".repeat(900)] {
        assert!(salvaged(&image).is_err());
    }
    assert!(salvaged(&Model::default().octets()).is_err());
}
