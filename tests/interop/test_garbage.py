"""Garbage of every kind on raw sockets, while a healthy client and worker go on beside it.

Each case says what becomes of the connection: SERVED, the next request on it is answered; CLOSED,
without a word; or ERROR, told that it need not come back.
"""

import struct
import threading
import time

import pytest

import mdp
import zmtp
from mdp import Client, Worker, until
from zmtp import command, frame, greeting, message, ping, properties, ready

SERVED, CLOSED, ERROR = "served", "closed", "ERROR"
QUESTION = mdp.request(2, b"mmi.service", b"nobody")
ANSWER = [b"MDPC02", b"\3", b"mmi.service", b"404"]
TYPE = (b"Socket-Type", b"DEALER")
LIMIT = 16 << 20


def many(*pairs):
    return greeting() + command(b"READY", properties(*pairs))


# Instead of a handshake: octets, and what becomes of the connection.
STRANGERS = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", CLOSED),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(508), CLOSED),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", CLOSED),
    "zeros": (bytes(64), CLOSED),
    "a greeting after a line end": (b"\n" + greeting() + ready(), CLOSED),
    "ZMTP 1.0, anonymous": (b"\x01\x00\x05\x00echo", CLOSED),
    "ZMTP 1.0, a long identity": (b"\xff" + struct.pack(">Q", 300) + b"\0" + b"x" * 299, CLOSED),
    "ZMTP 2.0": (b"\xff" + bytes(7) + b"\x01\x7f\x01\x05\x00\x00", CLOSED),
    "major 0": (greeting(major=0) + ready(), CLOSED),
    "major 2": (greeting(major=2) + ready(), CLOSED),
    "major 4": (greeting(major=4, minor=0) + ready(), SERVED),
    "major 255": (greeting(major=255, minor=255) + ready(), SERVED),
    "minor 0": (greeting(minor=0) + ready(), SERVED),
    "minor 9": (greeting(minor=9) + ready(), SERVED),
    "padding": (greeting(signature=b"\xff" + b"\xaa" * 8 + b"\x7f") + ready(), SERVED),
    "signature end 01": (greeting(signature=b"\xff" + bytes(8) + b"\x01") + ready(), SERVED),
    "as-server": (greeting(as_server=1) + ready(), SERVED),
    "filler": (greeting(filler=b"\xff" * 31) + ready(), SERVED),
    "PLAIN": (greeting(mechanism=b"PLAIN"), CLOSED),
    "CURVE": (greeting(mechanism=b"CURVE"), CLOSED),
    "null": (greeting(mechanism=b"null") + ready(), CLOSED),
    "NULLX": (greeting(mechanism=b"NULLX") + ready(), CLOSED),
    "NULL and something behind it": (greeting(mechanism=b"NULL\0Z") + ready(), CLOSED),
    "no mechanism": (greeting(mechanism=b"") + ready(), CLOSED),
    "a message before READY": (greeting() + message(*QUESTION), CLOSED),
    "PING before READY": (greeting() + ping(), CLOSED),
    "PONG before READY": (greeting() + command(b"PONG"), CLOSED),
    "ERROR before READY": (greeting() + command(b"ERROR", b"\3400"), CLOSED),
    "HELLO": (greeting() + command(b"HELLO", b"\1u\1p"), CLOSED),
    "an empty command": (greeting() + frame(b"", 4), CLOSED),
    "a name beyond its command": (greeting() + frame(b"\x20READY", 4), CLOSED),
    "READY without the command flag": (greeting() + frame(ready()[2:]), CLOSED),
    "READY with MORE": (greeting() + b"\x05" + ready()[1:], CLOSED),
    "READY with a reserved flag": (greeting() + b"\x0c" + ready()[1:], CLOSED),
    "READY in the long form": (greeting() + frame(ready()[2:], 4, long=True), SERVED),
    "READY of 200 MiB": (greeting() + frame(b"\5READY", 4, size=200 << 20), CLOSED),
    "READY of 2^63 octets": (greeting() + frame(b"\5READY", 4, size=1 << 63), CLOSED),
    "READY of 2^64-1 octets": (greeting() + frame(b"\5READY", 4, size=(1 << 64) - 1), CLOSED),
    "READY of 5 KiB": (many(TYPE, (b"X-Note", bytes(5 << 10))), CLOSED),
    "READY of 2 KiB": (many(TYPE, (b"X-Note", bytes(2 << 10))), CLOSED),
    "metadata of 512 octets": (many(TYPE, (b"X-Note", bytes(479))), SERVED),
    "metadata of 513 octets": (many(TYPE, (b"X-Note", bytes(480))), ERROR),
    "names in any case": (many((b"socket-TYPE", b"DEALER"), (b"IDENTITY", b"")), SERVED),
    "X- and unknown properties": (many(TYPE, (b"X-A", b"1"), (b"Resource", b"a")), SERVED),
    "no metadata": (many(), ERROR),
    "a type in lower case": (many((b"Socket-Type", b"dealer")), ERROR),
    "an unknown type": (many((b"Socket-Type", b"STREAM")), ERROR),
    "the type twice": (many(TYPE, TYPE), ERROR),
    "16 properties": (many(TYPE, *[(b"X-%d" % at, b"") for at in range(15)]), SERVED),
    "17 properties": (many(TYPE, *[(b"X-%d" % at, b"") for at in range(16)]), ERROR),
    "a property without a name": (many(TYPE, (b"", b"x")), ERROR),
    "a name with a blank": (many(TYPE, (b"X Y", b"x")), ERROR),
    "a stray octet": (greeting() + command(b"READY", properties(TYPE) + b"\1"), ERROR),
    "a value beyond the end": (
        greeting() + command(b"READY", properties(TYPE) + b"\1X\xff\xff\xff\xff"),
        ERROR,
    ),
    **{
        f"a {name.decode()} socket": (greeting() + ready(name), ERROR)
        for name in (b"PUB", b"SUB", b"XPUB", b"XSUB", b"PUSH", b"PULL", b"PAIR", b"REP", b"SERVER")
    },
    "a REQ socket": (greeting() + ready(b"REQ"), SERVED),
    "a ROUTER socket": (greeting() + ready(b"ROUTER"), SERVED),
}

