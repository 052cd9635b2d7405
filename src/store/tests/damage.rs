//! Files that were damaged: refused, or read whole, and what is saved of them.

use super::*;
use crate::proto::depot::{Depot, DepotLimits};
use crate::store::disk::{RECORDS_NAME, checked};
use crate::store::salvage;

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
