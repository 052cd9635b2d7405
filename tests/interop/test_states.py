"""The state table of a worker's connection and its invalid inputs, row by row.

Each case runs on a raw connection, whose PING is a fence: what the broker had to say to all that
was sent before comes before the PONG, so that silence is seen without waiting for it.
"""

import pytest

import mdp
import zmtp
from mdp import Client, from_broker, until, worker

DISCONNECT = ("DISCONNECT", [])


class Raw(zmtp.Peer):
    """A worker on a raw connection."""

    def __init__(self, endpoint, version):
        super().__init__(endpoint)
        self.version = version

    def say_worker(self, name, *frames):
        self.say(worker(self.version, name, *frames))

    def heard(self):
        """What the broker has to say to all that was said so far, heartbeats aside."""
        commands = [from_broker(self.version, frames) for frames in self.fence()]
        return [command for command in commands if command[0] != "HEARTBEAT"]


class Scene:
    """A broker, a client, and a worker in the state that a case begins with."""

    def __init__(self, broker, peers, version):
        self.broker = broker
        self.peers = peers
        self.version = version
        self.client = peers(Client(broker.endpoint))
        self.worker = peers(Raw(broker.endpoint, version))
        self.address = b""

    def unknown(self):
        pass

    def idle(self):
        self.worker.say_worker("READY", b"work")
        assert self.worker.heard() == []
        assert self.client.status(b"work") == b"200"

    def busy(self):
        self.idle()
        self.client.send(b"work", b"the", b"request")
        assert self.client.status(b"work") == b"200"
        [(name, [self.address, *rest])] = self.worker.heard()
        assert (name, rest) == ("REQUEST", [b"", b"the", b"request"])

    def dismissed(self):
        """Told to go, and told again for its first command afterwards: nothing is owed to it."""
        self.idle()
        self.worker.say_worker("READY", b"work")
        self.worker.say_worker("HEARTBEAT")
        assert self.worker.heard() == [DISCONNECT, DISCONNECT]

    def left(self):
        self.idle()
        self.worker.say_worker("DISCONNECT")
        assert self.worker.heard() == []

    def check_end(self, state, gone):
        """Whether the worker is registered; and the request of a lost one goes to another."""
        expected = b"404" if gone else b"200"
        assert self.client.status(b"work") == expected
        if state == "busy" and gone:
            other = self.peers(mdp.Worker(self.broker.endpoint, b"work"))
            address, body = other.request()
            assert body == [b"the", b"request"]
            assert self.worker.heard() == [], "nothing may follow a DISCONNECT"
            other.final(address, b"by another")
            assert self.client.reply(b"work") == [b"by another"]