# After a handshake: octets, and what becomes of the connection.
PEERS = {
    "reserved flag 08": (b"\x08\x01x", CLOSED),
    "reserved flag 80": (b"\x80\x01x", CLOSED),
    "all flags": (b"\xff" * 16, CLOSED),
    "MORE on a command": (b"\x05" + ping()[1:], CLOSED),
    "MORE on a long command": (frame(ping()[2:], 7, long=True), CLOSED),
    "a size of 2^64-1": (frame(b"", size=(1 << 64) - 1), CLOSED),
    "a size of 2^64-9": (frame(b"", size=(1 << 64) - 9), CLOSED),
    "a size of 2^63": (frame(b"", size=1 << 63), CLOSED),
    "a size of 2^62": (frame(b"", size=1 << 62), CLOSED),
    "a size of 2^40": (frame(b"", size=1 << 40), CLOSED),
    "a frame over the limit": (frame(b"x", size=LIMIT + 1), CLOSED),
    "a message over the limit": (frame(bytes(LIMIT), 1) * 2 + frame(b"x", 1), CLOSED),
    "1,024 frames": (b"\1\0" * 1023 + b"\0\0", SERVED),
    "1,025 frames": (b"\1\0" * 1024 + b"\0\0", CLOSED),
    "endless MORE": (b"\1\0" * 100_000, CLOSED),
    "a command over the limit": (command(b"X", bytes(5 << 10)), CLOSED),
    "an empty command": (frame(b"", 4), CLOSED),
    "a command without a name": (frame(b"\0", 4), CLOSED),
    "a name beyond its command": (frame(b"\x09PING", 4), CLOSED),
    "an unknown command": (command(b"WHAT", b"ever"), SERVED),
    "SUBSCRIBE, CANCEL, JOIN, LEAVE": (
        b"".join(command(name, b"x") for name in (b"SUBSCRIBE", b"CANCEL", b"JOIN", b"LEAVE")),
        SERVED,
    ),
    "a second READY": (ready(), SERVED),
    "ERROR": (command(b"ERROR", b"\3bye"), CLOSED),
    "ERROR without a reason": (command(b"ERROR"), CLOSED),
    "PING without a TTL": (command(b"PING"), CLOSED),
    "PING with half a TTL": (command(b"PING", b"\0"), CLOSED),
    "PING with 17 octets of context": (ping(context=bytes(17)), CLOSED),
    "PING in the long form": (frame(ping()[2:], 4, long=True), SERVED),
    "PONG that nobody asked for": (command(b"PONG", b"x"), SERVED),
    "2,000 PINGs": (ping(context=b"x") * 2000, SERVED),
    "a short message in the long form": (frame(b"x", long=True), SERVED),
    "an empty message": (b"\0\0", SERVED),
    "noise": (bytes(range(7, 256)) * 4, CLOSED),
}


