"""A TCP proxy that keeps what goes by, and changes it if it is told to."""

import selectors
import socket
import struct
import threading

LONG = 2


def frames(octets):
    """The frames of one side of a connection, the greeting of 64 octets first; half ones are left out."""
    found, at = [octets[:64]] if len(octets) >= 64 else [], 64
    while at < len(octets):
        head = 9 if octets[at] & LONG else 2
        if at + head > len(octets):
            break
        size = struct.unpack(">Q", octets[at + 1 : at + 9])[0] if head == 9 else octets[at + 1]
        if at + head + size > len(octets):
            break
        found.append(octets[at : at + head + size])
        at += head + size
    return found


class Side:
    """One direction of a connection."""

    def __init__(self, source, target, change, limit):
        self.source, self.target, self.change, self.limit = source, target, change, limit
        self.octets = bytearray()
        self.passed = 0

    def turn(self):
        """Passes on what there is; whether there may be more."""
        octets = self.source.recv(1 << 18)
        self.octets += octets
        if not octets:
            return False
        if self.change:
            octets = self.change(self, octets)
        self.passed += len(octets)
        self.target.sendall(octets)
        return self.limit is None or self.passed < self.limit


class Tap:
    """Listens, and passes each connection on to the endpoint.

    `upward` is called with a `Side` and the octets of a client, and gives those that are sent
    instead. After `limit` octets of a client nothing more of it is read: it stops in the middle.
    """

    def __init__(self, endpoint, upward=None, limit=None, keep=True):
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        self.to, self.upward, self.limit, self.keep = (host, int(port)), upward, limit, keep
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.clients, self.sockets = [], []
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping.is_set():
            for key, _ in self.selector.select(0.05):
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.turn(key.data)

    def accept(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(self.to)
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = Side(client, server, self.upward, self.limit)
        down = Side(server, client, None, None)
        self.clients.append(up)
        self.sockets += [client, server]
        for side in (up, down):
            self.selector.register(side.source, selectors.EVENT_READ, side)

    def turn(self, side):
        try:
            goes_on = side.turn()
        except OSError:
            goes_on = False
        if not self.keep:
            side.octets.clear()
        if not goes_on:
            self.selector.unregister(side.source)
            if side.limit is None or side.passed < side.limit:
                try:
                    side.target.shutdown(socket.SHUT_WR)
                except OSError:
                    pass

    def close(self):
        self.stopping.set()
        self.thread.join()
        for one in (self.listener, *self.sockets):
            one.close()
        self.selector.close()
