"""The broker's own services as raw clients see them: management, inventory, files."""

import hashlib
import json
import time

import pytest

from nfp import GET, INVENTORY, MANAGEMENT, MMI, OLD_FILES, POST, PUT, RESPONSE, STREAM, Answer
from nfp import EVENT, joined
from nfp_peers import AGAINST_NORFAB, better

NOBODY = [{"name": "", "service": "", "status": ""}]
YAML = """\
broker:
  shared_key: do-not-show-this
workers:
  "w*":
  - vault: {token: do-not-show-this, name: seen}
    list: [1, 2]
    deep: {a: 1, b: 1}
  "w1":
  - list: [2, 3]
    deep: {b: 2}
    env: "{{ env.NFP_TEST_VALUE }}"
"""


@pytest.fixture(scope="module")
def served(net_of_module, tmp_path_factory):
    """A broker with an inventory and files, and no worker."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NFP_TEST_VALUE", "from the environment")
        (folder / "inventory.yaml").write_text(YAML)
        one = net_of_module(inventory=folder / "inventory.yaml")
    return one


@pytest.fixture(scope="module")
def files(net_of_module, tmp_path_factory):
    """A broker that serves a folder of files."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "outside.txt").write_text("secret")
    shared = folder / "shared"
    (shared / "sub").mkdir(parents=True)
    (shared / "a.bin").write_bytes(bytes(range(256)) * 4000)
    (shared / "empty").write_bytes(b"")
    (shared / "sub/b.txt").write_text("b")
    (shared / ".hidden").write_text("hidden")
    (shared / "link").symlink_to(folder / "outside.txt")
    one = net_of_module(files=shared)
    one.shared = shared
    return one


@pytest.fixture
def client(served):
    client = served.raw_client(b"client")
    yield client
    client.close()


@pytest.mark.parametrize("command", [POST, GET, PUT, MMI])
def test_every_command_reaches_the_management_and_the_target_is_ignored(client, command):
    body = b'{"task":"show_workers","kwargs":{},"args":[]}'
    uuid = client.say(command, MANAGEMENT, b'["whoever"]', body=body)
    assert isinstance(client.twice(MANAGEMENT, uuid), list)


def test_show_workers_shows_one_empty_row_for_nobody(client):
    assert client.manage("show_workers", {"service": "nothing"}) == NOBODY
    assert client.manage("show_workers", {"status": "dead"}) == NOBODY


def test_show_workers_has_filters(net):
    one = net()
    client, worker = one.raw_pair()
    other = one.raw_worker(b"o1", b"other")
    joined(client, worker, other)
    names = lambda **filters: [row["name"] for row in client.rows(**filters)]  # noqa: E731
    assert sorted(names()) == sorted(names(service="all")) == ["o1", "w1"]
    assert names(service="other") == ["o1"]
    assert sorted(names(status="alive")) == ["o1", "w1"]
    assert names(status="dead") == []
    assert names(service="other", status="alive") == ["o1"]
    [row] = client.rows(service="work")
    columns = ["name", "service", "status", "holdtime", "keepalives tx/rx", "alive (s)"]
    assert list(row) == columns and set(map(type, row.values())) == {str}


def test_get_stats_has_these_keys_and_types(client):
    stats = client.manage("get_stats")
    assert {key: type(value) for key, value in stats.items()} == {
        "schema_version": str,
        "collected_at": str,
        "name": str,
        "role": str,
        "status": str,
        "process": dict,
        "messaging": dict,
        "endpoint": str,
        "worker_count": int,
        "service_count": int,
        "keepalive_interval_ms": int,
        "keepalive_multiplier": int,
        "workers": list,
    }
    assert (stats["schema_version"], stats["role"], stats["status"]) == ("1.0", "broker", "active")
    assert (stats["keepalive_interval_ms"], stats["keepalive_multiplier"]) == (2500, 6)


