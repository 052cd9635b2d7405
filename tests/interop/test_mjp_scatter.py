"""SCATTER of MJP/1: round trips with the octets of SPEC.md, and what its rules say."""

import signal

import msgpack
import pytest

import mdp
from mdp import Worker, until
from mjp import Peer, example, header, id_of, kind, second, with_id

ENDS = ("replied", "failed", "refused", "lost", "timed_out", "cancelled")


@pytest.fixture
def peer(broker, peers):
    """Connects to the default broker."""
    return lambda *args, **kwargs: peers(Peer(broker.endpoint, *args, **kwargs))


@pytest.fixture
def workers(peer):
    """Registers workers of MJP under these names, in this order."""
    return lambda *names, **says: [peer(name).ready(**says) for name in names]


def code(frames):
    return header(frames)["code"]


def scatter(client, id, *body, service="echo", **says):
    client.say("SCATTER", id, {"service": service, **says}, *(body or [b"hi"]))


def targets(client, id):
    """The names that a scatter is for."""
    frames = client.expect("TARGETS", id)
    assert header(frames) == {} and len(frames) == 4, frames
    return msgpack.unpackb(frames[3])


def outcome(client, id):
    """One target's end: its name, the outcome, the code of the broker, the worker's header, body."""
    frames = client.expect("OUTCOME", id)
    says = header(frames)
    assert set(says) <= {"target", "outcome", "code", "message", "epoch"}
    return says["target"], says["outcome"], says.get("code"), header(frames, 3), frames[4:]


def outcomes(client, id, count):
    """So many of them, by target; none comes twice."""
    ends = [outcome(client, id) for _ in range(count)]
    by_target = {end[0]: end[1:] for end in ends}
    assert len(by_target) == count, ends
    return by_target


def tally(client, id, **expected):
    """The end of a scatter, behind which nothing comes."""
    frames = client.expect("FINAL", id)
    assert frames[3:] == [b""]
    says = header(frames)
    assert says == {name: expected.get(name, 0) for name in ENDS}
    client.hears_nothing()


def test_scatter_to_names_with_the_octets_of_the_specification(peer, workers):
    a, b, c = workers(b"a", b"b", b"c")
    client = peer()
    client.send(example("mjp", 'SCATTER 4'))
    assert client.recv() == example("mjp-broker", "TARGETS 4")
    given = {}
    for name, worker in (("a", a), ("b", b), ("c", c)):
        frames = worker.expect("REQUEST")
        assert frames[2] == example("mjp", "SCATTER 4")[2], "octet by octet"
        says = header(frames, 3)
        assert says["attempt"] == 1 and 0 < says["timeout"] <= 10_000
        assert frames[4:] == [b"hi"]
        given[name] = id_of(frames)
    shown = {
        name: example("mjp-broker", 'OUTCOME 4 {"target": "%s", "outcome": "%s"' % row + rest)
        for name, row, rest in (
            ("a", ("a", "replied"), '} {}: "yo"'),
            ("b", ("b", "failed"), '} {"code": "failed", "message": "no paper"}'),
            ("c", ("c", "lost"), ', "code": "worker_lost", "message": "gone"} {}'),
        )
    }
    a.send(with_id(example("mjp", "FINAL 4294967297")[:2] + [b"", b"yo"], given["a"]))
    assert client.recv() == shown["a"]
    b.send(with_id(example("mjp", "ERROR 4294967297"), given["b"]))
    assert client.recv() == shown["b"]
    c.close()
    got = client.recv()
    assert [*got[:2], *got[3:]] == [*shown["c"][:2], *shown["c"][3:]]
    says, shows = header(got), header(shown["c"])
    assert says.pop("message") and shows.pop("message")
    assert says == shows
    assert client.recv() == example("mjp-broker", "FINAL 4")
    client.hears_nothing()


