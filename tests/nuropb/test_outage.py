"""RabbitMQ and etcd killed, frozen and started again, while calls go on."""

import os
import signal
import time

import pytest

from conftest import Mesh
from load import Load, keep
from servers import Etcd, EtcdCluster, Rabbit, until

LONG = os.environ.get("MAJORDOMO_LONG") == "1"


@pytest.fixture
def own(binary, rabbit):
    """An etcd that may be killed; the RabbitMQ is that of all, and is there again afterwards."""
    etcd = Etcd()
    mesh = None
    try:
        mesh = Mesh(binary, rabbit, etcd.start())
        yield mesh
    finally:
        if mesh:
            mesh.close()
        etcd.close()


def test_etcd_is_killed_and_comes_back(own, tmp_path):
    members = [own.ours(f"r{n}", "--ttl", "3s", *keep(tmp_path / "kept")) for n in range(2)]
    for member in members:
        member.running()
    # Who leads says so before it has heard by which epoch.
    until(lambda: any(it.now()["leading"] and it.now()["epoch"] for it in members))
    load = Load(own, tmp_path / "kept")
    epoch = next(it.now()["epoch"] for it in members if it.now()["leading"] and it.now()["epoch"])
    own.etcd.kill()
    # Nobody leads when the lease has run out, and all serve on.
    until(lambda: all(it.now()["state"] == "running-follower" for it in members), timeout=10)
    assert all(it.now()["coordination"]["link"] == "down" for it in members)
    assert own.cli("call", own.service, "add", '{"a": 1}').stdout == "3\n"
    time.sleep(2)
    own.etcd.start()
    until(lambda: sum(it.now()["state"] == "running-leader" for it in members) == 1, timeout=20)
    until(lambda: all(it.now()["coordination"]["link"] == "up" for it in members))
    until(lambda: max(it.now()["epoch"] or 0 for it in members) > epoch)
    load.end()
    assert load.refused == 0 and load.confirmed
    until(lambda: set(load.confirmed) <= set(load.kept()))


def test_etcd_is_frozen_and_thaws(own):
    members = [own.ours(f"r{n}", "--ttl", "3s") for n in range(2)]
    for member in members:
        member.running()
    until(lambda: any(it.now()["leading"] for it in members))
    own.etcd.signal(signal.SIGSTOP)
    until(lambda: not any(it.now()["leading"] for it in members), timeout=10)
    assert own.cli("call", own.service, "add", '{"a": 1}').stdout == "3\n"
    own.etcd.signal(signal.SIGCONT)
    until(lambda: sum(it.now()["state"] == "running-leader" for it in members) == 1, timeout=30)


def test_of_three_etcds_one_may_be_gone_and_two_may_not(binary, rabbit):
    etcd, mesh = EtcdCluster(), None
    try:
        mesh = Mesh(binary, rabbit, etcd.start())
        members = [mesh.ours(f"r{n}", "--ttl", "5s") for n in range(2)]
        for member in members:
            member.running()
        until(lambda: any(it.now()["leading"] for it in members))
        etcd.members[0].kill()
        deadline = time.monotonic() + 8
        # One of the two may have to get a new lease; the service has a leader again at once.
        until(lambda: time.monotonic() > deadline and sum(it.now()["leading"] for it in members) == 1,
              timeout=20)
        etcd.members[1].kill()
        until(lambda: not any(it.now()["leading"] for it in members), timeout=15)
        assert all(it.now()["state"] == "running-follower" for it in members)
        assert mesh.cli("call", mesh.service, "add", '{"a": 1}', etcd=False).stdout == "3\n"
        for member in etcd.members[:2]:
            member.launch()
        until(lambda: sum(it.now()["state"] == "running-leader" for it in members) == 1, timeout=40)
    finally:
        if mesh:
            mesh.close()
        etcd.close()


