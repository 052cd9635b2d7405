"""The real NorFab: its clients run jobs on its workers, through the broker."""

import time

import pytest

import nfp
from nfp_peers import NEW, better, seconds

# The poll that a client falls back to when it has missed that a result is ready, seconds.
POLL = 10
KEYS = {
    *("result", "failed", "errors", "task", "messages", "juuid", "resources", "resources_failed"),
    *("status", "task_started", "task_completed", "service", "diff", "dry_run"),
}


class Shop:
    """Three workers of `dummy`, one of `other`, and a client."""

    def __init__(self, one):
        self.net = one
        self.workers = {name: one.worker(name) for name in ("dummy-1", "dummy-2", "dummy-3")}
        self.workers["other-1"] = one.worker("other-1", "other")
        self.client = one.client()


@pytest.fixture(scope="module")
def shop(net_of_module):
    return Shop(net_of_module())


DUMMIES = ["dummy-1", "dummy-2", "dummy-3"]


@pytest.mark.parametrize(
    "service,workers,names",
    [
        ("dummy", "all", DUMMIES),
        ("dummy", "dummy-2", ["dummy-2"]),
        ("dummy", ["dummy-1", "dummy-3"], ["dummy-1", "dummy-3"]),
        ("dummy", ["dummy-1", "gone"], ["dummy-1"]),
        ("other", "all", ["other-1"]),
        ("all", ["other-1", "dummy-1"], ["dummy-1", "other-1"]),
    ],
)
def test_run_job_on(shop, service, workers, names):
    kwargs = {"a": 20, "b": 22}
    values = shop.client.values(service, "add", workers=workers, kwargs=kwargs, timeout=30)
    assert values == dict.fromkeys(names, 42)


def test_run_job_on_the_workers_of_all_services(shop):
    values = shop.client.values("all", "add", kwargs={"a": 1, "b": 2}, timeout=30, workers=[*shop.workers])
    assert values == dict.fromkeys(shop.workers, 3)


def test_run_job_on_any(shop):
    results = shop.client.run("dummy", "add", workers="any", args=[1, 2], timeout=30)
    [(name, result)] = results.items()
    assert name in DUMMIES and result["result"] == 3
    assert set(result) == KEYS
    assert (result["status"], result["service"], result["failed"]) == ("completed", "dummy", False)


def test_a_job_is_done_well_before_the_poll(shop):
    took = seconds(lambda: shop.client.values("dummy", "add", args=[1, 2], timeout=30))
    assert took < POLL / 5


def test_a_task_that_fails_comes_back_as_its_result(shop):
    results = shop.client.run("dummy", "fail", workers="dummy-1", timeout=30)
    assert results["dummy-1"]["failed"] is True
    assert "as it was told" in results["dummy-1"]["errors"][0]


def test_a_big_result(shop):
    size = 8_000_000
    values = shop.client.values("dummy", "big", workers="dummy-1", kwargs={"size": size}, timeout=30)
    assert values["dummy-1"] == "x" * size


def test_an_unknown_service_fails_at_once(shop):
    uuid = nfp.fresh().decode()
    took = seconds(lambda: shop.client.run("unknown", "add", uuid=uuid, timeout=30))
    assert took < 2
    assert shop.client.call("job", uuid=uuid)["status"] == "FAILED"


def test_events_reach_the_client_in_order(shop):
    uuid = nfp.fresh().decode()
    options = {"workers": ["dummy-1"], "kwargs": {"to": 20}, "timeout": 30}
    shop.client.call("submit", uuid=uuid, service="dummy", task="count", **options)
    events = shop.client.call("events", uuid=uuid)
    assert [event["message"] for event in events] == [
        "starting",
        *(f"step {at}" for at in range(20)),
        "completed",
    ]
    step = events[1]
    assert (step["worker"], step["service"], step["uuid"]) == ("dummy-1", "dummy", uuid)
    assert (step["severity"], step["resource"], step["task"]) == ("WARNING", ["r1"], "count")
    assert events[-1]["event_type"] == "result_ready"
    assert shop.client.call("result", uuid=uuid)["dummy-1"]["result"] == 20


def test_input_is_asked_and_answered(shop):
    uuid = nfp.fresh().decode()
    options = {"workers": "any", "kwargs": {"question": "go on?"}, "timeout": 30}
    shop.client.call("submit", uuid=uuid, service="dummy", task="ask", **options)
    while True:
        event = shop.client.call("event", uuid=uuid)
        if event["event_type"] == "input_request":
            break
    asked = event["extras"]["input_request"]
    assert (event["message"], asked["question"]) == ("go on?", "go on?")
    # The client shows an event before it has noted what that means for the job.
    until = time.monotonic() + 10
    while shop.client.call("job", uuid=uuid)["status"] != "WAITING_CLIENT_INPUT":
        assert time.monotonic() < until
        time.sleep(0.01)
    shop.client.call("answer", uuid=uuid, input_id=asked["id"], value={"yes": [1]})
    events = shop.client.call("events", uuid=uuid)
    assert [event["event_type"] for event in events] == ["input_response", "result_ready"]
    [result] = shop.client.call("result", uuid=uuid).values()
    assert result["result"] == {"answer": {"yes": [1]}}


