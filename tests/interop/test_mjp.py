"""MJP/1: a round trip for each command with the octets of SPEC.md, and what the rules say."""

import time

import msgpack
import pytest

import mdp
from mdp import Client, Worker, until
from mjp import EXAMPLES, Peer, example, header, id_of, kind, second, with_id

FAST = ("--heartbeat", "100ms", "--liveness", "8")


@pytest.fixture
def peer(broker, peers):
    """Connects to the default broker."""
    return lambda *args, **kwargs: peers(Peer(broker.endpoint, *args, **kwargs))


@pytest.fixture
def held(peer):
    """A client and a worker, and the id under which the worker holds the client's request 1."""
    worker, client = peer().ready(), peer(b"me")
    client.call(1, b"hi")
    return client, worker, worker.request()[0]


def code(frames):
    return header(frames)["code"]


def test_hello(peer):
    client = peer()
    client.send(example("mjp", "HELLO"))
    ours, shown = client.recv(), example("mjp-broker", "HELLO")
    assert ours[:2] == shown[:2]
    says, shows = header(ours), header(shown)
    assert says.pop("agent").split("/")[0] == shows.pop("agent").split("/")[0]
    assert says == shows
    client.say("HELLO", 0, {"versions": [2]})
    assert code(client.expect("ERROR", 0)) == "unsupported"


def test_heartbeat(peer, start, peers):
    client = peer()
    client.send(example("mjp", "HEARTBEAT"))
    assert client.recv(beats=True) == example("mjp-broker", "HEARTBEAT")
    broker = start(*FAST)
    worker = peers(Peer(broker.endpoint)).ready()
    assert worker.recv(beats=True) == example("mjp-broker", "HEARTBEAT")


def test_ready_request_partial_and_final(peer):
    worker, client = peer(), peer(b"me")
    worker.send(example("mjp", "READY"))
    client.send(example("mjp", "REQUEST 1"))
    got, shown = worker.recv(), example("mjp-broker", "REQUEST 4294967297")
    token = id_of(got)
    assert [*got[:1], *got[2:3], *got[4:]] == [*shown[:1], *shown[2:3], *shown[4:]]
    assert got[1][0] == shown[1][0]
    says, shows = header(got, 3), header(shown, 3)
    assert 0 < says.pop("timeout") <= 10_000 and shows.pop("timeout")
    assert says == shows
    worker.send(with_id(example("mjp", "PARTIAL 4294967297"), token))
    assert client.recv() == example("mjp-broker", "PARTIAL 1")
    worker.send(with_id(example("mjp", "FINAL 4294967297"), token))
    assert client.recv() == example("mjp-broker", "FINAL 1")


def test_error_of_a_worker(held):
    client, worker, token = held
    said = with_id(example("mjp", "ERROR 4294967297"), token)
    worker.send(said)
    assert client.recv() == with_id(said, 1)


def test_error_of_the_broker(start, peers):
    broker = start("--set", "client.requests_max=1")
    client = peers(Peer(broker.endpoint))
    client.call(2, b"x", service=b"none")
    client.send(example("mjp", "REQUEST 1"))
    got, shown = client.recv(), example("mjp-broker", "ERROR 1")
    assert got[:2] == shown[:2]
    says, shows = header(got), header(shown)
    assert says["code"] == shows["code"] and says["retry"] >= 100
    assert set(says) == set(shows)


def test_accepted(peer):
    client = peer()
    client.call(1, b"x", service=b"none", ack=True)
    assert client.recv() == example("mjp-broker", "ACCEPTED 1")


def test_cancel_reaches_the_worker_and_gives_credit_back_when_it_has_answered(held):
    client, worker, token = held
    client.send(example("mjp", "CANCEL 1"))
    assert code(client.expect("ERROR", 1)) == "cancelled"
    assert worker.recv() == with_id(example("mjp-broker", "CANCEL 4294967297"), token)
    client.call(2, b"next")
    worker.hears_nothing()
    worker.say("FINAL", token, {}, b"late")
    assert worker.request()[2] == [b"next"]
    client.hears_nothing()
    client.send(example("mjp", "CANCEL 1"))
    client.hears_nothing()


