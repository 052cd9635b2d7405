"""PING and PONG of ZMTP 3.1, with libzmq and on raw connections."""

import time

import zmq

import mdp
import zmtp
from mdp import Client, until

BEATING = {zmq.HEARTBEAT_IVL: 50, zmq.HEARTBEAT_TIMEOUT: 2000, zmq.HEARTBEAT_TTL: 2000}


def test_libzmq_heartbeats_keep_a_connection_as_it_is(broker, peers):
    client = peers(Client(broker.endpoint, options=BEATING))
    monitor = client.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    assert client.status(b"x") == b"404"
    assert not monitor.poll(3000), "an unanswered PING would have ended it after 2 s"
    assert client.status(b"x") == b"404"
    client.socket.disable_monitor()


def test_the_broker_pings_busy_workers_and_closes_one_that_stops_answering(start, peers):
    broker = start("--heartbeat", "100ms", "--liveness", "5")
    worker = peers(zmtp.Peer(broker.endpoint))
    client = peers(Client(broker.endpoint))
    worker.say(mdp.worker(1, "READY", b"work"))
    client.send(b"work", b"x")
    messages = []
    while len(worker.pings) < 3:
        before = len(worker.pings)
        flags, body = worker.frame()
        messages += [body] if not flags & zmtp.COMMAND else []
        if len(worker.pings) > before:
            worker.send(zmtp.command(b"PONG", worker.pings[-1][2:]))
    assert b"x" in messages
    # No PONG from here on, as of a process that has been stopped.
    assert worker.until_closed() is None
    other = peers(mdp.Worker(broker.endpoint, b"work"))
    other.echo()
    assert client.reply(b"work") == [b"x"]


def test_a_busy_worker_that_never_answered_a_ping_is_left_alone(start, peers):
    """So do some libraries of other languages: only those who once answered are held to it."""
    broker = start("--heartbeat", "50ms", "--liveness", "2")
    worker = peers(zmtp.Peer(broker.endpoint))
    client = peers(Client(broker.endpoint))
    worker.say(mdp.worker(1, "READY", b"work"))
    client.send(b"work", b"x")
    frames = []
    while b"x" not in frames:
        frames += worker.message()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        frames += worker.message()
    assert client.status(b"work") == b"200"


def test_a_peer_of_zmtp_30_is_never_pinged(start, peers):
    broker = start("--heartbeat", "50ms", "--liveness", "2")
    worker = peers(zmtp.Peer(broker.endpoint, minor=0))
    client = peers(Client(broker.endpoint))
    worker.say(mdp.worker(1, "READY", b"work"))
    client.send(b"work", b"x")
    messages = [worker.message() for _ in range(10)]
    assert any(b"x" in frames for frames in messages)
    assert worker.pings == []
    assert client.status(b"work") == b"200"


def test_a_ping_is_answered_with_its_context(broker, peers):
    peer = peers(zmtp.Peer(broker.endpoint))
    for context in (b"", b"x", b"\0" * 16):
        peer.send(zmtp.ping(context=context))
        peer.frame()
        assert peer.pongs.pop() == context


def test_a_ping_right_behind_a_request_is_answered_behind_its_answer(broker, peers):
    peer = peers(zmtp.Peer(broker.endpoint))
    question = zmtp.message(b"", b"MDPC01", b"mmi.service", b"nobody")
    peer.send((question + zmtp.ping(context=b"x")) * 3)
    for _ in range(3):
        assert peer.message()[-1] == b"404"
    while not peer.pongs:
        peer.frame()
    assert set(peer.pongs) == {b"x"}


def test_silence_longer_than_the_ttl_of_a_ping_closes(broker, peers):
    for ttl in (3, 656):
        peer = peers(zmtp.Peer(broker.endpoint))
        start = time.monotonic()
        peer.send(zmtp.ping(ttl))
        peer.frame()
        if ttl == 3:
            assert peer.until_closed() is None
            assert time.monotonic() - start > 0.3
        else:
            # 65.6 s; libzmq computes it in 16 bits and closes after 64 ms.
            time.sleep(0.5)
            assert peer.fence() == []


def test_octets_of_a_large_message_count_as_life(start, peers):
    """A worker whose reply takes longer than its expiry is not expired while octets come."""
    broker = start("--heartbeat", "100ms", "--liveness", "4", "--busy-timeout", "400ms")
    worker = peers(zmtp.Peer(broker.endpoint))
    client = peers(Client(broker.endpoint))
    worker.say(mdp.worker(1, "READY", b"work"))
    client.send(b"work", b"x")
    frames = []
    while b"x" not in frames:
        frames = worker.message()
    octets = zmtp.message(*mdp.worker(1, "FINAL", frames[3], b"", bytes(300_000)))
    for at in range(0, len(octets), 10_000):
        worker.send(octets[at : at + 10_000])
        time.sleep(0.05)
    assert client.reply(b"work") == [bytes(300_000)]


def test_a_worker_whose_reply_waits_for_memory_is_not_held_to_be_silent(start, peers):
    limits = ("--set=limits.frame=8MiB", "--set=limits.message=8MiB", "--set=limits.memory=16MiB")
    broker = start("--heartbeat", "200ms", "--liveness", "5", *limits)
    client = peers(Client(broker.endpoint))
    with mdp.Worker(broker.endpoint, b"work") as worker:
        client.send(b"work", b"x")
        address, _ = worker.request()
        # It has answered a PING while it was busy, and is held to it.
        time.sleep(0.7)
        # Two have reserved most of the memory, and one more than is left: one at a time may.
        greedy = [peers(zmtp.Peer(broker.endpoint)) for _ in range(3)]
        body = zmtp.message(*mdp.request(1, b"nobody", bytes(7 << 20)))
        step, sent = 96 << 10, 0

        def go_on():
            nonlocal sent
            for peer in greedy:
                peer.send(body[sent : sent + step])
            sent += step

        go_on()
        time.sleep(0.2)
        worker.final(address, bytes(500_000))
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            time.sleep(0.25)
            go_on()
            assert not client.socket.poll(0)
        for peer in greedy:
            peer.close()
        assert client.reply(b"work") == [bytes(500_000)]
        # It is still there.
        client.send(b"work", b"y")
        worker.echo()
        assert client.reply(b"work") == [b"y"]


def test_a_ping_in_the_middle_of_a_message_leaves_it_whole(broker, peers):
    peer = peers(zmtp.Peer(broker.endpoint))
    frames = mdp.request(2, b"mmi.service", b"x")
    for body in frames[:-1]:
        peer.send(zmtp.frame(body, zmtp.MORE) + zmtp.ping(context=b"in between"))
    peer.send(zmtp.frame(frames[-1]))
    assert peer.message() == [b"MDPC02", b"\3", b"mmi.service", b"404"]
    until(lambda: peer.fence() == [])
    assert b"in between" in peer.pongs
