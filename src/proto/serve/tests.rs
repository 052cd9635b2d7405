use super::words::Taken;
use super::*;

type Worker = Serve<&'static str, &'static str>;
type Done = Output<&'static str, &'static str>;

const BEAT: u64 = 2500;
const EXPIRY: u64 = 7500;

fn ms(millis: u64) -> Time {
    Time::default().after(Duration::from_millis(millis))
}

fn token(id: u64) -> Token {
    Token::Id(id)
}

fn address(id: u8) -> Token {
    Token::Address(Box::new([id]))
}

fn request(id: u64) -> Input<&'static str, &'static str> {
    Input::Heard(Heard::Request(token(id), "work"))
}

/// What a worker does about each input.
struct Harness {
    worker: Worker,
    now: Time,
}

impl Harness {
    fn new(credit: u16, native: bool) -> Self {
        let settings = Settings { credit, ..Settings::new(native, 7) };
        Self { worker: Worker::new(settings), now: ms(0) }
    }

    /// One that has said READY at 0 ms.
    fn serving(credit: u16, native: bool) -> Self {
        let mut harness = Self::new(credit, native);
        assert_eq!(harness.at(0), [Output::Dial]);
        assert_eq!(harness.on(Input::Connected), [Output::Say(Say::Ready)]);
        harness
    }

    fn on(&mut self, input: Input<&'static str, &'static str>) -> Vec<Done> {
        self.worker.handle(self.now, input);
        std::iter::from_fn(|| self.worker.poll_output()).collect()
    }

    /// The time comes, and nothing else.
    fn at(&mut self, millis: u64) -> Vec<Done> {
        self.now = ms(millis);
        self.worker.handle_timeout(self.now);
        std::iter::from_fn(|| self.worker.poll_output()).collect()
    }

    fn heard(&mut self, heard: Heard<&'static str>) -> Vec<Done> {
        self.on(Input::Heard(heard))
    }

    /// Runs until the worker has nothing to do by itself before `millis`; what it did, and when.
    fn until(&mut self, millis: u64) -> Vec<(u64, Done)> {
        let mut done = Vec::new();
        while let Some(at) = self.worker.next_timeout().filter(|at| *at <= ms(millis)) {
            let millis = u64::try_from(at.since(ms(0)).as_millis()).unwrap();
            // Microseconds are of no interest here.
            let outputs = self.at(millis + 1);
            done.extend(outputs.into_iter().map(|output| (millis, output)));
        }
        self.now = ms(millis);
        done
    }
}

fn dismissed() -> Heard<&'static str> {
    Heard::Dismissed { why: "you are no worker".into() }
}

fn begin(job: u64) -> Done {
    Output::Begin(Job::of(job), "work")
}

fn last(id: u64) -> Done {
    Output::Say(Say::Last(token(id), "answer"))
}

fn stopped(answered: u64, given_back: u64) -> Done {
    Output::Stopped(Report { answered, given_back })
}

impl Job {
    fn of(number: u64) -> Self {
        let mut held = Held::new();
        for _ in 0..number {
            held.take(token(0), ());
            held.begin();
        }
        held.take(token(0), ());
        held.begin().unwrap().0
    }
}

#[test]
fn requests_are_begun_up_to_the_credit_and_the_rest_waits_its_turn() {
    let mut worker = Harness::serving(2, false);
    assert_eq!(worker.on(request(10)), [begin(0)]);
    assert_eq!(worker.on(request(11)), [begin(1)]);
    assert_eq!(worker.on(request(12)), []);
    assert_eq!(worker.on(Input::Last(Job::of(1), "answer")), [last(11), begin(2)]);
    assert_eq!(worker.on(Input::Credit(3)), []);
    assert_eq!(worker.on(request(13)), [begin(3)]);
    assert_eq!(worker.worker.running(), 3);
}

#[test]
fn an_answer_in_parts_carries_the_name_of_its_request() {
    let mut worker = Harness::serving(1, false);
    worker.heard(Heard::Request(address(7), "work"));
    let part = worker.on(Input::Part(Job::of(0), "part"));
    assert_eq!(part, [Output::Say(Say::Part(address(7), "part"))]);
    let end = worker.on(Input::Last(Job::of(0), "answer"));
    assert_eq!(end, [Output::Say(Say::Last(address(7), "answer"))]);
    assert_eq!(worker.on(Input::Part(Job::of(0), "late")), []);
    assert_eq!(worker.on(Input::Last(Job::of(0), "late")), []);
}