def test_cancel_kills_no_neighbour(peer):
    worker, client = peer().ready(credit=2), peer()
    for id in (1, 2, 3):
        client.call(id, b"%d" % id)
    first, second_one = worker.request()[0], worker.request()[0]
    for id in (3, 1):
        client.say("CANCEL", id)
        assert code(client.expect("ERROR", id)) == "cancelled"
    worker.expect("CANCEL", first)
    worker.say("ERROR", first, {"code": "failed"})
    worker.say("FINAL", second_one, {}, b"two")
    assert client.expect("FINAL", 2)[3:] == [b"two"]
    worker.hears_nothing()
    client.hears_nothing()


def test_credit(peer):
    worker, client = peer().ready(credit=1), peer()
    worker.send(example("mjp", "CREDIT"))
    worker.hears_nothing()
    client.call(1, b"a")
    client.call(2, b"b")
    client.hears_nothing()
    worker.hears_nothing()
    worker.say("CREDIT", 0, {"credit": 2})
    assert [worker.request()[2] for _ in range(2)] == [[b"a"], [b"b"]]


def test_a_second_ready_replaces_what_the_first_said(peer):
    worker, client = peer().ready(labels={"old": "1"}), peer()
    worker.send(example("mjp", "READY"))
    for id in range(1, 10):
        client.call(id, b"x")
    for _ in range(8):
        worker.request()
    worker.hears_nothing()
    [row] = client.status(what="workers")["workers"]
    assert (row["labels"], row["credit"], row["in_flight"]) == ({"zone": "a"}, 8, 8)
    worker.say("READY", 0, {"service": "other"})
    assert code(worker.expect("ERROR", 0)) == "bad_request"


def test_drain(held):
    client, worker, token = held
    worker.send(example("mjp", "DRAIN"))
    assert worker.recv() == example("mjp-broker", "DRAIN")
    client.call(2, b"for another")
    worker.say("FINAL", token, {}, b"done")
    assert client.expect("FINAL", 1)[3:] == [b"done"]
    worker.hears_nothing()
    assert worker.offer().request()[2] == [b"for another"]


def test_drain_of_the_broker(start, peers):
    broker = start()
    client = peers(Peer(broker.endpoint))
    worker = peers(Peer(broker.endpoint)).ready()
    client.send(example("mjp", "REQUEST 1"))
    token = worker.request()[0]
    broker.terminate()
    shown = example("mjp-broker", 'DRAIN {"within": 30000}')
    assert (client.recv(), worker.recv()) == (shown, shown)
    client.call(2, b"too late")
    refused = client.expect("ERROR", 2)
    assert code(refused) == "draining" and header(refused)["retry"] >= 100
    worker.say("FINAL", token, {}, b"done")
    assert client.expect("FINAL", 1)[3:] == [b"done"]
    assert broker.process.wait(mdp.WAIT) == 0


def test_bye_gives_back_what_the_worker_holds(held, peer):
    client, worker, token = held
    worker.send(example("mjp", "BYE"))
    worker.hears_nothing()
    other = peer().offer()
    id, says, body = other.request()
    assert (says["attempt"], body) == (2, [b"hi"])
    other.say("FINAL", id, {}, b"yo")
    assert client.expect("FINAL", 1)[3:] == [b"yo"]
    worker.ready()
    client.call(2, b"a")
    client.call(3, b"b")
    assert {worker.request()[2][0], other.request()[2][0]} == {b"a", b"b"}


def test_bye_of_the_broker_to_a_silent_worker(start, peers):
    broker = start(*FAST)
    worker = peers(Peer(broker.endpoint))
    worker.ready()
    got, shown = worker.recv(), example("mjp-broker", "BYE")
    assert got[:2] == shown[:2]
    assert code(got) == code(shown) and set(header(got)) == set(header(shown))
    worker.ready()


