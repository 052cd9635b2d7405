"""Peers that go on calling one another while something happens to their broker; a process of its own.

    healthy.py ENDPOINT CLIENTS

The first line of its input is JSON: the options of libzmq that a peer needs, as `[[number, text]]`.
Then each line ends a measurement, begins the next one, and has the figures printed as JSON: calls a
second, their median and 99th percentile in ms. A wrong answer, or none in time, ends the process.
"""

import json
import sys
import time

import zmq

# Between the answer to a client and its next call, seconds.
PAUSE = 0.01
# Read without a buffer, as it is polled.
INPUT = open(0, "rb", buffering=0)
# What no call may take, seconds.
PATIENCE = 20.0
WORKERS = 2


class Load:
    def __init__(self, endpoint, clients, options):
        self.poller = zmq.Poller()
        self.options = options
        self.workers = [self.dial(endpoint) for _ in range(WORKERS)]
        for worker in self.workers:
            worker.send_multipart([b"", b"MDPW01", b"\1", b"healthy"])
        self.clients = [self.dial(endpoint) for _ in range(clients)]
        # When each client has called, or calls next.
        self.called = {}
        self.due = dict.fromkeys(self.clients, 0.0)
        self.beat = 0.0
        self.number = 0
        self.begin()

    def dial(self, endpoint):
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.linger = 0
        for option, value in self.options:
            socket.set(option, value)
        socket.connect(endpoint)
        self.poller.register(socket, zmq.POLLIN)
        return socket

    def begin(self):
        self.started, self.took = time.monotonic(), []

    def figures(self):
        seconds, took = time.monotonic() - self.started, sorted(self.took)
        at = lambda share: round(1000 * took[int(share * (len(took) - 1))], 3) if took else None
        return {"rate": len(took) / seconds, "median": at(0.5), "p99": at(0.99), "worst": at(1.0)}

    def turn(self):
        """Whether there is a line of input."""
        now = time.monotonic()
        for client, due in list(self.due.items()):
            if due <= now:
                del self.due[client]
                self.number += 1
                self.called[client] = (now, b"%d" % self.number)
                client.send_multipart([b"", b"MDPC01", b"healthy", b"%d" % self.number])
        if self.beat <= now:
            self.beat = now + 1.0
            for worker in self.workers:
                worker.send_multipart([b"", b"MDPW01", b"\4"])
            late = [now - at for at, _ in self.called.values() if now - at > PATIENCE]
            assert not late, f"no answer for {late} s"
        wait = min([self.beat, *self.due.values()]) - now
        ready = dict(self.poller.poll(max(0, int(1000 * wait))))
        for worker in self.workers:
            if worker in ready:
                frames = worker.recv_multipart()
                assert frames[2] in (b"\2", b"\4"), frames
                if frames[2] == b"\2":
                    worker.send_multipart([b"", b"MDPW01", b"\3", frames[3], b"", *frames[5:]])
        for client in self.clients:
            if client in ready:
                at, body = self.called.pop(client)
                frames = client.recv_multipart()
                assert frames == [b"", b"MDPC01", b"healthy", body], frames
                now = time.monotonic()
                self.took.append(now - at)
                self.due[client] = now + PAUSE
        return INPUT.fileno() in ready

    def run(self):
        self.poller.register(INPUT.fileno(), zmq.POLLIN)
        while True:
            if self.turn():
                if not INPUT.readline():
                    return
                print(json.dumps(self.figures()), flush=True)
                self.begin()


def main(endpoint, clients):
    options = [(number, text.encode()) for number, text in json.loads(INPUT.readline())]
    Load(endpoint, int(clients), options).run()


main(*sys.argv[1:])
