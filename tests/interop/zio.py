"""Ends of ZIO's flows on plain sockets, written from SPEC 13 and RFC 41: a CLIENT is one frame a
message, a DEALER a frame for each part behind an empty one."""

import json
import os
import socket
import struct

from mdp import until
from zmtp import MORE, WAIT, Peer, command, frame, greeting, message, properties


def ready(socket_type):
    """As libzmq's CLIENT says it: it has no identity."""
    return command(b"READY", properties((b"Socket-Type", socket_type)))


def encode(parts):
    """All parts in one frame, each behind its size (RFC 50)."""
    sizes = (bytes([len(it)]) if len(it) < 255 else b"\xff" + struct.pack(">I", len(it)) for it in parts)
    return b"".join(size + part for size, part in zip(sizes, parts))


def decode(octets):
    parts = []
    while octets:
        size, octets = octets[0], octets[1:]
        if size == 255:
            size, octets = struct.unpack(">I", octets[:4])[0], octets[4:]
        assert len(octets) >= size, "a part is cut off"
        parts, octets = [*parts, octets[:size]], octets[size:]
    return parts


class Message:
    def __init__(self, label, payload=(), seqno=0, origin=0, granule=0):
        self.label, self.payload, self.seqno = label, list(payload), seqno
        self.origin, self.granule = origin, granule

    @classmethod
    def of(cls, parts):
        assert parts[0][:3] == b"ZIO", parts[0]
        origin, granule, seqno = struct.unpack("<QQQ", parts[1])
        return cls(json.loads(parts[0][8:]), parts[2:], seqno, origin, granule)

    @property
    def kind(self):
        return self.label["flow"]

    def parts(self):
        prefix = b"ZIO0FLOW" + json.dumps(self.label).encode()
        return [prefix, struct.pack("<QQQ", self.origin, self.granule, self.seqno), *self.payload]

    def __repr__(self):
        return f"{self.label} {self.seqno} {[it[:20] for it in self.payload]}"


class End(Peer):
    """One end of a flow: counts what it says, and keeps its credit."""

    def __init__(self, endpoint, socket_type=b"CLIENT", minor=1):
        super().__init__(endpoint, greet=False)
        self.single = socket_type == b"CLIENT"
        self.send(greeting(minor=minor) + ready(socket_type))
        self.handshake()
        self.seqno = 0

    def handshake(self):
        assert self.exactly(64)[:12] == b"\xff" + bytes(8) + b"\x7f\x03\x01"
        flags, body = self.frame()
        ours = b"SERVER" if self.single else b"ROUTER"
        more = [] if self.single else [(b"Identity", b"")]
        assert body == b"\x05READY" + properties((b"Socket-Type", ours), *more), body

    def put(self, message):
        self.raw(message.parts())

    def raw(self, parts):
        if self.single:
            self.send(frame(encode(parts)))
        else:
            self.say([b"", *parts])

    def tell(self, flow, *payload, **attributes):
        """Says the next message of a flow; a BOT begins to count anew."""
        self.seqno = 0 if flow == "BOT" else self.seqno + 1
        self.put(Message({"flow": flow, **attributes}, payload, self.seqno))

    def get(self):
        return Message.of(self.get_parts())

    def get_parts(self):
        frames = self.message()
        if self.single:
            assert len(frames) == 1, frames
            return decode(frames[0])
        assert frames[0] == b"", frames
        return frames[1:]

    def expect(self, flow, **attributes):
        said = self.get()
        assert said.label == {"flow": flow, **attributes}, said
        return said

    def nothing(self):
        """Nothing was said to it up to now."""
        assert self.fence() == []

    def no_more(self):
        said = [Message.of(decode(frames[0]) if self.single else frames[1:]) for frames in self.fence()]
        assert said == [], said


class Factory:
    """The other side of the external factory link: hears of flows, and says who handles them."""

    def __init__(self, port=0):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.listener.settimeout(WAIT)
        self.port = self.listener.getsockname()[1]
        self.line = None
        self.lines = 0

    def accept(self, broker):
        """The broker's line, when the broker knows of it as well: until then it refuses flows."""
        self.line, _ = self.listener.accept()
        self.line.settimeout(WAIT)
        self.text = self.line.makefile("rb")
        self.lines += 1
        until(lambda: broker.log().count("connected to the flow factory") >= self.lines)

    def asked(self):
        """The next question: its number, the BOT with its cid, and the same as octets."""
        line = self.text.readline()
        assert line, "the broker hung up"
        question = json.loads(line)
        assert set(question) == {"id", "bot"}, question
        octets = bytes.fromhex(question["bot"])
        return question["id"], Message.of(decode(octets)), octets

    def answer(self, number, accept=True, **more):
        self.send(json.dumps({"id": number, "accept": accept, **more}).encode() + b"\n")

    def send(self, octets):
        self.line.sendall(octets)

    def hang_up(self):
        self.text.close()
        self.line.close()

    def close(self):
        if self.line:
            self.hang_up()
        self.listener.close()
