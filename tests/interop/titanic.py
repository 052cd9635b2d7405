"""Titanic (RFC 9) over pyzmq: a client as the Guide's, and a broker that comes back at its place."""

import socket
import threading

import zmq

import mdp
from broker import Broker

UUID = 32


def free_endpoint():
    """A TCP endpoint that a broker can have again and again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Kept:
    """A broker with a store, which can be killed and started anew with both."""

    def __init__(self, directory, *flags, endpoint=None, store=None, binds=()):
        self.directory, self.flags, self.binds = directory, flags, binds
        self.endpoint = endpoint or free_endpoint()
        self.store = store or directory / "store"
        self.broker = None
        self.start()

    def start(self, *more):
        flags = ("--store", str(self.store), *self.flags, *more)
        self.broker = Broker(self.directory, *flags, binds=(self.endpoint, *self.binds))

    def kill(self):
        self.broker.kill()

    def restart(self):
        self.broker.stop()
        self.start()

    def close(self):
        self.broker.close()
        assert "panicked" not in self.broker.log(), self.broker.log()


class Titanic(mdp.Client):
    """The client's three calls; each gives the status and what follows it."""

    def __init__(self, endpoint, **options):
        super().__init__(endpoint, 1, zmq.REQ, {zmq.REQ_RELAXED: 1, **options})

    def ask(self, what, *body, wait=mdp.WAIT):
        self.socket.send_multipart([b"MDPC01", b"titanic." + what, *body])
        if not self.socket.poll(int(wait * 1000)):
            return None, []
        header, service, status, *rest = self.socket.recv_multipart()
        assert (header, service) == (b"MDPC01", b"titanic." + what)
        return status, rest

    def request(self, service, *body, **how):
        status, rest = self.ask(b"request", service, *body, **how)
        if status != b"200":
            return status, None
        [uuid] = rest
        assert len(uuid) == UUID and int(uuid, 16) >= 0
        return status, uuid

    def reply(self, uuid, **how):
        return self.ask(b"reply", uuid, **how)

    def close_request(self, uuid, **how):
        return self.ask(b"close", uuid, **how)


class Echo(threading.Thread):
    """A worker that answers with what it got, and registers again with a broker that is new."""

    def __init__(self, endpoint, service=b"echo"):
        super().__init__(daemon=True)
        self.endpoint, self.service = endpoint, service
        self.ending = threading.Event()
        self.seen = []
        self.start()

    def run(self):
        while not self.ending.is_set():
            with mdp.Worker(self.endpoint, self.service) as worker:
                while not self.ending.is_set() and worker.socket.poll(1000):
                    name, frames = mdp.from_broker(1, worker.socket.recv_multipart())
                    if name == "DISCONNECT":
                        break
                    if name == "REQUEST":
                        self.seen.append(frames[2:])
                        worker.final(frames[0], b"echo", *frames[2:])

    def stop(self):
        self.ending.set()
        self.join(30)
