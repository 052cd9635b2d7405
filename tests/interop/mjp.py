"""MJP/1 as SPEC.md shows it: the octets of its examples, and peers that send and expect them."""

import re
import time

import msgpack
import zmq

import mdp
from conftest import ROOT

WAIT = mdp.WAIT
NAMES = {
    0x01: "HELLO",
    0x02: "HEARTBEAT",
    0x03: "DRAIN",
    0x04: "BYE",
    0x10: "REQUEST",
    0x11: "CANCEL",
    0x12: "STATUS",
    0x13: "SUBSCRIBE",
    0x14: "UNSUBSCRIBE",
    0x15: "PUBLISH",
    0x16: "ADMIN",
    0x18: "SCATTER",
    0x19: "FLOW",
    0x1A: "LEASE",
    0x1B: "GROUP",
    0x1C: "LANE",
    0x20: "ACCEPTED",
    0x21: "PARTIAL",
    0x22: "FINAL",
    0x23: "ERROR",
    0x24: "EVENT",
    0x25: "ASK",
    0x26: "TELL",
    0x27: "TARGETS",
    0x28: "OUTCOME",
    0x2C: "NOTE",
    0x29: "MESSAGE",
    0x2A: "PUBLISHED",
    0x2B: "GAP",
    0x30: "READY",
    0x31: "CREDIT",
}
KINDS = {name: kind for kind, name in NAMES.items()}


def frames_of(octets):
    """The frames of a message on the wire, in the short form of SPEC 2."""
    frames, more = [], True
    while more:
        more, size = octets[0], octets[1]
        frames.append(octets[2 : 2 + size])
        octets = octets[2 + size :]
    assert not octets
    return frames


def examples():
    """The examples of SPEC.md: (way, what it means), and the frames."""
    found = {}
    text = (ROOT / "SPEC.md").read_text()
    for way, lines, says in re.findall(r"^```hex (mjp\S*)\n(.*?)\n= (.*?)\n```$", text, re.M | re.S):
        octets = bytes.fromhex(" ".join(line.split(";")[0] for line in lines.splitlines()))
        found[way, says] = frames_of(octets)
    return found


EXAMPLES = examples()


def example(way, begins):
    """The frames of the example that says this, or of the first that begins so."""
    found = [frames for (of, says), frames in EXAMPLES.items() if (of, says) == (way, begins)]
    if not found:
        begins = [begins + " ", begins + ":"]
        found = [
            frames
            for (of, says), frames in EXAMPLES.items()
            if of == way and says.startswith(tuple(begins))
        ]
    return list(found[0])


def second(name, id=0):
    """The second frame."""
    return bytes([KINDS.get(name, name)]) + id.to_bytes(8, "big")


def with_id(frames, id):
    """The same message with another id."""
    return [frames[0], frames[1][:1] + id.to_bytes(8, "big"), *frames[2:]]


def header(frames, at=2):
    """What a header says."""
    return msgpack.unpackb(frames[at] or b"\x80") if len(frames) > at else {}


def kind(frames):
    return NAMES[frames[1][0]]


def id_of(frames):
    return int.from_bytes(frames[1][1:], "big")


class Peer(mdp.Socket):
    """A DEALER that says MJP/1."""

    def __init__(self, endpoint, identity=None, options=None):
        options = dict(options or {})
        if identity:
            options[zmq.IDENTITY] = identity
        super().__init__(endpoint, zmq.DEALER, None, options)

    def send(self, frames):
        self.socket.send_multipart(frames)

    def say(self, name, id=0, says=None, *body):
        self.send([b"MJP1", second(name, id), msgpack.packb(says or {}), *body])

    def recv(self, wait=WAIT, beats=False):
        """The next message; heartbeats are passed over unless they are asked for."""
        deadline = time.monotonic() + wait
        while True:
            frames = self.receive(deadline - time.monotonic())
            assert frames[0] == b"MJP1", frames
            if beats or kind(frames) != "HEARTBEAT":
                return frames

    def expect(self, name, id=None, wait=WAIT):
        """The next message, which is of this kind and has this id."""
        frames = self.recv(wait)
        assert kind(frames) == name and id in (None, id_of(frames)), frames
        return frames

    def hears_nothing(self):
        """Nothing has come for this peer: the broker has done all that was said before."""
        self.say("HELLO")
        self.expect("HELLO")

    def offer(self, **says):
        """Registers; work may come at once."""
        self.say("READY", 0, {"service": b"echo", **says})
        return self

    def ready(self, **says):
        """Registers, and waits until it is registered, while no work waits for it."""
        self.offer(**says).hears_nothing()
        return self

    def request(self):
        """The next delivery: its id, what the broker says of it, the body."""
        frames = self.expect("REQUEST")
        return id_of(frames), header(frames, 3), frames[4:]

    def call(self, id, *body, service=b"echo", **says):
        self.say("REQUEST", id, {"service": service, **says}, *body)

    def status(self, id=1_000_000, **says):
        self.say("STATUS", id, says)
        return header(self.expect("STATUS", id))
