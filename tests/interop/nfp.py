"""NFP as NorFab 0.25.0 speaks it: frames, and clients and workers over pyzmq, made of octets alone."""

import json
import os
import time
import uuid as uuids
from typing import NamedTuple

import zmq

import mdp

CLIENT, WORKER, BROKER = b"NFPC01", b"NFPW01", b"NFPB01"
OPEN, READY, KEEPALIVE, DISCONNECT = b"0x00", b"0x01", b"0x02", b"0x03"
POST, RESPONSE, GET, DELETE = b"0x04", b"0x05", b"0x06", b"0x07"
EVENT, STREAM, PUT, MMI = b"0x08", b"0x09", b"0x10", b"0x11"
MANAGEMENT, INVENTORY = b"mmi.service.broker", b"sid.service.broker"
OLD_FILES = b"fss.service.broker"
AGAINST_NORFAB = os.environ.get("NFP_BROKER") == "norfab"
# Against NorFab's own broker many tests have to fail, and most of them by waiting.
WAIT = 5.0 if AGAINST_NORFAB else mdp.WAIT
BODY = b'{"task":"t","kwargs":{},"args":[],"timeout":60}'


def until(condition, wait=WAIT):
    """Asks again and again until the condition holds."""
    mdp.until(condition, wait)


def fresh():
    """A job's name as NorFab's client makes it: 32 hex digits."""
    return uuids.uuid4().hex.encode()


class Answer(NamedTuple):
    """What a client receives."""

    command: bytes
    service: bytes
    uuid: bytes
    status: bytes
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Job(NamedTuple):
    """What a worker receives for a job."""

    command: bytes
    client: bytes
    uuid: bytes
    body: bytes


class Socket(mdp.Socket):
    """A DEALER with the name that NFP gives to every peer."""

    def __init__(self, endpoint, name, options=None):
        self.name = name
        options = {zmq.IDENTITY: name} if name and options is None else options
        super().__init__(endpoint, zmq.DEALER, None, options)

    def receive(self, wait=WAIT):
        return super().receive(wait)

    def send(self, *frames):
        self.socket.send_multipart(frames)


class Client(Socket):
    def say(self, command, service=b"work", target=b"all", uuid=None, body=BODY):
        """Sends a command and says the name of its job."""
        uuid = uuid or fresh()
        self.send(b"", CLIENT, command, service, target, uuid, body)
        return uuid

    def answer(self, wait=WAIT):
        frames = self.receive(wait)
        assert len(frames) == 7 and frames[:2] == [b"", BROKER], frames
        return Answer(*frames[2:])

    def expect(self, command, uuid, status, wait=WAIT):
        """The next answer, which has to be that."""
        answer = self.answer(wait)
        assert (answer.command, answer.uuid, answer.status) == (command, uuid, status), answer
        return answer

    def post(self, service=b"work", target=b"all", body=BODY):
        """Posts a job: its name, and the workers of the 202."""
        uuid = self.say(POST, service, target, body=body)
        return uuid, self.expect(RESPONSE, uuid, b"202").json["workers"]

    def manage(self, task, kwargs=None, service=MANAGEMENT, command=MMI):
        """A management call; its answer comes twice and is the same both times."""
        body = json.dumps({"task": task, "kwargs": kwargs or {}, "args": []}).encode()
        return self.twice(service, self.say(command, service, b"all", body=body))

    def twice(self, service, uuid):
        first, second = self.answer(), self.answer()
        assert first == Answer(RESPONSE, service, uuid, b"200", first.body)
        assert second == Answer(MMI, service, uuid, b"200", first.body)
        return first.json

    def fence(self):
        """All messages that come before the answer to a call made now."""
        body, seen = b'{"task":"fence","kwargs":{},"args":[]}', []
        uuid = self.say(MMI, MANAGEMENT, body=body)
        while True:
            frames = self.receive()
            if frames[4:5] != [uuid]:
                seen.append(frames)
            elif frames[2] == MMI:
                return seen

    def workers(self):
        """The names of the workers that peers have registered."""
        return sorted(row["name"] for row in self.rows())

    def rows(self, **filters):
        """show_workers without the row for nobody, and without the broker's own services."""
        rows = self.manage("show_workers", filters)
        own = ("mmi.service.broker", "sid.service.broker", "fss.service.broker", "filesharing")
        return [row for row in rows if row["name"] and row["service"] not in own]


class Worker(Socket):
    def __init__(self, endpoint, name, service=b"work", options=None):
        super().__init__(endpoint, name, options)
        self.service = service
        self.say(READY, service)

    def say(self, command, *frames):
        self.send(b"", WORKER, command, *frames)

    def beat(self):
        self.say(KEEPALIVE, self.service)

    def command(self, wait=mdp.WAIT, beats=False):
        """The next command and its frames; keepalives are passed over unless they are asked for."""
        deadline = time.monotonic() + wait
        while True:
            frames = self.receive(max(deadline - time.monotonic(), 0))
            assert frames[:2] == [b"", BROKER], frames
            if beats or frames[2:] != [KEEPALIVE, self.service]:
                return frames[2], frames[3:]

    def job(self, wait=WAIT):
        command, frames = self.command(wait)
        assert len(frames) == 4 and frames[1] == b"", frames
        return Job(command, frames[0], *frames[2:])

    def tell(self, command, job, status, body):
        self.say(command, job.client, b"", job.uuid, status, body)

    def accept(self, job):
        self.tell(RESPONSE, job, b"201", self.state(job, "ACCEPTED"))

    def state(self, job, status):
        about = {"worker": self.name.decode(), "uuid": job.uuid.decode()}
        return json.dumps({**about, "status": status, "service": self.service.decode()}).encode()

    def result(self, job, result):
        self.tell(RESPONSE, job, b"200", json.dumps({self.name.decode(): result}).encode())


def joined(client, *workers):
    """Waits until the broker has registered these workers."""
    names = {worker.name.decode() for worker in workers}
    until(lambda: names <= set(client.workers()))