def test_status(peer):
    worker, client = peer(b"w1"), peer()
    worker.send(example("mjp", "READY"))
    worker.hears_nothing()
    shows = header(example("mjp-broker", "STATUS 2"))
    client.send(example("mjp", "STATUS 2"))
    says = header(client.expect("STATUS", 2))
    assert [set(row) for row in says["services"]] == [set(row) for row in shows["services"]]
    [row] = says["services"]
    assert (row["service"], row["workers"], row["waiting"]) == ("echo", 1, 0)
    [row] = client.status(what="workers")["workers"]
    assert row == {
        "service": "echo",
        "identity": b"w1",
        "dialect": "MJP/1",
        "credit": 8,
        "in_flight": 0,
        "ready": True,
        "labels": {"zone": "a"},
        "version": "1.2",
        "description": "says it again",
    }
    whole = client.status(what="broker")["broker"]
    assert (whole["peers"], whole["services"], whole["workers"], whole["open"]) == (2, 1, 1, 0)
    assert whole["draining"] is False
    for at in range(4):
        peer().ready(service=b"s%d" % at)
    names, after = [], 0
    while after is not None:
        page = client.status(what="services", max=2, after=after)
        assert len(page["services"]) <= 2
        names += [row["service"] for row in page["services"]]
        after = page.get("next")
    assert sorted(names) == ["echo", "s0", "s1", "s2", "s3"]


def test_a_deadline_ends_the_request_and_late_work_is_not_dispatched(peer):
    client = peer()
    client.call(1, b"late", timeout=50)
    assert code(client.expect("ERROR", 1)) == "timeout"
    client.call(2, b"in time", timeout=60_000)
    worker = peer().offer(credit=2)
    id, says, body = worker.request()
    assert body == [b"in time"] and 0 < says["timeout"] <= 60_000
    worker.hears_nothing()
    client.call(3, b"slow", timeout=200)
    slow = worker.request()[0]
    assert code(client.expect("ERROR", 3)) == "timeout"
    worker.expect("CANCEL", slow)
    worker.say("FINAL", slow, {}, b"late")
    worker.say("FINAL", id, {}, b"kept")
    assert client.expect("FINAL", 2)[3:] == [b"kept"]
    client.hears_nothing()


def test_attempts_are_kept(held, peer):
    client, first, _ = held
    client.call(2, b"once", attempts=1)
    second_one = peer().offer()
    assert second_one.request()[2] == [b"once"]
    second_one.close()
    assert code(client.expect("ERROR", 2)) == "worker_lost"


def test_parts_are_joined_for_who_does_not_want_them(peer):
    worker, client = peer().ready(), peer()
    client.call(1, b"x", parts=False)
    token = worker.request()[0]
    worker.say("PARTIAL", token, {"n": 1}, b"a", b"b")
    worker.say("FINAL", token, {"n": 2}, b"c")
    last = client.expect("FINAL", 1)
    assert (header(last), last[3:]) == ({"n": 2}, [b"a", b"b", b"c"])


def test_many_requests_are_open_at_once_and_answered_in_any_order(peer):
    worker, client = peer().ready(credit=1000), peer()
    for id in range(1, 1001):
        client.call(id, b"%d" % id)
    tokens = [worker.request() for _ in range(1000)]
    for token, _, body in reversed(tokens):
        worker.say("FINAL", token, {}, *body)
    got = [client.expect("FINAL") for _ in range(1000)]
    assert [id_of(frames) for frames in got] == list(range(1000, 0, -1))
    assert all(frames[3] == b"%d" % id_of(frames) for frames in got)


def test_an_id_is_open_once(peer):
    client = peer()
    client.call(1, b"a", service=b"none")
    client.call(1, b"b", service=b"none")
    assert code(client.expect("ERROR", 1)) == "duplicate_id"
    client.say("CANCEL", 1)
    assert code(client.expect("ERROR", 1)) == "cancelled"
    client.call(1, b"c", service=b"none", ack=True)
    client.expect("ACCEPTED", 1)


def test_a_peer_is_client_and_worker_at_once(peer):
    both = peer().ready()
    both.call(1, b"to myself")
    token, _, body = both.request()
    both.say("FINAL", token, {}, *body)
    assert both.expect("FINAL", 1)[3:] == [b"to myself"]


