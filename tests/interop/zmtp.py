"""ZMTP 3.1 on a plain socket, octet by octet, for what libzmq will not do.

Written from RFC 37. A `Peer` takes part in the NULL handshake and then reads and writes frames;
the functions build octets, right or wrong ones.
"""

import socket
import struct
import time

MORE, LONG, COMMAND = 1, 2, 4
WAIT = 30.0


def greeting(major=3, minor=1, mechanism=b"NULL", as_server=0, signature=None, filler=bytes(31)):
    signature = signature or b"\xff" + bytes(8) + b"\x7f"
    return signature + bytes([major, minor]) + mechanism.ljust(20, b"\0") + bytes([as_server]) + filler


def frame(body, flags=0, size=None, long=False):
    """One frame; `size` lies about the body, `long` wastes octets."""
    size = len(body) if size is None else size
    if long or size > 255:
        return struct.pack(">BQ", flags | LONG, size) + body
    return bytes([flags, size]) + body


def command(name, data=b"", **kwargs):
    return frame(bytes([len(name)]) + name + data, COMMAND, **kwargs)


def message(*frames):
    last = len(frames) - 1
    return b"".join(frame(body, MORE if at < last else 0) for at, body in enumerate(frames))


def properties(*pairs):
    return b"".join(
        bytes([len(name)]) + name + struct.pack(">I", len(value)) + value for name, value in pairs
    )


def ready(socket_type=b"DEALER", identity=b""):
    return command(b"READY", properties((b"Socket-Type", socket_type), (b"Identity", identity)))


def ping(ttl=0, context=b""):
    return command(b"PING", struct.pack(">H", ttl) + context)


class Closed(Exception):
    """The broker closed the connection; `error` is the reason of its ERROR, if it sent one."""

    def __init__(self, error=None):
        super().__init__(error)
        self.error = error


class Peer:
    """A connection. With `greet=False` nothing is said until `send`."""

    def __init__(self, endpoint, socket_type=b"DEALER", identity=b"", greet=True, minor=1):
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=WAIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.error = None
        self.pongs = []
        self.pings = []
        self.fences = 0
        if greet:
            self.send(greeting(minor=minor) + ready(socket_type, identity))
            self.handshake()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets)

    def try_send(self, octets):
        """Sends as much as a broker that may close in the middle takes."""
        try:
            self.send(octets)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def say(self, frames):
        self.send(message(*frames))

    def handshake(self):
        """Reads the broker's greeting and its READY, which it must not send before ours."""
        assert self.exactly(64)[:12] == b"\xff" + bytes(8) + b"\x7f\x03\x01"
        flags, body = self.frame()
        assert flags == COMMAND and body[:6] == b"\x05READY", (flags, body)

    def exactly(self, count):
        while len(self.buffer) < count:
            try:
                octets = self.socket.recv(1 << 16)
            except ConnectionResetError:
                octets = b""
            if not octets:
                raise Closed(self.error)
            self.buffer += octets
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def frame(self):
        """The next frame: its flags without LONG, and its body. Notes PING, PONG and ERROR."""
        flags = self.exactly(1)[0]
        assert flags in (0, 1, 2, 3, 4, 6), f"flags {flags:#04x}"
        size = struct.unpack(">Q", self.exactly(8))[0] if flags & LONG else self.exactly(1)[0]
        body = self.exactly(size)
        if flags & COMMAND:
            name, data = body[1 : 1 + body[0]], body[1 + body[0] :]
            if name == b"ERROR":
                self.error = data[1:].decode()
            elif name == b"PONG":
                self.pongs.append(data)
            elif name == b"PING":
                self.pings.append(data)
        return flags & ~LONG, body

    def message(self):
        """The next message; commands between its frames are noted and are no part of it."""
        frames = []
        while True:
            flags, body = self.frame()
            if not flags & COMMAND:
                frames.append(body)
                if not flags & MORE:
                    return frames

    def fence(self):
        """Every message that the broker sent before it answered to all that was said so far."""
        self.fences += 1
        context = b"fence %d" % self.fences
        self.send(ping(context=context))
        messages, frames = [], []
        while context not in self.pongs:
            flags, body = self.frame()
            if not flags & COMMAND:
                frames.append(body)
                if not flags & MORE:
                    messages.append(frames)
                    frames = []
        return messages

    def until_closed(self, wait=WAIT):
        """Reads until the broker closes; the reason of its ERROR, or None if it just closed."""
        deadline = time.monotonic() + wait
        try:
            while time.monotonic() < deadline:
                self.frame()
        except Closed as closed:
            return closed.error
        raise AssertionError(f"still open after {wait} s")
