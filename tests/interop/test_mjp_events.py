"""EVENT, ASK and TELL of MJP/1: round trips with the octets of SPEC.md, and what its rules say."""

import json

import pytest
import zmq

import mdp
import nfp
from mjp import Peer, example, header, id_of, kind, with_id

OPEN = {"events": True, "asks": True}


@pytest.fixture
def peer(broker, peers):
    """Connects to the default broker."""
    return lambda *args, **kwargs: peers(Peer(broker.endpoint, *args, **kwargs))


def question(frames):
    """Number, and body."""
    return header(frames)["ask"], frames[3:]


def test_events_with_the_octets_of_the_specification(peer):
    worker, client = peer().ready(), peer()
    client.call(1, b"hi", **OPEN)
    id, _, _ = worker.request()
    worker.send(with_id(example("mjp", "EVENT 4294967297"), id))
    worker.send([*with_id(example("mjp", "EVENT 4294967297"), id)[:2], b"\xc1 no map", b"a", b""])
    worker.send(with_id(example("mjp", "EVENT 4294967297"), id)[:2])
    worker.send(with_id(example("mjp", "FINAL 4294967297"), id))
    assert client.recv() == example("mjp-broker", "EVENT 1")
    assert client.recv()[2:] == [b"\xc1 no map", b"a", b""], "the worker's own affair"
    assert client.recv()[2:] == [b""]
    assert client.recv() == example("mjp-broker", "FINAL 1")
    client.hears_nothing()
    worker.hears_nothing()


def test_a_question_with_the_octets_of_the_specification(peer):
    worker, client = peer().ready(), peer()
    client.call(1, b"hi", **OPEN)
    id, _, _ = worker.request()
    worker.send(with_id(example("mjp", "ASK 4294967297"), id))
    assert client.recv() == example("mjp-broker", "ASK 1")
    client.send(example("mjp", "TELL 1"))
    shown = example("mjp-broker", 'TELL 4294967297 {"ask": 7}: "yes"')
    assert worker.recv() == with_id(shown, id)
    worker.send(with_id(example("mjp", "FINAL 4294967297"), id))
    assert client.recv() == example("mjp-broker", "FINAL 1")


def test_events_come_between_the_parts_in_their_order(peer):
    worker, client = peer().ready(), peer()
    for id, parts in ((1, True), (2, False)):
        client.call(id, b"hi", parts=parts, **OPEN)
        token, _, _ = worker.request()
        for number in range(3):
            worker.say("EVENT", token, {"progress": number})
            worker.say("PARTIAL", token, {}, b"%d" % number)
        worker.say("FINAL", token, {}, b"end")
    heard = [client.recv() for _ in range(7)]
    assert [kind(frames) for frames in heard] == ["EVENT", "PARTIAL"] * 3 + ["FINAL"]
    assert [header(frames)["progress"] for frames in heard[:6:2]] == [0, 1, 2]
    # Kept parts do not keep the events.
    assert [header(client.expect("EVENT", 2))["progress"] for _ in range(3)] == [0, 1, 2]
    assert client.expect("FINAL", 2)[3:] == [b"0", b"1", b"2", b"end"]


def test_who_does_not_want_events_has_none(peer, broker, peers):
    worker = peer().ready(credit=3)
    client, stock = peer(), peers(mdp.Client(broker.endpoint))
    client.call(1, b"hi")
    token, _, _ = worker.request()
    stock.send(b"echo", b"hi")
    other, _, _ = worker.request()
    for id in (token, other):
        worker.say("EVENT", id, {"message": "unheard"})
        worker.say("FINAL", id, {}, b"yo")
    assert client.expect("FINAL", 1)[3:] == [b"yo"]
    assert stock.reply(b"echo") == [b"yo"]


def test_who_cannot_be_asked_is_not_and_the_worker_is_told(peer, broker, peers):
    worker = peer(b"w").ready(credit=4)
    client, stock = peer(), peers(mdp.Client(broker.endpoint))
    client.call(1, b"hi", events=True)
    deliveries = [worker.request()[0]]
    stock.send(b"echo", b"hi")
    deliveries.append(worker.request()[0])
    client.say("SCATTER", 2, {"service": b"echo", **OPEN}, b"hi")
    deliveries.append(worker.request()[0])
    client.expect("TARGETS", 2)
    for number, id in enumerate(deliveries):
        worker.say("ASK", id, {"ask": number})
        told = worker.expect("TELL", id)
        says = header(told)
        assert (says["ask"], says["code"], told[3:]) == (number, "no_caller", []), says
        worker.say("FINAL", id, {}, b"yo")
    # The caller goes in the middle of it.
    leaving = peer()
    leaving.call(3, b"hi", **OPEN)
    id, _, _ = worker.request()
    leaving.close()
    worker.expect("CANCEL", id)
    worker.say("ASK", id, {"ask": 9})
    assert header(worker.expect("TELL", id))["code"] == "no_caller"
    assert stock.reply(b"echo") == [b"yo"]
    assert client.expect("FINAL", 1)[3:] == [b"yo"]


