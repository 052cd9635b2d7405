"""Idempotency keys of MJP/1: round trips with the octets of SPEC.md, and what its rules say."""

import msgpack
import pytest

from mdp import Worker
from mjp import Peer, example, header, id_of, kind, second, with_id


@pytest.fixture
def peer(broker, peers):
    """Connects to the default broker."""
    return lambda *args, **kwargs: peers(Peer(broker.endpoint, *args, **kwargs))


def ask(client, id, key, *body, service="pay", **says):
    client.say("REQUEST", id, {"service": service, "key": key, **says}, *(body or [b"order 7"]))


def code(frames):
    return header(frames)["code"]


def given(worker):
    """The next request of a worker."""
    return worker.expect("REQUEST")


def answer(worker, work, *body, name="FINAL", says=b""):
    worker.send([b"MJP1", second(name, id_of(work)), says, *body])


def idle(peer):
    """Nothing comes: the answer to what is asked now is the next message."""
    return peer.status(what="broker")["broker"]


def test_hello_says_that_keys_are_known(peer):
    client = peer()
    client.send(example("mjp", "HELLO"))
    assert "keys" in header(client.expect("HELLO", 0))["features"]


def test_a_repeat_with_the_octets_of_the_specification(peer):
    worker, client, other = peer().ready(service="pay"), peer(), peer()
    request = example("mjp", 'REQUEST 6 {"service": "pay", "key": "order-7"}')
    client.send(request)
    work = given(worker)
    assert work[2] == request[2] and work[4:] == request[3:], "the worker sees the key"
    # The same key as bin, and with ACCEPTED.
    ask(other, 6, b"order-7", b"hi", ack=True)
    repeat = example("mjp-broker", 'ACCEPTED 6 {"level": "memory", "repeat": true}')
    assert other.recv() == repeat
    answer(worker, work, b"yo", says=b"\x80")
    final = [b"MJP1", second("FINAL", 6), b"\x80", b"yo"]
    assert client.recv() == final and other.recv() == final
    ask(other, 7, "order-7", b"hi", ack=True, timeout=0)
    assert other.recv() == with_id(repeat, 7)
    assert other.recv() == with_id(final, 7)
    assert idle(worker)["keys"] == 1


def test_another_request_under_the_key_is_refused(peer):
    worker, client = peer().ready(service="pay"), peer()
    ask(client, 1, "k", b"a", b"b")
    for id, body, says in [(2, [b"ab"], {}), (3, [b"a", b"b"], {"amount": 8})]:
        ask(client, id, "k", *body, **says)
        refused = client.expect("ERROR", id)
        assert code(refused) == "key_conflict" and "retry" not in header(refused)
    answer(worker, given(worker), b"done")
    client.expect("FINAL", 1)
    ask(client, 4, "k", b"ab")
    assert code(client.expect("ERROR", 4)) == "key_conflict"
    idle(worker)


def test_keys_of_other_lengths_and_types_are_malformed(peer):
    client = peer()
    for id, key in enumerate(["", "x" * 129, 7, True, ["k"]], 1):
        ask(client, id, key)
        refused = header(client.expect("ERROR", id))
        assert refused["code"] == "bad_request" and "key" in refused["message"]
    ask(client, 9, None, service="mmi.service")
    client.expect("FINAL", 9)
    for key in ["x" * 128, b"\x00" * 128]:
        ask(client, 10, key, service="mmi.service")
        client.expect("FINAL", 10)


def test_who_lost_its_connection_finds_the_answer(peer):
    worker, client = peer().ready(service="pay"), peer(b"me")
    ask(client, 1, "k", ack=True)
    client.expect("ACCEPTED", 1)
    work = given(worker)
    assert header(work, 3)["identity"] == b"me"
    client.close()
    back = peer()
    ask(back, 5, "k", ack=True)
    assert header(back.expect("ACCEPTED", 5))["repeat"] is True
    back.close()
    idle(worker)
    answer(worker, work, b"paid")
    again = peer()
    ask(again, 1, "k")
    assert again.expect("FINAL", 1)[3:] == [b"paid"]
    idle(worker)


def test_parts_come_to_who_missed_none_and_joined_to_the_others(peer):
    worker, client, other = peer().ready(service="pay"), peer(), peer()
    ask(client, 1, "k")
    work = given(worker)
    answer(worker, work, b"1", name="PARTIAL")
    assert client.expect("PARTIAL", 1)[3:] == [b"1"]
    ask(other, 1, "k")
    ask(other, 2, "k", parts=False)
    idle(other)
    answer(worker, work, b"2", b"3", name="PARTIAL")
    answer(worker, work, b"4")
    assert client.expect("PARTIAL", 1)[3:] == [b"2", b"3"]
    assert client.expect("FINAL", 1)[3:] == [b"4"]
    for id in [1, 2]:
        assert other.expect("FINAL", id)[3:] == [b"1", b"2", b"3", b"4"]
    ask(client, 3, "k")
    assert client.expect("FINAL", 3)[3:] == [b"1", b"2", b"3", b"4"]


def test_an_error_of_the_worker_is_said_again(peer):
    worker, client = peer().ready(service="pay"), peer()
    ask(client, 1, "k")
    says = msgpack.packb({"code": "no_money", "more": [1, 2]})
    work = given(worker)
    worker.send([b"MJP1", second("ERROR", id_of(work)), says])
    assert client.expect("ERROR", 1)[2] == says
    ask(client, 2, "k")
    assert client.expect("ERROR", 2)[2] == says
    idle(worker)


def test_a_timeout_and_cancel_are_of_their_caller_alone(peer):
    worker, client, other = peer().ready(service="pay"), peer(), peer()
    ask(client, 1, "k", timeout=100)
    work = given(worker)
    ask(other, 1, "k")
    ask(other, 2, "k")
    assert code(client.expect("ERROR", 1)) == "timeout"
    other.say("CANCEL", 2)
    assert code(other.expect("ERROR", 2)) == "cancelled"
    idle(worker)
    other.say("CANCEL", 1)
    assert code(other.expect("ERROR", 1)) == "cancelled"
    assert kind(worker.recv()) == "CANCEL", "nobody waits any more"
    answer(worker, work, b"late")
    ask(client, 2, "k")
    answer(worker, given(worker), b"anew")
    assert client.expect("FINAL", 2)[3:] == [b"anew"]


def test_the_request_of_a_killed_worker_is_carried_out_by_another_and_answers_all(peer):
    first, client, other = peer().ready(service="pay"), peer(), peer()
    ask(client, 1, "k")
    given(first)
    ask(other, 1, "k")
    idle(other)
    first.close()
    second_worker = peer().offer(service="pay")
    work = given(second_worker)
    assert header(work, 3)["attempt"] == 2
    answer(second_worker, work, b"paid")
    for one in [client, other]:
        assert one.expect("FINAL", 1)[3:] == [b"paid"]


def test_a_worker_of_mdp_serves_requests_with_keys(peer, peers, broker):
    worker = peers(Worker(broker.endpoint, b"pay", 2))
    client = peer()
    ask(client, 1, "k")
    ask(client, 2, "k")
    address, _ = worker.request()
    worker.final(address, b"paid")
    ask(client, 3, "k")
    for id in [1, 2, 3]:
        assert client.expect("FINAL", id)[3:] == [b"paid"]
