use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn terms(side: Side, direction: Direction, credit: u32) -> Terms {
    let timeout = Some(Duration::from_secs(5));
    Terms { side, direction, credit, bytes: None, answer_timeout: timeout, end_timeout: timeout }
}

fn endpoint(side: Side, direction: Direction, credit: u32) -> Endpoint {
    Endpoint::new(terms(side, direction, credit))
}

fn at(seconds: u64) -> Time {
    Time::default().after(Duration::from_secs(seconds))
}

fn own() -> Label<'static> {
    Label::parse("{}").unwrap()
}

impl Endpoint {
    fn says(&mut self, kind: Kind) -> Result<Stamp, Misuse> {
        self.say(at(0), kind, 0)
    }

    fn hears(&mut self, label: &str) -> Result<Heard, Violation> {
        self.hear(at(0), &FlowLabel::read(label).unwrap(), Load::default())
    }

    fn hears_with(&mut self, label: &str, size: u64, bytes: u64) -> Result<Heard, Violation> {
        let load = Load { size, bytes: Some(bytes) };
        self.hear(at(0), &FlowLabel::read(label).unwrap(), load)
    }
}

const DAT: &str = r#"{"flow": "DAT"}"#;
const EOT: &str = r#"{"flow": "EOT"}"#;

fn bot(direction: Direction, credit: &str) -> String {
    format!(r#"{{"flow": "BOT", "direction": "{}", "credit": {credit}}}"#, direction.name())
}

fn pay(credit: &str) -> String {
    format!(r#"{{"flow": "PAY", "credit": {credit}}}"#)
}

/// A client whose server has agreed to `total`.
fn running(direction: Direction, credit: u32, total: u32) -> Endpoint {
    let mut end = endpoint(Side::Client, direction, credit);
    end.says(Kind::Bot).unwrap();
    end.hears(&bot(direction.reversed(), &total.to_string())).unwrap();
    end
}

#[test]
fn a_server_lowers_the_credit_and_never_raises_it() {
    for (asked, expected) in
        [("1", 1), ("3", 3), ("5", 5), ("6", 5), ("0", 5), ("-1", 5), ("\"2\"", 5), ("null", 5)]
    {
        let mut server = endpoint(Side::Server, Direction::Inject, 5);
        let heard = server.hears(&bot(Direction::Extract, asked));
        assert_eq!(heard, Ok(Heard::Asked { credit: expected }), "{asked}");
        let stamp = server.says(Kind::Bot).unwrap();
        let label = format!(r#"{{"flow": "BOT", "credit": {expected}, "direction": "inject"}}"#);
        assert_eq!(stamp.label(own()), Ok(label));
        assert_eq!((server.state(), server.held()), (State::Rich, expected));
    }
}

#[test]
fn a_client_takes_the_credit_that_it_is_told_unless_it_is_none() {
    for total in [1, 5, 50] {
        let client = running(Direction::Extract, 5, total);
        assert_eq!((client.total(), client.held()), (total.into(), 0));
        assert_eq!(client.state(), State::Broke);
    }
    for none in ["0", "-1", "2.0", "\"2\"", "null"] {
        let mut client = endpoint(Side::Client, Direction::Extract, 5);
        client.says(Kind::Bot).unwrap();
        let answer = bot(Direction::Inject, none);
        assert_eq!(client.hears(&answer), Err(Violation::NoCredit { kind: Kind::Bot }), "{none}");
        // It can still end it.
        assert_eq!(client.state(), State::BotSent);
        assert!(client.says(Kind::Eot).is_ok());
    }
}

#[test]
fn two_ends_of_one_direction_have_no_flow() {
    let own = Direction::Extract;
    for label in [bot(own, "2"), r#"{"flow": "BOT", "credit": 2}"#.into()] {
        let mut server = endpoint(Side::Server, own, 5);
        assert_eq!(server.hears(&label), Err(Violation::Direction { own }));
        assert_eq!(server.state(), State::Idle);
        let mut client = endpoint(Side::Client, own, 5);
        client.says(Kind::Bot).unwrap();
        assert_eq!(client.hears(&label), Err(Violation::Direction { own }));
    }
}

#[test]
fn a_taker_pays_first_and_hands_out_no_more_than_it_wants_to_hold() {
    let mut taker = running(Direction::Inject, 3, 10);
    assert_eq!((taker.state(), taker.held(), taker.payable()), (State::Rich, 10, 3));
    assert_eq!(taker.hears(DAT), Err(Violation::Untimely { kind: Kind::Dat, state: State::Rich }));
    assert_eq!(taker.says(Kind::Pay).unwrap().credit, Some(3));
    assert_eq!((taker.held(), taker.payable(), taker.state()), (7, 0, State::HandsOut));
    let nothing = Misuse::Untimely { kind: Kind::Pay, state: State::HandsOut };
    assert_eq!(taker.says(Kind::Pay), Err(nothing));
    assert_eq!(taker.hears(DAT), Ok(Heard::Dat));
    assert_eq!(taker.says(Kind::Pay).unwrap().credit, Some(1));
    for _ in 0..3 {
        assert_eq!(taker.hears(DAT), Ok(Heard::Dat));
    }
    assert_eq!((taker.state(), taker.held()), (State::Rich, 10));
    assert!(taker.hears(DAT).is_err());
}

#[test]
fn credit_of_what_nobody_has_taken_is_not_handed_out() {
    for total in [3, 10] {
        let mut taker = running(Direction::Inject, 3, total);
        taker.keep(1, 0);
        assert_eq!(taker.payable(), 2);
        taker.keep(0, 0);
        assert_eq!(taker.says(Kind::Pay).unwrap().credit, Some(3));
        for unread in 1..=2 {
            assert_eq!(taker.hears(DAT), Ok(Heard::Dat));
            taker.keep(unread, 0);
            assert_eq!(taker.payable(), 0);
        }
        taker.keep(1, 0);
        assert_eq!(taker.says(Kind::Pay).unwrap().credit, Some(1));
        assert_eq!((taker.held(), taker.payable()), (u64::from(total) - 2, 0));
    }
}

#[test]
fn a_giver_gives_what_it_has_credit_for() {
    let mut giver = running(Direction::Extract, 2, 2);
    assert_eq!(giver.says(Kind::Dat), Err(Misuse::Broke { total: 2 }));
    assert_eq!(giver.hears(&pay("0")), Ok(Heard::Pay { credit: 0 }));
    assert_eq!(giver.says(Kind::Dat), Err(Misuse::Broke { total: 2 }));
    assert_eq!(giver.hears(&pay("2")), Ok(Heard::Pay { credit: 2 }));
    assert_eq!(giver.says(Kind::Dat).unwrap().seqno, 1);
    assert_eq!(giver.state(), State::Generous);
    assert_eq!(giver.says(Kind::Dat).unwrap().seqno, 2);
    assert_eq!((giver.state(), giver.held()), (State::Broke, 0));
    assert_eq!(giver.says(Kind::Pay), Err(Misuse::Role { kind: Kind::Pay }));
    let mut taker = running(Direction::Inject, 2, 2);
    assert_eq!(taker.says(Kind::Dat), Err(Misuse::Role { kind: Kind::Dat }));
}

#[test]
fn a_pay_that_cannot_be_changes_nothing() {
    let mut giver = running(Direction::Extract, 2, 2);
    giver.hears(&pay("1")).unwrap();
    let too_much = |credit| Err(Violation::TooMuch { credit, held: 1, total: 2 });
    let no_credit = Err(Violation::NoCredit { kind: Kind::Pay });
    for (label, expected) in [
        (pay("2"), too_much(2)),
        (pay("9223372036854775807"), too_much(9_223_372_036_854_775_807)),
        (pay("-1"), no_credit),
        (pay("1.0"), no_credit),
        (r#"{"flow": "PAY"}"#.into(), no_credit),
    ] {
        assert_eq!(giver.hears(&label), expected, "{label}");
        assert_eq!((giver.held(), giver.state()), (1, State::Generous));
    }
    assert!(giver.hears(DAT).is_err());
}

#[test]
fn either_end_ends_and_the_other_one_answers() {
    for direction in [Direction::Extract, Direction::Inject] {
        let mut first = running(direction, 2, 2);
        assert_eq!(first.says(Kind::Eot).unwrap().seqno, 1);
        // What comes until the answer belongs to the flow and counts for nothing.
        for late in [DAT, &pay("7"), &bot(direction.reversed(), "2")] {
            assert_eq!(first.hears(late), Ok(Heard::Late));
        }
        assert!(Kind::ALL.into_iter().all(|kind| first.says(kind).is_err()));
        assert_eq!(first.hears(EOT), Ok(Heard::Ended));
        assert_eq!(first.state(), State::Fin);
        let mut second = running(direction, 2, 2);
        assert_eq!(second.hears(EOT), Ok(Heard::Ending));
        // It may say what it has, and a second EOT of the other means nothing.
        let more = if direction == Direction::Extract { Kind::Dat } else { Kind::Pay };
        assert_eq!(second.says(more).unwrap().seqno, 1);
        assert!(second.hears(EOT).is_err());
        assert_eq!(second.says(Kind::Eot).unwrap().seqno, 2);
        assert_eq!(second.state(), State::Fin);
        for end in [first, second] {
            let ends = |label: &str| end.clone().hears(label).is_err();
            assert!([DAT, EOT, &pay("1")].into_iter().all(ends));
        }
    }
}

#[test]
fn both_may_end_at_a_time() {
    let mut end = running(Direction::Inject, 2, 2);
    end.says(Kind::Eot).unwrap();
    assert_eq!(end.hears(EOT), Ok(Heard::Ended));
    assert!(end.state().is_over() && end.says(Kind::Eot).is_err());
}

#[test]
fn a_refusal_ends_it_on_both_sides() {
    let mut server = endpoint(Side::Server, Direction::Inject, 5);
    server.hears(&bot(Direction::Extract, "2")).unwrap();
    assert!(server.says(Kind::Eot).is_ok());
    let mut client = endpoint(Side::Client, Direction::Extract, 5);
    client.says(Kind::Bot).unwrap();
    assert_eq!(client.hears(EOT), Ok(Heard::Refused));
    assert_eq!([server.state(), client.state()], [State::Refused; 2]);
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn a_client_may_give_up_and_its_answer_comes_late() {
    let mut client = endpoint(Side::Client, Direction::Extract, 5);
    client.says(Kind::Bot).unwrap();
    client.says(Kind::Eot).unwrap();
    assert_eq!(client.hears(&bot(Direction::Inject, "2")), Ok(Heard::Late));
    assert_eq!(client.hears(EOT), Ok(Heard::Ended));
    let mut server = endpoint(Side::Server, Direction::Inject, 5);
    server.hears(&bot(Direction::Extract, "2")).unwrap();
    assert_eq!(server.hears(EOT), Ok(Heard::Ending));
    assert!(server.says(Kind::Bot).is_err() && server.says(Kind::Eot).is_ok());
}

#[test]
fn each_side_begins_in_its_own_way() {
    let mut server = endpoint(Side::Server, Direction::Inject, 5);
    assert!(Kind::ALL.into_iter().all(|kind| server.says(kind).is_err()));
    let mut client = endpoint(Side::Client, Direction::Inject, 5);
    assert!(client.hears(&bot(Direction::Extract, "2")).is_err());
    assert_eq!(client.state(), State::Idle);
    let none = Endpoint::new(terms(Side::Client, Direction::Inject, 0));
    assert_eq!(none.terms.credit, 1);
}

#[test]
fn what_does_not_come_in_time_is_noted() {
    let mut client = endpoint(Side::Client, Direction::Extract, 5);
    assert_eq!(client.next_timeout(), None);
    client.say(at(1), Kind::Bot, 0).unwrap();
    assert_eq!(client.next_timeout(), Some(at(6)));
    assert_eq!(client.handle_timeout(at(5)), None);
    assert_eq!(client.handle_timeout(at(6)), Some(Expired::Answer));
    assert_eq!((client.handle_timeout(at(60)), client.state()), (None, State::BotSent));
    // It may come yet, and a flow that runs has no time.
    client.hears(&bot(Direction::Inject, "2")).unwrap();
    assert_eq!(client.next_timeout(), None);
    client.say(at(10), Kind::Eot, 0).unwrap();
    assert_eq!(client.handle_timeout(at(15)), Some(Expired::End));
    assert_eq!(client.state(), State::Fin);
}

#[test]
fn a_label_keeps_what_the_application_said() {
    let mut client = endpoint(Side::Client, Direction::Inject, 7);
    let stamp = client.says(Kind::Bot).unwrap();
    for (own, expected) in [
        ("{}", r#"{"flow": "BOT", "credit": 7, "direction": "inject"}"#),
        (r#"{"n":1.50}"#, r#"{"n":1.50, "flow": "BOT", "credit": 7, "direction": "inject"}"#),
        (
            r#"{"direction":"extract","credit":1,"flow":0,"cid":5}"#,
            r#"{"direction":"inject","credit":7,"flow":"BOT","cid":5}"#,
        ),
    ] {
        assert_eq!(stamp.label(Label::parse(own).unwrap()).as_deref(), Ok(expected));
    }
}

/// The rows of the protocol's own table, in its words.
#[test]
fn the_table_is_that_of_zio() {
    use Action::{
        Agree, Ask, Close, Consider, Earn, Finish, Gain, Grant, HandOut, Pass, Refuse, Spend,
    };
    use Input::{HearBot, HearDat, HearEot, HearPay, SendBot, SendDat, SendEot, SendPay};
    let rows = [
        (State::Idle, vec![(SendBot, Ask), (HearBot, Consider)]),
        (State::BotSent, vec![(HearBot, Agree), (HearEot, Refuse), (SendEot, Close)]),
        (State::BotHeard, vec![(SendBot, Grant), (SendEot, Refuse), (HearEot, Close)]),
        (State::Broke, vec![(HearPay, Earn), (SendEot, Close), (HearEot, Close)]),
        (
            State::Generous,
            vec![(HearPay, Earn), (SendDat, Spend), (SendEot, Close), (HearEot, Close)],
        ),
        (State::Rich, vec![(SendPay, HandOut), (SendEot, Close), (HearEot, Close)]),
        (
            State::HandsOut,
            vec![(SendPay, HandOut), (HearDat, Gain), (SendEot, Close), (HearEot, Close)],
        ),
        (State::AckFin, vec![(HearBot, Pass), (HearDat, Pass), (HearPay, Pass), (HearEot, Finish)]),
        (
            State::FinAck,
            vec![
                (SendDat, Pass),
                (SendPay, Pass),
                (HearBot, Pass),
                (HearDat, Pass),
                (HearPay, Pass),
                (SendEot, Finish),
            ],
        ),
        (State::Fin, vec![]),
        (State::Refused, vec![]),
    ];
    assert_eq!(rows.len(), State::ALL.len());
    for (state, row) in rows {
        for input in Input::ALL {
            let expected = row.iter().find(|(other, _)| *other == input);
            let expected = expected.map_or(Action::Reject, |(_, action)| *action);
            assert_eq!(state.on(input), expected, "{state:?} on {input:?}");
        }
    }
}

/// A client within MJP whose server has agreed to 4 messages and so many octets.
fn with_octets(direction: Direction, asked: u64, told: u64) -> Endpoint {
    let terms = Terms { bytes: Some(asked), ..terms(Side::Client, direction, 4) };
    let mut end = Endpoint::new(terms);
    assert_eq!(end.says(Kind::Bot).unwrap().bytes, Some(asked));
    end.hears_with(&bot(direction.reversed(), "4"), 0, told).unwrap();
    end
}

#[test]
fn a_giver_spends_octets_and_never_more_than_half_of_them_at_a_time() {
    let mut giver = with_octets(Direction::Extract, 1000, 600);
    assert_eq!(giver.octets(), Some((600, 0)));
    giver.hears_with(&pay("4"), 0, 500).unwrap();
    let say = |giver: &mut Endpoint, size| giver.say(at(0), Kind::Dat, size).map(|it| it.seqno);
    assert_eq!(say(&mut giver, 301), Err(Misuse::TooBig { size: 301, max: 300 }));
    assert_eq!(say(&mut giver, 300), Ok(1));
    let none = Misuse::NoOctets { size: 201, held: 200, total: 600 };
    assert_eq!(say(&mut giver, 201), Err(none));
    assert_eq!((giver.held(), giver.octets()), (3, Some((600, 200))));
    assert_eq!(say(&mut giver, 200), Ok(2));
    assert_eq!(giver.state(), State::Generous, "it has credit in messages");
    let said = giver.hears_with(&pay("0"), 0, 601);
    let octets = Violation::Octets { kind: Kind::Pay, size: 601, held: 0, total: 600 };
    assert_eq!(said, Err(octets));
    assert_eq!(giver.hears_with(&pay("0"), 0, 600), Ok(Heard::Pay { credit: 0 }));
}

#[test]
fn a_taker_pays_when_half_of_either_credit_is_due_and_not_for_what_is_kept() {
    let mut taker = with_octets(Direction::Inject, 1000, 1000);
    let stamp = taker.says(Kind::Pay).unwrap();
    assert_eq!((stamp.credit, stamp.bytes), (Some(4), Some(1000)));
    assert_eq!((taker.state(), taker.is_due()), (State::HandsOut, false));
    taker.hears_with(DAT, 499, 0).unwrap();
    assert!(!taker.is_due());
    taker.hears_with(DAT, 1, 0).unwrap();
    assert!(taker.is_due(), "half of the messages, and half of the octets");
    taker.keep(2, 500);
    assert!(!taker.is_due() && taker.says(Kind::Pay).is_err());
    taker.keep(1, 1);
    assert_eq!((taker.payable(), taker.payable_octets(), taker.is_due()), (1, 499, false));
    taker.keep(0, 0);
    let stamp = taker.says(Kind::Pay).unwrap();
    assert_eq!((stamp.credit, stamp.bytes), (Some(2), Some(500)));
    taker.hears_with(DAT, 1000, 0).unwrap();
    let more = taker.hears_with(DAT, 1, 0);
    let octets = Violation::Octets { kind: Kind::Dat, size: 1, held: 1000, total: 1000 };
    assert_eq!(more, Err(octets));
    assert_eq!(taker.held(), 1, "nothing has changed by it");
}

#[test]
fn without_octets_at_either_end_messages_are_all_the_credit_there_is() {
    let mut one =
        Endpoint::new(Terms { bytes: Some(9), ..terms(Side::Client, Direction::Extract, 2) });
    one.says(Kind::Bot).unwrap();
    one.hears(&bot(Direction::Inject, "2")).unwrap();
    one.hears(&pay("1")).unwrap();
    assert_eq!((one.octets(), one.affords(u64::MAX)), (None, Ok(())));
    assert!(one.say(at(0), Kind::Dat, u64::MAX).is_ok());
    let mut other = running(Direction::Inject, 2, 2);
    assert_eq!(other.says(Kind::Pay).unwrap().bytes, None);
}

/// Two ends, what is under way between them, and what was said and heard.
struct Line {
    ends: [Endpoint; 2],
    under_way: [VecDeque<(Kind, String, Load)>; 2],
}

impl Line {
    fn say(&mut self, from: usize, kind: Kind, size: u64) {
        if let Ok(stamp) = self.ends[from].say(at(0), kind, size) {
            let load = Load { size, bytes: stamp.bytes };
            self.under_way[from].push_back((kind, stamp.label(own()).unwrap(), load));
        }
    }

    fn hear(&mut self, to: usize) {
        if let Some((_, label, load)) = self.under_way[1 - to].pop_front() {
            self.ends[to].hear(at(0), &FlowLabel::read(&label).unwrap(), load).unwrap();
        }
    }

    /// The same as [`Self::credit`], in octets; none if there is no such credit.
    fn octets(&self) -> Option<u64> {
        let under_way = self.under_way.iter().flatten().map(|(kind, _, load)| match kind {
            Kind::Dat => load.size,
            Kind::Pay => load.bytes.unwrap_or(0),
            Kind::Bot | Kind::Eot => 0,
        });
        let held = self.ends.iter().map(|end| Some(end.octets()?.1)).sum::<Option<u64>>()?;
        Some(held + under_way.sum::<u64>())
    }

    /// Credit at both ends and under way, while the flow runs.
    fn credit(&self) -> u64 {
        let under_way = self.under_way.iter().flatten().map(|(kind, label, _)| match kind {
            Kind::Dat => 1,
            Kind::Pay => FlowLabel::read(label).unwrap().credit().unwrap().try_into().unwrap(),
            Kind::Bot | Kind::Eot => 0,
        });
        self.ends.iter().map(Endpoint::held).sum::<u64>() + under_way.sum::<u64>()
    }
}

proptest! {
    #[test]
    fn credit_is_neither_lost_nor_made_and_both_ends_end(
        asked in 1..6_u32, limit in 1..6_u32, gives in 0..2_usize,
        bytes in (prop::option::of(1..900_u64), prop::option::of(1..900_u64)),
        steps in prop::collection::vec((0..2_usize, 0..8_u8, 0..450_u64), 0..200),
    ) {
        let direction = |end: usize| {
            if end == gives { Direction::Extract } else { Direction::Inject }
        };
        let ends = [
            Endpoint::new(Terms { bytes: bytes.0, ..terms(Side::Client, direction(0), asked) }),
            Endpoint::new(Terms { bytes: bytes.1, ..terms(Side::Server, direction(1), limit) }),
        ];
        let mut line = Line { ends, under_way: Default::default() };
        line.say(0, Kind::Bot, 0);
        line.hear(1);
        line.say(1, Kind::Bot, 0);
        line.hear(0);
        let total = u64::from(asked.min(limit));
        let octets = bytes.0.zip(bytes.1).map(|(one, other)| one.min(other));
        prop_assert_eq!((line.credit(), line.octets()), (total, octets));
        for (end, step, size) in steps {
            match step {
                0 | 1 => line.say(end, Kind::Dat, size),
                2 | 3 => line.say(end, Kind::Pay, 0),
                4..7 => line.hear(end),
                _ => break,
            }
            prop_assert_eq!((line.credit(), line.octets()), (total, octets));
            let [one, other] = &line.ends;
            prop_assert!(one.held() <= total && other.held() <= total);
        }
        line.say(usize::try_from(total % 2).unwrap(), Kind::Eot, 0);
        while line.under_way.iter().any(|queue| !queue.is_empty()) {
            for end in [0, 1] {
                line.hear(end);
                if line.ends[end].state() == State::FinAck {
                    line.say(end, Kind::Eot, 0);
                }
            }
        }
        prop_assert!(line.ends.iter().all(|end| end.state() == State::Fin));
    }
}
