//! What the table keeps, and what makes room.

use super::*;

fn name(name: &str) -> ServiceName {
    ServiceName::try_from(name.as_bytes()).unwrap()
}

fn at(seconds: u64) -> Time {
    Time::default().after(Duration::from_secs(seconds))
}

fn letter(id: u64, service: &str, cause: Cause, died: u64) -> Letter {
    Letter {
        id: LetterId(id),
        service: name(service),
        queue: name(service),
        cause,
        message: None,
        attempts: 1,
        deaths: 1,
        seen: Vec::new(),
        asker: crate::proto::dialect::Asker::default(),
        accepted_at: at(0).into(),
        died_at: at(died).into(),
        expires: None,
        order: None,
        body: Message::new([vec![7; 1000]]),
        has_header: false,
        disk: None,
    }
}

fn ids(table: &DeadLetters) -> Vec<u64> {
    table.from(0).map(|(_, letter)| letter.id.0).collect()
}

fn settled(table: &mut DeadLetters) -> usize {
    let freed = table.take_freed();
    assert_eq!(table.audit(), Ok(()));
    freed
}

#[test]
fn the_oldest_makes_room_in_its_queue_and_then_in_the_table() {
    let mut table = DeadLetters::new(DeadLimits { letters_max: 4, ..DeadLimits::default() });
    for (id, service) in [(1, "a"), (2, "b"), (3, "a"), (4, "a")] {
        table.put(letter(id, service, Cause::Failed, 0), 2, None);
    }
    assert_eq!(ids(&table), [2, 3, 4]);
    let cost = letter(9, "a", Cause::Failed, 0).cost();
    assert_eq!(settled(&mut table), cost);
    table.put(letter(5, "c", Cause::Failed, 0), 2, None);
    table.put(letter(6, "c", Cause::Failed, 0), 2, None);
    assert_eq!(ids(&table), [3, 4, 5, 6]);
    assert_eq!((table.stats().evicted, table.in_queue(b"b")), (2, 0));
    settled(&mut table);
}

#[test]
fn a_number_of_old_finds_no_other_letter() {
    let mut table = DeadLetters::new(DeadLimits::default());
    for id in [1, 2] {
        table.put(letter(id, "a", Cause::Failed, 0), 9, None);
    }
    let (first, _) = table.named(LetterId(1)).unwrap();
    assert!(table.take(first).is_some());
    assert!(table.get(first).is_none() && table.get(first + 1).is_some());
    assert!(!table.edit(first, None, None));
    settled(&mut table);
}

#[test]
fn octets_are_bounded_and_given_back() {
    let cost = letter(1, "a", Cause::Failed, 0).cost();
    let limits = DeadLimits { letters_max: 100, bytes_max: 3 * cost };
    let mut table = DeadLetters::new(limits);
    assert!(table.fits(3 * cost) && !table.fits(3 * cost + 1));
    for id in 1..=5 {
        table.put(letter(id, "a", Cause::Poison, 0), 100, None);
    }
    assert_eq!((ids(&table), table.memory()), (vec![3, 4, 5], 3 * cost));
    assert_eq!(settled(&mut table), 2 * cost);
    let (number, _) = table.named(LetterId(4)).unwrap();
    assert!(table.edit(number, Some(name("bb")), Some((Message::new([""]), false))));
    assert_eq!(table.memory(), 2 * cost + table.named(LetterId(4)).unwrap().1.cost());
    settled(&mut table);
    assert_eq!(table.take(number).unwrap().service, name("bb"));
    assert!(table.named(LetterId(4)).is_none() && table.take(number).is_none());
    settled(&mut table);
}

#[test]
fn letters_are_forgotten_when_their_time_is_over() {
    let mut table = DeadLetters::new(DeadLimits::default());
    table.put(letter(1, "a", Cause::Failed, 10), 9, Some(Duration::from_secs(5)));
    table.put(letter(2, "a", Cause::Failed, 10), 9, None);
    table.put(letter(3, "a", Cause::Failed, 11), 9, Some(Duration::from_secs(1)));
    assert_eq!(table.next_due(), Some(at(12)));
    table.forget_old(at(12));
    assert_eq!(ids(&table), [1, 2]);
    table.forget_old(at(1000));
    assert_eq!((ids(&table), table.stats().expired, table.next_due()), (vec![2], 2, None));
    settled(&mut table);
}

#[test]
fn a_filter_is_a_name_or_a_prefix_a_cause_and_an_age() {
    let one = letter(1, "pay.in", Cause::Poison, 10);
    let fits = |service: Option<&[u8]>, cause, older: Option<u64>| {
        let older = older.map(Duration::from_secs);
        Filter { service, cause, older }.fits(at(20), &one)
    };
    assert!(fits(None, None, None));
    assert!(fits(Some(b"pay.*"), Some(Cause::Poison), Some(10)));
    assert!(fits(Some(b"*"), None, None) && fits(Some(b"pay.in"), None, None));
    assert!(!fits(Some(b"pay"), None, None) && !fits(Some(b"pay.out*"), None, None));
    assert!(!fits(None, Some(Cause::Failed), None) && !fits(None, None, Some(11)));
}

#[test]
fn an_id_is_sixteen_digits() {
    let id = LetterId(0x1_0000_002a);
    assert_eq!(id.to_string(), "000000010000002a");
    assert_eq!(LetterId::from_name("000000010000002a"), Some(id));
    for bad in ["", "2a", "+00000010000002a", "00000001000000zz", "000000010000002a0"] {
        assert_eq!(LetterId::from_name(bad), None, "{bad}");
    }
}

#[test]
fn causes_have_names_and_come_in_sets() {
    for cause in Cause::ALL {
        assert_eq!(Cause::from_name(cause.as_str()), Some(cause));
        assert!(Causes::ALL.has(cause) && !Causes::NONE.has(cause));
    }
    let some = Causes::from_iter([Cause::Poison, Cause::Overflow]);
    assert_eq!(some.iter().collect::<Vec<_>>(), [Cause::Poison, Cause::Overflow]);
}
