"""Topics of MJP/1: round trips with the octets of SPEC.md, and what its rules say."""

import time

import msgpack
import pytest
import zmq

from mdp import until
from mjp import Peer, example, header, id_of, kind


@pytest.fixture
def peer(broker, peers):
    """Connects to the default broker."""
    return lambda *args, **kwargs: peers(Peer(broker.endpoint, *args, **kwargs))


def subscribe(client, id, subject):
    client.say("SUBSCRIBE", id, {"subject": subject, "ack": True})
    client.expect("ACCEPTED", id)


def publish(client, id, subject, *body, **says):
    """Publishes, and gives how many subscriptions it was for."""
    client.say("PUBLISH", id, {"subject": subject, **says}, *(body or [b"hi"]))
    return header(client.expect("PUBLISHED", id))["subscriptions"]


def news(client, id):
    """A message: its subject, its number, how many are missing before it, and the body."""
    frames = client.expect("MESSAGE", id)
    says = header(frames)
    assert set(says) <= {"subject", "seq", "missed", "identity"}
    assert header(frames, 3)["subject"] == says["subject"]
    return says["subject"], says["seq"], says.get("missed", 0), frames[4:]


def refusal(client, name, id, says, *body):
    client.say(name, id, says, *body)
    return header(client.expect("ERROR", id))["code"]


def test_a_publication_with_the_octets_of_the_specification(peer):
    client, station = peer(), peer(b"oslo")
    client.send(example("mjp", "SUBSCRIBE 7"))
    assert header(client.expect("ACCEPTED", 7)) == {"level": "memory"}
    station.send(example("mjp", "PUBLISH 3"))
    shown = 'MESSAGE 7 {"subject": "weather.oslo.wind", "seq": 1, '
    shown += '"identity": b"oslo"} {"subject": "weather.oslo.wind", "x-unit": "m/s"}'
    assert client.recv() == example("mjp-broker", shown)
    assert station.recv() == example("mjp-broker", "PUBLISHED 3")
    client.send(example("mjp", "UNSUBSCRIBE 7"))
    client.send(example("mjp", "SUBSCRIBE 8"))
    client.say("PUBLISH", 9, {"subject": "weather.oslo.rain"}, b"none")
    assert news(client, 8) == ("weather.oslo.rain", 1, 0, [b"none"]), "it hears itself"
    assert header(client.expect("PUBLISHED", 9)) == {"subscriptions": 1}


def test_patterns_mean_what_the_table_says(peer):
    client, source = peer(), peer()
    patterns = {1: "a.b", 2: "a.*", 3: "*.b", 4: "a.>", 5: ">", 6: "$a.>"}
    for id, pattern in patterns.items():
        subscribe(client, id, pattern)
    heard = {"a": {5}, "a.b": {1, 2, 3, 4, 5}, "a.b.c": {4, 5}, "x.b": {3, 5}, "A.b": {3, 5}}
    for subject, ids in heard.items():
        assert publish(source, 1, subject) == len(ids), subject
        got = [client.expect("MESSAGE") for _ in ids]
        assert [id_of(frames) for frames in got] == sorted(ids), subject
    client.hears_nothing()
    code = refusal(source, "PUBLISH", 2, {"subject": "$a.b"}, b"")
    assert code == "forbidden", "only the broker says that"


def test_what_one_publishes_arrives_in_order_and_everywhere(peer):
    clients, source = [peer() for _ in range(3)], peer()
    for client in clients:
        subscribe(client, 1, "n")
        subscribe(client, 2, ">")
    for number in range(500):
        source.say("PUBLISH", 0, {"subject": "n"}, str(number).encode(), b"")
    for client in clients:
        for number in range(500):
            body = [str(number).encode(), b""]
            assert news(client, 1) == ("n", number + 1, 0, body)
            assert news(client, 2) == ("n", number + 1, 0, body)
        client.hears_nothing()
    source.hears_nothing()


def test_a_worker_publishes_and_subscribes_while_it_works(peer):
    worker, client = peer(), peer()
    worker.ready()
    subscribe(client, 1, "progress.*")
    subscribe(worker, 1, "stop")
    client.say("REQUEST", 2, {"service": "echo"}, b"work")
    request = worker.expect("REQUEST")
    assert publish(worker, 5, "progress.work", b"half") == 1
    assert news(client, 1) == ("progress.work", 1, 0, [b"half"])
    assert publish(client, 3, "stop") == 1
    assert news(worker, 1)[0] == "stop"
    worker.say("FINAL", id_of(request), {}, b"done")
    assert client.expect("FINAL", 2)[3:] == [b"done"]


def test_who_leaves_or_wants_no_more_hears_nothing(peer):
    client, source = peer(), peer()
    subscribe(client, 1, "a")
    subscribe(client, 2, "a")
    assert publish(source, 1, "a") == 2
    assert (news(client, 1)[1], news(client, 2)[1]) == (1, 1)
    client.say("UNSUBSCRIBE", 1)
    client.say("UNSUBSCRIBE", 77)
    subscribe(client, 1, "b")
    assert publish(source, 1, "a") == 1
    assert news(client, 2)[1] == 2
    assert publish(source, 1, "b") == 1
    assert news(client, 1)[:2] == ("b", 1), "a new subscription counts from 1"
    client.close()
    until(lambda: publish(source, 1, "a") == 0)


