"""Recorded sessions of CURVE: none of their octets is good for anything again, or when changed."""

import pytest
import zmq

import mdp
import zmtp
from curve import Key, monitored
from load import Answering
from mdp import until
from mjp import Peer, kind
from wire_tap import Tap, frames

ANNA, BOB = Key("anna"), Key("bob")
# Frames of a client before its first message.
GREETING, HELLO, INITIATE = range(3)
CALLS = 5


@pytest.fixture(scope="module")
def broker(guard_of_module):
    return guard_of_module("--set=handshake.silence=500ms")


@pytest.fixture
def echo(broker, peers):
    """A worker that notes every body that it is given."""
    return peers(Answering(broker.endpoint, b"echo", BOB.to(broker)))


@pytest.fixture
def recorded(broker, peers, echo):
    """The frames of a client that has called some times, greeting first."""
    tap = peers(Tap(broker.endpoint))
    client = peers(mdp.Client(tap.endpoint, options=ANNA.to(broker)))
    for call in range(CALLS):
        assert client.call(b"echo", b"call %d" % call) == [b"call %d" % call]
    client.close()
    [side] = tap.clients
    session = frames(bytes(side.octets))
    names = [frame[:2].hex() for frame in session[1:3]]
    assert session[HELLO][2:8] == b"\5HELLO" and session[INITIATE][9:18] == b"\x08INITIATE", names
    assert len(session) >= 3 + CALLS
    return session


def answers(broker, octets):
    """What the broker says to these octets, and that it closes then: frames behind its greeting."""
    with zmtp.Peer(broker.endpoint, greet=False) as peer:
        peer.try_send(octets)
        said = []
        try:
            peer.exactly(64)
            while True:
                said.append(peer.frame()[1])
        except zmtp.Closed:
            return said


def unserved(broker, echo, said, calls):
    """Nobody got in: no READY came, at most one WELCOME, and no worker has had anything."""
    assert not [body for body in said if not body.startswith((b"\7WELCOME", b"\5ERROR"))], said
    assert echo.seen == calls


def test_a_session_is_refused_when_it_is_cut_at_any_message(broker, recorded, echo):
    calls = list(echo.seen)
    for cut in range(1, len(recorded) + 1):
        unserved(broker, echo, answers(broker, b"".join(recorded[:cut])), calls)


def test_a_session_is_refused_when_any_message_is_left_out_or_comes_twice(broker, recorded, echo):
    calls = list(echo.seen)
    for at in range(1, len(recorded)):
        left_out = recorded[:at] + recorded[at + 1 :]
        twice = recorded[: at + 1] + recorded[at:]
        for session in (left_out, twice):
            unserved(broker, echo, answers(broker, b"".join(session)), calls)


def test_an_initiate_of_one_connection_is_nothing_to_another(broker, recorded, echo, peers):
    """Its cookie is bound to the connection that it was made for, which is alive here."""
    calls = list(echo.seen)
    tap = peers(Tap(broker.endpoint))
    client = peers(mdp.Client(tap.endpoint, options=ANNA.to(broker)))
    assert client.status(b"x") == b"404"
    live = frames(bytes(tap.clients[0].octets))
    for hello, initiate in ((live, live), (recorded, live), (live, recorded)):
        octets = hello[GREETING] + hello[HELLO] + initiate[INITIATE] + live[3]
        unserved(broker, echo, answers(broker, octets), calls)
    assert client.status(b"x") == b"404"


class Change:
    """Changes one frame of each connection, whose number is `at`."""

    def __init__(self, at, how):
        self.at, self.how, self.done = at, how, 0

    def __call__(self, side, octets):
        # All that has come so far, cut into whole frames; what is half waits.
        whole = frames(bytes(side.octets))
        sent = getattr(side, "sent", 0)
        side.sent = len(whole)
        out = []
        for number, frame in enumerate(whole[sent:], sent):
            changed = self.how(whole, frame) if number == self.at else [frame]
            self.done += changed != [frame]
            out += changed
        return b"".join(out)