def test_scatter_to_all_and_by_labels(peer):
    a = peer(b"a").ready(labels={"zone": "a", "gpu": "yes"})
    b = peer(b"b").ready(labels={"zone": "b"})
    peer(b"elsewhere").ready(service="other", labels={"zone": "a"})
    client = peer()
    client.send(example("mjp", "SCATTER 3"))
    assert targets(client, 3) == ["a", "b"]
    client.send(example("mjp", "SCATTER 5"))
    assert targets(client, 5) == ["a"]
    for worker, count in ((a, 2), (b, 1)):
        for _ in range(count):
            token, says, body = worker.request()
            assert body == [b"hi"] and "timeout" not in says
            worker.say("FINAL", token, {}, b"yo")
    # The scatters end in the order in which their last parts do.
    ends = [client.recv() for _ in range(5)]
    assert sorted((kind(f), id_of(f)) for f in ends) == [
        ("FINAL", 3), ("FINAL", 5), ("OUTCOME", 3), ("OUTCOME", 3), ("OUTCOME", 5),
    ]
    finals = {id_of(f): header(f)["replied"] for f in ends if kind(f) == "FINAL"}
    assert finals == {3: 2, 5: 1}
    for to in ("all", None):
        scatter(client, 9, to=to)
        assert targets(client, 9) == ["a", "b"]
        client.say("CANCEL", 9)
        outcomes(client, 9, 2)
        tally(client, 9, cancelled=2)


def test_a_worker_without_a_name_has_one_made_up(peer):
    worker, client = peer().ready(), peer()
    scatter(client, 1)
    [name] = targets(client, 1)
    assert len(name) == 17 and name[0] == "~" and int(name[1:], 16)
    token = worker.request()[0]
    worker.say("FINAL", token, {}, b"1")
    assert outcome(client, 1)[:2] == (name, "replied")
    tally(client, 1, replied=1)
    scatter(client, 2, to=[name])
    assert targets(client, 2) == [name]


def test_who_is_meant_is_decided_once(peer, workers):
    a, b = workers(b"a", b"b")
    client = peer()
    scatter(client, 1, to=["b", "nobody", "b", "a"])
    assert targets(client, 1) == ["a", "b"], "each once, and only who is there"
    late = peer(b"late").ready()
    tokens = [worker.request()[0] for worker in (a, b)]
    # One who leaves is lost, though it comes again.
    b.say("BYE")
    assert outcome(client, 1) == ("b", "lost", "worker_lost", {}, [])
    b.ready()
    for worker in (late, b):
        worker.hears_nothing()
    a.say("FINAL", tokens[0], {}, b"1")
    assert outcome(client, 1)[:2] == ("a", "replied")
    tally(client, 1, replied=1, lost=1)


def test_nobody_is_no_target(peer, workers):
    client = peer()
    scatter(client, 1)
    assert code(client.expect("ERROR", 1)) == "no_target"
    [worker] = workers(b"a")
    other = peer(b"other").ready(service="other")
    for to in (["b"], [], ["other"], {"zone": "a"}):
        scatter(client, 1, to=to)
        refused = client.expect("ERROR", 1)
        assert code(refused) == "no_target" and "retry" not in header(refused)
    worker.say("DRAIN")
    worker.expect("DRAIN")
    other.say("CREDIT", 0, {"credit": 0})
    other.hears_nothing()
    scatter(client, 1)
    assert code(client.expect("ERROR", 1)) == "no_target"
    scatter(client, 1, service="other")
    assert code(client.expect("ERROR", 1)) == "no_target"


def test_parts_of_an_answer_are_joined_and_headers_are_the_workers_own(peer, workers):
    [worker] = workers(b"a")
    client = peer()
    scatter(client, 1)
    targets(client, 1)
    token = worker.request()[0]
    worker.say("PARTIAL", token, {"n": 1}, b"1", b"")
    worker.say("PARTIAL", token, {"n": 2}, b"2")
    client.hears_nothing()
    said = msgpack.packb({"mine": "own"})
    worker.send([b"MJP1", second("FINAL", token), said, b"3"])
    frames = client.expect("OUTCOME", 1)
    assert frames[3:] == [said, b"1", b"", b"2", b"3"]
    tally(client, 1, replied=1)


