"""Requests of MJP/1 at level disk: what a peer sees, and what survives the broker (SPEC 15.6)."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from broker import BINARY
import held
from depot import Load, Worker, fetch, hand_in, settle
from mjp import Peer, example, header, kind, second
from titanic import Kept

BEATS = ("--heartbeat", "300ms")
DISK = {"level": "disk", "ack": True}
# A long suite does more of the same.
KILLS = int(os.environ.get("MAJORDOMO_KILLS", "20"))
AT_EACH_POINT = int(os.environ.get("MAJORDOMO_KILLS_AT_POINTS", "1"))


@pytest.fixture
def kept(tmp_path):
    broker = Kept(tmp_path, *BEATS)
    yield broker
    broker.close()


def code(frames):
    return header(frames)["code"]


def cli(*arguments):
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_the_octets_of_the_specification(kept):
    with Peer(kept.endpoint) as worker, Peer(kept.endpoint) as client:
        worker.ready(service="pay")
        request = example("mjp", "REQUEST 9")
        client.send(request)
        assert client.recv() == example("mjp-broker", 'ACCEPTED 9 {"level": "disk"}')
        work = worker.expect("REQUEST")
        assert work[2] == request[2] and work[4:] == request[3:]
        worker.send([b"MJP1", second("FINAL", 0)[:1] + work[1][1:], b"\x80", b"yo"])
        client.expect("FINAL", 9)


def test_without_a_store_the_level_is_refused(broker):
    with Peer(broker.endpoint) as client:
        client.call(1, b"x", **DISK)
        assert code(client.expect("ERROR", 1)) == "unsupported"
        client.call(2, b"x", level="diamond")
        refused = header(client.expect("ERROR", 2))
        assert refused["code"] == "bad_request" and "level" in refused["message"]
    done = cli("broker", "--config", "/dev/null", "--set", "service.level=disk")
    assert done[0] == 78 and "store.path" in done[2]


def test_a_request_outlives_the_broker_and_so_does_its_answer(kept):
    with Peer(kept.endpoint) as client:
        client.call(1, b"order", service="pay", key="k", **DISK)
        assert header(client.expect("ACCEPTED", 1)) == {"level": "disk"}
    kept.kill()
    kept.start()
    worker = Worker(kept.endpoint)
    with Peer(kept.endpoint) as client:
        client.call(1, b"order", service="pay", key="k", **DISK)
        assert header(client.expect("ACCEPTED", 1)) == {"level": "disk", "repeat": True}
        answer = client.expect("FINAL", 1)
    worker.stop()
    for _ in range(2):
        kept.kill()
        kept.start()
        with Peer(kept.endpoint) as client:
            client.call(1, b"order", service="pay", key="k")
            assert client.expect("FINAL", 1) == answer
            client.call(2, b"another", service="pay", key="k", **DISK)
            assert code(client.expect("ERROR", 2)) == "key_conflict"
    assert len(worker.given) == 1


def test_what_may_run_once_does_not_run_again(tmp_path):
    kept = Kept(tmp_path, *BEATS, "--set", "service.at_most_once=true")
    with Peer(kept.endpoint) as client, Peer(kept.endpoint) as worker:
        worker.ready(service="once")
        client.call(1, b"a", service="once", key="a", **DISK)
        worker.request()
        client.call(2, b"b", service="once", key="b", **DISK)
        client.expect("ACCEPTED", 1)
        client.expect("ACCEPTED", 2)
    kept.kill()
    kept.start()
    with Peer(kept.endpoint) as client, Peer(kept.endpoint) as worker:
        client.call(1, b"a", service="once", key="a", **DISK)
        client.expect("ACCEPTED", 1)
        assert code(client.expect("ERROR", 1)) == "worker_lost"
        worker.offer(service="once")
        assert worker.request()[2] == [b"b"], "no worker had this one"
    kept.close()


def test_the_time_of_a_request_goes_on_while_there_is_no_broker(kept):
    with Peer(kept.endpoint) as client:
        client.call(1, b"x", service="late", timeout=60_000, **DISK)
        client.call(2, b"y", service="late", timeout=500, **DISK)
        client.expect("ACCEPTED", 1)
        client.expect("ACCEPTED", 2)
    kept.kill()
    time.sleep(1.5)
    kept.start()
    with Peer(kept.endpoint) as worker:
        worker.offer(service="late")
        _, says, body = worker.request()
        assert body == [b"x"] and 50_000 < says["timeout"] <= 58_600
        worker.hears_nothing()


def test_a_delay_goes_on_while_there_is_no_broker(kept):
    with Peer(kept.endpoint) as client:
        asked = time.time()
        client.call(1, b"- 1", service="pay", delay=3_000, **DISK)
        client.call(2, b"- 2", service="pay", delay=500, **DISK)
        client.expect("ACCEPTED", 1)
        client.expect("ACCEPTED", 2)
        accepted = time.time()
    kept.kill()
    time.sleep(1)
    kept.start()
    began = time.time()
    worker = held.Worker(kept.endpoint, 1)
    deadline = time.monotonic() + 30
    while len(worker.first) < 2:
        assert time.monotonic() < deadline, worker.first
        time.sleep(0.01)
    worker.stop()
    assert worker.first[b"- 2"] < began + 1, "its time came while nobody was there"
    given = worker.first[b"- 1"]
    assert asked + 3 <= given, f"{asked + 3 - given:.3f} s too early"
    assert given < accepted + 3.5, f"{given - accepted - 3:.3f} s too late"


def test_what_is_held_beyond_the_window_is_on_the_disk_only(tmp_path):
    kept = Kept(tmp_path, *BEATS, "--set", "limits.stored_in_memory=50")
    with Peer(kept.endpoint) as client:
        for id in range(1, 601):
            order = {"order": "account-7"} if id % 2 else {"delay": 60_000}
            client.call(id, b"a %d" % id, service="pay", level="disk", wait=False, **order)
        for id in range(1, 601):
            client.expect("ACCEPTED", id)
    with Peer(kept.endpoint) as worker:
        worker.offer(service="pay", credit=100)
        assert worker.request()[2] == [b"a 1"]
        with Peer(kept.endpoint) as client:
            for id in range(1, 101):
                client.call(id, b"- 0", service="pay", level="disk", wait=False)
            for id in range(1, 101):
                client.expect("ACCEPTED", id)
        for _ in range(99):
            token, _, body = worker.request()
            assert body == [b"- 0"], "what is held is in nobody's way"
            worker.send([b"MJP1", second("FINAL", token), b"\x80", b"done"])
        worker.request()
    status = json.loads(cli("status", "--endpoint", kept.endpoint, "--json")[1])
    assert status["broker"]["store"]["in_memory"] <= 50
    kept.kill()
    done = cli("store", "repair", str(kept.store), str(tmp_path / "saved"), "--json")
    assert done[0] == 0, done
    census = json.loads(cli("store", "check", str(kept.store), "--json")[1])
    assert census["ok"] and census["waiting"] == json.loads(done[1])["waiting"] >= 601
    kept.start()
    worker = held.Worker(kept.endpoint, 1)
    deadline = time.monotonic() + 60
    while len(worker.given[b"a"]) < 300:
        assert time.monotonic() < deadline, len(worker.given[b"a"])
        time.sleep(0.05)
    worker.stop()
    assert worker.given[b"a"] == list(range(1, 601, 2)) and not worker.faults
    kept.close()


def test_beyond_the_window_requests_are_on_the_disk_only(tmp_path):
    kept = Kept(tmp_path, *BEATS, "--set", "limits.stored_in_memory=50")
    hand_in(kept.endpoint, 2000, service="pay")
    status = json.loads(cli("status", "--endpoint", kept.endpoint, "--json")[1])
    store = status["broker"]["store"]
    assert store["requests"] == 2000 and store["in_memory"] <= 50 and store["state"] == "ok"
    kept.kill()
    kept.start()
    worker = Worker(kept.endpoint)
    deadline = time.monotonic() + 60
    while len(worker.given) < 2000:
        assert time.monotonic() < deadline, len(worker.given)
        time.sleep(0.05)
    worker.stop()
    text = cli("status", "--endpoint", kept.endpoint)[2]
    assert "store: 0 requests" in text
    kept.close()


def test_the_command_line_hands_in_and_fetches(kept):
    call = ("call", "pay", "order 7", "--endpoint", kept.endpoint, "--key", "order-7")
    assert cli(*call, "--hand-in", "--timeout", "1h") == (0, "order-7\n", "")
    kept.kill()
    kept.start()
    worker = Worker(kept.endpoint)
    done = cli(*call, "--level", "disk")
    assert done == (0, "order 7 0\n", "")
    assert cli(*call) == done, "the same again"
    said = json.loads(cli(*call, "--hand-in", "--json")[1])
    assert (said["event"], said["level"], said["repeat"]) == ("accepted", "disk", True)
    worker.stop()
    assert len(worker.given) == 1


def finish(kept, loads):
    time.sleep(0.5)
    for load in loads:
        load.stop()
    acknowledged = settle(kept.endpoint, loads)
    for load in loads:
        assert not [error for error in load.errors if error[1] != "draining"], load.errors
    return acknowledged


def test_nothing_acknowledged_is_lost_by_kills_at_random(tmp_path):
    # No outcome is to be forgotten before it is compared.
    kept = Kept(tmp_path, *BEATS, "--set", "store.outcomes=10000000")
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    worker = Worker(kept.endpoint)
    loads = [Load(kept.endpoint, number) for number in range(3)]
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 0.8))
        kept.kill()
        kept.start()
    acknowledged = finish(kept, loads)
    worker.stop()
    print(len(acknowledged), "acknowledged")
    assert len(acknowledged) > 10 * KILLS
    kept.close()


def test_orders_and_delays_hold_over_kills_at_random(tmp_path):
    window = ("--set", "limits.stored_in_memory=20")
    kept = Kept(tmp_path, *BEATS, *window)
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    worker = held.Worker(kept.endpoint, seed)
    loads = [held.Load(kept.endpoint, number, seed + number) for number in range(3)]
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 0.8))
        kept.kill()
        kept.start()
    time.sleep(0.5)
    for load in loads:
        load.stop()
    acknowledged = held.judge(worker, loads)
    worker.stop()
    print(len(acknowledged), "acknowledged")
    assert len(acknowledged) > 10 * KILLS
    assert all(len(worker.given[order]) > 1 for load in loads for order in load.orders)
    kept.close()


POINTS = {
    "accept.before_store": 40,
    "accept.after_store": 40,
    "accept.after_ack": 40,
    "dispatch.before_mark": 20,
    "dispatch.after_mark": 20,
    "dispatch.after_send": 20,
    "requeue.before": 1,
    "requeue.after": 1,
    "reply.before_store": 40,
    "reply.after_store": 40,
    "reply.after_send": 40,
    "forget.before": 1,
    "forget.after": 1,
    "outcome.evict": 10,
    "outcome.evicted": 10,
    "store.before_commit": 30,
    "store.sync": 30,
    "store.after_commit": 30,
}


def provoke(endpoint, point):
    """What does not happen under load by itself."""
    if point.startswith("requeue"):
        with Peer(endpoint) as worker, Peer(endpoint) as client:
            worker.ready(service="frail")
            client.call(1, b"x", service="frail", **DISK)
            worker.request()
    if point.startswith("forget"):
        with Peer(endpoint) as client:
            client.call(1, b"x", service="nobody", **DISK)
            client.expect("ACCEPTED", 1)
            client.say("CANCEL", 1)
            client.socket.poll(1000)


@pytest.mark.skipif("MAJORDOMO_FAIL_POINTS" not in os.environ, reason="built without fail-points")
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("run", range(AT_EACH_POINT))
def test_nothing_acknowledged_is_lost_at_a_named_point(tmp_path, monkeypatch, point, run):
    flags = []
    if point.startswith("outcome"):
        flags = ["--set", "store.outcomes=1000", "--set", "store.outcomes_for=1s"]
    if point.startswith("dispatch"):
        flags = ["--set", "service.at_most_once=true"]
    kept = Kept(tmp_path, *BEATS, *flags)
    kept.kill()
    # What has to be provoked comes about once.
    count = POINTS[point] + (7 * run if POINTS[point] > 1 else 0)
    monkeypatch.setenv("MAJORDOMO_FAIL_POINT", f"{point}:{count}")
    kept.start()
    worker = Worker(kept.endpoint)
    loads = [Load(kept.endpoint, number) for number in range(3)]
    hands = held.Worker(kept.endpoint, run, service="orders")
    orders = held.Load(kept.endpoint, 9, run, service="orders")
    provoke(kept.endpoint, point)
    assert kept.broker.process.wait(60) == -signal.SIGABRT
    monkeypatch.delenv("MAJORDOMO_FAIL_POINT")
    kept.start()
    time.sleep(1)
    for load in [*loads, orders]:
        load.stop()
    if point.startswith("dispatch"):
        # What may run once may never have run.
        assert orders.acknowledged and not hands.faults, hands.faults[:3]
    else:
        assert held.judge(hands, [orders])
    hands.stop()
    if point.startswith(("outcome", "dispatch")):
        # An outcome that is forgotten is asked anew; what may run once may have no answer.
        assert any(load.acknowledged for load in loads)
        if point.startswith("dispatch"):
            assert len(set(worker.given)) == len(worker.given), "something ran twice"
    else:
        assert finish(kept, loads)
    worker.stop()
    kept.close()


# Where a broker is killed that makes a dead letter, puts one back, changes or drops one.
LETTER_POINTS = {
    "dlq.before": "fail",
    "dlq.after": "fail",
    "dlq.after_told": "fail",
    "dlq.before_requeue": "requeue",
    "dlq.after_requeue": "requeue",
    "dlq.requeued": "requeue",
    "dlq.before_edit": "edit",
    "dlq.after_edit": "edit",
    "dlq.before_drop": "drop",
    "dlq.after_drop": "drop",
}


def letters(endpoint):
    with Peer(endpoint) as boss:
        boss.say("ADMIN", 7, {"verb": "dlq.list"})
        return header(boss.expect("ADMIN", 7))["letters"]


def fail_one(endpoint, **says):
    """A request of which its worker says that it failed; who asked is gone."""
    with Peer(endpoint) as worker, Peer(endpoint) as client:
        worker.ready(service="frail")
        client.call(1, b"x", service="frail", **says)
        client.expect("ACCEPTED", 1)
        token, _, _ = worker.request()
        worker.say("ERROR", token, {"code": "no_paper"})
        if client.socket.poll(3000):
            client.expect("ERROR", 1)


@pytest.mark.skipif("MAJORDOMO_FAIL_POINTS" not in os.environ, reason="built without fail-points")
@pytest.mark.parametrize("point", LETTER_POINTS)
def test_a_letter_is_one_thing_wherever_the_broker_is_killed(tmp_path, monkeypatch, point):
    """It is a request or a letter, never both and never neither, unless it was dropped."""
    what = LETTER_POINTS[point]
    admin = f"ipc://{tmp_path}/admin"
    flags = ["--set", 'service.dead_letters=["failed"]']
    kept = Kept(tmp_path, *BEATS, *flags, binds=(admin,))
    says = {"key": b"k", **DISK, "timeout": 600_000}
    if what != "fail":
        fail_one(kept.endpoint, **says)
        [letter] = letters(admin)
    kept.kill()
    monkeypatch.setenv("MAJORDOMO_FAIL_POINT", f"{point}:1")
    kept.start()
    if what == "fail":
        fail_one(kept.endpoint, **says)
    else:
        with Peer(admin) as boss:
            body = [b"y"] if what == "edit" else []
            boss.say("ADMIN", 8, {"verb": f"dlq.{what}", "uuid": letter["uuid"]}, *body)
            boss.socket.poll(3000)
    assert kept.broker.process.wait(60) == -signal.SIGABRT
    monkeypatch.delenv("MAJORDOMO_FAIL_POINT")
    kept.start()
    found = letters(admin)
    status = json.loads(cli("status", "--endpoint", kept.endpoint, "--json")[1])
    waiting = status["broker"]["store"]["requests"]
    if what == "drop":
        assert (len(found), waiting) == (1 if point == "dlq.before_drop" else 0, 0)
    else:
        assert len(found) + waiting == 1, (found, waiting)
    if what == "fail":
        assert len(found) == (0 if point == "dlq.before" else 1)
        assert not found or found[0]["cause"] == "failed"
    elif what == "edit":
        assert found[0]["uuid"] == letter["uuid"]
    elif what == "requeue":
        assert waiting == (0 if point == "dlq.before_requeue" else 1)
    if waiting:
        with Peer(kept.endpoint) as worker:
            worker.ready(service="frail")
            _, _, body = worker.request()
            assert body == [b"x"]
    kept.close()


@pytest.mark.skipif("MAJORDOMO_FAIL_POINTS" not in os.environ, reason="built without fail-points")
def test_recovery_that_is_killed_three_times_finds_the_same(kept, monkeypatch):
    with Peer(kept.endpoint) as client:
        for id in range(1, 41):
            client.call(id, b"%d" % id, service="pay", key=b"%d" % id, **DISK)
        for id in range(1, 41):
            client.expect("ACCEPTED", id)
    kept.kill()
    flags = ["--config", "/dev/null", "--bind", kept.endpoint, "--store", str(kept.store)]
    for count in (1, 2, 4):
        monkeypatch.setenv("MAJORDOMO_FAIL_POINT", f"recover.mid:{count}")
        done = subprocess.run([BINARY, "broker", *flags], capture_output=True, timeout=60)
        assert done.returncode == -signal.SIGABRT
    monkeypatch.delenv("MAJORDOMO_FAIL_POINT")
    kept.start()
    worker = Worker(kept.endpoint)
    with Peer(kept.endpoint) as client:
        for id in range(1, 41):
            assert fetch(client, b"%d" % id, id=id).startswith(b"%d " % id)
    worker.stop()
    assert sorted(worker.given, key=int) == [b"%d" % id for id in range(1, 41)]


def test_a_copy_of_a_working_broker_is_whole(tmp_path):
    """What was acknowledged before a copy was begun is in it, and the copy is a store like any."""
    admin = f"ipc://{tmp_path}/admin"
    kept = Kept(tmp_path, *BEATS, binds=(admin,))
    worker = Worker(kept.endpoint)
    loads = [Load(kept.endpoint, number) for number in range(2)]
    copies = []
    for number in range(3):
        time.sleep(0.7)
        acknowledged = set().union(*(set(load.acknowledged) for load in loads))
        copy = tmp_path / f"copy{number}"
        done = cli("store", "backup", "--online", str(copy), "--endpoint", admin, "--json")
        assert done[0] == 0, done
        assert json.loads(done[1])["records"] >= len(acknowledged)
        copies.append((copy, acknowledged))
    assert finish(kept, loads)
    worker.stop()
    kept.close()
    assert copies[0][1] and len(copies[2][1]) > len(copies[0][1])
    for copy, acknowledged in copies:
        other = Kept(tmp_path, *BEATS, store=copy)
        worker = Worker(other.endpoint)
        with Peer(other.endpoint) as peer:
            for id, key in enumerate(sorted(acknowledged), 1):
                said = fetch(peer, key, id=id)
                assert isinstance(said, bytes) and said.startswith(key + b" "), (key, said)
        worker.stop()
        other.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_disk_refuses_what_is_new_until_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("cannot mount")
    kept = Kept(tmp_path, "--set", "store.min_free=4MiB", store=disk / "store")
    ballast = disk / "ballast"
    try:
        with Peer(kept.endpoint) as client, Peer(kept.endpoint) as worker:
            worker.ready(service="echo", credit=100)
            accepted = set()
            for id in range(1, 200):
                client.call(id, b"x" * 200_000, service="nobody", key=b"%d" % id, **DISK)
                frames = client.recv()
                if kind(frames) == "ERROR":
                    assert header(frames)["code"] == "store_full" and header(frames)["retry"]
                    break
                accepted.add(id)
            assert kind(frames) == "ERROR" and accepted
            client.call(1000, b"memory", service="echo")
            delivery, _, body = worker.request()
            assert body == [b"memory"], "memory work goes on"
            text = cli("status", "--endpoint", kept.endpoint)[2]
            assert "FULL" in text
        kept.kill()
        assert subprocess.run(["mount", "-o", "remount,size=128m", str(disk)]).returncode == 0
        kept.start()
        with Peer(kept.endpoint) as client:
            for id in accepted:
                client.call(id, b"x" * 200_000, service="nobody", key=b"%d" % id, **DISK)
                assert header(client.expect("ACCEPTED", id))["repeat"]
            # Full again, and then there is room.
            free = os.statvfs(disk)
            ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - (2 << 20)))
            deadline = time.monotonic() + 30
            while True:
                client.call(5000, b"new", service="nobody", **DISK)
                frames = client.recv()
                if kind(frames) == "ERROR":
                    break
                client.say("CANCEL", 5000)
                client.expect("ERROR", 5000)
                assert time.monotonic() < deadline
            assert code(frames) == "store_full"
            ballast.unlink()
            while kind(frames) == "ERROR":
                assert time.monotonic() < deadline
                time.sleep(0.2)
                client.call(5000, b"new", service="nobody", **DISK)
                frames = client.recv()
            assert kind(frames) == "ACCEPTED"
    finally:
        kept.close()
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif("MAJORDOMO_MILLION" not in os.environ, reason="a long one: sets how many")
def test_a_million_waiting_requests_take_little_memory_and_are_there_soon(tmp_path):
    count = int(os.environ["MAJORDOMO_MILLION"])
    more = ("--set", f"store.requests={2 * count}", "--set", "store.requests_bytes=64GiB")
    kept = Kept(tmp_path, *BEATS, *more)
    took = hand_in(kept.endpoint, count)
    resident, peak = kept.broker.resident(), kept.broker.peak()
    print(f"{count} handed in within {took:.1f} s; resident {resident >> 20} MiB, peak {peak >> 20}")
    kept.kill()
    began = time.monotonic()
    kept.start()
    ready = time.monotonic() - began
    resident = kept.broker.resident()
    print(f"ready after {ready:.2f} s; resident {resident >> 20} MiB")
    status = json.loads(cli("status", "--endpoint", kept.endpoint, "--json")[1])
    assert status["broker"]["store"]["requests"] == count
    assert max(resident, peak) < 300 << 20
    assert ready < 5 * max(1, count / 1e6)
    kept.close()