def test_what_is_invalid_gets_an_error_and_harms_nothing(peer):
    client = peer()
    subscribe(client, 1, "a.>")
    client.send(example("mjp-invalid", "id 0 is that of the connection; give a request another one"))
    assert header(client.expect("ERROR", 0))["code"] == "bad_request"
    assert refusal(client, "SUBSCRIBE", 1, {"subject": "b"}) == "duplicate_id"
    for id, subject in enumerate(["", "a..b", ".", "a b", "a\n", "a*", ">.a", "x" * 256, 7, None], 2):
        assert refusal(client, "SUBSCRIBE", id, {"subject": subject}) == "bad_request", subject
        assert refusal(client, "PUBLISH", id, {"subject": subject}, b"") == "bad_request", subject
    deep = ".".join("a" * 33)
    assert refusal(client, "SUBSCRIBE", 30, {"subject": deep}) == "bad_request"
    assert refusal(client, "SUBSCRIBE", 31, {}) == "bad_request"
    assert refusal(client, "SUBSCRIBE", 31, {"subject": "a"}, b"body") == "bad_request"
    assert refusal(client, "PUBLISH", 32, {"subject": "a.*"}, b"") == "bad_request"
    assert refusal(client, "PUBLISH", 33, {"subject": "a.b"}) == "bad_request", "no body"
    for name in ("MESSAGE", "PUBLISHED", "GAP"):
        assert refusal(client, name, 34, {}) == "bad_request", name
    # With id 0 there is no answer, unless it is wrong.
    client.say("PUBLISH", 0, {"subject": "a.*"}, b"")
    assert header(client.expect("ERROR", 0))["code"] == "bad_request"
    client.say("PUBLISH", 0, {"subject": "a.b"}, b"still")
    assert news(client, 1) == ("a.b", 1, 0, [b"still"])
    client.hears_nothing()


def test_over_a_limit_it_is_refused(start, peers):
    limits = {"subscriptions": 5, "subscriptions_per_peer": 3, "fan_out": 4}
    sets = [["--set", f"limits.{name}={value}"] for name, value in limits.items()]
    broker = start(*sum(sets, []))
    one, other, source = (peers(Peer(broker.endpoint)) for _ in range(3))
    for id in (1, 2, 3):
        subscribe(one, id, "a")
    assert refusal(one, "SUBSCRIBE", 4, {"subject": "b"}) == "overloaded"
    subscribe(other, 1, "a")
    assert publish(source, 9, "a") == 4
    assert news(other, 1)[1] == 1
    subscribe(other, 2, "a")
    assert refusal(other, "SUBSCRIBE", 3, {"subject": "b"}) == "overloaded"
    assert refusal(source, "PUBLISH", 9, {"subject": "a"}, b"") == "overloaded", "for five"
    source.say("PUBLISH", 0, {"subject": "a"}, b"for five, and no answer is wanted")
    other.say("UNSUBSCRIBE", 2)
    other.hears_nothing()
    assert publish(source, 9, "a", b"for four") == 4
    assert news(other, 1) == ("a", 2, 0, [b"for four"]), "what was refused has no number"


def test_a_slow_subscriber_is_told_what_it_missed_and_its_publisher_does_not_wait(start, peers):
    broker = start("--set", "limits.subscriber_outbox=64KiB")
    options = {zmq.RCVHWM: 1, zmq.RCVBUF: 4096}
    slow, quick, source = (
        peers(Peer(broker.endpoint, options=given)) for given in (options, None, None)
    )
    subscribe(slow, 1, "a")
    subscribe(quick, 1, "a")
    count, body = 2000, b"x" * 4000
    began = time.monotonic()
    for number in range(count):
        assert publish(source, 1, "a", body) == 2
        assert news(quick, 1)[1] == number + 1
    assert time.monotonic() - began < 60
    seq, told = 0, 0
    while seq < count:
        frames = slow.recv(wait=10)
        if kind(frames) == "GAP":
            missed = header(frames)["missed"]
            assert missed > 0
            seq, told = seq + missed, told + missed
            continue
        says = header(frames)
        missed = says.get("missed", 0)
        seq, told = seq + missed + 1, told + missed
        assert says["seq"] == seq, says
    assert seq == count and 0 < told < count, "each was told, or told of, once"
    slow.hears_nothing()
    assert publish(source, 1, "a", b"next") == 2
    assert news(slow, 1) == ("a", count + 1, 0, [b"next"])


def test_a_flood_to_many_keeps_nobody_from_the_broker(start, peers):
    broker = start("--set", "limits.fan_out=100")
    listeners = [peers(Peer(broker.endpoint)) for _ in range(2)]
    source, other = (peers(Peer(broker.endpoint)) for _ in range(2))
    for listener in listeners:
        for id in range(1, 51):
            listener.say("SUBSCRIBE", id, {"subject": "a"})
        listener.hears_nothing()
    count = 300
    for _ in range(count):
        source.say("PUBLISH", 0, {"subject": "a"}, b"x")
    began = time.monotonic()
    other.hears_nothing()
    assert time.monotonic() - began < 5
    for listener in listeners:
        for seq in range(1, count + 1):
            for id in range(1, 51):
                assert news(listener, id)[1:3] == (seq, 0)
    source.hears_nothing()


def test_hello_names_the_feature_and_status_the_subscriptions(peer):
    client = peer()
    client.say("HELLO")
    assert "topics" in header(client.expect("HELLO"))["features"]
    subscribe(client, 1, "a")
    client.say("STATUS", 2, {"what": "broker"})
    assert header(client.expect("STATUS", 2))["broker"]["subscriptions"] == 1
    client.say("ADMIN", 3, {"verb": "clients"})
    [row] = header(client.expect("ADMIN", 3))["clients"]
    assert row["subscriptions"] == 1


def test_unknown_keys_arrive_octet_by_octet(peer):
    client = peer()
    subscribe(client, 1, "a")
    says = msgpack.packb({"x-any": [None, {"deep": b"\xff"}], "subject": "a"})
    client.send([b"MJP1", b"\x15" + bytes(8), says, b"body"])
    frames = client.expect("MESSAGE", 1)
    assert frames[3:] == [says, b"body"]
