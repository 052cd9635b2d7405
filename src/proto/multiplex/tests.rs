use super::*;

const LANE: LaneId = LaneId(0);

fn epoch() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A machine whose calls carry their id, and its clock.
struct Desk {
    calls: Multiplex<u64>,
    now: Instant,
    last: u64,
}

impl Desk {
    fn new(settings: Settings) -> Self {
        let lanes = settings.lanes;
        let mut desk = Self { calls: Multiplex::new(settings, 7), now: epoch(), last: 0 };
        let all: Vec<_> = (0..lanes).map(|lane| Output::Connect(LaneId(lane))).collect();
        assert_eq!(desk.outputs(), all);
        for lane in 0..lanes {
            desk.calls.connected(LaneId(lane));
        }
        desk
    }

    fn serial(lanes: usize) -> Self {
        Self::new(Settings { lanes, ids: false, ..Settings::default() })
    }

    fn call(&mut self, timeout: u64, attempts: u32) -> u64 {
        self.last += 1;
        let terms = Terms { deadline: self.now + ms(timeout), attempts, repeats: false };
        self.calls.call(self.now, self.last, terms, self.last);
        self.last
    }

    fn outputs(&mut self) -> Vec<Output<u64>> {
        let outputs = std::iter::from_fn(|| self.calls.poll_output()).collect();
        self.calls.check();
        outputs
    }

    fn pass(&mut self, millis: u64) -> Vec<Output<u64>> {
        self.now += ms(millis);
        self.calls.timeout(self.now);
        self.outputs()
    }

    fn lose(&mut self) -> Vec<Output<u64>> {
        self.calls.lost(self.now, LANE);
        self.outputs()
    }

    /// Waits for the dialing of the lane, which succeeds.
    fn return_to_service(&mut self) -> Vec<Output<u64>> {
        let outputs = self.pass(5_000);
        assert!(outputs.contains(&Output::Connect(LANE)), "{outputs:?}");
        self.calls.connected(LANE);
        self.outputs()
    }
}

fn sent(ids: impl IntoIterator<Item = u64>) -> Vec<Output<u64>> {
    ids.into_iter().map(|id| Output::Send(LANE, id)).collect()
}

#[test]
fn answers_find_their_calls_in_any_order_and_only_once() {
    let mut desk = Desk::new(Settings::default());
    let ids: Vec<_> = (0..3).map(|_| desk.call(1000, 1)).collect();
    assert_eq!(desk.outputs(), sent(ids));
    assert_eq!(desk.calls.done(LANE, Some(2)), Some(2));
    assert_eq!(desk.calls.done(LANE, Some(2)), None);
    assert_eq!(desk.calls.done(LaneId(1), Some(1)), None, "no such lane");
    assert_eq!(desk.calls.part(LANE, Some(1)), Some((1, &mut 1)));
    assert_eq!(desk.calls.done(LANE, Some(1)), Some(1));
    assert_eq!(desk.calls.done(LANE, Some(3)), Some(3));
    assert_eq!(desk.calls.open(), 0);
}

#[test]
fn a_call_ends_at_its_deadline_wherever_it_is() {
    let mut desk = Desk::new(Settings { in_flight_max: 1, ..Settings::default() });
    let (first, second) = (desk.call(100, 3), desk.call(50, 3));
    assert_eq!(desk.outputs(), sent([first]));
    assert_eq!(desk.pass(49), []);
    assert_eq!(desk.pass(1), [Output::Fail(second, Failure::Expired { sent: false })]);
    // The broker knows the deadline too: it is not told.
    assert_eq!(desk.pass(50), [Output::Fail(first, Failure::Expired { sent: true })]);
    assert_eq!(desk.calls.done(LANE, Some(first)), None, "too late");
    let late = desk.call(0, 1);
    assert_eq!(desk.outputs(), [Output::Fail(late, Failure::Expired { sent: false })]);
}

#[test]
fn as_many_as_are_allowed_are_in_flight_and_the_others_take_turns() {
    let settings = Settings { in_flight_max: 2, waiting_max: 3, ..Settings::default() };
    let mut desk = Desk::new(settings);
    for _ in 0..3 {
        desk.call(1000, 1);
    }
    assert_eq!(desk.outputs(), sent([1, 2]));
    desk.call(1000, 1);
    desk.call(1000, 1);
    let refused = desk.call(1000, 1);
    assert_eq!(desk.outputs(), [Output::Fail(refused, Failure::TooMany)]);
    desk.calls.cancel(4);
    desk.calls.done(LANE, Some(1));
    desk.calls.done(LANE, Some(2));
    assert_eq!(desk.outputs(), sent([3, 5]));
    desk.calls.limit(LANE, 1);
    desk.calls.done(LANE, Some(3));
    desk.call(1000, 1);
    assert_eq!(desk.outputs(), [], "the broker takes fewer");
    desk.calls.done(LANE, Some(5));
    assert_eq!(desk.outputs(), sent([7]));
}