#[test]
fn beats_fill_silence_even_while_everything_is_busy() {
    let mut worker = Harness::serving(1, true);
    worker.on(request(1));
    let beat = || Output::Say(Say::Heartbeat);
    assert_eq!(worker.until(BEAT + 100), [(BEAT, beat())]);
    // An answer shows as much as a beat.
    assert_eq!(worker.on(Input::Last(Job::of(0), "answer")), [last(1)]);
    assert_eq!(worker.until(2 * BEAT + 90), []);
    assert_eq!(worker.until(2 * BEAT + 100), [(2 * BEAT + 100, beat())]);
}

#[test]
fn a_broker_that_is_silent_is_left_and_dialled_again_after_a_while() {
    let mut worker = Harness::serving(1, true);
    worker.heard(Heard::Heartbeat);
    worker.on(request(1));
    let done = worker.until(EXPIRY - 1);
    assert!(done.iter().all(|(_, done)| *done == Output::Say(Say::Heartbeat)), "{done:?}");
    let done = worker.at(EXPIRY);
    assert_eq!(done, [Output::Close, Output::Cancel(Job::of(0))]);
    let done = worker.until(EXPIRY + 101);
    assert!(matches!(done[..], [(EXPIRY.., Output::Dial)]), "{done:?}");
    assert_eq!(worker.on(Input::Connected), [Output::Say(Say::Ready)]);
}

#[test]
fn a_stock_broker_may_be_silent_to_a_worker_that_is_busy() {
    let mut worker = Harness::serving(1, false);
    worker.on(request(1));
    worker.until(10 * EXPIRY);
    assert_eq!(worker.worker.state(), State::Serving);
    // Its time begins when the worker is idle.
    worker.on(Input::Last(Job::of(0), "answer"));
    worker.until(11 * EXPIRY - 1);
    assert_eq!(worker.worker.state(), State::Serving);
    assert!(worker.at(11 * EXPIRY).contains(&Output::Close));
}

#[test]
fn a_broker_seen_to_beat_to_a_busy_worker_is_held_to_it() {
    let mut worker = Harness::serving(1, false);
    worker.on(request(1));
    worker.heard(Heard::Heartbeat);
    worker.until(EXPIRY - 1);
    assert!(worker.at(EXPIRY).contains(&Output::Close));
}

#[test]
fn a_worker_that_was_stopped_itself_does_not_blame_the_broker() {
    let mut worker = Harness::serving(1, true);
    // Due at 2.5 s, asked a minute later: a beat, and time to hear what came meanwhile.
    assert_eq!(worker.at(60_000), [Output::Say(Say::Heartbeat)]);
    assert_eq!(worker.worker.state(), State::Serving);
    let done = worker.until(60_000 + EXPIRY);
    assert!(done.iter().any(|(_, done)| *done == Output::Close), "{done:?}");
}

#[test]
fn waits_between_attempts_grow_until_a_connection_was_of_use() {
    let mut worker = Harness::new(1, true);
    worker.at(0);
    let wait = |worker: &mut Harness, input| {
        worker.on(input);
        let State::Away { until } = worker.worker.state() else { panic!("connected") };
        let wait = until.since(worker.now);
        worker.now = until;
        worker.worker.handle_timeout(until);
        assert_eq!(worker.worker.poll_output(), Some(Output::Dial));
        wait.as_millis()
    };
    let waits: Vec<_> = (0..8).map(|_| wait(&mut worker, Input::Lost)).collect();
    for (wait, nominal) in waits.iter().zip([100, 200, 400, 800, 1600, 3200, 5000, 5000]) {
        assert!((nominal / 2..=nominal).contains(wait), "{waits:?}");
    }
    // A broker that dismisses whoever registers is no use.
    worker.on(Input::Connected);
    assert!(wait(&mut worker, Input::Heard(dismissed())) >= 2500);
    worker.on(Input::Connected);
    worker.heard(Heard::Heartbeat);
    assert!(wait(&mut worker, Input::Lost) <= 100);
}

