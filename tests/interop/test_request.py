"""Requests and replies between libzmq peers: versions, sizes, numbers, fairness, limits."""

import itertools
import threading
import time

import pytest
import zmq

import mdp
import zmtp
from mdp import Client, Worker, until

BINARY_NAME = bytes(range(1, 256))
CLIENTS = [(1, zmq.REQ), (1, zmq.DEALER), (2, zmq.DEALER)]


@pytest.mark.parametrize("worker_version", [1, 2])
@pytest.mark.parametrize("client_version,kind", CLIENTS)
def test_every_client_is_served_by_every_worker(connect, client_version, kind, worker_version):
    worker = connect.worker(BINARY_NAME, worker_version)
    client = connect.client(client_version, kind)
    for body in ([b"x"], [b""], [b"", b"\0" * 300, b""], [bytes(range(256))] * 3):
        client.send(BINARY_NAME, *body)
        address, got = worker.request()
        assert got == body
        worker.final(address, b"to", *body)
        assert client.reply(BINARY_NAME) == [b"to", *body]


def test_partials_go_to_a_client_of_mdp_02_at_once(connect):
    worker, client = connect.worker(b"count", 2), connect.client(2)
    client.send(b"count", b"3")
    address, _ = worker.request()
    for part in (b"one", b"two"):
        worker.partial(address, part, b"")
        assert client.recv() == ("PARTIAL", b"count", [part, b""])
    worker.final(address, b"three")
    assert client.recv() == ("FINAL", b"count", [b"three"])


def test_a_client_of_mdp_01_gets_partials_and_final_in_one_reply(connect):
    worker = connect.worker(b"count", 2)
    for kind in (zmq.REQ, zmq.DEALER):
        client = connect.client(1, kind)
        client.send(b"count", b"3")
        address, _ = worker.request()
        worker.partial(address, b"one", b"")
        worker.partial(address, b"two")
        worker.final(address, b"three", b"end")
        assert client.reply(b"count") == [b"one", b"", b"two", b"three", b"end"]


@pytest.mark.parametrize("version", [1, 2])
def test_16_mib_and_100_frames_go_through(connect, version):
    worker, client = connect.worker(b"big", version), connect.client(version)
    large = bytes(range(256)) * (16 << 12)
    assert len(large) == 16 << 20
    for body in ([large], [large[:65_536]] * 100, [b"%d" % at for at in range(100)]):
        client.send(b"big", *body)
        worker.echo()
        assert client.reply(b"big") == body


def test_a_thousand_pipelined_requests_are_answered_once_each(connect):
    workers = [connect.worker(b"echo", version) for version in (1, 2)]
    client = connect.client()
    for at in range(1000):
        client.send(b"echo", b"%d" % at)
    poller = zmq.Poller()
    for worker in workers:
        poller.register(worker.socket, zmq.POLLIN)
    for _ in range(1000):
        ready = dict(poller.poll(mdp.WAIT * 1000))
        assert ready
        next(worker for worker in workers if worker.socket in ready).echo()
    assert sorted(int(client.reply(b"echo")[0]) for _ in range(1000)) == list(range(1000))
    assert client.status(b"echo") == b"200", "a reply too many would have come before"


def test_100_000_requests_are_sent_before_the_first_receive(start, spawn, peers):
    """As the mdclient2 of the Guide does, with libzmq's default high-water marks."""
    broker = start("--prefetch", "100")
    for _ in range(2):
        spawn(broker.endpoint, b"echo", "echo")
    client = peers(Client(broker.endpoint))
    for at in range(100_000):
        client.send(b"echo", b"%d" % at)
    seen = bytearray(100_000)
    for _ in range(100_000):
        [body] = client.reply(b"echo")
        seen[int(body)] += 1
    assert seen == b"\1" * 100_000
    assert client.status(b"echo") == b"200", "a reply too many would have come before"


def test_requests_wait_for_the_first_worker_in_their_order(connect):
    client = connect.client()
    assert client.status(b"later") == b"404"
    for at in range(10):
        client.send(b"later", b"%d" % at)
    assert client.status(b"later") == b"404"
    worker = connect.worker(b"later")
    for at in range(10):
        address, body = worker.request()
        assert body == [b"%d" % at]
        worker.final(address, *body)
        assert client.reply(b"later") == body


def test_a_request_that_nobody_serves_expires(start, peers):
    broker = start("--set", "service.unserved_ttl=300ms")
    client = peers(Client(broker.endpoint))
    client.send(b"none", b"old")
    assert client.status(b"none") == b"404"
    time.sleep(1)  # The time that passes is what is tested: expiry is seen by no peer.
    worker = peers(Worker(broker.endpoint, b"none"))
    until(lambda: client.status(b"none") == b"200")
    client.send(b"none", b"new")
    assert worker.request()[1] == [b"new"]


