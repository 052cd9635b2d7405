"""Retry, order, delay and dead letters of MJP/1 (SPEC 16), with the octets of SPEC.md."""

import time

import msgpack
import pytest

from mjp import Peer, example, header, id_of, with_id

SERVICE = [
    "--set=service.attempts=2",
    "--set=service.backoff=50ms",
    "--set=service.backoff_jitter=0",
    '--set=service.dead_letters=["failed", "exhausted", "poison"]',
]
BUSY = 'ERROR 4294967297 {"code": "busy", "message": "no paper", "retry": 250, "again": true}'


@pytest.fixture
def house(start, peers, tmp_path):
    """A broker with both kinds of listeners, and who makes a peer, and an operator."""
    socket = f"ipc://{tmp_path}/admin.sock"
    broker = start(*SERVICE, binds=("tcp://127.0.0.1:0", socket))

    def stranger(identity=None):
        return peers(Peer(broker.endpoints[0], identity))

    def operator():
        return peers(Peer(broker.endpoints[1]))

    return stranger, operator


def dead(peer, verb, id=1_000, *body, **says):
    """What the broker answers to a verb of dead letters: its header, and the frames behind it."""
    peer.say("ADMIN", id, {"verb": f"dlq.{verb}", **says}, *body)
    frames = peer.expect("ADMIN", id)
    return header(frames), frames[3:]


def fail(worker, token):
    """Says the error of SPEC.md that wants the request to be delivered again."""
    worker.send(with_id(example("mjp", BUSY), token))


def test_a_request_that_a_worker_fails_for_now_is_delivered_again(house):
    stranger, _ = house
    worker, client = stranger(b"w1").ready(), stranger(b"anna")
    client.call(1, b"hi")
    token, says, _ = worker.request()
    assert says["attempt"] == 1
    began = time.monotonic()
    fail(worker, token)
    again, says, body = worker.request()
    assert (again, says["attempt"], body) == (token, 2, [b"hi"])
    assert time.monotonic() - began >= 0.25
    fail(worker, token)
    assert header(client.expect("ERROR", 1)) == header(example("mjp", BUSY))


def test_order_and_delay_with_the_octets_of_the_specification(house):
    stranger, _ = house
    client = stranger(b"anna")
    worker = stranger(b"w1").ready(service=b"book", credit=8)
    began = time.monotonic()
    asked = example("mjp", "REQUEST 12")
    says = {**header(asked), "delay": 300}
    # The same, with a delay that a test can wait for.
    client.send([*asked[:2], msgpack.packb(says), *asked[3:]])
    client.call(10, b"+7", service=b"book", order="account-12")
    client.call(11, b"other", service=b"book")
    token, _, body = worker.request()
    assert body == [b"other"]
    worker.say("FINAL", token, {}, b"ok")
    token, _, body = worker.request()
    assert body == [b"-7"] and time.monotonic() - began >= 0.3
    worker.hears_nothing()
    worker.say("FINAL", token, {}, b"ok")
    token, _, body = worker.request()
    assert body == [b"+7"]
    worker.say("FINAL", token, {}, b"ok")
    assert [id_of(client.expect("FINAL")) for _ in range(3)] == [11, 12, 10]
    client.call(13, b"x", service=b"book", delay=500, timeout=500)
    assert header(client.expect("ERROR", 13))["code"] == "bad_request"


def test_a_dead_letter_is_listed_shown_edited_and_put_back(house):
    stranger, operator = house
    boss, client = operator(), stranger(b"anna")
    worker = stranger(b"w1").ready(service=b"pay.in")
    client.call(1, b"-7", service=b"pay.in", order="o")
    for _ in range(2):
        token, _, _ = worker.request()
        fail(worker, token)
    client.expect("ERROR", 1)
    boss.send(example("mjp", "ADMIN 6"))
    [row] = header(boss.expect("ADMIN", 6))["letters"]
    [shown] = header(example("mjp-broker", "ADMIN 6"))["letters"]
    assert set(row) == {*shown, "order"}
    for key in ("service", "queue", "cause", "message", "deaths", "bytes", "identity"):
        assert row[key] == shown[key], key
    uuid = row["uuid"]
    assert (uuid, row["attempts"]) == (f"{token:016x}", 2)
    says, frames = dead(boss, "show", uuid=uuid)
    assert [(seen["worker"], seen["end"]) for seen in says["seen"]] == [("w1", "failed")] * 2
    own = {"service": b"pay.in", "order": "o"}
    assert (msgpack.unpackb(frames[0]), frames[1:]) == (own, [b"-7"])
    assert says["letters"][0]["header"] == len(frames[0])
    boss.say("ADMIN", 7, {"verb": "explain", "uuid": uuid})
    assert header(boss.expect("ADMIN", 7))["requests"][0]["state"] == "dead"
    # The octets of SPEC.md, about this letter.
    edit, requeue = example("mjp", "ADMIN 9"), example("mjp", "ADMIN 7")
    for frames in (edit, requeue):
        frames[2] = msgpack.packb({**header(frames), "uuid": uuid})
    boss.send(edit)
    assert header(boss.expect("ADMIN", 9)) == {"done": 1}
    boss.send(requeue)
    assert boss.expect("ADMIN", 7) == example("mjp-broker", "ADMIN 7")
    token, says, body = worker.request()
    assert (says["attempt"], says["identity"], body) == (1, b"anna", [b"-8"])
    assert dead(boss, "list")[0]["letters"] == []
    worker.say("FINAL", token, {}, b"ok")
    client.hears_nothing()


def test_a_poison_request_ends_as_a_letter_and_is_dropped(house):
    stranger, operator = house
    boss, client = operator(), stranger(b"anna")
    client.call(1, b"boom")
    # Two losses make it suspect, and two more alone are all that it has.
    for number in range(4):
        worker = stranger(f"w{number}".encode()).offer()
        worker.request()
        worker.close()
    assert header(client.expect("ERROR", 1))["code"] == "poison"
    [row] = dead(boss, "list", cause="poison")[0]["letters"]
    seen = dead(boss, "show", uuid=row["uuid"])[0]["seen"]
    assert [one["worker"] for one in seen] == ["w0", "w1", "w2", "w3"]
    assert dead(boss, "drop", cause="poison", dry=True)[0] == {"done": 1}
    assert dead(boss, "drop", cause="poison")[0] == {"done": 1}
    assert dead(boss, "list")[0]["letters"] == []


def test_letters_are_for_administrators_and_bad_questions_are_refused(house):
    stranger, operator = house
    client, boss = stranger(b"anna"), operator()
    for verb in ("list", "show", "requeue", "edit", "drop"):
        client.say("ADMIN", 5, {"verb": f"dlq.{verb}"})
        assert header(client.expect("ERROR", 5))["code"] == "denied", verb
    for says, code in [
        ({"verb": "dlq.drop"}, "bad_request"),
        ({"verb": "dlq.list", "cause": "boredom"}, "bad_request"),
        ({"verb": "dlq.show", "uuid": "1"}, "bad_request"),
        ({"verb": "dlq.show", "uuid": "00000001000000ff"}, "not_found"),
        ({"verb": "explain"}, "bad_request"),
        ({"verb": "explain", "service": "nobody"}, "not_found"),
    ]:
        boss.say("ADMIN", 6, says)
        assert header(boss.expect("ERROR", 6))["code"] == code, says
