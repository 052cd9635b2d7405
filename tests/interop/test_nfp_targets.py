"""Whom an NFP job goes to."""

import json

import pytest

from nfp import DELETE, DISCONNECT, GET, POST, PUT, RESPONSE, joined, until
from nfp_peers import AGAINST_NORFAB, better


class Workers:
    """Three workers of `work`, one of `other`, and a client."""

    def __init__(self, one):
        self.net = one
        self.client = one.raw_client()
        self.all = {f"w{at}": one.raw_worker(b"w%d" % at) for at in (1, 2, 3)}
        self.all["o1"] = one.raw_worker(b"o1", b"other")
        joined(self.client, *self.all.values())

    def reached(self, uuid, names, command=POST):
        """These workers get the job, and no other has got anything."""
        fence, _ = self.client.post(b"all", json.dumps(list(self.all)).encode())
        for name, worker in self.all.items():
            got = [(command, uuid)] if name in names else []
            assert [worker.job()[0::2] for _ in got] == got, name
            assert worker.job().uuid == fence, f"{name} has got what is not for it"

    def leave(self):
        for worker in self.all.values():
            worker.say(DISCONNECT, worker.service)
        until(lambda: self.client.workers() == [])
        for peer in (self.client, *self.all.values()):
            peer.close()


@pytest.fixture(scope="module")
def shared(net_of_module):
    return net_of_module()


@pytest.fixture
def workers(shared):
    workers = Workers(shared)
    yield workers
    workers.leave()


@pytest.mark.parametrize(
    "service,target,names",
    [
        (b"work", b"all", ["w1", "w2", "w3"]),
        (b"other", b"all", ["o1"]),
        (b"work", b"w2", ["w2"]),
        (b"work", b'["w1","w3"]', ["w1", "w3"]),
        (b"work", b' [ "w3" , "w1" ] ', ["w1", "w3"]),
        (b"work", b'["w1","w1","w2","w1"]', ["w1", "w2"]),
        (b"work", b'["w1","gone"]', ["w1"]),
        (b"work", rb'["\u00771"]', ["w1"]),
        (b"all", b"all", ["w1", "w2", "w3", "o1"]),
        (b"all", b"o1", ["o1"]),
        (b"all", b'["o1","w1"]', ["o1", "w1"]),
    ],
)
def test_a_target_selects_these_workers(workers, service, target, names):
    uuid, dispatched = workers.client.post(service, target)
    if AGAINST_NORFAB and service == b"all":
        dispatched = [name for name in dispatched if name in workers.all]
    assert sorted(dispatched) == sorted(names)
    workers.reached(uuid, names)


@pytest.mark.parametrize(
    "target",
    [
        b"w1",
        b'["w1"]',
        pytest.param(b'["w1","o1"]', marks=better("it crosses services")),
    ],
)
def test_a_get_and_a_put_follow_the_same_rules(workers, target):
    uuid, dispatched = workers.client.post(target=target)
    assert dispatched == ["w1"]
    workers.reached(uuid, ["w1"])
    workers.client.say(GET, target=target, uuid=uuid)
    assert workers.client.expect(RESPONSE, uuid, b"202").json["workers"] == ["w1"]
    workers.reached(uuid, ["w1"], GET)
    workers.client.say(PUT, target=target, uuid=uuid)
    workers.reached(uuid, ["w1"], PUT)


@pytest.mark.parametrize("service", [b"work", b"all"])
def test_any_is_one_of_a_service(workers, service):
    uuid, dispatched = workers.client.post(service, b"any")
    of_work = [name for name in dispatched if name.startswith("w")]
    assert len(of_work) == 1, dispatched
    # `any` of the service `all` is one worker of each service.
    assert ("o1" in dispatched) == (service == b"all")
    workers.reached(uuid, [name for name in dispatched if name in workers.all])


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"[]",
        b"{}",
        b'{"w1":1}',
        b"w1,w2",
        b"gone",
        b'["gone"]',
        b"ALL",
        b"null",
        b'"w1"',
        b'["w1"',
        pytest.param(b"[1]", id="number"),
        pytest.param(b"[" * 5000, id="deep"),
        pytest.param(b'["' + b"w" * 100_000 + b'"]', id="long"),
    ],
)
def test_a_target_that_selects_nobody_is_refused(workers, target):
    uuid = workers.client.say(POST, b"work", target)
    refused = workers.client.expect(RESPONSE, uuid, b"400").json
    assert (refused["workers"], refused["status"]) == (None, "FAILED")
    assert refused["target"] == target.decode()
    workers.reached(uuid, [])