#[test]
fn nothing_is_sent_while_the_socket_takes_nothing_or_the_broker_drains() {
    let mut desk = Desk::new(Settings::default());
    desk.calls.room(LANE, false);
    desk.call(60_000, 1);
    assert_eq!(desk.outputs(), []);
    desk.calls.room(LANE, true);
    assert_eq!(desk.outputs(), sent([1]));
    desk.calls.draining(LANE);
    desk.call(60_000, 1);
    assert_eq!(desk.outputs(), []);
    assert_eq!(desk.calls.done(LANE, Some(1)), Some(1), "what was sent is answered");
    assert_eq!(desk.lose(), []);
    assert_eq!(desk.return_to_service(), sent([2]));
}

#[test]
fn calls_of_a_lost_connection_go_again_first_and_in_order_as_long_as_they_may() {
    let mut desk = Desk::new(Settings { in_flight_max: 4, ..Settings::default() });
    let (once, again) = (desk.call(60_000, 1), desk.call(60_000, 2));
    let (heard, third) = (desk.call(60_000, 3), desk.call(60_000, 3));
    let waits = desk.call(60_000, 1);
    assert_eq!(desk.outputs(), sent([once, again, heard, third]));
    desk.calls.part(LANE, Some(heard)).unwrap();
    let lost = [Output::Fail(once, Failure::Lost), Output::Fail(heard, Failure::Lost)];
    assert_eq!(desk.lose(), lost);
    assert_eq!(desk.calls.done(LANE, Some(again)), None, "an answer of the old connection");
    assert_eq!(desk.return_to_service(), sent([again, third, waits]));
    assert_eq!(desk.calls.get(desk.now, third).map(|(_, _, left)| left), Some(2));
    let lost = [Output::Fail(again, Failure::Lost), Output::Fail(waits, Failure::Lost)];
    assert_eq!(desk.lose(), lost);
}

#[test]
fn a_refusal_that_may_pass_rests_and_one_for_good_ends_the_call() {
    let mut desk = Desk::new(Settings::default());
    let id = desk.call(60_000, 2);
    assert_eq!(desk.outputs(), sent([id]));
    assert_eq!(desk.calls.refused(desk.now, LANE, id, Some(ms(100))), None);
    // The hint, and between half of 100 ms and all of it.
    assert_eq!(desk.pass(149), []);
    assert_eq!(desk.pass(51), sent([id]));
    let again = desk.calls.refused(desk.now, LANE, id, Some(ms(100)));
    assert_eq!(again, Some(id), "no attempt is left");
    let id = desk.call(60_000, 9);
    assert_eq!(desk.outputs(), sent([id]));
    assert_eq!(desk.calls.refused(desk.now, LANE, id, None), Some(id));
    let id = desk.call(149, 9);
    assert_eq!(desk.outputs(), sent([id]));
    let again = desk.calls.refused(desk.now, LANE, id, Some(ms(100)));
    assert_eq!(again, Some(id), "its deadline would pass while it rests");
    assert_eq!(desk.pass(60_000), []);
}

#[test]
fn a_cancelled_call_is_told_to_the_broker_and_frees_its_place() {
    let mut desk = Desk::new(Settings { in_flight_max: 1, ..Settings::default() });
    let (first, second, third) = (desk.call(900, 1), desk.call(900, 1), desk.call(900, 1));
    assert_eq!(desk.outputs(), sent([first]));
    assert_eq!(desk.calls.cancel(second), Some(second), "it was not sent: nothing to say");
    assert_eq!(desk.outputs(), []);
    assert_eq!(desk.calls.cancel(first), Some(first));
    assert_eq!(desk.outputs(), [Output::Cancel(LANE, first), Output::Send(LANE, third)]);
    assert_eq!(desk.calls.cancel(first), None);
    assert_eq!(desk.calls.done(LANE, Some(first)), None, "an answer that had been on its way");
    assert_eq!(desk.calls.done(LANE, Some(third)), Some(third));
}