SAID = {
    "READY": lambda scene: ("READY", b"work"),
    "READY of another service": lambda scene: ("READY", b"other"),
    "READY of an mmi service": lambda scene: ("READY", b"mmi.x"),
    "READY without a name": lambda scene: ("READY",),
    "READY with an empty name": lambda scene: ("READY", b""),
    "READY with two names": lambda scene: ("READY", b"work", b"work"),
    "READY with a name of 256 octets": lambda scene: ("READY", b"w" * 256),
    "an answer to the wrong address": lambda scene: ("FINAL", b"nobody", b"", b"x"),
    "an answer to an address of zeros": lambda scene: ("FINAL", bytes(8), b"", b"x"),
    "an answer without frames": lambda scene: ("FINAL",),
    "an answer without an empty frame": lambda scene: ("FINAL", scene.address, b"x", b"x"),
    "an answer without a body": lambda scene: ("FINAL", scene.address, b""),
    "an unknown command": lambda scene: (b"\x63", b"x"),
    "a command of two octets": lambda scene: (b"\1\1", b"work"),
    "no command": lambda scene: (b"",),
    "HEARTBEAT with a frame": lambda scene: ("HEARTBEAT", b"x"),
    "REQUEST, which only brokers say": lambda scene: ("REQUEST", b"a", b"", b"x"),
}
# What an unknown peer says instead of READY: a command that is none is dropped, and the first
# command after it learns that the worker is not registered.
SILENT_IF_UNKNOWN = {
    "an unknown command",
    "a command of two octets",
    "no command",
    "HEARTBEAT with a frame",
    "REQUEST, which only brokers say",
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_worker_that_breaks_the_rules_is_dismissed(broker, peers, version, state, said):
    scene = Scene(broker, peers, version)
    getattr(scene, state)()
    scene.worker.say_worker(*SAID[said](scene))
    assert scene.worker.heard() == [DISCONNECT]
    scene.check_end(state, gone=True)
    scene.worker.say_worker("HEARTBEAT")
    for _ in range(5):
        scene.worker.say_worker("HEARTBEAT")
        scene.worker.say_worker("READY", b"work")
    assert scene.worker.heard() == [DISCONNECT], "one more, for its first command, and no other"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("said", [*list(SAID)[2:], "HEARTBEAT"])
def test_a_stranger_has_to_say_ready_first(broker, peers, version, said):
    scene = Scene(broker, peers, version)
    scene.worker.say_worker(*SAID.get(said, lambda _: ("HEARTBEAT",))(scene))
    assert scene.worker.heard() == ([] if said in SILENT_IF_UNKNOWN else [DISCONNECT])
    scene.check_end("unknown", gone=True)
    for _ in range(5):
        scene.worker.say_worker("HEARTBEAT")
    assert scene.worker.heard() == [DISCONNECT]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("said", [*SAID, "HEARTBEAT", "DISCONNECT"])
@pytest.mark.parametrize("state", ["dismissed", "left"])
def test_nothing_is_said_to_a_worker_that_is_gone(broker, peers, version, state, said):
    scene = Scene(broker, peers, version)
    getattr(scene, state)()
    for _ in range(3):
        scene.worker.say_worker(*SAID.get(said, lambda _: (said,))(scene))
    assert scene.worker.heard() == []
    scene.check_end(state, gone=True)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("state", ["unknown", "idle", "busy"])
def test_disconnect_is_not_answered(broker, peers, version, state):
    scene = Scene(broker, peers, version)
    getattr(scene, state)()
    scene.worker.say_worker("DISCONNECT")
    assert scene.worker.heard() == []
    scene.check_end(state, gone=True)
    scene.worker.say_worker("HEARTBEAT")
    assert scene.worker.heard() == []


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_heartbeats_are_welcome_at_any_time(broker, peers, version, state):
    scene = Scene(broker, peers, version)
    getattr(scene, state)()
    for _ in range(10):
        scene.worker.say_worker("HEARTBEAT")
    assert scene.worker.heard() == []
    scene.check_end(state, gone=False)


def test_a_partial_while_idle_is_not_forwarded(broker, peers):
    scene = Scene(broker, peers, 2)
    scene.busy()
    scene.worker.say_worker("FINAL", scene.address, b"", b"done")
    assert scene.client.reply(b"work") == [b"done"]
    scene.worker.say_worker("PARTIAL", scene.address, b"", b"more")
    assert scene.worker.heard() == [DISCONNECT]
    assert scene.client.status(b"work") == b"404", "and no PARTIAL came before this answer"


def test_a_partial_to_another_address_dismisses_a_busy_worker(broker, peers):
    scene = Scene(broker, peers, 2)
    scene.busy()
    scene.worker.say_worker("PARTIAL", b"nobody", b"", b"more")
    assert scene.worker.heard() == [DISCONNECT]
    scene.check_end("busy", gone=True)


@pytest.mark.parametrize("version", [1, 2])
def test_a_second_answer_dismisses_and_reaches_nobody(broker, peers, version):
    scene = Scene(broker, peers, version)
    scene.busy()
    for body in (b"first", b"second"):
        scene.worker.say_worker("FINAL", scene.address, b"", body)
    assert scene.worker.heard() == [DISCONNECT]
    assert scene.client.reply(b"work") == [b"first"]
    assert scene.client.status(b"work") == b"404", "and no second reply came before this answer"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("state", ["unknown", "idle", "busy"])
def test_a_worker_of_one_version_may_not_speak_the_other(broker, peers, version, state):
    scene = Scene(broker, peers, version)
    getattr(scene, state)()
    scene.worker.say(worker(3 - version, "HEARTBEAT"))
    spoken = 3 - version if state == "unknown" else version
    commands = [from_broker(spoken, frames) for frames in scene.worker.fence()]
    assert commands == [DISCONNECT]
    scene.check_end(state, gone=True)


@pytest.mark.parametrize("version", [1, 2])
def test_a_peer_is_a_client_or_a_worker_but_not_both(broker, peers, version):
    scene = Scene(broker, peers, version)
    scene.busy()
    scene.worker.say(mdp.request(version, b"work", b"x"))
    assert scene.worker.heard() == [DISCONNECT]
    scene.check_end("busy", gone=True)
    client = peers(Raw(broker.endpoint, version))
    client.say(mdp.request(version, b"mmi.service", b"work"))
    assert len(client.fence()) == 1
    client.say_worker("READY", b"work")
    assert client.heard() == [DISCONNECT]


@pytest.mark.parametrize("version", [1, 2])
def test_a_worker_cannot_answer_for_another_one(broker, peers, version):
    """The forged address is a real one: that of a request which another worker holds."""
    scene = Scene(broker, peers, version)
    scene.busy()
    thief = peers(Raw(broker.endpoint, version))
    thief.say_worker("READY", b"work")
    assert thief.heard() == []
    for heard in ([DISCONNECT], [DISCONNECT], [], []):
        thief.say_worker("FINAL", scene.address, b"", b"forged")
        assert thief.heard() == heard, "dismissed, and told once more"
    scene.worker.say_worker("FINAL", scene.address, b"", b"true")
    assert scene.client.reply(b"work") == [b"true"]
    assert scene.client.status(b"work") == b"200"


@pytest.mark.parametrize("version", [1, 2])
def test_the_late_answer_of_a_lost_worker_counts_only_while_nobody_else_has_the_request(
    broker, peers, version
):
    for taken in (False, True):
        scene = Scene(broker, peers, version)
        scene.busy()
        scene.worker.say_worker("DISCONNECT")
        assert scene.worker.heard() == []
        if taken:
            other = peers(mdp.Worker(broker.endpoint, b"work"))
            address, _ = other.request()
        scene.worker.say_worker("FINAL", scene.address, b"", b"late")
        assert scene.worker.heard() == []
        if taken:
            other.final(address, b"by another")
            other.close()
        assert scene.client.reply(b"work") == [b"by another" if taken else b"late"]
        until(lambda: scene.client.status(b"work") == b"404")


DROPPED = {
    "one frame": [b"x"],
    "two frames": [b"x", b"y"],
    "an empty frame and another": [b"", b"x"],
    "an unknown header": [b"", b"MDPX01", b"echo", b"x"],
    "frame 0 that is not empty": [b"x", b"MDPC01", b"echo", b"x"],
    "an envelope of nine frames": [b"x"] * 8 + [b"", b"MDPC01", b"echo", b"x"],
    "an envelope frame of 256 octets": [b"x" * 256, b"", b"MDPC01", b"echo", b"x"],
    "0.1: no service": [b"", b"MDPC01"],
    "0.1: no body": [b"", b"MDPC01", b"echo"],
    "0.1: an empty service": [b"", b"MDPC01", b"", b"x"],
    "0.1: a service of 256 octets": [b"", b"MDPC01", b"e" * 256, b"x"],
    "0.2: no command": [b"MDPC02"],
    "0.2: no service": [b"MDPC02", b"\1"],
    "0.2: no body": [b"MDPC02", b"\1", b"echo"],
    "0.2: an empty service": [b"MDPC02", b"\1", b"", b"x"],
    "0.2: the command of a broker": [b"MDPC02", b"\2", b"echo", b"x"],
    "0.2: behind an empty frame": [b"", b"MDPC02", b"\1", b"echo", b"x"],
    "MDPC0X": [b"", b"MDPC0X", b"\1", b"echo", b"x"],
    "MDPC03": [b"MDPC03", b"\1", b"echo", b"x"],
    "zproto": [b"\xaa\xa4\1\6MDPC02", b"x"],
    "PROBE_ROUTER": [b""],
}


@pytest.mark.parametrize("case", DROPPED)
def test_a_message_that_is_no_request_is_dropped_and_decides_nothing(broker, peers, case):
    peer = peers(zmtp.Peer(broker.endpoint))
    service = peers(mdp.Worker(broker.endpoint, b"echo"))
    client = peers(Client(broker.endpoint))
    until(lambda: client.status(b"echo") == b"200")
    peer.say(DROPPED[case])
    assert peer.fence() == []
    peer.say(mdp.request(2, b"echo", b"valid"))
    address, body = service.request()
    assert body == [b"valid"]
    service.final(address, *body)
    assert peer.message() == [b"MDPC02", b"\3", b"echo", b"valid"]
