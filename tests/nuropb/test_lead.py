"""Who leads: on a real etcd, with instances that are killed, frozen, paused."""

import os
import signal
import time

import pytest

from servers import until

LONG = os.environ.get("MAJORDOMO_LONG") == "1"


def leader_key(mesh):
    return mesh.etcd.get(f"/nuropb/{mesh.service}/leader")


def test_many_that_start_together_have_one_leader(mesh):
    members = [mesh.ours(f"r{n}", "--ttl", "3s") for n in range(5)]
    for member in members:
        member.running()
    leaders = [it for it in members if it.now()["leading"]]
    assert len(leaders) == 1 and leader_key(mesh) == leaders[0].instance
    epochs = {it.until(lambda said: said.get("epoch")) and it.now()["epoch"] for it in members}
    assert len(epochs) == 1
    assert {it.now()["prefetch"] for it in members if it not in leaders} == {10}
    assert leaders[0].now()["prefetch"] == 5


@pytest.mark.parametrize("times", [50 if LONG else 4])
def test_a_leader_that_is_killed_is_replaced_within_its_lease(mesh, times):
    ttl, waits, epochs = 2.0, [], []
    members = [mesh.ours(f"r{n}", "--ttl", "2s") for n in range(3)]
    for member in members:
        member.running()
    for turn in range(times):
        leader = until(lambda: next((it for it in members if it.now().get("state") == "running-leader"), None))
        epochs.append(leader.now()["epoch"])
        others = [it for it in members if it is not leader]
        leader.kill()
        killed = time.monotonic()
        until(lambda: any(it.now().get("state") == "running-leader" for it in others), timeout=20)
        waits.append(time.monotonic() - killed)
        assert sum(it.now().get("leading", False) for it in others) == 1
        fresh = mesh.ours(f"s{turn}", "--ttl", "2s")
        fresh.running()
        members = [*others, fresh]
        assert mesh.cli("call", mesh.service, "add", '{"a": 1}').stdout == "3\n"
    print("seconds to the new leader:", [round(wait, 2) for wait in waits])
    assert epochs == sorted(set(epochs)), "epochs grow"
    # etcd looks each 0.5 s, and the lease is 2 s, which is its smallest.
    assert max(waits) < ttl + 2.5, waits


def test_a_leader_that_stops_hands_over_at_once(mesh):
    first, second = mesh.ours("r1"), None
    first.running()
    second = mesh.ours("r2")
    second.running()
    first.signal(signal.SIGTERM)
    began = time.monotonic()
    second.state("running-leader", timeout=5)
    assert time.monotonic() - began < 2
    assert first.process.wait(10) == 0


def test_a_frozen_leader_does_no_harm_when_it_thaws(mesh):
    first = mesh.ours("r1", "--ttl", "2s")
    first.running()
    second = mesh.ours("r2", "--ttl", "2s")
    second.running()
    first.signal(signal.SIGSTOP)
    second.state("running-leader", timeout=10)
    epoch = second.now()["epoch"]
    first.signal(signal.SIGCONT)
    said = first.until(lambda said: said.get("leader") == "r2", timeout=10)
    assert not said["leading"] and said["epoch"] == epoch
    assert leader_key(mesh) == "r2"
    first.until(lambda said: said.get("state") == "running-follower")


def test_a_leader_key_that_is_deleted_by_hand_is_taken_again(mesh):
    members = [mesh.ours(f"r{n}") for n in range(2)]
    for member in members:
        member.running()
    before = until(lambda: next((it.now()["epoch"] for it in members if it.now().get("leading")), None))
    mesh.etcd.ctl("del", f"/nuropb/{mesh.service}/leader")
    began = time.monotonic()
    until(lambda: any(it.now().get("state") == "running-leader" and it.now()["epoch"] > before
                      for it in members))
    assert time.monotonic() - began < 3
    assert sum(it.now()["leading"] for it in members) == 1


def test_pause_and_resume_reach_every_instance_within_a_second(mesh):
    members = [mesh.ours(f"r{n}") for n in range(3)]
    for member in members:
        member.running()
    began = time.monotonic()
    assert mesh.cli("pause", mesh.service).returncode == 0
    until(lambda: all(it.now()["prefetch"] is None for it in members))
    assert time.monotonic() - began < 1.5, "a process is started in that time"
    assert mesh.cli("call", mesh.service, "add", '{"a": 1}', "--timeout", "1s").returncode == 4
    assert mesh.cli("resume", mesh.service).returncode == 0
    until(lambda: all(it.now()["prefetch"] for it in members))
    assert mesh.cli("call", mesh.service, "add", '{"a": 1}').stdout == "3\n"
    assert mesh.cli("pause", "nobody").returncode == 6


def test_a_follower_waits_until_the_queues_are_set_up(mesh):
    # A leader of another kind that has not set up anything.
    lease = mesh.etcd.ctl("lease", "grant", "30").split()[1]
    mesh.etcd.ctl("put", f"/nuropb/{mesh.service}/leader", "somebody", f"--lease={lease}")
    ours = mesh.ours("r1")
    said = ours.until(lambda said: said.get("step") == "wait-for-ready")
    assert (said["state"], said["leader"]) == ("startup-leader-decided", "somebody")
    assert mesh.queue(f"nuropb-{mesh.service}-sq") is None
    mesh.etcd.ctl("lease", "revoke", lease)
    ours.state("running-leader")


def test_what_is_there_but_different_is_told_and_mended_by_hand(mesh):
    name = "nuropb-dl-exchange"
    mesh.rabbit.api("PUT", f"exchanges/{mesh.vhost}/{name}", {"type": "direct", "durable": True})
    ours = mesh.ours("r1", "--ttl", "3s")
    said = ours.until(lambda said: said.get("set_up_error"))
    assert said["state"] == "startup-leader-decided" and name in said["set_up_error"]
    mesh.rabbit.api("DELETE", f"exchanges/{mesh.vhost}/{name}")
    ours.running()
    assert ours.now()["set_up_error"] is None