def test_nobody_else_answers(peer):
    worker, client, stranger = peer().ready(credit=2), peer(), peer()
    client.call(1, b"hi", **OPEN)
    id, _, _ = worker.request()
    stranger.call(1, b"ho", **OPEN)
    worker.request()
    worker.say("ASK", id, {"ask": 5}, b"who?")
    assert question(client.expect("ASK", 1)) == (5, [b"who?"])
    stranger.say("TELL", 1, {"ask": 5}, b"not asked")
    stranger.say("TELL", id, {"ask": 5}, b"not asked")
    stranger.hears_nothing()
    client.say("TELL", 1, {"ask": 6}, b"not asked")
    client.say("TELL", 2, {"ask": 5}, b"not asked")
    client.say("TELL", 1, {"ask": 5, "x-mine": [1]}, b"me", b"")
    client.say("TELL", 1, {"ask": 5}, b"again")
    told = worker.expect("TELL", id)
    assert header(told) == {"ask": 5, "x-mine": [1]} and told[3:] == [b"me", b""]
    worker.say("FINAL", id, {}, b"yo")
    client.expect("FINAL", 1)
    client.say("TELL", 1, {"ask": 5}, b"too late")
    client.hears_nothing()
    worker.hears_nothing()


def test_sixteen_questions_may_be_open(peer):
    worker, client = peer().ready(), peer()
    client.call(1, b"hi", **OPEN)
    id, _, _ = worker.request()
    for number in range(17):
        worker.say("ASK", id, {"ask": number})
    assert header(worker.expect("TELL", id)) | {"message": ""} == {
        "ask": 16, "code": "overloaded", "message": "",
    }
    worker.say("ASK", id, {"ask": 3})
    assert header(worker.expect("TELL", id))["code"] == "duplicate_id"
    asked = [question(client.expect("ASK", 1))[0] for _ in range(16)]
    assert asked == list(range(16))
    for number in reversed(asked):
        client.say("TELL", 1, {"ask": number}, b"%d" % number)
    told = [worker.expect("TELL", id) for _ in asked]
    assert [frames[3] for frames in told] == [b"%d" % number for number in reversed(asked)]
    worker.say("ASK", id, {"ask": 3})
    assert question(client.expect("ASK", 1)) == (3, [])


def test_a_request_that_is_delivered_again_shows_its_events_again(peer):
    first, client = peer().ready(), peer()
    client.call(1, b"hi", **OPEN)
    id, _, _ = first.request()
    first.say("EVENT", id, {"message": "begun"})
    first.say("ASK", id, {"ask": 1})
    client.expect("EVENT", 1)
    client.expect("ASK", 1)
    first.close()
    second = peer().offer()
    again, says, _ = second.request()
    assert says["attempt"] == 2
    client.say("TELL", 1, {"ask": 1}, b"for the first")
    client.hears_nothing()
    second.say("EVENT", again, {"message": "begun"})
    second.say("ASK", again, {"ask": 1})
    assert header(second.expect("TELL", again))["code"] == "duplicate_id"
    second.say("ASK", again, {"ask": 2 << 32 | 1})
    client.expect("EVENT", 1)
    number, _ = question(client.expect("ASK", 1))
    client.say("TELL", 1, {"ask": number}, b"for the second")
    assert second.expect("TELL", again)[3:] == [b"for the second"]
    second.say("FINAL", again, {}, b"yo")
    client.expect("FINAL", 1)


def test_what_is_malformed_is_said_with_id_0_and_ends_nothing(peer):
    worker, client = peer().ready(), peer()
    client.call(1, b"hi", **OPEN)
    id, _, _ = worker.request()
    for says in ({}, {"ask": -1}, {"ask": "1"}, {"ask": None}, {"ask": 1, "message": 7}):
        worker.say("ASK", id, says)
        assert header(worker.expect("ERROR", 0))["code"] == "bad_request"
        client.say("TELL", 1, says)
        assert header(client.expect("ERROR", 0))["code"] == "bad_request"
    client.say("TELL", 0, {"ask": 1})
    client.expect("ERROR", 0)
    # An id that was never given out is nobody's, whatever its lower half.
    worker.say("EVENT", id & 0xFFFFFFFF, {"message": "x"})
    worker.say("FINAL", id & 0xFFFFFFFF, {}, b"x")
    worker.hears_nothing()
    worker.say("FINAL", id, {}, b"yo")
    assert client.expect("FINAL", 1)[3:] == [b"yo"]


def test_a_client_that_does_not_read_misses_events_and_no_answer(start, peers):
    broker = start()
    worker = peers(Peer(broker.endpoint)).ready(credit=200)
    # As little as can be waits in the sockets between.
    client = peers(Peer(broker.endpoint, options={zmq.RCVHWM: 1, zmq.RCVBUF: 4096}))
    client.call(1, b"hi", **OPEN)
    id, _, _ = worker.request()
    body, count = b"x" * 1_000_000, 100
    for _ in range(count):
        worker.say("EVENT", id, {}, body)
    worker.say("FINAL", id, {}, b"yo")
    worker.hears_nothing()
    heard = []
    while not heard or heard[-1] != "FINAL":
        heard.append(kind(client.recv()))
    assert 0 < heard.count("EVENT") < count


