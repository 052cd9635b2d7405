"""A small broker of MDP/0.1 over libzmq, for our own peers to dial: a ROUTER that serves CURVE."""

import threading
from collections import deque

import zmq
from zmq.auth.thread import ThreadAuthenticator

import mdp


class Stub:
    """Serves until it is closed; `keys` says whose public keys come in, or None for anybody's.

    `asked` has the keys that libzmq asked about, `calls` what clients have sent.
    """

    def __init__(self, options, keys=None):
        self.keys, self.asked, self.calls = keys, [], []
        self.context = zmq.Context()
        self.authenticator = ThreadAuthenticator(self.context)
        self.authenticator.start()
        self.authenticator.configure_curve_callback(credentials_provider=self)
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        for option, value in options.items():
            self.socket.set(option, value)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.free, self.waiting, self.services = {}, {}, {}
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def callback(self, _domain, key):
        """What the authenticator asks."""
        self.asked.append(key)
        return self.keys is None or key in self.keys

    def run(self):
        while not self.stopping.is_set():
            if self.socket.poll(20):
                self.route(*self.socket.recv_multipart())

    def route(self, peer, *frames):
        if frames[:2] == (b"", b"MDPC01"):
            service, *body = frames[2:]
            self.calls.append(body)
            self.queue(service).append((peer, body))
            return self.dispatch(service)
        assert frames[:2] == (b"", b"MDPW01"), frames
        command, *rest = frames[2:]
        match mdp.WORKER[1][command]:
            case "READY":
                self.services[peer] = rest[0]
                self.rest(peer)
            case "FINAL":
                service = self.services[peer]
                client, _, *body = rest
                self.socket.send_multipart([client, b"", b"MDPC01", service, *body])
                self.rest(peer)
            case "HEARTBEAT":
                self.socket.send_multipart([peer, *mdp.worker(1, "HEARTBEAT")])
            case "DISCONNECT":
                self.free[self.services.pop(peer)].remove(peer)

    def queue(self, service):
        return self.waiting.setdefault(service, deque())

    def rest(self, worker):
        """The worker has nothing to do."""
        service = self.services[worker]
        self.free.setdefault(service, []).append(worker)
        self.dispatch(service)

    def dispatch(self, service):
        while self.free.get(service) and self.queue(service):
            (client, body), worker = self.queue(service).popleft(), self.free[service].pop(0)
            request = mdp.worker(1, "REQUEST", client, b"", *body)
            self.socket.send_multipart([worker, *request])

    def close(self):
        self.stopping.set()
        self.thread.join()
        self.socket.close()
        self.authenticator.stop()
        self.context.term()