def test_a_killed_worker_is_lost_and_the_others_are_heard(broker, peer, spawn):
    client = peer()
    killed = spawn(broker.endpoint, b"echo", "stuck")
    spawn(broker.endpoint, b"echo", "echo")
    until(lambda: client.status(what="broker")["broker"]["workers"] == 2)
    scatter(client, 1)
    names = targets(client, 1)
    assert len(names) == 2
    killed.expect("got")
    killed.signal(signal.SIGKILL)
    ends = outcomes(client, 1, 2)
    assert set(ends) == set(names)
    assert sorted(end[:2] for end in ends.values()) == [("lost", "worker_lost"), ("replied", None)]
    tally(client, 1, replied=1, lost=1)


def test_what_a_lost_worker_had_is_given_to_nobody_else(peer, workers):
    a, b = workers(b"a", b"b")
    client = peer()
    scatter(client, 1, to=["a"])
    targets(client, 1)
    a.request()
    a.close()
    assert outcome(client, 1)[:3] == ("a", "lost", "worker_lost")
    tally(client, 1, lost=1)
    b.hears_nothing()


def test_the_deadline_ends_what_is_open(peer, workers):
    a, b = workers(b"a", b"b")
    client = peer()
    scatter(client, 1, timeout=200)
    assert targets(client, 1) == ["a", "b"]
    a.say("FINAL", a.request()[0], {}, b"in time")
    slow, says, _ = b.request()
    assert 0 < says["timeout"] <= 200
    assert outcome(client, 1)[:2] == ("a", "replied")
    assert outcome(client, 1) == ("b", "timed_out", "timeout", {}, [])
    tally(client, 1, replied=1, timed_out=1)
    b.expect("CANCEL", slow)
    b.say("FINAL", slow, {}, b"late")
    client.hears_nothing()
    scatter(client, 2, timeout=0)
    assert targets(client, 2) == ["a", "b"]
    assert {end[0] for end in outcomes(client, 2, 2).values()} == {"timed_out"}
    tally(client, 2, timed_out=2)
    for worker in (a, b):
        worker.hears_nothing()


def test_cancel_ends_all_parts_and_reaches_their_workers(peer, workers):
    a, b = workers(b"a", b"b")
    client = peer()
    scatter(client, 1)
    targets(client, 1)
    first, other = a.request()[0], b.request()[0]
    a.say("FINAL", first, {}, b"1")
    assert outcome(client, 1)[:2] == ("a", "replied")
    client.say("CANCEL", 1)
    assert outcome(client, 1) == ("b", "cancelled", "cancelled", {}, [])
    tally(client, 1, replied=1, cancelled=1)
    b.expect("CANCEL", other)
    # Its credit comes back with an answer, which is dropped.
    client.call(2, b"next")
    a.say("FINAL", a.request()[0], {}, b"from a")
    client.expect("FINAL", 2)
    b.say("ERROR", other, {"code": "failed"})
    client.say("CANCEL", 1)
    client.hears_nothing()
    scatter(client, 1)
    assert targets(client, 1) == ["a", "b"], "the id is free again"


def test_a_busy_worker_gets_its_part_before_the_queue(peer, workers):
    [a] = workers(b"a")
    client = peer()
    client.call(1, b"first")
    busy = a.request()[0]
    client.call(2, b"queued")
    scatter(client, 3, b"part")
    assert targets(client, 3) == ["a"]
    a.hears_nothing()
    a.say("FINAL", busy, {}, b"1")
    client.expect("FINAL", 1)
    token, _, body = a.request()
    assert body == [b"part"]
    a.say("FINAL", token, {}, b"2")
    assert outcome(client, 3)[:2] == ("a", "replied")
    tally(client, 3, replied=1)
    assert a.request()[2] == [b"queued"]


