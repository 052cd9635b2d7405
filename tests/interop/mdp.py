"""MDP/0.1 (RFC 7) and MDP/0.2 (RFC 18): messages, and clients and workers over pyzmq."""

import time

import zmq

WAIT = 30.0
WORKER = {
    1: {b"\1": "READY", b"\2": "REQUEST", b"\3": "FINAL", b"\4": "HEARTBEAT", b"\5": "DISCONNECT"},
    2: {
        b"\1": "READY",
        b"\2": "REQUEST",
        b"\3": "PARTIAL",
        b"\4": "FINAL",
        b"\5": "HEARTBEAT",
        b"\6": "DISCONNECT",
    },
}
OCTET = {version: {name: octet for octet, name in row.items()} for version, row in WORKER.items()}


def request(version, service, *body):
    """What a client sends, delimiter included."""
    if version == 1:
        return [b"", b"MDPC01", service, *body]
    return [b"MDPC02", b"\1", service, *body]


def worker(version, name, *frames):
    """What a worker sends; `name` may also be the octet of no command."""
    octet = OCTET[version].get(name, name)
    return [b"", b"MDPW01", octet, *frames] if version == 1 else [b"MDPW02", octet, *frames]


def from_broker(version, frames):
    """What a worker receives: the command's name, and the frames that follow it."""
    header = [b"", b"MDPW01"] if version == 1 else [b"MDPW02"]
    assert frames[: len(header)] == header, frames
    octet, *rest = frames[len(header) :]
    return WORKER[version][octet], rest


def to_client(version, frames):
    """What a client receives: PARTIAL or FINAL, the service, the body."""
    if version == 1:
        assert frames[:2] == [b"", b"MDPC01"], frames
        return "FINAL", frames[2], frames[3:]
    assert frames[0] == b"MDPC02", frames
    return {b"\2": "PARTIAL", b"\3": "FINAL"}[frames[1]], frames[2], frames[3:]


class Socket:
    """A pyzmq socket that connects once and never waits for ever."""

    def __init__(self, endpoint, kind, version, options):
        self.version = version
        self.socket = zmq.Context.instance().socket(kind)
        self.socket.linger = 0
        for option, value in (options or {}).items():
            self.socket.set(option, value)
        self.socket.connect(endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def receive(self, wait=WAIT):
        assert self.socket.poll(int(wait * 1000)), f"nothing came within {wait} s"
        return self.socket.recv_multipart()


class Client(Socket):
    def __init__(self, endpoint, version=1, kind=zmq.DEALER, options=None):
        super().__init__(endpoint, kind, version, options)
        self.is_req = kind == zmq.REQ

    def send(self, service, *body):
        self.socket.send_multipart(request(self.version, service, *body)[self.is_req :])

    def recv(self, wait=WAIT):
        frames = self.receive(wait)
        return to_client(self.version, [b"", *frames] if self.is_req else frames)

    def reply(self, service, wait=WAIT):
        """The body of the next answer, which is the last and only one and comes from `service`."""
        name, from_service, body = self.recv(wait)
        assert (name, from_service) == ("FINAL", service)
        return body

    def call(self, service, *body, wait=WAIT):
        self.send(service, *body)
        return self.reply(service, wait)

    def status(self, service):
        """What mmi.service says about `service`."""
        [status] = self.call(b"mmi.service", service)
        return status


class Worker(Socket):
    def __init__(self, endpoint, service, version=1, options=None):
        super().__init__(endpoint, zmq.DEALER, version, options)
        self.say("READY", service)

    def say(self, name, *frames):
        self.socket.send_multipart(worker(self.version, name, *frames))

    def recv(self, wait=WAIT, beats=False):
        """The next command; heartbeats are passed over unless they are asked for."""
        deadline = time.monotonic() + wait
        while True:
            name, frames = from_broker(self.version, self.receive(deadline - time.monotonic()))
            if beats or name != "HEARTBEAT":
                return name, frames

    def request(self, wait=WAIT):
        """The next request: its address and its body."""
        name, frames = self.recv(wait)
        assert name == "REQUEST" and frames[1] == b"", (name, frames)
        return frames[0], frames[2:]

    def final(self, address, *body):
        self.say("FINAL", address, b"", *body)

    def partial(self, address, *body):
        self.say("PARTIAL", address, b"", *body)

    def echo(self, count=1):
        for _ in range(count):
            address, body = self.request()
            self.final(address, *body)


def until(condition, wait=WAIT):
    """Asks again and again until the condition holds."""
    deadline = time.monotonic() + wait
    while not condition():
        assert time.monotonic() < deadline, f"not within {wait} s"
        time.sleep(0.01)