#[test]
fn an_answer_does_not_go_to_another_connection_than_its_request_came_from() {
    let mut worker = Harness::serving(2, true);
    worker.on(request(1));
    worker.on(request(2));
    worker.on(request(3));
    let lost = worker.on(Input::Lost);
    assert_eq!(lost, [Output::Cancel(Job::of(0)), Output::Cancel(Job::of(1))]);
    worker.until(101);
    worker.on(Input::Connected);
    // The broker that was restarted gives names again. Two handlers still run.
    assert_eq!(worker.on(request(1)), []);
    assert_eq!(worker.on(Input::Last(Job::of(0), "answer")), [begin(3)]);
    assert_eq!(worker.on(Input::Last(Job::of(3), "answer")), [last(1)]);
}

#[test]
fn a_request_taken_back_is_not_begun_and_one_begun_is_told() {
    let mut worker = Harness::serving(1, true);
    worker.on(request(1));
    worker.on(request(2));
    assert_eq!(worker.heard(Heard::Cancel(1)), [Output::Cancel(Job::of(0))]);
    assert_eq!(worker.heard(Heard::Cancel(2)), [Output::Say(Say::Cancelled(token(2)))]);
    assert_eq!(worker.heard(Heard::Cancel(2)), []);
    assert_eq!(worker.heard(Heard::Cancel(9)), []);
    // An answer is owed all the same: it gives the credit back.
    assert_eq!(worker.on(Input::Last(Job::of(0), "answer")), [last(1)]);
    assert_eq!(worker.heard(Heard::Cancel(1)), []);
    // One that cannot be read would keep its credit for ever.
    let unreadable = worker.heard(Heard::Unreadable(token(3), "why".into()));
    assert_eq!(unreadable, [Output::Say(Say::Unreadable(token(3), "why".into()))]);
}

#[test]
fn a_native_worker_stops_behind_the_echo_and_the_last_answer() {
    let mut worker = Harness::serving(2, true);
    worker.on(request(1));
    assert_eq!(worker.on(Input::Stop(ms(60_000))), [Output::Say(Say::Drain)]);
    // What was under way is accepted, and finished.
    assert_eq!(worker.on(request(2)), [begin(1)]);
    assert_eq!(worker.on(request(3)), []);
    assert_eq!(worker.on(Input::Last(Job::of(0), "answer")), [last(1), begin(2)]);
    assert_eq!(worker.heard(Heard::Drained), []);
    assert_eq!(worker.on(Input::Last(Job::of(1), "answer")), [last(2)]);
    let end = worker.on(Input::Last(Job::of(2), "answer"));
    assert_eq!(end, [last(3), Output::Say(Say::Goodbye), stopped(3, 0)]);
}

#[test]
fn an_idle_native_worker_waits_for_the_echo_as_work_may_be_on_its_way() {
    let mut worker = Harness::serving(1, true);
    worker.on(Input::Stop(ms(60_000)));
    assert_eq!(worker.on(request(1)), [begin(0)]);
    assert_eq!(worker.on(Input::Last(Job::of(0), "answer")), [last(1)]);
    assert_eq!(worker.heard(Heard::Drained), [Output::Say(Say::Goodbye), stopped(1, 0)]);
}

#[test]
fn an_mdp_worker_says_disconnect_behind_the_last_answer_and_begins_nothing_new() {
    let mut worker = Harness::serving(1, false);
    worker.heard(Heard::Request(address(1), "work"));
    worker.heard(Heard::Request(address(2), "work"));
    assert_eq!(worker.on(Input::Stop(ms(60_000))), []);
    // Held before: finished. Crossed our stop: not begun.
    let answer = |id| Output::Say(Say::Last(address(id), "answer"));
    assert_eq!(worker.on(Input::Last(Job::of(0), "answer")), [answer(1), begin(1)]);
    assert_eq!(worker.heard(Heard::Request(address(3), "work")), []);
    let end = worker.on(Input::Last(Job::of(1), "answer"));
    assert_eq!(end, [answer(2), Output::Say(Say::Goodbye), stopped(2, 1)]);
    let mut idle = Harness::serving(1, false);
    assert_eq!(idle.on(Input::Stop(ms(9))), [Output::Say(Say::Goodbye), stopped(0, 0)]);
}

