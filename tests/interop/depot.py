"""Requests of level disk (SPEC 15.6): clients that keep them coming, and a worker whose every answer
is another one, whatever becomes of the broker."""

import itertools
import threading
import time

import zmq

from mjp import Peer, header, id_of, kind, second

MINUTE = 60_000


class Worker(threading.Thread):
    """Answers with what it got and a number that no other answer has, and registers again with a
    broker that is new."""

    def __init__(self, endpoint, service="pay", credit=16):
        super().__init__(daemon=True)
        self.endpoint, self.service, self.credit = endpoint, service, credit
        self.ending = threading.Event()
        self.given = []
        self.start()

    def run(self):
        numbers = itertools.count()
        while not self.ending.is_set():
            with Peer(self.endpoint) as peer:
                peer.offer(service=self.service, credit=self.credit)
                while not self.ending.is_set() and peer.socket.poll(1000):
                    frames = peer.socket.recv_multipart()
                    if kind(frames) == "BYE":
                        break
                    if kind(frames) == "REQUEST":
                        self.given.append(frames[4])
                        answer = b"%s %d" % (frames[4], next(numbers))
                        peer.send([b"MJP1", second("FINAL", id_of(frames)), b"\x80", answer])
                    elif kind(frames) == "HEARTBEAT":
                        peer.say("HEARTBEAT")

    def stop(self):
        self.ending.set()
        self.join(30)


class Load(threading.Thread):
    """A client with some requests in flight, each with a key of its own. Notes which were
    acknowledged, and what was answered; a connection that is lost is made anew."""

    def __init__(self, endpoint, number, in_flight=8, service="pay"):
        super().__init__(daemon=True)
        self.endpoint, self.number, self.in_flight = endpoint, number, in_flight
        self.service = service
        self.ending = threading.Event()
        self.acknowledged, self.answered, self.errors = set(), {}, []
        self.start()

    def run(self):
        numbers = itertools.count(1)
        while not self.ending.is_set():
            with Peer(self.endpoint) as peer:
                self.session(peer, numbers)

    def session(self, peer, numbers):
        open_ids = {}
        while not self.ending.is_set():
            while len(open_ids) < self.in_flight:
                id = next(numbers)
                key = b"%d-%d" % (self.number, id)
                open_ids[id] = key
                says = {"key": key, "level": "disk", "ack": True, "timeout": 10 * MINUTE}
                peer.call(id, key, service=self.service, **says)
            if not peer.socket.poll(1000):
                return
            frames = peer.socket.recv_multipart()
            key = open_ids.get(id_of(frames))
            if kind(frames) == "ACCEPTED":
                assert header(frames)["level"] == "disk"
                self.acknowledged.add(key)
            elif kind(frames) == "FINAL":
                self.see(key, frames[3])
                del open_ids[id_of(frames)]
            elif kind(frames) == "ERROR":
                self.errors.append((key, header(frames)["code"]))
                open_ids.pop(id_of(frames), None)

    def see(self, key, answer):
        before = self.answered.setdefault(key, answer)
        assert before == answer, f"two answers to {key}: {before}, {answer}"

    def stop(self):
        self.ending.set()
        self.join(30)


def fetch(peer, key, wait=120.0, service="pay", id=1):
    """Asks again for what was handed in, as one who comes back; gives what is said in the end."""
    peer.call(id, key, service=service, key=key, level="disk", timeout=10 * MINUTE)
    frames = peer.recv(wait)
    if kind(frames) == "FINAL":
        return frames[3]
    return header(frames)["code"]


def settle(endpoint, loads, service="pay"):
    """Every request that was acknowledged has one answer: the one that was seen, if one was."""
    acknowledged = set().union(*(load.acknowledged for load in loads))
    answered = {key: said for load in loads for key, said in load.answered.items()}
    with Peer(endpoint) as peer:
        for number, key in enumerate(sorted(acknowledged), 1):
            said = fetch(peer, key, service=service, id=number)
            assert isinstance(said, bytes), f"{key}: {said}"
            assert said.startswith(key + b" "), (key, said)
            assert answered.setdefault(key, said) == said, f"{key} has two answers"
    return acknowledged


def hand_in(endpoint, count, body=b"x" * 512, service="nobody", window=900):
    """Hands in requests that nobody waits for; gives the time that it took."""
    began = time.monotonic()
    with Peer(endpoint, options={zmq.SNDHWM: 0, zmq.RCVHWM: 0}) as peer:
        sent = told = 0
        while told < count:
            while sent < count and sent - told < window:
                sent += 1
                says = {"level": "disk", "wait": False, "timeout": 600 * MINUTE}
                peer.call(sent, body, service=service, **says)
            frames = peer.recv(60)
            assert kind(frames) == "ACCEPTED", frames
            told += 1
    return time.monotonic() - began
