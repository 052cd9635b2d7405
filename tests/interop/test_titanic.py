"""Titanic (RFC 9, SPEC 15) as a stock client sees it, and what survives the broker."""

import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest

import mdp
from broker import BINARY, Broker
from titanic import Echo, Kept, Titanic

BEATS = ("--heartbeat", "300ms")


@pytest.fixture
def kept(tmp_path):
    broker = Kept(tmp_path, *BEATS)
    yield broker
    broker.close()


@pytest.fixture
def echo(kept):
    worker = Echo(kept.endpoint)
    yield worker
    worker.stop()


def answer(client, uuid, wait=30.0):
    """Asks for the answer as the Guide's client does, until it is there."""
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        status, rest = client.reply(uuid)
        if status != b"300":
            return status, rest
        time.sleep(0.02)
    raise AssertionError(f"{uuid} has no answer")


def test_a_request_is_answered_and_stays_until_it_is_closed(kept, echo):
    with Titanic(kept.endpoint) as client:
        status, uuid = client.request(b"echo", b"one", b"", b"x" * 10000)
        assert status == b"200"
        expected = (b"200", [b"echo", b"one", b"", b"x" * 10000])
        assert answer(client, uuid) == expected
        assert client.reply(uuid) == expected, "it is not deleted"
        assert client.reply(uuid.lower()) == expected
        assert client.close_request(uuid) == (b"200", [])
        assert client.close_request(uuid) == (b"200", []), "again"
        assert client.reply(uuid) == (b"400", [])


def test_what_is_wrong_has_a_status(kept):
    with Titanic(kept.endpoint) as client:
        for uuid in (b"", b"0" * 31, b"../../../../../../../../../etc/pa", b"0" * 32):
            assert client.reply(uuid) == (b"400", [])
            assert client.close_request(uuid) == (b"200", [])
        for wrong in ([b"echo"], [b"", b"x"], [b"mmi.service", b"x"], [b"titanic.reply", b"x"]):
            assert client.ask(b"request", *wrong) == (b"400", [])
        assert client.request(b"nobody", b"x")[0] == b"200", "it waits"


def test_titanic_is_nobody_elses(kept):
    with mdp.Worker(kept.endpoint, b"titanic.request") as worker:
        assert worker.recv() == ("DISCONNECT", [])


def test_without_a_store_there_is_no_titanic(start):
    broker = start()
    with mdp.Worker(broker.endpoint, b"titanic.request") as worker:
        with mdp.Client(broker.endpoint) as client:
            client.send(b"titanic.request", b"x", b"y")
            address, body = worker.request()
            assert body == [b"x", b"y"]
            worker.final(address, b"mine")
            assert client.receive()[-1] == b"mine"


def test_a_request_outlives_the_broker_and_so_does_its_answer(kept):
    with Titanic(kept.endpoint) as client:
        _, uuid = client.request(b"echo", b"before")
        assert client.reply(uuid) == (b"300", [])
        kept.kill()
        kept.start()
        assert client.reply(uuid) == (b"300", [])
        echo = Echo(kept.endpoint)
        assert answer(client, uuid) == (b"200", [b"echo", b"before"])
        echo.stop()
        kept.kill()
        kept.start()
        assert client.reply(uuid) == (b"200", [b"echo", b"before"])
        assert client.close_request(uuid) == (b"200", [])
        kept.restart()
        assert client.reply(uuid) == (b"400", [])


def test_a_request_that_a_worker_has_goes_to_another_when_the_broker_is_new(kept):
    with Titanic(kept.endpoint) as client:
        with mdp.Worker(kept.endpoint, b"slow") as worker:
            _, uuid = client.request(b"slow", b"job")
            worker.request()
            kept.kill()
        kept.start()
        with mdp.Worker(kept.endpoint, b"slow") as worker:
            address, body = worker.request()
            assert body == [b"job"]
            worker.final(address, b"done")
            assert answer(client, uuid) == (b"200", [b"done"])