def flipped(at):
    """One bit of the octet at this place is another."""

    def change(_, frame):
        octets = bytearray(frame)
        octets[at] ^= 1
        return [bytes(octets)]

    return change


# Frames of a request of MDP/0.1; the last one is its body.
FRAMES = 4
# What somebody in the middle may do to the body of a client's second message.
SECOND = INITIATE + 2 * FRAMES
MEDDLING = {
    "comes twice": lambda _, frame: [frame, frame],
    "the one before comes again": lambda whole, frame: [frame, whole[SECOND - 1]],
    "instead of it the one before": lambda whole, _: [whole[SECOND - 1]],
    "its first octet": flipped(0),
    "its command": flipped(5),
    "its nonce": flipped(12),
    "the tag of its box": flipped(20),
    "its box": flipped(-1),
    "its INITIATE again": lambda whole, frame: [frame, whole[INITIATE]],
    "its HELLO again": lambda whole, frame: [frame, whole[HELLO]],
    "a message without a box": lambda *_: [zmtp.message(*mdp.request(1, b"echo", b"forged"))],
    "a PING without a box": lambda *_: [zmtp.ping()],
    "READY in the clear": lambda *_: [zmtp.ready()],
}


@pytest.mark.parametrize("case", MEDDLING)
def test_who_meddles_with_a_session_ends_it_and_nothing_is_served_twice(broker, echo, peers, case):
    change = Change(SECOND, MEDDLING[case])
    tap = peers(Tap(broker.endpoint, change))
    client = peers(mdp.Client(tap.endpoint, options={**ANNA.to(broker), zmq.RECONNECT_IVL: 20}))
    with monitored(client.socket, zmq.EVENT_DISCONNECTED) as monitor:
        assert client.call(b"echo", b"first") == [b"first"]
        client.send(b"echo", b"second")
        if not monitor.poll(500):
            # With MORE outside the box it waits for more: for that and no longer.
            client.send(b"echo", b"third")
        assert monitor.poll(10_000), "the broker closes"
    assert change.done == 1
    # Whoever is honest goes on.
    honest = peers(mdp.Client(broker.endpoint, options=ANNA.to(broker)))
    assert honest.call(b"echo", b"honest") == [b"honest"]
    bodies = [body for body in echo.seen if body not in (b"honest", b"third")]
    assert bodies in ([b"first"], [b"first", b"second"]), "none twice, and none that was forged"


@pytest.mark.parametrize("at", [HELLO, INITIATE])
@pytest.mark.parametrize("octet", [0, 2, 8, 100, 150, 190])
def test_a_changed_handshake_is_closed(broker, echo, peers, at, octet):
    """The padding of HELLO alone may be anything."""
    change = Change(at, flipped(octet))
    tap = peers(Tap(broker.endpoint, change))
    options = {**ANNA.to(broker), zmq.RECONNECT_IVL: 20}
    client = peers(mdp.Client(tap.endpoint, options=options))
    client.send(b"echo", b"x")
    until(lambda: change.done >= 2)
    assert echo.seen == []


def test_no_message_is_served_twice_by_mjp_either(broker, peers):
    """A request that is doubled on its way ends the connection, and runs once."""
    worker = peers(Peer(broker.endpoint, options=BOB.to(broker))).ready(service=b"once")
    # The body is the fourth frame of the first message.
    change = Change(INITIATE + 4, MEDDLING["comes twice"])
    tap = peers(Tap(broker.endpoint, change))
    client = peers(Peer(tap.endpoint, options={**ANNA.to(broker), zmq.RECONNECT_IVL: 60_000}))
    with monitored(client.socket, zmq.EVENT_DISCONNECTED) as monitor:
        client.call(1, b"x", service=b"once")
        assert monitor.poll(10_000), "the broker closes"
    assert change.done == 1
    worker.request()
    worker.say("HELLO")
    said = worker.recv()
    while kind(said) != "HELLO":
        assert kind(said) == "CANCEL", said
        said = worker.recv()
