"""The real NorFab: workers that stop, are killed or frozen, and a broker that restarts."""

import signal
import time

import pytest

import nfp
from nfp import until
from nfp_peers import better, seconds

# What "at once" may take on a busy machine, seconds.
SOON = 2.0
HOLD = 15.0


def gone(client, name):
    return lambda: name not in client.workers()


@pytest.fixture
def one(net):
    one = net()
    one.raw = one.raw_client(b"watching")
    return one


@better("NorFab's worker says nothing when it stops, and its broker waits 15 s")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_worker_that_ended_is_gone_at_once(one, number):
    stays, ends = one.worker("stays"), one.worker("ends")
    assert ends.end(number) in (0, -signal.SIGKILL)
    assert seconds(lambda: until(gone(one.raw, "ends"))) < SOON
    assert one.client().values("dummy", "add", args=[1, 2], timeout=20) == {"stays": 3}
    assert stays.process.poll() is None


@better("the job gets 202 and hangs")
def test_a_job_for_a_worker_that_was_killed_fails_at_once(one):
    one.worker("ends").end(signal.SIGKILL)
    client = one.client()
    uuid = nfp.fresh().decode()
    took = seconds(
        lambda: client.run("dummy", "add", uuid=uuid, workers="ends", args=[1, 2], timeout=8)
    )
    assert took < SOON
    assert client.call("job", uuid=uuid)["status"] == "FAILED"


def test_a_killed_worker_that_starts_again_serves(one):
    one.worker("back").end(signal.SIGKILL)
    one.worker("back")
    client = one.client()

    def served():
        results = client.run("dummy", "add", args=[1, 2], timeout=3)
        return results and results["back"]["result"] == 3

    until(served)


def test_a_frozen_worker_expires_and_is_back_when_it_thaws(one):
    worker = one.worker("frozen")
    worker.send(signal.SIGSTOP)
    took = seconds(lambda: nfp.mdp.until(gone(one.raw, "frozen"), HOLD + 10))
    assert HOLD - 4 < took < HOLD + 3, took
    worker.send(signal.SIGCONT)
    # Its own hold time has run out as well, or it is told; before, it may digest old keepalives.
    nfp.mdp.until(lambda: one.raw.workers() == ["frozen"], HOLD + 10)
    assert one.client().values("dummy", "add", args=[1, 2], timeout=20) == {"frozen": 3}


@better("a job without a worker is refused, and one of a lost worker is lost")
def test_a_queued_job_outlives_its_worker(net):
    one = net(queue="true")
    client, uuid = one.client(), nfp.fresh().decode()
    options = {"workers": "any", "kwargs": {"seconds": 3}, "timeout": 90}
    client.call("submit", uuid=uuid, service="dummy", task="sleep", **options)
    until(lambda: client.call("job", uuid=uuid)["status"] == "STARTED")
    first = one.worker("first")
    time.sleep(1)
    first.end(signal.SIGKILL)
    one.worker("second")
    results = client.call("result", uuid=uuid, wait=90)
    assert {name: result["result"] for name, result in results.items()} == {"any": "slept"}
    assert client.call("job", uuid=uuid)["status"] == "COMPLETED"


@better("a job without a worker is refused")
def test_a_worker_that_takes_a_queued_job_asks_its_client(net):
    one = net(queue="true")
    client, uuid = one.client(), nfp.fresh().decode()
    options = {"workers": "any", "kwargs": {"question": "go on?"}, "timeout": 60}
    client.call("submit", uuid=uuid, service="dummy", task="ask", **options)
    one.worker("asking")
    while (event := client.call("event", uuid=uuid, wait=30))["event_type"] != "input_request":
        pass
    asked = event["extras"]["input_request"]
    assert (event["worker"], asked["question"]) == ("any", "go on?")
    client.call("answer", uuid=uuid, input_id=asked["id"], value="1")
    results = client.call("result", uuid=uuid, wait=60)
    assert results["any"]["result"] == {"answer": "1"}


@better("it may take the worker 15 s to find out")
def test_a_worker_that_was_frozen_is_back_at_once(one):
    worker = one.worker("frozen")
    worker.send(signal.SIGSTOP)
    nfp.mdp.until(gone(one.raw, "frozen"), HOLD + 10)
    worker.send(signal.SIGCONT)
    took = seconds(lambda: nfp.mdp.until(lambda: one.raw.workers() == ["frozen"], HOLD + 10))
    assert took < SOON + 2.5, "its next keepalive is answered"


@better("its workers wait for 15 s")
@pytest.mark.parametrize("stop", ["stop", "kill"])
def test_workers_are_back_at_once_when_the_broker_restarts(one, stop):
    names = ["w1", "w2", "w3"]
    for name in names:
        one.worker(name)
    client = one.client()
    assert sorted(client.values("dummy", "add", args=[1, 2], timeout=20)) == names
    getattr(one.broker, stop)()
    time.sleep(3)  # That long it is away.
    one.restart()
    took = seconds(lambda: nfp.mdp.until(lambda: one.raw.workers() == names, HOLD * 2))
    # A broker that stops says so. One that was killed is found out by the next keepalive, 2.5 s.
    assert took < SOON + (0 if stop == "stop" else 2.5)
    assert sorted(client.values("dummy", "add", args=[1, 2], timeout=20)) == names


def test_workers_come_back_in_the_end_when_the_broker_restarts(one):
    one.worker("w1")
    client = one.client()
    one.broker.kill()
    one.restart()
    nfp.mdp.until(lambda: one.raw.workers() == ["w1"], HOLD * 2)
    assert client.values("dummy", "add", args=[1, 2], timeout=20) == {"w1": 3}


@better("the client asks before the worker is back, is told 400, and gives up")
def test_a_result_of_before_the_restart_can_still_be_had(one):
    """A uuid that the broker does not know is forwarded: the worker kept the result."""
    one.worker("w1")
    client = one.client()
    uuid = nfp.fresh().decode()
    options = {"kwargs": {"seconds": 2.0}, "timeout": 90}
    client.call("submit", uuid=uuid, service="dummy", task="sleep", **options)
    assert client.call("event", uuid=uuid)["message"] == "starting"
    one.broker.kill()
    one.restart()
    nfp.mdp.until(lambda: client.call("job", uuid=uuid)["status"] == "COMPLETED", HOLD * 3)