def test_a_request_that_may_run_once_does_not_run_again(tmp_path):
    kept = Kept(tmp_path, *BEATS, "--set", "service.at_most_once=true")
    with Titanic(kept.endpoint) as client:
        with mdp.Worker(kept.endpoint, b"once") as worker:
            _, uuid = client.request(b"once", b"job")
            worker.request()
            kept.kill()
        kept.start()
        assert answer(client, uuid) == (b"500", [])
    kept.close()


def test_a_request_goes_on_when_its_worker_is_lost(kept):
    with Titanic(kept.endpoint) as client:
        with mdp.Worker(kept.endpoint, b"frail") as worker:
            _, uuid = client.request(b"frail", b"job")
            worker.request()
        with mdp.Worker(kept.endpoint, b"frail") as worker:
            address, _ = worker.request()
            worker.final(address, b"done")
            assert answer(client, uuid) == (b"200", [b"done"])


def test_bodies_beyond_the_window_come_from_the_disk(tmp_path):
    kept = Kept(tmp_path, *BEATS, "--set", "store.titanic_window=1KiB")
    with Titanic(kept.endpoint) as client:
        uuids = {client.request(b"echo", b"%d" % n, b"x" * 500)[1]: n for n in range(50)}
        worker = Echo(kept.endpoint)
        for uuid, number in uuids.items():
            assert answer(client, uuid) == (b"200", [b"echo", b"%d" % number, b"x" * 500])
        worker.stop()
    kept.close()


def test_there_is_a_limit(tmp_path):
    kept = Kept(tmp_path, "--set", "store.titanic_requests=3")
    with Titanic(kept.endpoint) as client:
        uuids = [client.request(b"nobody", b"x")[1] for _ in range(3)]
        assert client.request(b"nobody", b"x") == (b"500", None)
        assert client.close_request(uuids[0]) == (b"200", [])
        assert client.request(b"nobody", b"x")[0] == b"200"
    kept.close()


def test_an_answer_is_forgotten_when_its_time_is_over(tmp_path):
    kept = Kept(tmp_path, *BEATS, "--set", "store.titanic_ttl=2s")
    worker = Echo(kept.endpoint)
    with Titanic(kept.endpoint) as client:
        _, uuid = client.request(b"echo", b"x")
        assert answer(client, uuid)[0] == b"200"
        deadline = time.monotonic() + 20
        while client.reply(uuid)[0] != b"400":
            assert time.monotonic() < deadline
            time.sleep(0.2)
    worker.stop()
    kept.close()


def test_a_client_of_mdp_0_2_is_answered_in_its_own_way(kept, echo):
    with mdp.Client(kept.endpoint, 2) as client:
        client.send(b"titanic.request", b"echo", b"x")
        kind, service, body = mdp.to_client(2, client.receive())
        assert (kind, service, body[0]) == ("FINAL", b"titanic.request", b"200")


class Load(threading.Thread):
    """A client that keeps requests coming, whatever becomes of the broker, and notes which were
    acknowledged and which it has closed."""

    def __init__(self, endpoint, number):
        super().__init__(daemon=True)
        self.endpoint, self.number = endpoint, number
        self.ending = threading.Event()
        self.acknowledged = {}
        self.start()

    def run(self):
        client, count = Titanic(self.endpoint), 0
        while not self.ending.is_set():
            count += 1
            body = b"%d-%d" % (self.number, count)
            status, uuid = client.request(b"echo", body, wait=1.0)
            if status == b"200":
                self.acknowledged[uuid] = body
            else:
                client.close()
                client = Titanic(self.endpoint)
        client.close()

    def stop(self):
        self.ending.set()
        self.join(30)


def all_are_answered(kept, acknowledged):
    with Titanic(kept.endpoint) as client:
        for uuid, body in acknowledged.items():
            assert answer(client, uuid, 60.0) == (b"200", [b"echo", body]), uuid