def test_unknown_keys_and_kinds_are_survived(peer):
    worker, client = peer(), peer()
    worker.say("READY", 0, {"service": "echo", "x-new": {"deep": [1, None, 2.5]}, "later": b"\0"})
    asked = msgpack.packb({"later": [msgpack.Timestamp(1, 2)], "service": "echo", "x-a": -1})
    client.send([b"MJP1", second("REQUEST", 1), asked, b"hi"])
    got = worker.expect("REQUEST")
    assert got[2] == asked, "octet by octet"
    for frames in ([second(0x7F, 9)], [second(0x00, 9), b"\xc1", b"", b""]):
        client.send([b"MJP1", *frames])
        assert code(client.expect("ERROR", 9)) == "unsupported"
    said = msgpack.packb({"mine": "own"})
    worker.send([b"MJP1", second("FINAL", id_of(got)), said, b"yo"])
    assert client.expect("FINAL", 1)[2:] == [said, b"yo"]


INVALID = [
    ("no id", [b"\x02"], 0),
    ("id of 7 octets", [second("HEARTBEAT")[:-1]], 0),
    ("request without body", [second("REQUEST", 5), msgpack.packb({"service": "echo"})], 5),
    ("request without service", [second("REQUEST", 5), b"", b"x"], 5),
    ("request of id 0", [second("REQUEST", 0), msgpack.packb({"service": "echo"}), b"x"], 0),
    ("service is a number", [second("REQUEST", 5), msgpack.packb({"service": 1}), b"x"], 5),
    ("service of no octets", [second("REQUEST", 5), msgpack.packb({"service": ""}), b"x"], 5),
    ("no map", [second("REQUEST", 5), msgpack.packb(["echo"]), b"x"], 5),
    ("cut short", [second("REQUEST", 5), b"\x82\xa7service\xa4echo", b"x"], 5),
    ("more than a map", [second("REQUEST", 5), b"\x81\xa7service\xa4echo\xc0", b"x"], 5),
    ("too deep", [second("REQUEST", 5), b"\x81\xa1x" + b"\x91" * 16 + b"\x90", b"x"], 5),
    ("too long", [second("REQUEST", 5), msgpack.packb({"service": "echo", "x": "x" * 16384}), b"x"], 5),
    ("announced", [second("REQUEST", 5), b"\xdf\xff\xff\xff\xff", b"x"], 5),
    ("accepted", [second("ACCEPTED", 5), msgpack.packb({"level": "memory"})], 5),
    ("status of what", [second("STATUS", 5), msgpack.packb({"what": "moons"})], 5),
    ("ready with credit 0", [second("READY"), msgpack.packb({"service": "a", "credit": 0})], 0),
    ("ready for mmi", [second("READY"), msgpack.packb({"service": "mmi.service"})], 0),
    ("final without body", [second("FINAL", 5), b""], 0),
    ("error with body", [second("ERROR", 5), b"", b"x"], 0),
    ("heartbeat with body", [second("HEARTBEAT"), b"", b"x"], 0),
]