#[test]
fn without_ids_a_lane_has_one_call_and_is_replaced_when_that_is_given_up() {
    let mut desk = Desk::serial(2);
    for _ in 0..3 {
        desk.call(1000, 1);
    }
    let other = LaneId(1);
    assert_eq!(desk.outputs(), [Output::Send(LANE, 1), Output::Send(other, 2)]);
    assert_eq!(desk.calls.done(other, None), Some(2));
    assert_eq!(desk.outputs(), [Output::Send(other, 3)]);
    desk.calls.cancel(1);
    assert_eq!(desk.outputs(), [Output::Disconnect(LANE), Output::Connect(LANE)]);
    desk.call(1000, 1);
    assert_eq!(desk.outputs(), [], "not before it is connected");
    desk.calls.connected(LANE);
    assert_eq!(desk.outputs(), sent([4]));
    let replaced = |id| [Output::Fail(id, Failure::Expired { sent: true })];
    let outputs = desk.pass(1000);
    assert!([replaced(3), replaced(4)].iter().all(|end| outputs.contains(&end[0])), "{outputs:?}");
    assert_eq!(desk.calls.done(LANE, None), None);
}

#[test]
fn a_lane_is_dialed_again_after_waits_that_grow_until_it_is_of_use() {
    let mut desk = Desk::new(Settings::default());
    let mut waits = Vec::new();
    for _ in 0..3 {
        desk.calls.lost(desk.now, LANE);
        waits.push(desk.calls.next_timeout().unwrap() - desk.now);
        assert!(desk.pass(5000).contains(&Output::Connect(LANE)));
        desk.calls.connected(LANE);
    }
    for (wait, nominal) in waits.iter().zip([100, 200, 400]) {
        assert!(*wait >= ms(nominal / 2) && *wait <= ms(nominal), "{waits:?}");
    }
    desk.calls.useful(LANE);
    desk.calls.lost(desk.now, LANE);
    assert!(desk.calls.next_timeout().unwrap() - desk.now <= ms(100));
}

#[test]
fn a_closed_client_takes_nothing_and_an_abandoned_one_ends_everything() {
    let mut desk = Desk::new(Settings { in_flight_max: 1, ..Settings::default() });
    desk.call(1000, 1);
    desk.call(1000, 1);
    assert_eq!(desk.outputs(), sent([1]));
    desk.calls.close();
    desk.call(1000, 1);
    assert_eq!(desk.outputs(), [Output::Fail(3, Failure::Closed)]);
    assert_eq!(desk.calls.done(LANE, Some(1)), Some(1));
    assert_eq!(desk.outputs(), sent([2]), "what had been taken is finished");
    desk.calls.abandon();
    assert_eq!(desk.outputs(), [Output::Cancel(LANE, 2), Output::Fail(2, Failure::Closed)]);
}

#[test]
fn calls_that_have_ended_leave_nothing_behind() {
    let mut desk = Desk::new(Settings { in_flight_max: 1, ..Settings::default() });
    desk.call(60_000, 1);
    assert_eq!(desk.outputs(), sent([1]));
    for _ in 0..10_000 {
        let id = desk.call(60_000, 1);
        desk.calls.cancel(id);
        assert!(desk.calls.deadlines.len() < 100 && desk.calls.queue.len() < 100);
    }
}

#[test]
fn what_goes_on_is_said_on_each_connection_and_takes_no_place_of_a_call() {
    let mut desk = Desk::new(Settings { in_flight_max: 1, ..Settings::default() });
    desk.calls.stand(100, 100);
    desk.calls.stand(101, 101);
    let said = |ids: [u64; 2]| ids.map(|id| Output::Stand(LANE, id)).to_vec();
    assert_eq!(desk.outputs(), said([100, 101]));
    let id = desk.call(1000, 1);
    assert_eq!((desk.outputs(), desk.calls.open()), (sent([id]), 1));
    assert_eq!(desk.calls.heard(LANE, 100), Some(&mut 100));
    assert_eq!(desk.calls.heard(LaneId(1), 100), None, "no such lane");
    assert_eq!(desk.calls.done(LANE, Some(id)), Some(id));
    desk.lose();
    assert_eq!(desk.calls.heard(LANE, 100), None, "from a connection that was lost");
    assert_eq!(desk.return_to_service(), said([100, 101]));
    assert_eq!(desk.calls.cancel(100), Some(100));
    assert_eq!(desk.outputs(), [Output::Leave(LANE, 100)]);
    desk.lose();
    assert_eq!(desk.calls.cancel(101), Some(101));
    assert_eq!(desk.outputs(), [], "nobody has to be told");
    desk.calls.stand(102, 102);
    assert_eq!(desk.return_to_service(), [Output::Stand(LANE, 102)]);
    desk.calls.abandon();
    assert_eq!(desk.outputs(), [Output::Fail(102, Failure::Closed)]);
    desk.calls.stand(103, 103);
    assert_eq!(desk.outputs(), [Output::Fail(103, Failure::Closed)]);
}