@pytest.mark.parametrize("version", [1, 2])
def test_workers_of_mdp_are_targets_too(broker, peer, peers, version):
    old = peers(Worker(broker.endpoint, b"echo", version, options={mdp.zmq.IDENTITY: b"old"}))
    client = peer()
    until(lambda: client.status(what="broker")["broker"]["workers"] == 1)
    new = peer(b"new").ready()
    scatter(client, 1, b"hi", b"")
    assert targets(client, 1) == ["old", "new"]
    address, body = old.request()
    assert body == [b"hi", b""]
    if version == 2:
        old.partial(address, b"half")
    old.final(address, b"yo")
    whole = [b"half", b"yo"] if version == 2 else [b"yo"]
    assert outcome(client, 1) == ("old", "replied", None, {}, whole)
    new.say("FINAL", new.request()[0], {"n": 1}, b"1")
    assert outcome(client, 1) == ("new", "replied", None, {"n": 1}, [b"1"])
    tally(client, 1, replied=2)
    # MDP has no CANCEL: the worker works to the end, and nobody hears of it.
    scatter(client, 2, to=["old"])
    targets(client, 2)
    address, _ = old.request()
    client.say("CANCEL", 2)
    assert outcome(client, 2)[:2] == ("old", "cancelled")
    tally(client, 2, cancelled=1)
    old.final(address, b"late")
    scatter(client, 3, to=["old"])
    targets(client, 3)
    address, _ = old.request()
    old.final(address, b"ok")
    assert outcome(client, 3) == ("old", "replied", None, {}, [b"ok"])
    tally(client, 3, replied=1)
    client.hears_nothing()


def test_a_caller_that_goes_has_the_workers_told(peer, workers):
    a, b = workers(b"a", b"b")
    client = peer()
    scatter(client, 1)
    targets(client, 1)
    tokens = [worker.request()[0] for worker in (a, b)]
    client.close()
    for worker, token in zip((a, b), tokens):
        worker.expect("CANCEL", token)
        worker.say("FINAL", token, {}, b"for nobody")
        worker.hears_nothing()
    until(lambda: peer().status(what="broker")["broker"]["open"] == 0)


def test_an_id_is_open_once_whatever_it_is_of(peer, workers):
    workers(b"a")
    client = peer()
    client.call(1, b"x", service="none")
    scatter(client, 1)
    assert code(client.expect("ERROR", 1)) == "duplicate_id"
    scatter(client, 2)
    targets(client, 2)
    for again in (lambda: scatter(client, 2), lambda: client.call(2, b"x", service="none")):
        again()
        assert code(client.expect("ERROR", 2)) == "duplicate_id"
    client.say("CANCEL", 2)
    outcome(client, 2)
    tally(client, 2, cancelled=1)


def test_over_a_limit_nobody_hears_of_it(start, peers):
    broker = start("--set", "client.requests_max=2")
    a, b, c = (peers(Peer(broker.endpoint, name)).ready() for name in (b"a", b"b", b"c"))
    client = peers(Peer(broker.endpoint))
    scatter(client, 1)
    refused = client.expect("ERROR", 1)
    assert code(refused) == "overloaded" and header(refused)["retry"] >= 100
    for worker in (a, b, c):
        worker.hears_nothing()
    scatter(client, 1, to=["a", "c"])
    assert targets(client, 1) == ["a", "c"]
    client.call(2, b"one more")
    assert code(client.expect("ERROR", 2)) == "overloaded"


def test_more_than_a_thousand_are_too_many(peer, workers):
    workers(*(b"w%d" % at for at in range(1001)))
    client = peer()
    scatter(client, 1)
    assert code(client.expect("ERROR", 1)) == "too_big"
    scatter(client, 1, to=[f"w{at}" for at in range(1000)])
    assert len(targets(client, 1)) == 1000
    client.say("CANCEL", 1)
    outcomes(client, 1, 1000)
    tally(client, 1, cancelled=1000)


