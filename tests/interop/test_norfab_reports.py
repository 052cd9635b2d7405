"""The real NorFab: management calls, inventory and files, judged by its own client and models."""

import hashlib
import json
import os

import pytest

from nfp_peers import AGAINST_NORFAB, FILES, better

YAML = """\
broker:
  shared_key: do-not-show-this
workers:
  "dummy-*":
  - service: dummy
    password: do-not-show-this
    common: [1]
  dummy-1:
  - common: [1, 2]
    own: true
"""
OWN = {"mmi.service.broker", "sid.service.broker", "fss.service.broker", "filesharing"}


@pytest.fixture(scope="module")
def one(net_of_module, tmp_path_factory):
    inventory = tmp_path_factory.mktemp("inventory") / "inventory.yaml"
    inventory.write_text(YAML)
    one = net_of_module(inventory=inventory)
    one.dummy = one.worker("dummy-1")
    one.worker("other-1", "other")
    one.user = one.client()
    return one


@pytest.fixture
def client(one):
    return one.user


def test_a_worker_is_given_its_inventory_at_its_start(one, client):
    expected = {"service": "dummy", "password": "do-not-show-this", "common": [1, 2], "own": True}
    assert one.dummy.hello["inventory"] == expected
    assert client.values("dummy", "loaded_inventory", timeout=20) == {"dummy-1": expected}


def test_show_workers(client):
    rows = [row for row in client.manage("show_workers") if row["service"] not in OWN]
    assert sorted(row["name"] for row in rows) == ["dummy-1", "other-1"]
    assert {row["status"] for row in rows} == {"alive"}
    for filters in ({"service": "dummy"}, {"service": "dummy", "status": "alive"}):
        assert [row["name"] for row in client.manage("show_workers", filters)] == ["dummy-1"]
    nobody = [{"name": "", "service": "", "status": ""}]
    assert client.manage("show_workers", {"status": "dead"}) == nobody
    assert client.manage("show_workers", {"service": "nothing"}) == nobody


def test_get_stats_is_read_by_norfabs_own_model(client):
    stats = client.manage("get_stats")
    read = client.call("validate", stats=stats)
    mine = {worker["name"]: worker for worker in read["workers"]}
    assert {"dummy-1", "other-1"} <= set(mine)
    assert read["worker_count"] == len(mine)
    assert mine["dummy-1"]["service"] == "dummy" and mine["dummy-1"]["status"] == "alive"
    assert 0 < mine["dummy-1"]["holdtime_seconds"] <= 15
    assert read["process"]["memory_rss_mbyte"] > 1 and read["process"]["threads"] >= 1
    before = read["messaging"]
    client.manage("get_stats")
    after = client.call("validate", stats=client.manage("get_stats"))["messaging"]
    assert after["received"] > before["received"] and after["sent"] > before["sent"]


def test_the_model_refuses_what_it_does_not_know(client):
    stats = client.manage("get_stats")
    for wrong in ({**stats, "more": 1}, {**stats, "worker_count": "2"}, {**stats, "role": "x"}):
        with pytest.raises(AssertionError, match="ValidationError"):
            client.call("validate", stats=wrong)


def test_get_status(client):
    status = client.manage("get_status")
    assert (status["role"], status["status"]) == ("broker", "active")
    assert status["security"]["zmq_auth"] is False
    assert status["endpoint"].startswith("tcp://127.0.0.1:")


def test_show_broker_version(client):
    version = client.manage("show_broker_version")
    assert {"norfab", "python", "platform"} <= set(version)


@better("it shows all secrets")
def test_show_broker_inventory_masks_secrets(client):
    shown = client.manage("show_broker_inventory")
    assert shown["workers"]["dummy-*"][0]["service"] == "dummy"
    assert "do-not-show-this" not in json.dumps(shown)


def test_get_logs(client):
    records = client.manage("get_logs", {"last": 5})
    assert 0 < len(records) <= 5
    assert {"ts", "level", "message"} <= set(records[0])


@better("its document promises them, and no version has them")
def test_show_services_and_show_clients(client):
    assert {"dummy", "other"} <= {row["name"] for row in client.manage("show_services")}
    names = {row["name"] for row in client.manage("show_clients")}
    # Every worker has a client of its own.
    assert {"client", "dummy-1-NFPClient"} <= names


def test_an_unknown_task(client):
    assert client.manage("nothing") == "Unsupported task 'nothing'"


@pytest.fixture(scope="module")
def shared(net_of_module, tmp_path_factory):
    folder = tmp_path_factory.mktemp(FILES)
    (folder / "big.bin").write_bytes(os.urandom(10_000_000))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "sub").mkdir()
    (folder / "sub/text.txt").write_text("words\n")
    one = net_of_module(files=folder)
    one.content = folder
    one.user = one.client()
    return one


def fetched(one, url, **options):
    """What the client says of a file, and its content."""
    said = one.user.call("fetch", url=url, **options)
    if said["status"] != "200":
        return said, None
    with open(said["content"], "rb") as file:
        return said, file.read()


@pytest.mark.parametrize("options", [{}, {"chunk_size": 100_000, "pipeline": 50}, {"pipeline": 1}])
def test_fetch_file_of_ten_megabytes(shared, options):
    shared.user.call("forget", url="*")
    said, content = fetched(shared, "nf://big.bin", **options)
    assert (said["status"], said["error"]) == ("200", None)
    assert hashlib.md5(content).digest() == hashlib.md5((shared.content / "big.bin").read_bytes()).digest()


def test_fetch_file_of_small_empty_and_missing_ones(shared):
    assert fetched(shared, "nf://sub/text.txt")[1] == b"words\n"
    assert fetched(shared, "nf://empty.txt")[1] == b""
    assert fetched(shared, "nf://gone.txt")[0]["status"] == "404"
    assert fetched(shared, "nf://../outside")[0]["status"] in ("404", "500")


def test_a_batch_of_files(shared):
    urls = ["nf://sub/text.txt", "nf://gone.txt", "nf://empty.txt"]
    assert [said["status"] for said in shared.user.call("fetch", url=urls)] == ["200", "404", "200"]


def test_the_file_service_is_called_like_any_other(shared):
    walked = shared.user.values("filesharing", "walk", kwargs={"url": "nf://"}, timeout=20)
    for urls in walked.values():
        assert {"nf://big.bin", "nf://sub/text.txt"} <= set(urls)
    listed = shared.user.values("filesharing", "list_files", kwargs={"url": "nf://sub"}, timeout=20)
    assert [names for names in listed.values()] == [["text.txt"]]


@better("it needs a worker for it")
def test_no_worker_is_needed_for_files(shared):
    assert not AGAINST_NORFAB, "the fixture starts one"
    assert fetched(shared, "nf://sub/text.txt")[1] == b"words\n"
