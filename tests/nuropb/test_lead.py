"""Who leads: on a real etcd, with instances that are killed, frozen, paused."""

import os
import signal
import statistics
import time

import pytest

from load import Load, keep
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


@pytest.mark.parametrize("times", [50 if LONG else 3])
def test_a_leader_that_is_killed_is_replaced_within_its_lease(mesh, times, tmp_path):
    """And never do two lead, and so set up, at a time, and nothing that was confirmed is lost."""
    ttl, waits, epochs, everybody, starting = 2, [], [], [], []

    def start():
        one = mesh.ours(f"r{len(everybody)}", "--ttl", f"{ttl}s", *keep(tmp_path / "kept"))
        everybody.append(one)
        starting.append(one)

    def started():
        while starting:
            starting.pop().running()

    def alive():
        return [it for it in everybody if it.ended is None]

    def replaced(leader, wanted):
        """Kills it; the next one, and when that has said what is wanted."""
        killed = time.monotonic()
        leader.kill()
        start()
        found = until(lambda: [(at - killed, it) for it in alive() if (at := it.when(wanted, killed))],
                      timeout=20, every=0.005)
        assert len(found) == 1, [it.instance for _, it in found]
        return found[0]

    for _ in range(3):
        start()
    started()
    leader = until(lambda: next((it for it in everybody if it.now().get("state") == "running-leader"), None))
    load = Load(mesh, tmp_path / "kept")
    for turn in range(times):
        if turn % 5 == 1:
            # This one has only just got the seat, and sets up.
            epochs.append(leader.now()["epoch"])
            _, leader = replaced(leader, lambda said: said["leading"])
        epochs.append(leader.now()["epoch"])
        wait, leader = replaced(leader, lambda said: said["state"] == "running-leader")
        waits.append(wait)
        started()
        assert mesh.cli("call", mesh.service, "add", '{"a": 1}').stdout == "3\n"
    load.end()
    until(lambda: set(load.confirmed) <= set(load.kept()), timeout=30)
    kept, waits = load.kept(), sorted(waits)
    print(f"{len(epochs)} killed; next leader after, s: median {statistics.median(waits):.2f}, "
          f"p99 {waits[-(-99 * times // 100) - 1]:.2f}, most {waits[-1]:.2f}; lease {ttl} s; commands: "
          f"{len(load.confirmed)} confirmed, {len(set(kept))} carried out, {len(kept) - len(set(kept))} "
          f"of them again, {len(set(load.confirmed) - set(kept))} lost, {load.refused} refused")
    assert load.refused == 0 and load.confirmed
    assert epochs == sorted(set(epochs)), "epochs grow"
    # Each by its own clock, and by etcd: one is there no more when the next one comes.
    spans = sorted(span for it in everybody for span in it.spans(lambda said: said["leading"]))
    assert len(spans) == len(epochs) + 1
    assert all(end < begin for (_, end), (begin, _) in zip(spans, spans[1:])), spans
    changes = [change for change, _ in mesh.etcd.history(f"/nuropb/{mesh.service}/leader")]
    assert changes == ["PUT", "DELETE"] * len(epochs) + ["PUT"]
    # etcd looks each 0.5 s, and the lease is 2 s, which is its smallest; the rest is for a busy machine.
    assert waits[-1] < ttl + 4, waits


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