def test_a_broker_that_stops_takes_no_scatter_and_finishes_those_it_has(start, peers):
    broker = start()
    a, client = peers(Peer(broker.endpoint, b"a")).ready(), peers(Peer(broker.endpoint))
    scatter(client, 1)
    targets(client, 1)
    token = a.request()[0]
    broker.terminate()
    client.expect("DRAIN")
    scatter(client, 2)
    assert code(client.expect("ERROR", 2)) == "draining"
    a.expect("DRAIN")
    a.say("FINAL", token, {}, b"done")
    assert outcome(client, 1)[:2] == ("a", "replied")
    assert header(client.expect("FINAL", 1))["replied"] == 1
    assert broker.process.wait(mdp.WAIT) == 0


INVALID = [
    ("no service", [second("SCATTER", 5), b"", b"x"], 5),
    ("no body", [second("SCATTER", 5), msgpack.packb({"service": "echo"})], 5),
    ("id 0", [second("SCATTER", 0), msgpack.packb({"service": "echo"}), b"x"], 0),
    *(
        (f"to {to}", [second("SCATTER", 5), msgpack.packb({"service": "echo", "to": to}), b"x"], 5)
        for to in ("any", 1, True, [1], ["a", None], {"zone": 1}, {"zone": ["a"]})
    ),
    ("timeout", [second("SCATTER", 5), msgpack.packb({"service": "echo", "timeout": -1}), b"x"], 5),
    (
        "announced",
        [second("SCATTER", 5), b"\x82\xa7service\xa4echo\xa2to\xdd\xff\xff\xff\xff", b"x"],
        5,
    ),
    ("targets", [second("TARGETS", 5), b"", msgpack.packb(["a"])], 5),
    ("note", [second("NOTE", 5), msgpack.packb({"target": "a"}), b""], 5),
    ("outcome", [second("OUTCOME", 5), msgpack.packb({"target": "a", "outcome": "lost"}), b""], 5),
]


@pytest.mark.parametrize("frames,id", [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_what_is_invalid_gets_an_error_and_harms_nothing(peer, workers, frames, id):
    [worker] = workers(b"a")
    client = peer()
    client.call(5, b"open")
    token = worker.request()[0]
    client.send([b"MJP1", *frames])
    assert code(client.expect("ERROR", id)) == "bad_request"
    worker.say("FINAL", token, {}, b"yo")
    assert client.expect("FINAL", 5)[3:] == [b"yo"]


def test_events_of_targets_with_the_octets_of_the_specification(peer, workers):
    [worker] = workers(b"a")
    client = peer()
    scatter(client, 4, to=["a"], events=True)
    assert targets(client, 4) == ["a"]
    token = worker.request()[0]
    worker.say("EVENT", token, {"message": "half"})
    said = client.expect("NOTE", 4)
    assert said == example("mjp-broker", "NOTE 4")
    worker.say("EVENT", token, {"progress": 70}, b"one", b"two")
    said = client.expect("NOTE", 4)
    assert (header(said), header(said, 3)) == ({"target": "a"}, {"progress": 70})
    assert said[4:] == [b"one", b"two"]
    worker.say("FINAL", token, {}, b"yo")
    assert outcome(client, 4)[:2] == ("a", "replied")
    tally(client, 4, replied=1)


def test_what_is_not_known_is_passed_on(peer, workers):
    [worker] = workers(b"a")
    client = peer()
    said = msgpack.packb({"later": [1, None], "to": ["a"], "service": b"echo", "x-a": -1})
    client.send([b"MJP1", second("SCATTER", 1), said, b"hi", b""])
    assert targets(client, 1) == ["a"]
    frames = worker.expect("REQUEST")
    assert frames[2] == said and frames[4:] == [b"hi", b""]


def test_hello_says_that_there_is_scatter(peer):
    client = peer()
    client.say("HELLO")
    assert "scatter" in header(client.expect("HELLO"))["features"]