def test_input_of_several_workers_is_told_apart(shop):
    uuid = nfp.fresh().decode()
    options = {"workers": "all", "kwargs": {"question": "who?"}, "timeout": 30}
    shop.client.call("submit", uuid=uuid, service="dummy", task="ask", **options)
    asked = {}
    while len(asked) < 3:
        event = shop.client.call("event", uuid=uuid)
        if event["event_type"] == "input_request":
            asked[event["worker"]] = event["extras"]["input_request"]["id"]
    for worker, input_id in asked.items():
        shop.client.call("answer", uuid=uuid, input_id=input_id, value=worker, worker=worker)
    results = shop.client.call("result", uuid=uuid)
    assert {name: result["result"]["answer"] for name, result in results.items()} == {
        name: name for name in DUMMIES
    }


def test_200_jobs_at_once(shop):
    said = shop.client.call(
        "many", count=200, service="dummy", task="add", workers="any", args=[3, 4], timeout=60
    )
    for results in said["results"]:
        assert [result["result"] for result in results.values()] == [7]


def test_200_jobs_at_once_to_all(shop):
    said = shop.client.call(
        "many", count=200, service="dummy", task="add", workers="all", args=[3, 4], timeout=60
    )
    for results in said["results"]:
        assert {name: result["result"] for name, result in results.items()} == dict.fromkeys(
            DUMMIES, 7
        )


def test_two_clients_run_jobs_side_by_side(shop):
    other = shop.net.client("second")
    for client in (shop.client, other):
        client.start("many", count=50, service="dummy", task="add", args=[1, 1], timeout=60)
    for client in (shop.client, other):
        for results in client.finish()["results"]:
            assert sorted(results) == DUMMIES


@better("whoever knows the uuid reads the result")
def test_a_client_does_not_get_the_result_of_anothers_job(shop):
    """A known uuid posted again runs nothing: the worker would answer its GET with the old result."""
    uuid = nfp.fresh().decode()
    secret = shop.client.run("dummy", "add", uuid=uuid, workers="dummy-1", args=[40, 2], timeout=30)
    assert secret["dummy-1"]["result"] == 42
    thief = shop.net.client("thief")
    stolen = thief.run("dummy", "add", uuid=uuid, workers="dummy-1", args=[0, 0], timeout=POLL + 5)
    assert "42" not in str(stolen)


@better("the worker's post thread dies")
@pytest.mark.parametrize("body", [b"no json", b"[]", b"\xff"])
def test_a_post_that_is_no_json_leaves_the_worker_alive(net, body):
    one = net()
    one.worker("dummy-1")
    raw, client = one.raw_client(), one.client()
    uuid = raw.say(nfp.POST, b"dummy", body=body)
    raw.expect(nfp.RESPONSE, uuid, b"400")
    assert client.values("dummy", "add", args=[1, 2], timeout=20) == {"dummy-1": 3}


@better("the worker never hears of it")
def test_a_cancelled_job_ends_for_its_client(net):
    one = net()
    one.worker("dummy-1")
    client = one.client()
    uuid = nfp.fresh()
    options = {"kwargs": {"seconds": 20.0}, "timeout": 30}
    client.call("submit", uuid=uuid.decode(), service="dummy", task="sleep", **options)
    assert client.call("event", uuid=uuid.decode())["message"] == "starting"
    # NorFab's client has no call for it: its own name says it, from a connection of its own.
    client.close()
    raw = one.raw_client(b"client")
    nfp.until(lambda: raw.fence() == [])
    raw.say(nfp.DELETE, b"dummy", uuid=uuid)
    answer = raw.answer()
    assert (answer.command, answer.uuid) == (nfp.RESPONSE, uuid)


def test_a_client_restores_its_jobs_after_it_was_killed(net):
    one = net()
    one.worker("dummy-1")
    client = one.client()
    uuid = nfp.fresh().decode()
    options = {"kwargs": {"seconds": 2.0}, "timeout": 60}
    client.call("submit", uuid=uuid, service="dummy", task="sleep", **options)
    assert client.call("event", uuid=uuid)["message"] == "starting"
    client.close()
    again = one.client()
    nfp.mdp.until(lambda: again.call("job", uuid=uuid)["status"] == "COMPLETED", POLL * 3)
    assert again.call("job", uuid=uuid)["result_data"]["dummy-1"]["result"] == "slept"


def test_the_versions_are_those_that_are_pinned(shop):
    assert NEW == "0.25.0"
    for worker in shop.workers.values():
        assert worker.hello["loading"] < 5, "the inventory was answered"


def test_a_job_longer_than_the_hold_time(shop):
    """A worker in a long task goes on beating, and its late result is taken."""
    started = time.monotonic()
    values = shop.client.values(
        "dummy", "sleep", workers="dummy-3", kwargs={"seconds": 17.0}, timeout=60
    )
    assert values == {"dummy-3": "slept"} and time.monotonic() - started < 20