def test_get_status_has_these_keys(client):
    status = client.manage("get_status")
    assert set(status) == {"name", "role", "status", "endpoint", "directories", "security"}
    directories = {"base_dir", "broker_base_dir", "private_keys_dir", "public_keys_dir"}
    assert set(status["directories"]) == directories
    keys = {"broker_private_key_file", "broker_public_key_file", "zmq_auth", "ip_allowlist"}
    assert set(status["security"]) == keys
    assert status["security"]["zmq_auth"] is False
    assert (status["role"], status["status"]) == ("broker", "active")


@better("its newest version has lost it")
def test_show_broker_serves_peers_up_to_0_22(client):
    shown = client.manage("show_broker")
    assert {"endpoint", "status", "keepalives", "workers count", "services count"} <= set(shown)
    assert shown["keepalives"] == {"interval": 2500, "multiplier": 6}


def test_show_broker_version_names_versions(client):
    shown = client.manage("show_broker_version")
    assert {"norfab", "pyzmq", "python", "platform"} <= set(shown)
    assert set(map(type, shown.values())) == {str}


@better("it shows all secrets")
def test_show_broker_inventory_masks_secrets(client):
    shown = client.manage("show_broker_inventory")
    assert "do-not-show-this" not in json.dumps(shown)
    assert shown["workers"]["w*"][0]["vault"]["name"] == "seen"
    assert set(shown) >= {"broker", "workers", "topology", "logging", "client", "hooks", "plugins"}


def test_get_logs_answers_records(client):
    [record] = client.manage("get_logs", {"last": 1})
    assert {"ts", "level", "message"} <= set(record)
    assert len(client.manage("get_logs", {"last": 2})) <= 2
    assert client.manage("get_logs", {"level": "CRITICAL"}) == []


@better("its document promises it, and no version has it")
def test_show_services_and_show_clients(net):
    one = net()
    client, worker = one.raw_pair()
    services = {row["name"]: row for row in client.manage("show_services")}
    assert "work" in services
    assert "raw-client" in [row["name"] for row in client.manage("show_clients")]


@better("no version has it")
@pytest.mark.parametrize("task", ["disconnect", "restart", "shutdown"])
def test_what_changes_the_broker_is_refused_on_an_ordinary_listener(client, task):
    answer = client.manage(task, {"name": "w1", "worker": "w1"})
    assert answer != f"Unsupported task '{task}'"
    assert client.manage("nothing") == "Unsupported task 'nothing'"


@better("it says nothing, and the caller waits 30 s")
@pytest.mark.parametrize("service", [MANAGEMENT, INVENTORY])
@pytest.mark.parametrize("body", [b"no json", b"", b"\xff", b"[1]", b"3", b"[" * 10_000])
def test_a_call_that_cannot_be_read_is_answered(client, service, body):
    uuid = client.say(MMI, service, body=body)
    first, second = client.answer(), client.answer()
    assert (first.command, second.command) == (RESPONSE, MMI)
    assert first[1:] == second[1:] and first.uuid == uuid
    assert first.json is not None


@better("it says nothing, and the caller waits 30 s")
@pytest.mark.parametrize("kwargs", [{}, {"name": 3}, {"name": None}, {"name": ["w1"]}])
def test_an_inventory_call_without_a_name_is_answered(client, kwargs):
    body = json.dumps({"task": "get_inventory", "kwargs": kwargs, "args": []}).encode()
    uuid = client.say(MMI, INVENTORY, body=body)
    first, second = client.answer(), client.answer()
    assert (first.command, second.command, first.uuid) == (RESPONSE, MMI, uuid)


@pytest.mark.parametrize("kwargs", [{"last": 3, "level": "INFO"}, {"last": 1, "logger": "none"}])
def test_wrong_filters_of_get_logs_are_answered(client, kwargs):
    assert isinstance(client.manage("get_logs", kwargs), list)


def test_the_inventory_is_matched_by_name_and_merged(client):
    got = client.manage("get_inventory", {"name": "w1"}, service=INVENTORY)
    assert got["list"] == [1, 2, 3]
    assert got["deep"] == {"a": 1, "b": 2}
    assert got["env"] == "from the environment"