#[test]
fn what_goes_on_is_tried_again_while_that_may_help() {
    let mut desk = Desk::new(Settings::default());
    desk.calls.stand(1, 1);
    assert_eq!(desk.outputs(), [Output::Stand(LANE, 1)]);
    assert_eq!(desk.calls.refused(desk.now, LANE, 1, Some(ms(100))), None);
    assert_eq!((desk.outputs(), desk.pass(99)), (vec![], vec![]));
    assert_eq!(desk.pass(5_000), [Output::Stand(LANE, 1)]);
    // A broker that stops is not asked again; the next one is.
    desk.calls.draining(LANE);
    assert_eq!(desk.calls.refused(desk.now, LANE, 1, Some(ms(100))), None);
    assert_eq!(desk.pass(10_000), []);
    desk.lose();
    assert_eq!(desk.return_to_service(), [Output::Stand(LANE, 1)]);
    assert_eq!(desk.calls.refused(desk.now, LANE, 1, None), Some(1));
    desk.lose();
    assert_eq!(desk.return_to_service(), []);
}

#[test]
fn what_is_said_of_a_call_at_work_ends_nothing_and_is_of_one_sending() {
    let mut desk = Desk::new(Settings::default());
    let id = desk.call(60_000, 2);
    assert_eq!(desk.calls.at_work(LANE, id), None, "it has not been sent");
    desk.outputs();
    assert_eq!(desk.calls.at_work(LANE, id), Some((1, &mut id.clone())));
    assert_eq!(desk.calls.at_work(LaneId(1), id), None);
    assert_eq!((desk.calls.lane_of(id, 1), desk.calls.lane_of(id, 2)), (Some(LANE), None));
    // Unlike a part of the answer it does not keep the call from being sent again.
    desk.lose();
    assert_eq!(desk.calls.lane_of(id, 1), None);
    desk.pass(10_000);
    desk.calls.connected(LANE);
    assert_eq!(desk.outputs(), [Output::Send(LANE, id)]);
    assert_eq!((desk.calls.lane_of(id, 1), desk.calls.lane_of(id, 2)), (None, Some(LANE)));
    assert_eq!(desk.calls.done(LANE, Some(id)), Some(id));
    assert_eq!(desk.calls.at_work(LANE, id), None);
    assert_eq!(desk.calls.lane_of(id, 2), None);
}

#[test]
fn what_is_known_as_a_repeat_goes_again_whenever_it_is_lost_and_that_is_no_attempt() {
    let mut desk = Desk::new(Settings::default());
    let terms = Terms { deadline: desk.now + ms(60_000), attempts: 2, repeats: true };
    desk.calls.call(desk.now, 1, terms, 1);
    assert_eq!(desk.outputs(), sent([1]));
    for _ in 0..5 {
        assert_eq!(desk.lose(), []);
        assert_eq!(desk.return_to_service(), sent([1]));
        assert_eq!(desk.calls.get(desk.now, 1).map(|(_, _, attempts)| attempts), Some(2));
    }
    // What is refused is tried once more, as ever.
    assert_eq!(desk.calls.refused(desk.now, LANE, 1, Some(ms(0))), None);
    assert_eq!(desk.pass(1000), sent([1]));
    assert_eq!(desk.calls.refused(desk.now, LANE, 1, Some(ms(0))), Some(1));
    // Who has seen a part of the answer would see it again.
    desk.calls.call(desk.now, 2, Terms { deadline: desk.now + ms(60_000), ..terms }, 2);
    assert_eq!(desk.outputs(), sent([2]));
    assert!(desk.calls.part(LANE, Some(2)).is_some());
    desk.calls.lost(desk.now, LANE);
    assert_eq!(desk.outputs(), [Output::Fail(2, Failure::Lost)]);
}
