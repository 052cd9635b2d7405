"""CURVE between libzmq and the broker: who comes in, what passes, and who does not come in."""

import os
import time

import pytest
import zmq
import zmq.auth

import mdp
import zmtp
from curve import AGAIN, FINAL, SERVED, Key, Try, user, monitored
from mdp import Client, Worker, until

ANNA, BOB, EVE = Key("anna"), Key("bob"), Key("eve")
# How one says that a key may do everything but administer.
PEER = ("client", "worker")
FILE = ANNA.entry(*PEER) + BOB.entry(*PEER) + Key("denied").denied()


@pytest.fixture(scope="module", params=["any", "file"])
def door(request, guard_of_module):
    """A broker that admits any key, or those of a file."""
    return guard_of_module("--prefetch=64", authorized="any" if request.param == "any" else FILE)


@pytest.fixture(scope="module")
def strict(guard_of_module):
    """A broker that admits the keys of a file."""
    return guard_of_module(authorized=FILE)


@pytest.fixture
def enter(door, peers):
    """Clients and workers of the door, with a key."""

    class Enter:
        @staticmethod
        def client(*args, key=ANNA, options=None, **kwargs):
            options = {**key.to(door), **(options or {})}
            return peers(Client(door.endpoint, *args, options=options, **kwargs))

        @staticmethod
        def worker(*args, key=BOB, options=None, **kwargs):
            options = {**key.to(door), **(options or {})}
            return peers(Worker(door.endpoint, *args, options=options, **kwargs))

    return Enter


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER, zmq.ROUTER], ids=["REQ", "DEALER", "ROUTER"])
def test_every_kind_of_socket_gets_through_the_handshake(door, kind):
    assert Try(door.endpoint, ANNA.to(door), kind=kind).outcome == SERVED


@pytest.mark.parametrize("worker_version", [1, 2])
@pytest.mark.parametrize("version,kind", [(1, zmq.REQ), (1, zmq.DEALER), (2, zmq.DEALER)])
def test_requests_go_between_peers_of_both_versions(enter, version, kind, worker_version):
    worker, client = enter.worker(b"echo", worker_version), enter.client(version, kind)
    for body in ([b"hello"], [b""], [b"a", b"", bytes(300)]):
        client.send(b"echo", *body)
        worker.echo()
        assert client.reply(b"echo") == body


def test_large_bodies_pass_both_ways(enter):
    worker, client = enter.worker(b"large"), enter.client()
    for size in (254, 255, 256, 8192, 65_536, 1 << 20, 16 << 20):
        body = os.urandom(size)
        client.send(b"large", body)
        worker.echo()
        assert client.reply(b"large") == [body], size


def test_a_message_of_100_frames_stays_one(enter):
    worker, client = enter.worker(b"frames"), enter.client()
    body = [os.urandom(at * 7) for at in range(100)]
    client.send(b"frames", *body)
    worker.echo()
    assert client.reply(b"frames") == body


def test_ten_thousand_requests_in_a_row_keep_their_order(enter):
    worker = enter.worker(b"row")
    client = enter.client(options={zmq.SNDHWM: 0, zmq.RCVHWM: 0})
    until(lambda: client.status(b"row") == b"200")
    for at in range(10_000):
        client.send(b"row", b"%d" % at)
    for at in range(10_000):
        worker.echo()
    assert [client.reply(b"row") for _ in range(10_000)] == [[b"%d" % at] for at in range(10_000)]


def test_ping_of_libzmq_is_answered_inside_the_boxes(enter):
    """An unanswered PING would end the connection after 300 ms."""
    client = enter.client(options={zmq.HEARTBEAT_IVL: 50, zmq.HEARTBEAT_TIMEOUT: 300})
    with monitored(client.socket, zmq.EVENT_DISCONNECTED) as monitor:
        assert client.status(b"x") == b"404"
        assert not monitor.poll(1500)
        assert client.status(b"x") == b"404"


def test_the_broker_pings_busy_workers_inside_the_boxes(guard, peers):
    """A stopped process would not answer; a busy one that is none stays."""
    broker = guard("--heartbeat=100ms", "--liveness=3")
    worker = peers(Worker(broker.endpoint, b"busy", options=BOB.to(broker)))
    client = peers(Client(broker.endpoint, options=ANNA.to(broker)))
    client.send(b"busy", b"x")
    address, body = worker.request()
    time.sleep(1)
    worker.final(address, *body)
    assert client.reply(b"busy") == [b"x"]


def test_peers_are_back_after_a_restart_of_the_broker(guard, peers):
    first = guard(authorized=FILE)
    options = {**ANNA.to(first), zmq.RECONNECT_IVL: 20}
    client = peers(Client(first.endpoint, options=options))
    assert client.status(b"x") == b"404"
    first.kill()
    second = guard(authorized=FILE, binds=[first.endpoint])
    assert client.status(b"x") == b"404"
    assert second.public == first.public


def refused(broker, options, outcome):
    """Nobody comes in so; that says libzmq, and so do the figures of the broker."""
    tried = Try(broker.endpoint, options)
    assert tried.outcome == outcome, tried.failure
    # The others go on.
    assert Try(broker.endpoint, ANNA.to(broker)).outcome == SERVED