@better("its merge changes the inventory: who asks next gets what others were given")
def test_the_inventory_of_one_worker_is_not_mixed_into_another(client):
    client.manage("get_inventory", {"name": "w1"}, service=INVENTORY)
    got = client.manage("get_inventory", {"name": "w2"}, service=INVENTORY)
    assert got == {
        "vault": {"token": "do-not-show-this", "name": "seen"},
        "list": [1, 2],
        "deep": {"a": 1, "b": 1},
    }


def test_an_unknown_worker_has_no_inventory(client):
    assert client.manage("get_inventory", {"name": "x"}, service=INVENTORY) is None
    assert client.manage("other", service=INVENTORY) == "Unsupported task 'other'"


def test_a_broker_without_an_inventory_answers_null(net):
    client = net().raw_client()
    assert client.manage("get_inventory", {"name": "w1"}, service=INVENTORY) is None


# The file service of the versions up to 0.14, in the broker: always 200, raw octets.


def old(client, task, **kwargs):
    body = json.dumps({"task": task, "kwargs": kwargs}).encode()
    uuid = client.say(GET, OLD_FILES, b"any", body=body)
    answer = client.answer()
    assert answer[:4] == (RESPONSE, OLD_FILES, uuid, b"200"), answer
    return answer.body


@better("the newest version has lost it")
def test_the_old_file_service_serves_chunks(files):
    client = files.raw_client(b"old-1")
    content = (files.shared / "a.bin").read_bytes()
    got = [
        old(client, "fetch_file", url="nf://a.bin", offset=offset, chunk_size=300_000)
        for offset in range(0, len(content) + 300_000, 300_000)
    ]
    assert b"".join(got) == content
    details = json.loads(old(client, "file_details", url="nf://a.bin"))
    assert details["exists"] is True and details["size_bytes"] == len(content)
    assert details["md5hash"] == hashlib.md5(content).hexdigest()
    assert json.loads(old(client, "file_details", url="nf://gone"))["exists"] is False
    assert set(json.loads(old(client, "list_files", url="nf://"))) >= {"a.bin", "sub"}
    assert "nf://sub/b.txt" in json.loads(old(client, "walk", url="nf://"))


@better("it served every file of the machine")
@pytest.mark.parametrize("url", ["nf://../outside.txt", "nf:///etc/passwd", "nf://link", "nf://.hidden"])
def test_the_old_file_service_stays_in_its_folder(files, url):
    client = files.raw_client(b"old-" + url.encode())
    assert json.loads(old(client, "file_details", url=url))["exists"] is False
    body = old(client, "fetch_file", url=url, offset=0, chunk_size=1000)
    said = body.replace(url.encode(), b"")  # what was asked for may be in the answer
    assert b"secret" not in said and b"root:" not in said and b"hidden" not in said


# The service `filesharing` of the versions since 0.15: STREAM and PUT.


class Fetch:
    """A job of the file service."""

    def __init__(self, client, task, **kwargs):
        self.client = client
        body = json.dumps({"task": task, "kwargs": kwargs, "args": [], "timeout": 60}).encode()
        self.uuid, [self.worker] = client.post(b"filesharing", b"any", body)

    def next(self):
        """The next answer but 201 and 202."""
        while True:
            answer = self.client.answer()
            assert (answer.service, answer.uuid) == (b"filesharing", self.uuid), answer
            if answer.command != RESPONSE or answer.status not in (b"201", b"202"):
                return answer

    def put(self, offset):
        body = json.dumps({"offset": offset}).encode()
        self.client.say(PUT, b"filesharing", self.worker.encode(), self.uuid, body)

    def ready(self):
        """All events until the result can be had."""
        while True:
            answer = self.next()
            assert answer.command == EVENT, answer
            if answer.json.get("event_type") == "result_ready":
                return

    def result(self):
        target = json.dumps([self.worker]).encode()
        self.client.say(GET, b"filesharing", target, self.uuid)
        answer = self.next()
        assert (answer.command, answer.status) == (RESPONSE, b"200"), answer
        return answer.json[self.worker]


