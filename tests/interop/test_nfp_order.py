"""Order, buffers and sizes: what a client relies on without being told."""

import threading

import pytest

import nfp
from nfp import EVENT, POST, PUT, RESPONSE, STREAM, joined


class Eager(threading.Thread):
    """A worker that answers each job at once, from a thread of its own."""

    def __init__(self, worker, jobs):
        super().__init__(daemon=True)
        self.worker, self.jobs = worker, jobs
        self.start()

    def run(self):
        for _ in range(self.jobs):
            job = self.worker.job()
            self.worker.accept(job)
            self.worker.tell(EVENT, job, b"200", b'{"event_type":"result_ready"}')
            self.worker.result(job, {"result": 1})


def test_202_comes_before_anything_a_worker_says(net):
    one, jobs, count = net(), 300, 4
    client = one.raw_client()
    workers = [one.raw_worker(b"w%d" % at) for at in range(count)]
    joined(client, *workers)
    threads = [Eager(worker, jobs) for worker in workers]
    uuids = [client.say(POST) for _ in range(jobs)]
    seen = {uuid: [] for uuid in uuids}
    for _ in range(jobs * (1 + 3 * count)):
        answer = client.answer()
        seen[answer.uuid].append((answer.command, answer.status))
    for said in seen.values():
        assert said[0] == (RESPONSE, b"202"), said
        assert said.count((RESPONSE, b"202")) == 1
        assert said.count((RESPONSE, b"200")) == count
    for thread in threads:
        thread.join(nfp.WAIT)


def test_order_is_kept_between_a_worker_and_a_client(pair):
    """RESPONSE, EVENT and STREAM together; 800 stay below the limit of libzmq."""
    client, worker = pair
    uuid, _ = client.post()
    job = worker.job()
    kinds = [EVENT, STREAM, RESPONSE, STREAM]
    for at in range(800):
        worker.tell(kinds[at % 4], job, b"200", b"%d" % at)
    for at in range(800):
        answer = client.answer()
        assert (answer.command, answer.body) == (kinds[at % 4], b"%d" % at)


def test_puts_reach_a_worker_in_order(pair):
    client, worker = pair
    uuid, _ = client.post()
    worker.job()
    for at in range(800):
        client.say(PUT, uuid=uuid, body=b'{"offset":%d}' % at)
    for at in range(800):
        assert worker.job().body == b'{"offset":%d}' % at


def test_two_jobs_are_told_apart(pair):
    client, worker = pair
    first, _ = client.post()
    second, _ = client.post()
    held = [worker.job(), worker.job()]
    assert [job.uuid for job in held] == [first, second]
    for job in reversed(held):
        worker.result(job, {"result": job.uuid.decode()})
    for uuid in (second, first):
        assert client.expect(RESPONSE, uuid, b"200").json["w1"]["result"] == uuid.decode()


@pytest.mark.parametrize("size", [255, 256, 70_000, 2_000_000, 10_000_000])
def test_large_bodies_pass_both_ways(pair, size):
    client, worker = pair
    body = b'{"task":"' + b"x" * size + b'"}'
    client.post(body=body)
    job = worker.job()
    assert job.body == body
    stream = bytes(range(256)) * (size // 256 + 1)
    worker.tell(STREAM, job, b"200", stream)
    answer = client.answer()
    assert answer.command == STREAM and answer.body == stream


def test_a_slow_client_gets_a_thousand_messages(net):
    one = net()
    _, worker = one.raw_pair()
    slow = one.raw_client(b"slow", options={nfp.zmq.IDENTITY: b"slow", nfp.zmq.RCVHWM: 1})
    uuid, _ = slow.post()
    job = worker.job()
    for at in range(1000):
        worker.tell(EVENT, job, b"200", b"%04d" % at + b"." * 1000)
    # Another client sees that the worker's messages have been taken.
    watch = one.raw_client(b"watch")
    worker.beat()
    watch.fence()
    for at in range(1000):
        assert slow.answer().body.startswith(b"%04d" % at)


def test_a_slow_worker_gets_a_thousand_jobs(net):
    one = net()
    client = one.raw_client()
    worker = one.raw_worker(options={nfp.zmq.IDENTITY: b"w1", nfp.zmq.RCVHWM: 1})
    joined(client, worker)
    uuids = [client.say(POST, body=b'{"task":"%s"}' % (b"." * 1000)) for _ in range(1000)]
    for uuid in uuids:
        client.expect(RESPONSE, uuid, b"202")
    for uuid in uuids:
        assert worker.job().uuid == uuid


def test_a_client_that_went_does_not_stop_a_worker(net):
    one = net()
    client, worker = one.raw_pair()
    leaving = one.raw_client(b"leaving")
    leaving.post()
    job = worker.job()
    leaving.close()
    for _ in range(100):
        worker.tell(EVENT, job, b"200", b"{}")
    uuid, _ = client.post()
    worker.result(worker.job(), {"result": 1})
    client.expect(RESPONSE, uuid, b"200")


def test_a_client_that_came_back_under_its_name_gets_what_its_worker_says(net):
    one = net()
    watch, worker = one.raw_pair()
    first = one.raw_client(b"coming")
    uuid, _ = first.post()
    job = worker.job()
    first.close()
    again = one.raw_client(b"coming")
    again.fence()
    worker.result(job, {"result": 1})
    again.expect(RESPONSE, uuid, b"200")
