"""One client or worker of the soak, in a process of its own that may be killed at any time.

    actor.py client NAME ENDPOINT LOG SEED SERVICE...
    actor.py worker NAME ENDPOINT LOG SEED SERVICE

What it is about to do it first writes to its log, one line an event:

    sent ID HASH SERVICE    a client sends a request
    reply ID HASH           a client got the last answer to one of its own requests
    foreign ID              a client got an answer that is none of its own, or got one again
    begin ID HASH SERVICE   a worker starts to execute a request
    end ID HASH             a worker answers it
    done                    a client has all its answers
"""

import hashlib
import os
import pathlib
import random
import signal
import sys
import threading
import time

import zmq

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "interop"))

import mdp

BEAT_MS = 200
LIVENESS = 5
# Requests of one client in a second, on average.
RATE = 300
# How long a client waits for its last answers once it has been told to stop.
PATIENCE = 120
STOPPING = threading.Event()


def digest(body):
    return hashlib.blake2b(body, digest_size=8).hexdigest().encode()


class Log:
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, *words):
        os.write(self.file, b" ".join(words) + b"\n")


def body(rng):
    """Mostly small, now and then up to 1 MiB, sometimes nothing at all."""
    limit = rng.choices((0, 200, 16 << 10, 100 << 10, 1 << 20), (5, 75, 15, 4.5, 0.5))[0]
    return rng.randbytes(rng.randint(0, limit))


class Client:
    def __init__(self, name, endpoint, log, rng, services):
        self.name, self.log, self.rng, self.services = name, log, rng, services
        kind, version = rng.choice(((zmq.REQ, 1), (zmq.DEALER, 1), (zmq.DEALER, 2)))
        self.peer = mdp.Client(endpoint, version, kind)
        self.window = 1 if kind == zmq.REQ else rng.randint(2, 64)
        self.waiting = {}
        self.count = 0

    def run(self):
        due = time.monotonic()
        while not STOPPING.is_set():
            now = time.monotonic()
            if due <= now and len(self.waiting) < self.window:
                self.send()
                due = max(due + self.rng.expovariate(RATE), now - 1)
            elif self.peer.socket.poll(10 if self.waiting else 1):
                self.receive()
        deadline = time.monotonic() + PATIENCE
        while self.waiting and time.monotonic() < deadline:
            if self.peer.socket.poll(100):
                self.receive()
        # An answer too many would come about now.
        while self.peer.socket.poll(500):
            self.receive()
        if self.waiting:
            sys.exit(f"{self.name}: {len(self.waiting)} requests without an answer")
        self.log.write(b"done")

    def send(self):
        self.count += 1
        number = f"{self.name}:{self.count}".encode()
        content, service = body(self.rng), self.rng.choice(self.services)
        self.waiting[number] = service
        self.log.write(b"sent", number, digest(content), service)
        self.peer.send(service, number, content)

    def receive(self):
        name, service, frames = self.peer.recv()
        # A client of MDP/0.1 gets the parts in front of the rest.
        while frames and frames[0] == b"part":
            part, frames = frames[1], frames[2:]
            if part not in self.waiting or (frames and frames[-2] != part):
                return self.log.write(b"foreign", part)
        if name == "PARTIAL":
            return None
        number, content = frames
        if self.waiting.pop(number, None) != service:
            return self.log.write(b"foreign", number)
        return self.log.write(b"reply", number, digest(content))


class Worker:
    def __init__(self, endpoint, log, rng, service):
        self.endpoint, self.log, self.rng, self.service = endpoint, log, rng, service
        self.version = rng.choice((1, 2))
        self.peer = None
        self.connect()

    def connect(self):
        """A new socket and READY, as RFC 7 has it after DISCONNECT and for a silent broker."""
        if self.peer:
            self.peer.close()
        self.peer = mdp.Worker(self.endpoint, self.service, self.version)
        self.liveness = LIVENESS
        self.beat_at = 0.0

    def run(self):
        while not STOPPING.is_set():
            heard = self.peer.socket.poll(BEAT_MS)
            if heard:
                self.liveness = LIVENESS
                name, frames = mdp.from_broker(self.version, self.peer.receive())
                if name == "DISCONNECT":
                    self.connect()
                elif name == "REQUEST":
                    self.execute(frames[0], *frames[2:])
            else:
                self.liveness -= 1
                if self.liveness == 0:
                    self.connect()
            if time.monotonic() >= self.beat_at:
                self.peer.say("HEARTBEAT")
                self.beat_at = time.monotonic() + BEAT_MS / 1000
        self.peer.say("DISCONNECT")
        self.peer.socket.close(linger=1000)

    def execute(self, address, number, content):
        self.log.write(b"begin", number, digest(content), self.service)
        time.sleep(min(self.rng.expovariate(1000), 0.05) if self.rng.random() < 0.99 else 0.1)
        if self.version == 2 and self.rng.random() < 0.1:
            for _ in range(self.rng.randint(1, 3)):
                self.peer.partial(address, b"part", number)
        self.log.write(b"end", number, digest(content))
        self.peer.final(address, number, content)


def main(role, name, endpoint, log, seed, *services):
    # Whoever sees the log may say SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: STOPPING.set())
    log, rng = Log(log), random.Random(seed)
    services = [service.encode() for service in services]
    if role == "client":
        actor = Client(name, endpoint, log, rng, services)
    else:
        actor = Worker(endpoint, log, rng, *services)
    actor.run()


main(*sys.argv[1:])
