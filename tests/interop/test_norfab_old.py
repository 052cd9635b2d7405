"""The real NorFab of the old eras: 0.6.0, which the source document describes, and 0.14.0.

Their clients insist on the reply header NFPC01, where those of today say NFPB01.
"""

import hashlib
import os

import pytest

from nfp_peers import AGAINST_NORFAB, MIDDLE, NEW, OLD, better

VERSIONS = [MIDDLE, OLD]


@pytest.fixture(scope="module", params=VERSIONS)
def old(request, net_of_module, tmp_path_factory):
    """A broker with peers of one old version, on a listener that is told so."""
    version = request.param
    folder = tmp_path_factory.mktemp("files")
    (folder / "big.bin").write_bytes(os.urandom(10_000_000))
    inventory = tmp_path_factory.mktemp("inventory") / "inventory.yaml"
    inventory.write_text("workers:\n  old-1:\n  - {service: dummy, own: true}\n")
    files = {} if AGAINST_NORFAB else {"files": folder}
    one = net_of_module(inventory=inventory, era="old", **files)
    one.version = version
    one.content = folder
    one.first = one.worker("old-1", version=version)
    one.second = one.worker("old-2", version=version)
    one.user = one.client("old-client", version=version)
    return one


@pytest.mark.parametrize("workers,names", [("all", ["old-1", "old-2"]), (["old-2"], ["old-2"])])
def test_an_old_client_runs_jobs_on_old_workers(old, workers, names):
    values = old.user.values("dummy", "add", workers=workers, kwargs={"a": 1, "b": 2}, timeout=30)
    assert values == dict.fromkeys(names, 3)


def test_an_old_client_runs_a_job_on_any_worker(old):
    values = old.user.values("dummy", "add", workers="any", kwargs={"a": 1, "b": 2}, timeout=30)
    assert list(values.values()) == [3]


def test_an_old_client_sees_events(old):
    old.user.call("old_events")
    # 0.14.0 has to be asked for them.
    more = {"progress": True} if old.version == MIDDLE else {}
    options = {"workers": ["old-1"], "kwargs": {"to": 3, **more}, "timeout": 30}
    assert old.user.values("dummy", "count", **options) == {"old-1": 3}
    events = old.user.call("old_events")
    messages = [event["message"] for event in events if event["message"].startswith("step")]
    assert messages == ["step 0", "step 1", "step 2"]


def test_an_old_worker_is_given_its_inventory(old):
    assert old.first.hello["inventory"] == {"service": "dummy", "own": True}
    assert old.second.hello["inventory"] == {}


def test_an_old_client_makes_management_calls(old):
    said = old.user.call("get", service="mmi.service.broker", task="show_workers")
    assert {"old-1", "old-2"} <= {row["name"] for row in said["results"]}
    said = old.user.call("get", service="mmi.service.broker", task="show_broker")
    assert said["results"]["keepalives"] == {"interval": 2500, "multiplier": 6}


def test_an_old_client_hears_that_a_service_is_unknown(old):
    assert old.user.run("unknown", "add", timeout=5, retry=1) is None
    # And it works on.
    assert old.user.run("dummy", "add", args=[1, 1], timeout=30)["old-1"]["result"] == 2


def test_an_old_worker_answers_a_big_result(old):
    values = old.user.values("dummy", "big", workers=["old-1"], kwargs={"size": 2_000_000}, timeout=30)
    assert len(values["old-1"]) == 2_000_000


@better("this one serves its own folder")
def test_an_old_client_fetches_a_file_from_the_broker(old):
    status, path = old.user.call("fetch", url="nf://big.bin")
    assert status == "200"
    with open(path, "rb") as file:
        content = file.read()
    assert hashlib.md5(content).digest() == hashlib.md5((old.content / "big.bin").read_bytes()).digest()


@better("one broker serves one era")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_client_runs_jobs_on_old_workers(net, version):
    """An old worker says 202 where a new one says 201, and has no result_ready: the client polls.

    It notes that it has sent POST behind the sending. When our 202 is faster than the note, which is
    rare, the note is the newer one, and it polls no more: then the job is tried again.
    """
    one = net(era="both")
    one.worker("old-1", version=version)
    client = one.client()
    for _ in range(3):
        [result] = client.run("dummy", "add", kwargs={"a": 1, "b": 2}, timeout=25).values()
        if result.get("status") != "timeout":
            break
    assert (result["failed"], result["result"]) == (False, 3), result


@better("one broker serves one era")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_client_runs_jobs_on_new_workers(net, version):
    """A new worker says 201, and an old client takes 202 alone for an acknowledgement."""
    one = net(era="both")
    one.worker("new-1", version=NEW)
    client = one.client("old-client", version=version)
    assert client.values("dummy", "add", args=[1, 2], timeout=10, retry=1) == {"new-1": 3}