def test_a_client_that_knows_another_key_of_the_broker_is_closed(door):
    refused(door, ANNA.to(Key("another broker")), AGAIN)


def test_a_key_that_nobody_knows_is_closed_so_that_it_may_come_again(strict):
    refused(strict, EVE.to(strict), AGAIN)


def test_a_key_that_is_denied_is_told_so_once_and_for_all(strict):
    refused(strict, Key("denied").to(strict), FINAL)


@pytest.mark.parametrize("options", [{}, user("anna", "x")], ids=["NULL", "PLAIN"])
def test_who_speaks_no_curve_does_not_come_in(door, options):
    refused(door, options, FINAL)


def test_a_public_key_alone_is_not_enough(door):
    """The key of somebody who may come in, with the secret of another pair."""
    options = {**EVE.to(door), zmq.CURVE_PUBLICKEY: ANNA.public}
    refused(door, options, AGAIN)


DOWNGRADES = {
    "NULL": zmtp.greeting() + zmtp.ready(),
    "PLAIN": zmtp.greeting(mechanism=b"PLAIN") + zmtp.command(b"HELLO", b"\4anna\1x"),
    "ZMTP 1.0": b"\x01\x00" + b"\x03\x00x",
    "ZMTP 2.0": b"\xff" + bytes(8) + b"\x7f\x01\x05" + b"\0\0",
    "READY without a handshake": zmtp.greeting(mechanism=b"CURVE") + zmtp.ready(),
    "messages without a handshake": zmtp.greeting(mechanism=b"CURVE")
    + zmtp.message(*mdp.request(2, b"mmi.service", b"x")),
    "a client that says it is a server": zmtp.greeting(mechanism=b"CURVE", as_server=1) + zmtp.ready(),
}


@pytest.mark.parametrize("case", DOWNGRADES)
def test_no_downgrade(door, case):
    """Nothing but a greeting and perhaps an ERROR comes for who does not speak CURVE."""
    with zmtp.Peer(door.endpoint, greet=False) as peer:
        peer.try_send(DOWNGRADES[case])
        try:
            greeting = peer.exactly(64)
            assert greeting[12:32] == b"CURVE".ljust(20, b"\0")
            peer.until_closed(wait=10)
        except zmtp.Closed:
            pass
        assert peer.buffer == b""


def test_listeners_of_different_mechanisms_serve_one_another(guard, peers):
    null = "tcp://127.0.0.2:0"
    broker = guard(f'--set=auth.null=["{null}"]', binds=["tcp://127.0.0.1:0", null])
    secured, opened = broker.endpoints
    worker = peers(Worker(secured, b"echo", options=BOB.to(broker)))
    client = peers(Client(opened))
    client.send(b"echo", b"hi")
    worker.echo()
    assert client.reply(b"echo") == [b"hi"]
    assert Try(secured).outcome == FINAL
    assert Try(opened, ANNA.to(broker)).outcome == FINAL
    assert Try(opened).outcome == SERVED


def test_null_beyond_this_machine_is_refused_at_the_start_and_curve_is_not(guard):
    everywhere = "tcp://*:0"
    broker = guard(binds=[everywhere])
    assert Try(broker.endpoint.replace("*", "127.0.0.1"), ANNA.to(broker)).outcome == SERVED
    null = ["--bind", everywhere, f'--set=auth.null=["{everywhere}"]']
    assert "insecure" in broker.refuses(*broker.flags[:2], "--authorized-keys=any", *null)


def test_a_broker_that_admits_any_key_says_so(guard):
    broker = guard()
    until(lambda: "any" in broker.log())


def test_a_secret_that_others_can_read_is_refused_at_the_start(guard):
    broker = guard()
    exposed = Key("exposed").write(broker.directory)
    exposed.chmod(0o644)
    said = broker.refuses("--curve-secret", exposed, "--authorized-keys=any")
    assert f"chmod 600 {exposed}" in said


def test_a_key_pair_of_pyzmq_is_read(guard, tmp_path):
    _, path = zmq.auth.create_certificates(tmp_path, "pair")
    os.chmod(path, 0o600)
    public, secret = zmq.auth.load_certificate(path)
    pair = Key("pair", secret)
    assert pair.public == public
    broker = guard(key=pair)
    assert Try(broker.endpoint, ANNA.to(broker)).outcome == SERVED


class TestRotation:
    """After `key rotate` the key before is good for some time."""

    @pytest.fixture
    def rotated(self, guard):
        first = guard(authorized=FILE)
        first.stop()
        said = first.alone("key", "rotate", first.secret)
        assert said.code == 0, said
        _, secret = zmq.auth.load_certificate(str(first.secret))
        return first, Key("broker", secret)

    def test_both_keys_are_good_for_the_time_of_the_overlap(self, rotated, guard):
        before, after = rotated
        broker = guard(authorized=FILE, key=after)
        assert before.public != broker.public
        for key in (before, after):
            assert Try(broker.endpoint, ANNA.to(key)).outcome == SERVED

    def test_the_key_before_is_good_no_more(self, rotated, guard):
        before, after = rotated
        broker = guard("--set=auth.overlap=0s", authorized=FILE, key=after)
        assert Try(broker.endpoint, ANNA.to(before)).outcome == AGAIN
        assert Try(broker.endpoint, ANNA.to(after)).outcome == SERVED