#[test]
fn when_the_time_is_up_the_goodbye_comes_first_and_the_rest_is_given_back() {
    for native in [true, false] {
        let mut worker = Harness::serving(2, native);
        for id in 1..=3 {
            worker.on(request(id));
        }
        worker.on(Input::Stop(ms(60_000)));
        worker.on(Input::Stop(ms(1000)));
        worker.on(Input::Last(Job::of(0), "answer"));
        let end = worker.until(1000).into_iter().map(|(_, done)| done).collect::<Vec<_>>();
        let cancel = |job| Output::Cancel(Job::of(job));
        let goodbye = Output::Say(Say::Goodbye);
        assert_eq!(end, [goodbye, cancel(1), cancel(2), stopped(1, 2)]);
        assert_eq!(worker.on(Input::Last(Job::of(1), "late")), []);
        assert_eq!(worker.worker.next_timeout(), None);
    }
}

#[test]
fn a_worker_that_is_stopped_without_a_broker_is_stopped_at_once() {
    let mut away = Harness::new(1, true);
    assert_eq!(away.on(Input::Stop(ms(60_000))), [stopped(0, 0)]);
    let mut dialling = Harness::new(1, true);
    dialling.at(0);
    assert_eq!(dialling.on(Input::Stop(ms(60_000))), [stopped(0, 0)]);
    for lost in [Input::Lost, Input::Heard(dismissed())] {
        let mut draining = Harness::serving(1, true);
        draining.on(request(1));
        draining.on(Input::Stop(ms(60_000)));
        assert_eq!(draining.on(lost), [Output::Cancel(Job::of(0)), stopped(0, 1)]);
    }
}

#[test]
fn a_native_broker_says_how_often_it_wants_a_beat() {
    let mut worker = Harness::serving(1, true);
    let keepalive = Keepalive { interval: Duration::from_millis(100), liveness: 5 };
    worker.heard(Heard::Hello { keepalive: Some(keepalive), takes: Taken::default() });
    let beats: Vec<_> = worker.until(499).into_iter().map(|(at, _)| at).collect();
    assert_eq!(beats.len(), 4, "{beats:?}");
    assert!(worker.at(500).contains(&Output::Close));
    // Another broker may say something else.
    worker.until(700);
    worker.on(Input::Connected);
    assert_eq!(worker.until(BEAT), []);
}

#[test]
fn a_broker_in_the_middle_of_a_long_request_is_not_silent() {
    let mut worker = Harness::serving(1, true);
    worker.until(EXPIRY - 1);
    worker.on(Input::Hearing);
    worker.until(2 * EXPIRY - 2);
    assert_eq!(worker.worker.state(), State::Serving);
    assert!(worker.at(2 * EXPIRY - 1).contains(&Output::Close));
}

#[test]
fn what_is_said_in_the_middle_of_a_request_ends_with_it() {
    let talk = || Box::new(Talk { header: [1].into(), body: "hi".into() });
    let told = |ask| {
        let (code, message) = (None, None);
        Box::new(Told { ask, code, message, body: "yes".into() })
    };
    let mut worker = Harness::serving(2, true);
    worker.on(request(1));
    let job = Job::of(0);
    let said = worker.on(Input::Event(job, talk()));
    assert_eq!(said, [Output::Say(Say::Event(token(1), talk()))]);
    let said = worker.on(Input::Ask(job, talk()));
    assert_eq!(said, [Output::Say(Say::Ask(token(1), talk()))]);
    assert_eq!(worker.heard(Heard::Told(1, told(7))), [Output::Tell(job, told(7))]);
    assert_eq!(worker.heard(Heard::Told(2, told(7))), [], "of nothing that it holds");
    worker.on(Input::Last(job, "answer"));
    assert_eq!(worker.heard(Heard::Told(1, told(7))), []);
    assert_eq!(worker.on(Input::Event(job, talk())), []);
    // The connection that brought it is gone, and with it whoever could be told.
    worker.on(request(3));
    worker.on(Input::Lost);
    assert_eq!(worker.on(Input::Ask(Job::of(1), talk())), []);
}

#[test]
fn who_says_what_happens_need_not_beat() {
    let mut worker = Harness::serving(1, true);
    worker.on(request(1));
    worker.until(BEAT - 1);
    let talk = Box::new(Talk { header: [].into(), body: "hi".into() });
    worker.on(Input::Event(Job::of(0), talk));
    assert_eq!(worker.until(2 * BEAT - 2), []);
}
