//! Databases on a disk that loses power and fails, and what they have in common with the others.

mod damage;
mod thread;

use std::collections::BTreeMap;
use std::io;

use super::disk::{Disk, DiskError, Range, RedbDisk};
use super::model::{Model, Op, Survives, crash};
use crate::proto::durable::{Batch, Key, Write};

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