@pytest.fixture
def fetcher(files):
    client = files.raw_client(b"fetcher")
    yield client
    client.close()


def test_the_first_chunk_comes_unasked_and_each_put_gives_one_more(fetcher, files):
    content = (files.shared / "a.bin").read_bytes()
    size = 300_000
    fetch = Fetch(fetcher, "fetch_file", url="nf://a.bin", chunk_size=size, offset=0)
    got = b""
    while len(got) < len(content):
        answer = fetch.next()
        if answer.command == EVENT:
            continue
        assert answer == Answer(STREAM, b"filesharing", fetch.uuid, b"200", answer.body)
        assert answer.body == content[len(got) : len(got) + size]
        got += answer.body
        if len(got) < len(content):
            fetch.put(len(got))
    fetch.ready()
    result = fetch.result()
    assert (result["result"], result["failed"], result["service"]) == (True, False, "filesharing")
    keys = ["result", "failed", "errors", "task", "messages", "juuid", "resources"]
    keys += ["resources_failed", "status", "task_started", "task_completed", "service", "diff"]
    assert set(result) == {*keys, "dry_run"}


def test_an_empty_file_has_no_chunk(fetcher):
    fetch = Fetch(fetcher, "fetch_file", url="nf://empty", chunk_size=1000, offset=0)
    fetch.ready()
    assert fetch.result()["result"] is True


def test_a_transfer_that_nobody_goes_on_with_fails(fetcher):
    fetch = Fetch(fetcher, "fetch_file", url="nf://a.bin", chunk_size=1000, chunk_timeout=1)
    started = time.monotonic()
    while fetch.next().command == EVENT:
        pass
    fetch.ready()
    assert fetch.result()["failed"] is True
    assert time.monotonic() - started < 10


def test_file_details_of_one_and_of_several(fetcher, files):
    content = (files.shared / "a.bin").read_bytes()
    expected = {
        "md5hash": hashlib.md5(content).hexdigest(),
        "size_bytes": len(content),
        "exists": True,
    }
    fetch = Fetch(fetcher, "file_details", url="nf://a.bin")
    fetch.ready()
    assert fetch.result()["result"] == expected
    fetch = Fetch(fetcher, "file_details", url=["nf://a.bin", "nf://gone"])
    fetch.ready()
    each = fetch.result()["result"]
    assert each["nf://a.bin"]["result"] == expected and not each["nf://a.bin"]["failed"]
    assert each["nf://gone"]["failed"] is True


def test_list_files_and_walk(fetcher):
    fetch = Fetch(fetcher, "list_files", url="nf://")
    fetch.ready()
    assert set(fetch.result()["result"]) >= {"a.bin", "sub", "empty"}
    fetch = Fetch(fetcher, "list_files", url="nf://gone")
    fetch.ready()
    result = fetch.result()
    assert result["failed"] and "Directory Not Found" in json.dumps(result)
    fetch = Fetch(fetcher, "walk", url="nf://")
    fetch.ready()
    walked = fetch.result()["result"]
    assert {"nf://a.bin", "nf://sub/b.txt", "nf://empty"} <= set(walked)
    assert not [url for url in walked if "hidden" in url]


@pytest.mark.parametrize(
    "url",
    ["nf://../outside.txt", "nf://link", "nf://sub/../../outside.txt", "nf:///etc/passwd", "http://x"],
)
@pytest.mark.parametrize("task", ["file_details", "fetch_file"])
def test_nothing_outside_the_folder_is_served(fetcher, task, url):
    fetch = Fetch(fetcher, task, url=url)
    fetch.ready()
    result = fetch.result()
    assert result["failed"] is True and "secret" not in json.dumps(result)


def test_unknown_tasks_of_the_file_service_fail(fetcher):
    fetch = Fetch(fetcher, "no_such_task")
    fetch.ready()
    result = fetch.result()
    assert result["failed"] is True and result["errors"]
    assert AGAINST_NORFAB or result["status"] == "error"