class Healthy:
    """A client and a worker that go on talking, and count their turns."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.turns = 0
        self.stop = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            with Worker(self.endpoint, b"healthy") as worker, Client(self.endpoint) as client:
                while not self.stop.is_set():
                    body = b"%d" % self.turns
                    client.send(b"healthy", body)
                    worker.echo()
                    assert client.reply(b"healthy") == [body]
                    self.turns += 1
                    time.sleep(0.001)
        except BaseException as failure:
            self.failure = failure

    def check(self):
        """They have had whole turns after this call."""
        turns = self.turns
        until(lambda: self.failure or self.turns >= turns + 2)
        assert self.failure is None

    def end(self):
        self.stop.set()
        self.thread.join()
        assert self.failure is None


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """One broker and one healthy pair for all the garbage."""
    from conftest import Broker

    broker = Broker(tmp_path_factory.mktemp("garbage"), "--handshake-timeout", "10s")
    healthy = Healthy(broker.endpoint)
    broker.healthy = healthy
    yield broker
    try:
        healthy.end()
        broker.check()
    finally:
        broker.process.kill()
        broker.process.communicate()


def outcome(peer, greeted):
    """SERVED if a request is answered now, or how the connection ends."""
    try:
        if not greeted:
            peer.handshake()
        peer.try_send(message(*QUESTION))
        assert peer.message() == ANSWER
        return SERVED
    except zmtp.Closed as closed:
        return ERROR if closed.error else CLOSED
    except AssertionError:
        # Only an ERROR may stand where READY had to.
        assert peer.error
        return ERROR


@pytest.mark.parametrize("case", STRANGERS)
def test_a_stranger(scene, case):
    octets, expected = STRANGERS[case]
    with zmtp.Peer(scene.endpoint, greet=False) as peer:
        peer.try_send(octets)
        assert outcome(peer, greeted=False) == expected
    scene.healthy.check()


@pytest.mark.parametrize("case", PEERS)
def test_a_peer(scene, case):
    octets, expected = PEERS[case]
    with zmtp.Peer(scene.endpoint) as peer:
        peer.try_send(octets)
        assert outcome(peer, greeted=True) == expected
    scene.healthy.check()


def test_an_error_tells_why(scene):
    with zmtp.Peer(scene.endpoint, greet=False) as peer:
        peer.send(greeting() + ready(b"SUB"))
        peer.exactly(64)
        assert peer.until_closed() == "socket-type-not-served:use-REQ,DEALER,ROUTER-or-CLIENT"


@pytest.mark.parametrize("octets_at_once", [1, 3, 10, 63])
def test_octets_that_dribble_are_served(scene, octets_at_once):
    octets = greeting() + ready() + ping(context=b"x") + message(*QUESTION)
    with zmtp.Peer(scene.endpoint, greet=False) as peer:
        for at in range(0, len(octets), octets_at_once):
            peer.send(octets[at : at + octets_at_once])
            time.sleep(0.0005)  # Or the segments would be put together again.
        peer.handshake()
        assert peer.message() == ANSWER
        assert peer.pongs == [b"x"]
    scene.healthy.check()


def test_everything_in_one_segment_is_served(scene):
    with zmtp.Peer(scene.endpoint, greet=False) as peer:
        peer.send(greeting() + ready() + message(*QUESTION) * 3)
        peer.handshake()
        assert [peer.message() for _ in range(3)] == [ANSWER] * 3


def test_a_command_in_mid_message_is_no_part_of_it(scene):
    with zmtp.Peer(scene.endpoint) as peer:
        for body in QUESTION[:-1]:
            peer.send(frame(body, 1) + command(b"SUBSCRIBE", b"x") + command(b"CANCEL", b"x"))
        peer.send(frame(QUESTION[-1]))
        assert peer.message() == ANSWER


def test_half_a_message_and_a_close_deliver_nothing(scene):
    with Worker(scene.endpoint, b"half") as worker, Client(scene.endpoint) as client:
        until(lambda: client.status(b"half") == b"200")
        octets = message(*mdp.request(2, b"half", b"lost", b"lost"))
        for cut in range(1, len(octets)):
            with zmtp.Peer(scene.endpoint) as peer:
                peer.send(octets[:cut])
        client.send(b"half", b"whole")
        assert worker.request()[1] == [b"whole"]
    scene.healthy.check()


def test_a_handshake_that_breaks_off_at_any_octet_hurts_nobody(scene):
    octets = greeting() + ready()
    for cut in range(len(octets)):
        with zmtp.Peer(scene.endpoint, greet=False) as peer:
            peer.send(octets[:cut])
    scene.healthy.check()


def test_a_peer_that_pings_and_never_reads_grows_nothing(scene):
    before = scene.resident()
    with zmtp.Peer(scene.endpoint) as peer:
        peer.socket.settimeout(0.5)
        try:
            for _ in range(2000):
                peer.send(ping(context=b"x" * 16) * 1000)
        except TimeoutError:
            pass  # It is not read any more: fine as well.
        scene.healthy.check()
        assert scene.resident() - before < 16 << 20


def test_strangers_that_say_nothing_are_closed_in_time_and_hinder_nobody(start):
    """Eighty connections dribble one octet a second, too slowly for any handshake."""
    broker = start("--handshake-timeout", "1s")
    healthy = Healthy(broker.endpoint)
    try:
        peers = [zmtp.Peer(broker.endpoint, greet=False) for _ in range(80)]
        for octet in greeting()[:2]:
            for peer in peers:
                peer.try_send(bytes([octet]))
            healthy.check()
            time.sleep(0.3)
        for peer in peers:
            with pytest.raises(zmtp.Closed):
                peer.exactly(65)
            peer.close()
        healthy.check()
    finally:
        healthy.end()


def test_a_newcomer_takes_the_place_of_the_stranger_that_has_waited_longest(start):
    broker = start("--handshake-timeout", "1m", "--set", "handshake.unfinished_max=4")
    strangers = [zmtp.Peer(broker.endpoint, greet=False) for _ in range(20)]
    with Client(broker.endpoint) as client:
        assert client.status(b"x") == b"404"
    for stranger in strangers[:16]:
        with pytest.raises(zmtp.Closed):
            stranger.exactly(65)
    strangers[-1].send(greeting() + ready())
    assert outcome(strangers[-1], greeted=False) == SERVED
    for stranger in strangers:
        stranger.close()


def test_an_announced_size_costs_no_memory(start):
    broker = start("--set", "limits.frame=1GiB", "--set", "limits.message=2GiB", "--set", "limits.memory=4GiB")
    before = broker.resident()
    peers = [zmtp.Peer(broker.endpoint) for _ in range(60)]
    for peer in peers:
        peer.send(frame(bytes(1024), size=1 << 30))
    with Client(broker.endpoint) as client:
        assert client.status(b"x") == b"404"
    assert broker.resident() - before < 32 << 20
    for peer in peers:
        peer.close()


def test_half_messages_leave_nothing_behind(start):
    broker = start()
    octets = frame(bytes(100_000), 1) + frame(bytes(1000), size=100_000)
    after = []
    for _ in range(3):
        for _ in range(300):
            with zmtp.Peer(broker.endpoint) as peer:
                peer.send(octets)
        with Client(broker.endpoint) as client:
            client.status(b"x")
        after.append(broker.resident())
    assert after[-1] - after[0] < 8 << 20, after