def test_nothing_acknowledged_is_lost_by_twenty_kills(kept):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    worker = Echo(kept.endpoint)
    loads = [Load(kept.endpoint, number) for number in range(4)]
    for _ in range(20):
        time.sleep(chance.uniform(0.05, 0.8))
        kept.kill()
        kept.start()
    time.sleep(0.5)
    for load in loads:
        load.stop()
    acknowledged = {}
    for load in loads:
        acknowledged |= load.acknowledged
    print(len(acknowledged), "acknowledged")
    assert len(acknowledged) > 50
    all_are_answered(kept, acknowledged)
    worker.stop()


POINTS = [
    ("store.before_commit", 30),
    ("store.sync", 30),
    ("store.after_commit", 30),
    ("store.after_told", 30),
]


@pytest.mark.skipif("MAJORDOMO_FAIL_POINTS" not in os.environ, reason="built without fail-points")
@pytest.mark.parametrize("point,count", POINTS)
def test_nothing_acknowledged_is_lost_at_a_named_point(tmp_path, monkeypatch, point, count):
    kept = Kept(tmp_path, *BEATS)
    kept.kill()
    monkeypatch.setenv("MAJORDOMO_FAIL_POINT", f"{point}:{count}")
    kept.start()
    worker = Echo(kept.endpoint)
    loads = [Load(kept.endpoint, number) for number in range(3)]
    assert kept.broker.process.wait(60) == -signal.SIGABRT
    monkeypatch.delenv("MAJORDOMO_FAIL_POINT")
    kept.start()
    time.sleep(1)
    for load in loads:
        load.stop()
    acknowledged = {}
    for load in loads:
        acknowledged |= load.acknowledged
    assert acknowledged
    all_are_answered(kept, acknowledged)
    worker.stop()
    kept.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_disk_refuses_what_is_new_until_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("cannot mount")
    kept = Kept(tmp_path, "--set", "store.min_free=4MiB", store=disk / "store")
    try:
        with Titanic(kept.endpoint) as client:
            uuids = []
            for _ in range(200):
                status, uuid = client.request(b"nobody", b"x" * 300_000)
                if status == b"500":
                    break
                uuids.append(uuid)
            assert status == b"500" and uuids
            for uuid in uuids:
                assert client.reply(uuid) == (b"300", [])
            kept.kill()
            kept.start()
            for uuid in uuids:
                assert client.reply(uuid) == (b"300", []), "all that was accepted is there"
    finally:
        kept.close()
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_recovery_that_is_killed_three_times_finds_the_same(kept):
    with Titanic(kept.endpoint) as client:
        uuids = {client.request(b"echo", b"%d" % n)[1]: b"%d" % n for n in range(20)}
    kept.kill()
    for pause in (0.0, 0.01, 0.03):
        flags = ["--config", "/dev/null", "--bind", kept.endpoint, "--store", str(kept.store)]
        broker = subprocess.Popen([BINARY, "broker", *flags], stderr=subprocess.DEVNULL)
        time.sleep(pause)
        broker.kill()
        broker.wait(30)
    kept.start()
    worker = Echo(kept.endpoint)
    all_are_answered(kept, uuids)
    worker.stop()


def test_a_principal_sees_only_its_own(tmp_path):
    ipc = tmp_path / "other.sock"
    broker = Broker(
        tmp_path, "--store", str(tmp_path / "store"), binds=("tcp://127.0.0.1:0", f"ipc://{ipc}")
    )
    with Titanic(broker.endpoints[0]) as mine, Titanic(broker.endpoints[1]) as other:
        _, uuid = mine.request(b"nobody", b"x")
        assert mine.reply(uuid) == (b"300", [])
        assert other.reply(uuid) == (b"400", [])
        assert other.close_request(uuid) == (b"200", []), "it says nothing"
        assert mine.reply(uuid) == (b"300", []), "and does nothing"
    broker.close()


def test_the_workers_are_counted_as_without_a_store(kept):
    with mdp.Worker(kept.endpoint, b"echo"):
        deadline = time.monotonic() + 20
        while True:
            status = ["status", "--endpoint", kept.endpoint, "--json"]
            report = json.loads(subprocess.run([BINARY, *status], capture_output=True).stdout)
            if report["broker"]["workers"] == 1:
                break
            assert time.monotonic() < deadline, report
            time.sleep(0.1)