def test_etcd_is_not_there_at_the_start(own):
    own.etcd.kill()
    ours = own.ours("r1")
    said = ours.until(lambda said: said.get("coordination", {}).get("link") == "down")
    assert (said["state"], said["step"]) == ("startup-leader-election", "coordinate")
    # It can be stopped meanwhile.
    other = own.ours("r2")
    other.until(lambda said: said.get("coordination", {}).get("link") == "down")
    began = time.monotonic()
    other.signal(signal.SIGTERM)
    assert other.process.wait(10) == 0 and time.monotonic() - began < 5
    own.etcd.start()
    ours.state("running-leader", timeout=20)


def test_rabbitmq_is_killed_and_comes_back(own, tmp_path):
    members = [own.ours(f"r{n}", "--ttl", "10s", *keep(tmp_path / "kept")) for n in range(2)]
    for member in members:
        member.running()
    load = Load(own, tmp_path / "kept")
    until(lambda: len(load.confirmed) > 10)
    for _ in range(5 if LONG else 1):
        own.rabbit.kill()
        until(lambda: all(it.now()["queues"]["link"] == "down" for it in members), timeout=10)
        assert all(it.now()["state"].startswith("running-") for it in members)
        before = len(load.confirmed)
        own.rabbit.start()
        until(lambda: all(it.now()["queues"]["link"] == "up" for it in members), timeout=60)
        until(lambda: len(load.confirmed) > before + 10, timeout=60)
    load.end()
    until(lambda: set(load.confirmed) <= set(load.kept()), timeout=30)
    assert sum(it.now()["leading"] for it in members) == 1
    print(f"{len(load.confirmed)} confirmed, {load.refused} refused")


def test_rabbitmq_is_frozen_and_thaws(own, tmp_path):
    members = [own.ours(f"r{n}", *keep(tmp_path / "kept")) for n in range(2)]
    for member in members:
        member.running()
    load = Load(own, tmp_path / "kept")
    until(lambda: len(load.confirmed) > 5)
    own.rabbit.signal(signal.SIGSTOP)
    # Two heartbeats of 10 s are waited for.
    until(lambda: all(it.now()["queues"]["link"] == "down" for it in members), timeout=40)
    own.rabbit.signal(signal.SIGCONT)
    until(lambda: all(it.now()["queues"]["link"] == "up" for it in members), timeout=40)
    before = len(load.confirmed)
    until(lambda: len(load.confirmed) > before + 5, timeout=40)
    load.end()
    until(lambda: set(load.confirmed) <= set(load.kept()), timeout=30)


def test_rabbitmq_is_not_there_at_the_start(binary, etcd):
    rabbit = Rabbit()
    try:
        mesh = Mesh.__new__(Mesh)
        mesh.binary, mesh.rabbit, mesh.etcd, mesh.members = binary, rabbit, etcd, []
        mesh.vhost, mesh.service = "late", f"late{os.getpid()}"
        ours = mesh.ours("r1", "--ttl", "3s")
        said = ours.until(lambda said: said.get("set_up_error"))
        assert (said["state"], said["step"]) == ("startup-leader-decided", "set-up")
        asked = mesh.cli("call", mesh.service, "add", "--timeout", "1s")
        assert asked.returncode == 3 and "refused" in asked.stderr, asked
        # It makes room, and comes back, until the server is there.
        ours.until(lambda said: not said.get("leading") and "made room" in str(said.get("coordination")),
                   timeout=15)
        rabbit.start()
        ours.running(timeout=40)
        assert mesh.cli("call", mesh.service, "add", '{"a": 1}').stdout == "3\n"
        mesh.close()
    finally:
        rabbit.close()


def test_an_instance_that_is_killed_loses_nothing(own, tmp_path):
    kept = tmp_path / "kept"
    slow = "--method", f"keep=sleep 0.05; cat >> {kept}"
    members = [own.ours(f"r{n}", "--ttl", "2s", *slow) for n in range(3)]
    for member in members:
        member.running()
    load = Load(own, kept)
    for number in range(12 if LONG else 3):
        until(lambda: len(load.confirmed) > 15 * (number + 1), timeout=60)
        victim = members.pop(0)
        victim.kill()
        members.append(own.ours(f"s{number}", "--ttl", "2s", *slow))
        members[-1].running()
    load.end()
    until(lambda: set(load.confirmed) <= set(load.kept()), timeout=30)
    assert load.refused == 0