def test_events_and_questions_of_an_nfp_worker(peer, broker, peers):
    worker = peers(nfp.Worker(broker.endpoint, b"w", b"echo"))
    nfp.joined(peers(nfp.Client(broker.endpoint, b"c")), worker)
    client = peer()
    client.call(1, b'{"task":"ask"}', **OPEN)
    job = worker.job()
    worker.accept(job)
    about = {"worker": "w", "service": "echo", "uuid": job.uuid.decode(), "task": "ask"}
    step = {**about, "event_type": "progress", "message": "step", "severity": "WARNING",
            "status": "running", "resource": ["r1"], "timestamp": ""}
    worker.tell(nfp.EVENT, job, b"200", json.dumps(step).encode())
    heard = client.expect("EVENT", 1)
    assert header(heard) == {
        "message": "step", "severity": "warning", "status": "running", "task": "ask",
    }
    assert json.loads(heard[3]) == step
    asks = {**step, "event_type": "input_request", "message": "go on?",
            "extras": {"input_request": {"id": "i1", "question": "go on?", "timeout": 20}}}
    worker.tell(nfp.EVENT, job, b"200", json.dumps(asks).encode())
    asked = client.expect("ASK", 1)
    assert header(asked)["message"] == "go on?" and json.loads(asked[3]) == asks
    client.say("TELL", 1, {"ask": header(asked)["ask"]}, b'{"yes": [1]}')
    put = worker.job()
    assert (put.command, put.client, put.uuid) == (nfp.PUT, job.client, job.uuid)
    assert json.loads(put.body) == {
        "input_id": "i1", "value": {"yes": [1]}, "cancel": False, "metadata": {},
    }
    worker.result(job, {"result": 7})
    assert json.loads(client.expect("FINAL", 1)[3]) == {"w": {"result": 7}}


def test_an_nfp_client_hears_and_answers_a_native_worker(peer, broker, peers):
    worker = peer(b"w").ready()
    client = peers(nfp.Client(broker.endpoint, b"c"))
    uuid, workers = client.post(b"echo", b"any", b'{"task":"run","kwargs":{},"args":[]}')
    assert workers == ["w"]
    client.expect(nfp.RESPONSE, uuid, b"201")
    id, _, _ = worker.request()
    worker.say("EVENT", id, {"message": "half", "severity": "error", "progress": 50}, b'{"a":1}')
    event = client.expect(nfp.EVENT, uuid, b"200").json
    assert event == {
        "worker": "w", "service": "echo", "uuid": uuid.decode(), "event_type": "progress",
        "message": "half", "task": "run", "status": "running", "resource": [],
        "severity": "ERROR", "timestamp": "", "extras": {"progress": 50, "body": {"a": 1}},
    }
    worker.say("ASK", id, {"ask": 7, "message": "go on?"}, b"who?")
    event = client.expect(nfp.EVENT, uuid, b"200").json
    asked = event["extras"]["input_request"]
    assert (event["event_type"], event["status"], event["message"]) == (
        "input_request", "waiting_client_input", "go on?",
    )
    assert asked == {
        "id": asked["id"], "question": "go on?", "default": False, "metadata": {"body": "who?"},
    }
    answer = {"input_id": asked["id"], "value": {"yes": [1]}, "cancel": False, "metadata": {}}
    client.say(nfp.PUT, b"echo", b"w", uuid, json.dumps(answer).encode())
    told = worker.expect("TELL", id)
    assert header(told) == {"ask": 7} and json.loads(told[3]) == {"yes": [1]}
    event = client.expect(nfp.EVENT, uuid, b"200").json
    assert (event["event_type"], event["status"]) == ("input_response", "received")
    client.say(nfp.PUT, b"echo", b"w", uuid, json.dumps(answer).encode())
    event = client.expect(nfp.EVENT, uuid, b"200").json
    assert event["severity"] == "WARNING" and "not open" in event["message"]
    worker.say("FINAL", id, {}, b"7")
    client.expect(nfp.EVENT, uuid, b"200")


def test_many_questions_find_their_callers_and_their_workers(peer):
    workers = [peer().ready(credit=4) for _ in range(4)]
    clients = [peer() for _ in range(16)]
    for number, client in enumerate(clients):
        client.call(1, b"%d" % number, **OPEN)
    for worker in workers:
        held = [worker.request() for _ in range(4)]
        for id, _, body in held:
            for number in range(10):
                worker.say("ASK", id, {"ask": number}, b"%s/%d" % (body[0], number))
    for number, client in enumerate(clients):
        for _ in range(10):
            ask, [body] = question(client.expect("ASK", 1))
            assert body == b"%d/%d" % (number, ask)
            client.say("TELL", 1, {"ask": ask}, body)
    for worker in workers:
        told = [worker.expect("TELL") for _ in range(40)]
        by_delivery = {}
        for frames in told:
            whose, number = frames[3].split(b"/")
            assert header(frames) == {"ask": int(number)}
            by_delivery.setdefault(id_of(frames), set()).add(whose)
        assert all(len(whose) == 1 for whose in by_delivery.values()), by_delivery