@pytest.mark.parametrize("frames,id", [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_what_is_invalid_gets_an_error_and_harms_nothing(held, frames, id):
    client, worker, token = held
    for peer in (client, worker):
        peer.send([b"MJP1", *frames])
        assert code(peer.expect("ERROR", id)) == "bad_request"
    worker.say("FINAL", token, {}, b"yo")
    assert client.expect("FINAL", 1)[3:] == [b"yo"]


@pytest.mark.parametrize(
    "name,frames",
    [("FINAL", []), ("PARTIAL", [b""]), ("ERROR", [b"", b"x"]), ("FINAL", [b"x" * 16_385, b""])],
)
def test_an_answer_that_cannot_be_read_ends_its_request(held, name, frames):
    client, worker, token = held
    worker.send([b"MJP1", second(name, token), *frames])
    assert code(worker.expect("ERROR", 0)) == "bad_request"
    assert code(client.expect("ERROR", 1)) == "failed"
    client.call(2, b"next")
    assert worker.request()[2] == [b"next"]


def test_the_invalid_examples_are_invalid(held):
    client, _, _ = held
    shown = [frames for (way, _), frames in EXAMPLES.items() if way == "mjp-invalid"]
    assert len(shown) >= 4
    for frames in shown:
        client.send(frames)
        assert code(client.expect("ERROR")) in ("bad_request", "unsupported")


def test_a_connection_speaks_one_protocol(peer, peers, broker):
    client = peer()
    client.hears_nothing()
    client.send([b"", b"MDPC01", b"mmi.service", b"echo"])
    client.hears_nothing()
    old = peers(Client(broker.endpoint, 2))
    assert old.status(b"echo") == b"404"
    old.socket.send_multipart(example("mjp", "HELLO"))
    assert old.status(b"echo") == b"404"


@pytest.mark.parametrize("version", [1, 2])
def test_a_client_of_mjp_is_served_by_a_worker_of_mdp(peer, peers, broker, version):
    client, worker = peer(), peers(Worker(broker.endpoint, b"echo", version))
    client.call(7, b"hi", b"", trace="00-ab", timeout=60_000)
    address, body = worker.request()
    assert body == [b"hi", b""]
    if version == 2:
        worker.partial(address, b"half")
        assert client.expect("PARTIAL", 7)[3:] == [b"half"]
    worker.final(address, b"yo")
    assert client.expect("FINAL", 7)[2:] == [b"", b"yo"]
    # The broker holds the deadline; the worker is not told, and what it answers late is dropped.
    client.call(8, b"slow", timeout=50)
    address, _ = worker.request()
    assert code(client.expect("ERROR", 8)) == "timeout"
    worker.final(address, b"late")
    client.call(9, b"next")
    address, body = worker.request()
    assert body == [b"next"]
    worker.final(address, b"ok")
    assert client.expect("FINAL", 9)[3:] == [b"ok"]
    [row] = client.status(what="workers")["workers"]
    assert row["dialect"] == f"MDP/0.{version}"


@pytest.mark.parametrize("version", [1, 2])
def test_a_client_of_mdp_is_served_by_a_worker_of_mjp(peer, peers, broker, version):
    worker = peer().ready()
    client = peers(Client(broker.endpoint, version, options={mdp.zmq.IDENTITY: b"old"}))
    client.send(b"echo", b"hi", b"")
    frames = worker.expect("REQUEST")
    assert header(frames) == {"service": "echo"}
    assert header(frames, 3) == {"attempt": 1, "identity": b"old"}
    assert frames[4:] == [b"hi", b""]
    worker.say("PARTIAL", id_of(frames), {"lost": 1}, b"half")
    worker.say("FINAL", id_of(frames), {"lost": 2}, b"yo")
    if version == 2:
        assert client.recv() == ("PARTIAL", b"echo", [b"half"])
        assert client.reply(b"echo") == [b"yo"]
    else:
        assert client.reply(b"echo") == [b"half", b"yo"]
    client.send(b"echo", b"fails")
    worker.say("ERROR", worker.request()[0], {"code": "failed"})
    client.send(b"echo", b"next")
    token, _, body = worker.request()
    worker.say("FINAL", token, {}, *body)
    assert client.reply(b"echo") == [b"next"], "MDP has no word for an error"


def test_mmi_answers_mjp_too(peer):
    client = peer()
    client.call(1, b"echo", service=b"mmi.service")
    assert client.expect("FINAL", 1)[3:] == [b"404"]


def test_a_caller_that_goes_has_its_worker_told(held):
    client, worker, token = held
    client.close()
    assert worker.recv() == with_id(example("mjp-broker", "CANCEL 4294967297"), token)
    worker.say("FINAL", token, {}, b"for nobody")
    worker.hears_nothing()


def test_a_worker_beats_while_it_works(start, peers):
    broker = start(*FAST)
    worker, client = peers(Peer(broker.endpoint)).ready(), peers(Peer(broker.endpoint))
    client.call(1, b"long")
    token = worker.request()[0]
    ends = time.monotonic() + 2  # More than twice the expiry; life in silence is what is tested.
    while time.monotonic() < ends:
        assert kind(worker.recv(beats=True)) == "HEARTBEAT"
        worker.say("HEARTBEAT")
    worker.say("FINAL", token, {}, b"done")
    assert client.expect("FINAL", 1)[3:] == [b"done"]
    until(lambda: client.status(what="broker")["broker"]["open"] == 0)
