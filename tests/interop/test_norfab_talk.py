"""The real NorFab and MJP/1: events of each reach the other's clients, and a worker's question is
answered by a client of MJP/1."""

import json

import pytest

from mjp import Peer, header
from nfp_peers import better

pytestmark = better("it does not speak MJP/1")
OPEN = {"events": True, "asks": True}


@pytest.fixture(scope="module")
def norfab(net_of_module):
    """A broker, a real worker of `dummy`, and a real client."""
    one = net_of_module()
    one.worker("dummy-1")
    one.client_of_norfab = one.client()
    return one


@pytest.fixture
def peer(norfab, peers):
    return lambda *args: peers(Peer(norfab.endpoint, *args))


def job(task, **kwargs):
    return json.dumps({"task": task, "kwargs": kwargs}).encode()


def test_a_client_of_mjp_hears_the_events_of_a_real_worker(peer):
    client = peer()
    client.call(1, job("count", to=3), service=b"dummy", **OPEN)
    events = [client.expect("EVENT", 1) for _ in range(5)]
    says = [header(event) for event in events]
    steps = ["starting", "step 0", "step 1", "step 2", "completed"]
    assert [event["message"] for event in says] == steps
    assert {event["severity"] for event in says[1:4]} == {"warning"}
    assert json.loads(events[1][3])["resource"] == ["r1"]
    assert json.loads(client.expect("FINAL", 1)[3])["dummy-1"]["result"] == 3


def test_a_client_of_mjp_answers_what_a_real_worker_asks(peer):
    client = peer()
    client.call(1, job("ask", question="go on?"), service=b"dummy", asks=True)
    asked = client.expect("ASK", 1)
    assert header(asked)["message"] == "go on?"
    client.say("TELL", 1, {"ask": header(asked)["ask"]}, b'{"yes": [1]}')
    result = json.loads(client.expect("FINAL", 1)[3])["dummy-1"]
    assert result["result"] == {"answer": {"yes": [1]}}


def test_a_real_worker_need_not_wait_for_a_client_that_cannot_be_asked(peer):
    client = peer()
    client.call(1, job("ask", question="anybody?"), service=b"dummy")
    # Its own patience is 20 s.
    result = json.loads(client.expect("FINAL", 1, wait=15)[3])["dummy-1"]
    assert result["result"] != {"answer": "yes"}


def test_a_real_client_hears_the_events_of_a_worker_of_mjp(norfab, peer):
    worker = peer(b"native-1").ready(service=b"native")
    client, uuid = norfab.client_of_norfab, "a" * 32
    client.call("submit", uuid=uuid, service="native", task="run", workers="all", timeout=30)
    id, _, _ = worker.request()
    worker.say("EVENT", id, {"message": "half", "severity": "critical", "progress": 50}, b"[1]")
    worker.say("FINAL", id, {}, b"7")
    events = client.call("events", uuid=uuid)
    assert [event["message"] for event in events] == ["half", "completed"]
    half = events[0]
    assert (half["worker"], half["severity"], half["task"]) == ("native-1", "CRITICAL", "run")
    assert half["extras"] == {"progress": 50, "body": [1]}
    assert client.call("result", uuid=uuid)["native-1"]["result"] == 7


def test_a_real_client_answers_what_a_worker_of_mjp_asks(norfab, peer):
    worker = peer(b"native-2").ready(service=b"asking")
    client, uuid = norfab.client_of_norfab, "b" * 32
    client.call("submit", uuid=uuid, service="asking", task="run", workers="all", timeout=30)
    id, _, _ = worker.request()
    worker.say("ASK", id, {"ask": 1, "message": "go on?"})
    event = client.call("event", uuid=uuid)
    asked = event["extras"]["input_request"]
    assert (event["event_type"], asked["question"]) == ("input_request", "go on?")
    client.call("answer", uuid=uuid, input_id=asked["id"], value="yes")
    told = worker.expect("TELL", id)
    assert (header(told), told[3]) == ({"ask": 1}, b"yes")
    worker.say("FINAL", id, {}, b"7")
    kinds = [event["event_type"] for event in client.call("events", uuid=uuid)]
    assert kinds == ["input_response", "result_ready"]
    assert client.call("result", uuid=uuid)["native-2"]["result"] == 7


def test_an_answer_that_reaches_nobody_ends_no_job_of_a_real_client(norfab, peer):
    worker = peer(b"native-3").ready(service=b"deaf")
    client, uuid = norfab.client_of_norfab, "c" * 32
    client.call("submit", uuid=uuid, service="deaf", task="run", workers="all", timeout=30)
    id, _, _ = worker.request()
    client.call("answer", uuid=uuid, input_id="nobody asked", value="yes", worker="native-3")
    event = client.call("event", uuid=uuid)
    assert event["severity"] == "WARNING" and event["message"].startswith("PUT reaches nobody")
    worker.say("FINAL", id, {}, b"7")
    assert client.call("result", uuid=uuid)["native-3"]["result"] == 7
