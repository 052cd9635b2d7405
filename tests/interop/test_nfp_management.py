"""Management calls of NFP as raw clients see them, on an open listener and on one for administrators."""

import json
import os
import stat
import time
import uuid as uuids

import pytest
import zmq

import mdp

CLIENT, WORKER, BROKER = b"NFPC01", b"NFPW01", b"NFPB01"
READY, KEEPALIVE, DISCONNECT = b"0x01", b"0x02", b"0x03"
POST, RESPONSE, GET, PUT, MMI = b"0x04", b"0x05", b"0x06", b"0x10", b"0x11"
MANAGEMENT = b"mmi.service.broker"
NOBODY = [{"name": "", "service": "", "status": ""}]


class Peer(mdp.Socket):
    """A DEALER with the name that NFP gives to every peer."""

    def __init__(self, endpoint, name):
        super().__init__(endpoint, zmq.DEALER, None, {zmq.IDENTITY: name})


class Client(Peer):
    def ask(self, body, command=MMI):
        """Asks, and looks at both copies of the answer."""
        uuid = uuids.uuid4().hex.encode()
        self.socket.send_multipart([b"", CLIENT, command, MANAGEMENT, b"all", uuid, body])
        first, second = self.receive(), self.receive()
        assert first[:6] == [b"", BROKER, RESPONSE, MANAGEMENT, uuid, b"200"], first
        assert second == [b"", BROKER, MMI, MANAGEMENT, uuid, b"200", first[6]], second
        return json.loads(first[6])

    def manage(self, task, command=MMI, **kwargs):
        body = json.dumps({"task": task, "kwargs": kwargs, "args": []}).encode()
        return self.ask(body, command)

    def names(self, **filters):
        return sorted(row["name"] for row in self.manage("show_workers", **filters))


class Worker(Peer):
    def __init__(self, endpoint, name, service=b"work"):
        super().__init__(endpoint, name)
        self.service = service
        self.say(READY)

    def say(self, command):
        self.socket.send_multipart([b"", WORKER, command, self.service])

    def command(self):
        """The next command that is no keepalive."""
        while True:
            frames = self.receive()
            assert frames[:2] == [b"", BROKER], frames
            if frames[2] != KEEPALIVE:
                return frames[2]


@pytest.fixture
def served(start, tmp_path, peers):
    """A broker, a client of its open listener, and one of its administration."""

    class Served:
        socket = tmp_path / "admin.sock"
        broker = start("--set", "nfp.keepalive=200ms", binds=("tcp://127.0.0.1:0", f"ipc://{socket}"))

        def client(self, name=b"client"):
            return peers(Client(self.broker.endpoint, name))

        def admin(self, name=b"admin"):
            return peers(Client(self.broker.endpoints[1], name))

        def worker(self, name, service=b"work"):
            worker = peers(Worker(self.broker.endpoint, name, service))
            client = self.client(b"waiter-" + name)
            mdp.until(lambda: name.decode() in client.names())
            return worker

    return Served()


@pytest.mark.parametrize("command", [POST, GET, PUT, MMI])
def test_every_command_reaches_the_management(served, command):
    assert served.client().manage("show_workers", command=command) == NOBODY


def test_show_workers_has_text_in_every_column(served):
    worker = served.worker(b"w1")
    served.worker(b"o1", b"other")
    worker.say(KEEPALIVE)
    client = served.client()
    assert client.names() == client.names(service="all", status="any") == ["o1", "w1"]
    assert client.names(service="other", status="alive") == ["o1"]
    assert client.manage("show_workers", service="none") == NOBODY
    assert client.manage("show_workers", status="dead") == NOBODY

    def beaten():
        [row] = client.manage("show_workers", service="work")
        sent, heard = map(int, row["keepalives tx/rx"].split(" / "))
        return sent >= 1 and heard == 1

    mdp.until(beaten)
    [row] = client.manage("show_workers", service="work")
    columns = ["name", "service", "status", "holdtime", "keepalives tx/rx", "alive (s)"]
    assert sorted(row) == sorted(columns) and set(map(type, row.values())) == {str}
    assert 0 <= float(row["holdtime"]) <= 1.2 and int(row["alive (s)"]) >= 0


def test_get_stats_is_what_norfab_takes(served):
    served.worker(b"w1")
    client = served.client()
    stats = client.manage("get_stats")
    number = (int, float)
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
    process = stats["process"]
    assert type(process["cpu_percent"]) is type(process["memory_rss_mbyte"]) is float
    whole = ["uptime_seconds", "open_file_descriptors", "tcp_sockets", "threads"]
    assert sorted(process) == sorted(["cpu_percent", "memory_rss_mbyte", *whole])
    assert all(type(process[key]) is int for key in whole)
    assert process["open_file_descriptors"] == len(os.listdir(f"/proc/{served.broker.process.pid}/fd"))
    keys = ["sent", "received", "events_received", "send_failures", "receive_failures"]
    assert sorted(stats["messaging"]) == sorted(keys)
    assert all(isinstance(value, number) for value in stats["messaging"].values())
    [worker] = stats["workers"]
    assert {key: type(value) for key, value in worker.items()} == {
        "name": str,
        "service": str,
        "status": str,
        "holdtime_seconds": float,
        "uptime_seconds": int,
        "keepalives_sent": int,
        "keepalives_received": int,
    }
    assert (stats["worker_count"], stats["service_count"]) == (1, 1)
    assert (stats["keepalive_interval_ms"], stats["keepalive_multiplier"]) == (200, 6)
    assert stats["endpoint"] == served.broker.endpoint
    status = client.manage("get_status")
    assert (status["role"], status["status"]) == ("broker", "active")
    assert status["security"]["zmq_auth"] is False
    assert client.manage("show_broker")["keepalives"] == {"interval": 200, "multiplier": 6}
    assert {"norfab", "majordomo", "platform"} <= set(client.manage("show_broker_version"))
    assert {"broker", "workers", "topology"} <= set(client.manage("show_broker_inventory"))


