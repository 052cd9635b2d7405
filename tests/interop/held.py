"""Requests of level disk with an order or a delay (SPEC 15.6): clients that keep them coming, and a
worker that notes what it gets and when, whatever becomes of the broker."""

import collections
import random
import threading
import time

import depot
from depot import MINUTE
from mjp import Peer, header, id_of, kind, second


def name(order, number):
    return b"%s %d" % (order, number)


class Worker(threading.Thread):
    """Takes its time for each request, and notes the order and number of what it is given. Two of
    one order at a time, or an older one behind a newer one, are a fault."""

    def __init__(self, endpoint, seed, service="pay", credit=16):
        super().__init__(daemon=True)
        self.endpoint, self.service, self.credit = endpoint, service, credit
        self.chance = random.Random(seed)
        self.ending = threading.Event()
        self.given, self.faults = collections.defaultdict(list), []
        self.first = {}
        self.start()

    def run(self):
        while not self.ending.is_set():
            with Peer(self.endpoint) as peer:
                peer.offer(service=self.service, credit=self.credit)
                self.session(peer)

    def session(self, peer):
        held = {}
        heard = time.monotonic()
        while not self.ending.is_set() and time.monotonic() - heard < 1:
            if peer.socket.poll(5):
                heard = time.monotonic()
                frames = peer.socket.recv_multipart()
                if kind(frames) == "BYE":
                    return
                if kind(frames) == "REQUEST":
                    self.take(held, id_of(frames), frames[4])
                elif kind(frames) == "HEARTBEAT":
                    peer.say("HEARTBEAT")
            now = time.monotonic()
            for id in [id for id, (_, _, due) in held.items() if due <= now]:
                order, number, _ = held.pop(id)
                body = name(order, number)
                peer.send([b"MJP1", second("FINAL", id), b"\x80", body])

    def take(self, held, id, body):
        order, number = body.rsplit(b" ", 1)
        number = int(number)
        self.first.setdefault(body, time.time())
        if not order.startswith(b"-"):
            if any(other == order for other, _, _ in held.values()):
                self.faults.append(f"two of {order} at a time: {held}, {number}")
            if self.given[order] and self.given[order][-1] > number:
                self.faults.append(f"{body} after {self.given[order][-1]}")
        self.given[order].append(number)
        held[id] = (order, number, time.monotonic() + self.chance.uniform(0, 0.03))

    def stop(self):
        self.ending.set()
        self.join(30)


class Load(depot.Load):
    """A client with requests of its own orders in flight, some of which are delayed. Nobody asks
    again for what was not acknowledged."""

    def __init__(self, endpoint, number, seed, orders=2, in_flight=12, service="pay"):
        self.chance = random.Random(seed)
        self.orders = [b"%d.%d" % (number, order) for order in range(orders)]
        self.without, self.not_before = b"-%d" % number, {}
        super().__init__(endpoint, number, in_flight, service)

    def session(self, peer, numbers):
        waiting = {}
        while not self.ending.is_set():
            while len(waiting) < self.in_flight:
                id = next(numbers)
                order = self.chance.choice([*self.orders, self.without])
                body = name(order, id)
                says = {"level": "disk", "ack": True, "timeout": 10 * MINUTE, "key": body}
                if order != self.without:
                    says["order"] = order
                if self.chance.random() < 0.25:
                    says["delay"] = self.chance.randrange(1, 400)
                    self.not_before[body] = time.time() + says["delay"] / 1000
                waiting[id] = body
                peer.call(id, body, service=self.service, **says)
            if not peer.socket.poll(1000):
                return
            frames = peer.socket.recv_multipart()
            if kind(frames) == "ACCEPTED":
                self.acknowledged.add(waiting[id_of(frames)])
            elif kind(frames) == "FINAL":
                assert frames[3] == waiting.pop(id_of(frames))
            elif kind(frames) == "ERROR":
                self.errors.append((waiting.pop(id_of(frames), None), header(frames)["code"]))


def judge(worker, loads, wait=60):
    """All that was acknowledged has been given to the worker, and nothing before its time."""
    acknowledged = set().union(*(load.acknowledged for load in loads))
    deadline = time.monotonic() + wait
    while missing := acknowledged - worker.first.keys():
        assert time.monotonic() < deadline, f"{len(missing)} are lost: {sorted(missing)[:9]}"
        time.sleep(0.05)
    assert not worker.faults, worker.faults[:3]
    for load in loads:
        assert not load.errors, load.errors[:3]
        for body, moment in load.not_before.items():
            if body in worker.first:
                early = moment - worker.first[body]
                assert early <= 0, f"{body} is given {early:.3f} s before its time"
    return acknowledged