def test_no_reply_crosses_to_another_client(connect):
    clients = [connect.client(version, kind) for version, kind in CLIENTS * 6]
    workers = [connect.worker(b"echo", version) for version in (1, 2, 1, 2)]
    stop = threading.Event()

    def serve(worker):
        while not stop.is_set():
            if worker.socket.poll(20):
                name, frames = worker.recv(beats=True)
                if name == "REQUEST":
                    worker.final(frames[0], *frames[2:])

    threads = [threading.Thread(target=serve, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for turn in range(50):
            for at, client in enumerate(clients):
                client.send(b"echo", b"%d of %d" % (turn, at))
            for at, client in enumerate(clients):
                assert client.reply(b"echo") == [b"%d of %d" % (turn, at)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_flood_does_not_starve_a_lone_client(connect):
    flood, lone = connect.client(), connect.client()
    for at in range(500):
        flood.send(b"slow", b"flood")
    flood.status(b"slow")
    lone.send(b"slow", b"lone")
    lone.status(b"slow")
    worker = connect.worker(b"slow")
    bodies = []
    for _ in range(5):
        address, [body] = worker.request()
        bodies.append(body)
        worker.final(address, body)
    assert b"lone" in bodies, "500 requests of another client came first"


LIMITS = {
    "requests of one client": ["client.requests_max=5"],
    "octets of one client": ["client.bytes_max=4KiB"],
    "messages of one queue": ["service.queue_messages_max=5"],
    "octets of one queue": ["service.queue_bytes_max=4KiB"],
}


@pytest.mark.parametrize("limit", LIMITS)
def test_over_a_limit_a_client_waits_and_nothing_is_dropped(start, peers, limit):
    broker = start(*itertools.chain(*(["--set", setting] for setting in LIMITS[limit])))
    clients = [peers(Client(broker.endpoint, version)) for version in (1, 2)]
    for at in range(300):
        for client in clients:
            client.send(b"echo", b"%d" % at, bytes(100))
    worker = peers(Worker(broker.endpoint, b"echo"))
    worker.echo(600)
    for client in clients:
        assert [int(client.reply(b"echo")[0]) for _ in range(300)] == list(range(300))
        assert client.status(b"echo") == b"200"


def test_a_client_that_is_not_read_gets_its_answers_and_is_noticed_when_it_goes(start, peers):
    broker = start("--set", "client.requests_max=2")
    client = peers(Client(broker.endpoint))
    for at in range(20):
        client.send(b"echo", b"%d" % at)
    client_two = peers(Client(broker.endpoint))
    client_two.send(b"echo", b"two")
    assert client_two.status(b"echo") == b"404"
    client.close()
    until(lambda: '"peer left"' in broker.log())
    worker = peers(Worker(broker.endpoint, b"echo"))
    address, body = worker.request()
    assert body == [b"two"], "the requests of a client that is gone still waited"
    worker.final(address, *body)
    assert client_two.reply(b"echo") == [b"two"]


def test_a_slow_reader_gets_all_its_replies(connect):
    """Its replies, 20 MiB, fit the outbox; libzmq's own broker would have dropped most."""
    worker, client = connect.worker(b"echo"), connect.client(options={zmq.RCVHWM: 1})
    for _ in range(200):
        client.send(b"echo", bytes(100_000))
        worker.echo()
    for _ in range(200):
        assert client.reply(b"echo") == [bytes(100_000)]


def test_a_client_that_never_reads_is_closed_and_others_go_on(start, peers):
    broker = start("--set", "limits.outbox=64KiB", "--prefetch", "10")
    deaf, client = peers(zmtp.Peer(broker.endpoint)), peers(Client(broker.endpoint))
    worker = peers(Worker(broker.endpoint, b"big"))
    for at in range(300):
        deaf.say(mdp.request(1, b"big", b"%d" % at))
    # It is closed when an answer finds no room, or a while later: the worker has to live until then.
    while "the broker closed the connection" not in broker.log():
        name, frames = worker.recv(beats=True)
        if name == "REQUEST":
            worker.final(frames[0], *frames[2:], bytes(200_000))
        else:
            worker.say("HEARTBEAT")
    client.send(b"big", b"mine")
    body = []
    while body != [b"mine"]:
        address, body = worker.request()
        worker.final(address, *body)
    assert client.reply(b"big") == [b"mine"]