BAD = [b"", b"no json", b"\xff", b"[1]", b"3", b"{}", b'{"task":1}', b'{"task":"get_stats","kwargs":1}']


@pytest.mark.parametrize("body", BAD)
def test_whatever_is_wrong_with_a_call_is_answered_twice(served, body):
    answer = served.client().ask(body)
    assert answer["status"] == "FAILED" and answer["errors"] == [answer["error"]]


def test_unknown_tasks_and_wrong_arguments_are_answered(served):
    client = served.client()
    assert client.manage("nothing") == "Unsupported task 'nothing'"
    assert client.manage("show_workers", service=3)["status"] == "FAILED"
    [record] = client.manage("get_logs", since="yesterday")
    assert record["level"] == "ERROR" and "since" in record["message"]


def test_get_logs_tells_what_the_log_says(served):
    client = served.client(b"logged")
    records = client.manage("get_logs", last=1000)
    joined = [record for record in records if record["message"].startswith("peer joined")]
    assert [record for record in joined if record["fields"].get("identity") == "logged"]
    assert {"ts", "level", "logger", "message", "pid", "threadName", "line"} <= set(records[0])
    assert records == sorted(records, key=lambda record: record["ts"])
    assert {record["pid"] for record in records} == {served.broker.process.pid}
    assert client.manage("get_logs", last=1) != [] == client.manage("get_logs", level="CRITICAL")
    assert client.manage("get_logs", until="2026-01-01") == []
    own = client.manage("get_logs", logger="majordomo::broker::connection")
    assert {record["logger"] for record in own} == {"majordomo::broker::connection"}


def test_show_services_and_show_clients(served):
    served.worker(b"w1")
    [row] = served.client().manage("show_services")
    assert (row["name"], row["workers"]) == ("work", 1)
    rows = {row["name"]: row for row in served.admin().manage("show_clients")}
    assert rows["admin"]["admin"] is True and rows["client"]["admin"] is False
    assert "w1" not in rows and rows["client"]["dialect"] == "NFP"


@pytest.mark.parametrize("task", ["disconnect", "restart", "shutdown"])
def test_what_changes_the_broker_is_refused_on_an_open_listener(served, task):
    worker = served.worker(b"w1")
    answer = served.client().manage(task, name="w1")
    assert answer["status"] == "FAILED" and "ipc://" in answer["error"]
    # Not even to a client that has the name of an administrator who is there.
    served.admin().manage("show_workers")
    assert served.client(b"other").manage(task, name="w1")["status"] == "FAILED"
    assert served.client(b"last").names() == ["w1"]
    worker.say(KEEPALIVE)


def test_the_administration_listener_is_for_its_owner(served):
    mode = served.socket.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_a_disconnected_worker_is_told_and_may_come_again(served):
    worker = served.worker(b"w1")
    admin = served.admin()
    assert admin.manage("disconnect")["error"] == "task disconnect needs the argument name"
    assert admin.manage("disconnect", name="nobody")["error"] == "no peer has the name nobody"
    assert admin.manage("disconnect", name="w1") == {"status": "DISCONNECTED", "name": "w1"}
    assert worker.command() == DISCONNECT
    assert admin.manage("show_workers") == NOBODY
    # The socket comes back by itself; whoever is not known is told to begin anew.
    mdp.until(lambda: worker.say(READY) or admin.names() == ["w1"])


def test_a_restart_keeps_process_and_arguments(served):
    before = served.client().manage("get_logs", last=1)[0]["pid"]
    worker = served.worker(b"w1")
    served.client(b"second").manage("get_stats")
    admin = served.admin()
    assert admin.manage("restart") == {"status": "RESTARTING"}
    assert worker.command() == DISCONNECT
    process = served.broker.process
    fresh = [process.stdout.readline().strip() for _ in served.broker.endpoints]
    assert fresh[0].startswith("tcp://127.0.0.1:") and fresh[1] == served.broker.endpoints[1]
    with Client(fresh[0], b"after") as client:
        stats = client.manage("get_stats")
        assert stats["keepalive_interval_ms"] == 200 and stats["worker_count"] == 0
        assert stats["process"]["uptime_seconds"] <= 30
        assert client.manage("get_logs", last=1)[0]["pid"] == before == process.pid
    # The administrator's socket has come back to the same file.
    assert admin.manage("show_broker")["status"] == "active"


def test_a_shutdown_is_that_of_sigterm(served):
    worker = served.worker(b"w1")
    served.broker.stopped = True
    started = time.monotonic()
    assert served.admin().manage("shutdown") == {"status": "STOPPING"}
    assert worker.command() == DISCONNECT
    assert served.broker.process.wait(30) == 0
    assert time.monotonic() - started < 20
    assert not served.socket.exists()