@pytest.mark.parametrize("target", [b"w1", b"all", b"any", b'["w1"]'])
def test_an_unknown_service_has_no_workers_even_by_name(workers, target):
    uuid = workers.client.say(POST, b"unknown", target)
    workers.client.expect(RESPONSE, uuid, b"400")
    workers.reached(uuid, [])


@better("a name of another service is taken")
@pytest.mark.parametrize("target", [b"o1", b'["o1"]'])
def test_a_worker_of_another_service_is_refused(workers, target):
    uuid = workers.client.say(POST, b"work", target)
    workers.client.expect(RESPONSE, uuid, b"400")
    workers.reached(uuid, [])


@better("its exception is logged, and nobody answers")
@pytest.mark.parametrize("command", [POST, GET])
def test_a_target_that_is_not_utf8_is_refused(workers, command):
    uuid = workers.client.say(command, b"work", b"\xff\xfe")
    workers.client.expect(RESPONSE, uuid, b"400")
    workers.reached(uuid, [])


@better("it hands it to the worker, whose post thread dies of it")
@pytest.mark.parametrize("body", [b"no json", b"", b"\xff", b"[1]", b'"text"', b"{"])
def test_a_post_that_is_not_a_json_object_is_refused(workers, body):
    uuid = workers.client.say(POST, body=body)
    workers.client.expect(RESPONSE, uuid, b"400")
    workers.reached(uuid, [])


def test_the_answers_of_service_all_carry_the_workers_own_service(workers):
    uuid, _ = workers.client.post(b"all", b'["w1","o1"]')
    for name, service in (("w1", b"work"), ("o1", b"other")):
        workers.all[name].accept(workers.all[name].job())
        assert workers.client.expect(RESPONSE, uuid, b"201").service == service


@better("it chooses at random")
def test_any_prefers_the_worker_with_the_fewest_jobs(workers):
    """Three jobs that nobody answers go to three workers, again and again."""
    for _ in range(6):
        jobs = [workers.client.post(target=b"any") for _ in range(3)]
        assert sorted(name for _, [name] in jobs) == ["w1", "w2", "w3"]
        for uuid, [name] in jobs:
            workers.all[name].result(workers.all[name].job(), {"result": 1})
            workers.client.expect(RESPONSE, uuid, b"200")


def test_the_target_is_echoed_as_it_was(workers):
    target = b'[ "w1",\t"w2" ]'
    uuid = workers.client.say(POST, target=target)
    assert workers.client.expect(RESPONSE, uuid, b"202").json["target"] == target.decode()
    workers.reached(uuid, ["w1", "w2"])


@better("it drops it")
def test_delete_reaches_no_other_clients_job(workers):
    uuid, _ = workers.client.post(target=b"w1")
    job = workers.all["w1"].job()
    other = workers.net.raw_client(b"other-client")
    other.say(DELETE, target=b"w1", uuid=uuid)
    refused = other.answer()
    assert (refused.uuid, refused.status[:1]) == (uuid, b"4"), refused
    workers.all["w1"].result(job, {"result": 1})
    workers.client.expect(RESPONSE, uuid, b"200")


@better("whoever knows the uuid reads the result")
def test_the_result_of_another_clients_job_is_refused(workers):
    uuid, _ = workers.client.post(target=b"w1")
    job = workers.all["w1"].job()
    other = workers.net.raw_client(b"curious-client")
    other.say(GET, target=b"w1", uuid=uuid)
    refused = other.answer()
    assert (refused.uuid, refused.status[:1]) == (uuid, b"4"), refused
    assert json.loads(refused.body)["workers"] is None
    workers.reached(uuid, [])
    workers.all["w1"].result(job, {"result": 1})
    workers.client.expect(RESPONSE, uuid, b"200")


@better("whoever knows the uuid answers its questions")
def test_a_put_for_another_clients_job_does_not_reach_the_worker(workers):
    uuid, _ = workers.client.post(target=b"w1")
    workers.reached(uuid, ["w1"])
    other = workers.net.raw_client(b"meddling-client")
    other.say(PUT, target=b"w1", uuid=uuid)
    other.fence()
    workers.reached(uuid, [])


def test_a_uuid_that_the_broker_does_not_know_is_forwarded(workers):
    """As after a restart of the broker: the workers still hold the results."""
    uuid = workers.client.say(GET, target=b"w1")
    workers.client.expect(RESPONSE, uuid, b"202")
    workers.reached(uuid, ["w1"], GET)
