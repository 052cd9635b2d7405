"""Leases of MJP/1: round trips with the octets of SPEC.md, and holders that are stopped."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from broker import HERE
from mjp import Peer, example, header, id_of, kind, with_id

# Holders that are stopped, in all and at a time; 1,000 of them are a long suite.
STOPPED = int(os.environ.get("MAJORDOMO_STOPS", "20"))
AT_ONCE = 50
TTL = 200
HELD = 'LEASE 1 {"event": "held", "epoch": 7, "ttl": 2000}'
LOST = 'LEASE 1 {"event": "lost", "epoch": 7, "reason": "resigned"}'

# A holder as a process of its own: it holds, says by which epoch, and asks when it is told to.
HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from mjp import Peer, header
peer = Peer(sys.argv[2])
peer.say("LEASE", 1, {"verb": "campaign", "lease": sys.argv[3], "ttl": int(sys.argv[4])})
epoch = header(peer.expect("LEASE", 1))["epoch"]
print(epoch, flush=True)
sys.stdin.readline()
says = {"service": b"bank", "lease": sys.argv[3], "epoch": epoch}
peer.say("REQUEST", 2, says, b"from one that was stopped")
while True:
    frames = peer.recv()
    if frames[1][1:] == (2).to_bytes(8, "big"):
        print(header(frames), flush=True)
        break
"""


@pytest.fixture
def peer(broker, peers):
    """Connects to the default broker."""
    return lambda *args, **kwargs: peers(Peer(broker.endpoint, *args, **kwargs))


def lease(client, id, verb, lease=None, **says):
    if lease:
        says = {"lease": lease, **says}
    client.say("LEASE", id, {"verb": verb, **says})


def hold(client, id, name, **says):
    """Campaigns and holds at once; gives the epoch."""
    lease(client, id, "campaign", name, **says)
    said = header(client.expect("LEASE", id))
    assert said["event"] == "held"
    return said["epoch"]


def refusal(client, id):
    says = header(client.expect("ERROR", id))
    return says["code"], says.get("epoch")


def shown(frames, **changed):
    """What an example says, with what differs from run to run."""
    return {**header(frames), **changed}


def test_a_lease_with_the_octets_of_the_specification(peer):
    one, other, eye = peer(), peer(), peer()
    one.send(example("mjp", "LEASE 1"))
    held = one.expect("LEASE", 1)
    epoch = header(held)["epoch"]
    assert header(held) == shown(example("mjp-broker", HELD), epoch=epoch)
    lease(other, 2, "campaign", "billing", name="node-2")
    assert other.expect("LEASE", 2) == example("mjp-broker", "LEASE 2")
    lease(eye, 5, "observe", "billing")
    holder = example("mjp-broker", "LEASE 5")
    assert header(eye.expect("LEASE", 5)) == shown(holder, epoch=epoch)
    lease(eye, 6, "list", prefix="bill")
    [row] = header(eye.expect("LEASE", 6))["leases"]
    [expected] = header(example("mjp-broker", "LEASE 6"))["leases"]
    assert row.pop("left") <= 2000 and row.pop("held") <= 2000
    del expected["left"], expected["held"]
    assert row == {**expected, "epoch": epoch}
    # An old epoch is refused, and the error says which one is good.
    one.send(example("mjp", "LEASE 3"))
    assert refusal(one, 3) == ("stale_epoch", epoch)
    lease(one, 3, "renew", "billing", epoch=epoch)
    assert header(one.expect("LEASE", 3)) == shown(example("mjp-broker", "LEASE 3"), epoch=epoch)
    lease(one, 4, "resign", "billing", epoch=epoch, to="node-2")
    assert header(one.expect("LEASE", 1)) == shown(example("mjp-broker", LOST), epoch=epoch)
    assert header(one.expect("LEASE", 4)) == shown(example("mjp-broker", "LEASE 4"), epoch=epoch)
    said = header(other.expect("LEASE", 2))
    assert said["event"] == "held" and said["epoch"] > epoch
    after = header(eye.expect("LEASE", 5))
    assert (after["event"], after["epoch"], after["name"]) == ("holder", said["epoch"], "node-2")


def test_keys_of_later_versions_are_survived(peer):
    client = peer()
    epoch = hold(client, 1, "a", later={"x": [1, None]}, **{"x-mine": b"\xff"})
    assert epoch > 0
    lease(client, 2, "steal", "a")
    assert refusal(client, 2) == ("unsupported", None)
    lease(client, 0, "campaign", "a")
    assert refusal(client, 0)[0] == "bad_request"


def test_a_closed_connection_frees_at_once_and_an_expiry_in_time(broker, peer):
    first, second, third = Peer(broker.endpoint), peer(), peer()
    old = hold(first, 1, "a", ttl=60_000)
    lease(second, 1, "campaign", "a", ttl=TTL)
    # Two connections have no order among them: the second is in line before the third asks.
    assert header(second.expect("LEASE", 1))["event"] == "waiting"
    lease(third, 1, "campaign", "a")
    assert header(third.expect("LEASE", 1))["event"] == "waiting"
    first.close()
    since = time.monotonic()
    held = header(second.expect("LEASE", 1))
    assert held["event"] == "held" and held["epoch"] > old
    assert time.monotonic() - since < 1
    assert header(second.expect("LEASE", 1)) == {
        "event": "lost",
        "epoch": held["epoch"],
        "reason": "expired",
    }
    assert header(third.expect("LEASE", 1))["epoch"] > held["epoch"]


def test_a_worker_may_take_requests_of_the_holder_only(peer):
    worker, holder, other = peer(), peer(), peer()
    worker.send(example("mjp", 'READY {"service": "pay", "fence": "billing"}'))
    worker.hears_nothing()
    epoch = hold(holder, 1, "billing")
    other.call(1, b"hi", service=b"pay")
    assert refusal(other, 1) == ("fence_required", None)
    holder.send(example("mjp", "REQUEST 8"))
    assert refusal(holder, 8) == ("stale_epoch", epoch)
    holder.call(9, b"hi", service=b"pay", lease="billing", epoch=epoch)
    id, _, body = worker.request()
    assert body == [b"hi"]
    worker.say("FINAL", id, {}, b"paid")
    assert holder.expect("FINAL", 9)[3:] == [b"paid"]


def test_what_waits_is_refused_when_another_one_holds(peer):
    holder, other = peer(), peer()
    epoch = hold(holder, 1, "a")
    holder.call(2, b"late", lease="a", epoch=epoch)
    lease(holder, 3, "resign", "a", epoch=epoch)
    assert header(holder.expect("LEASE", 1))["reason"] == "resigned"
    holder.expect("LEASE", 3)
    now = hold(other, 1, "a")
    worker = peer().ready()
    assert refusal(holder, 2) == ("stale_epoch", now)
    worker.hears_nothing()


def test_a_scatter_of_an_old_epoch_reaches_no_worker(peer):
    holder, other, worker = peer(), peer(), peer(b"b").ready()
    shown = header(example("mjp", "SCATTER 6"))
    epoch = hold(holder, 1, "billing")
    # With the octets of the specification, whose epoch is that of nobody here.
    holder.send(example("mjp", "SCATTER 6"))
    assert refusal(holder, 6) == ("stale_epoch", epoch)
    holder.say("SCATTER", 7, {**shown, "epoch": epoch}, b"now")
    holder.expect("TARGETS", 7)
    # Its worker has this, and so the next one waits for it.
    first, _, body = worker.request()
    assert body == [b"now"]
    holder.say("SCATTER", 8, {**shown, "epoch": epoch}, b"late")
    holder.expect("TARGETS", 8)
    lease(holder, 9, "resign", "billing", epoch=epoch)
    assert header(holder.expect("LEASE", 1))["reason"] == "resigned"
    holder.expect("LEASE", 9)
    now = hold(other, 1, "billing")
    worker.say("FINAL", first, {}, b"done")
    said = {(kind(frames), id_of(frames)): frames for frames in [holder.recv() for _ in range(4)]}
    assert header(said["OUTCOME", 7])["outcome"] == "replied"
    assert header(said["FINAL", 7])["replied"] == 1
    told = said["OUTCOME", 8]
    expected = example("mjp-broker", "OUTCOME 6")
    message = header(told)["message"]
    assert header(told) == {**header(expected), "epoch": now, "message": message}
    assert told[3:] == expected[3:]
    assert header(said["FINAL", 8])["refused"] == 1
    worker.hears_nothing()


def test_a_publication_of_an_old_epoch_is_heard_by_nobody(peer):
    holder, listener = peer(), peer()
    listener.say("SUBSCRIBE", 1, {"subject": "weather.>", "ack": True})
    listener.expect("ACCEPTED", 1)
    epoch = hold(holder, 1, "weather")
    holder.send(example("mjp", "PUBLISH 4"))
    assert refusal(holder, 4) == ("stale_epoch", epoch)
    holder.send(with_id(example("mjp", "PUBLISH 4"), 0))
    assert refusal(holder, 0) == ("stale_epoch", epoch)
    says = {**header(example("mjp", "PUBLISH 4")), "epoch": epoch}
    holder.say("PUBLISH", 5, says, b"9")
    assert header(holder.expect("PUBLISHED", 5))["subscriptions"] == 1
    heard = listener.expect("MESSAGE", 1)
    # What was refused has had no number, and who hears it sees by which epoch it was said.
    assert (header(heard)["seq"], header(heard, 3), heard[4:]) == (1, says, [b"9"])
    listener.hears_nothing()


def test_an_operator_of_an_old_epoch_changes_nothing(start, peers, tmp_path):
    broker = start(binds=("tcp://127.0.0.1:0", f"ipc://{tmp_path}/admin.sock"))
    guest, one, other = [peers(Peer(broker.endpoints[at])) for at in (0, 1, 1)]
    worker = peers(Peer(broker.endpoints[0])).ready()
    epoch = hold(one, 1, "operator")
    one.send(example("mjp", "ADMIN 11"))
    assert refusal(one, 11) == ("stale_epoch", epoch)
    guest.send(example("mjp", "ADMIN 11"))
    assert refusal(guest, 11) == ("denied", None)
    guest.call(1, b"hi")
    token, _, _ = worker.request()
    worker.say("FINAL", token, {}, b"it goes on")
    guest.expect("FINAL", 1)
    pause = {**header(example("mjp", "ADMIN 11")), "epoch": epoch}
    one.say("ADMIN", 7, pause)
    assert header(one.expect("ADMIN", 7)) == {}
    guest.call(2, b"hi")
    guest.hears_nothing()
    worker.hears_nothing()
    lease(one, 8, "resign", "operator", epoch=epoch)
    one.expect("LEASE", 1)
    one.expect("LEASE", 8)
    hold(other, 1, "operator")
    one.say("ADMIN", 9, {**pause, "verb": "resume"})
    assert refusal(one, 9)[0] == "stale_epoch"
    worker.hears_nothing()


@pytest.fixture
def holder():
    """Starts holders as processes of their own."""
    started = []

    def begin(endpoint, name):
        command = [sys.executable, "-c", HOLDER, str(HERE), endpoint, name, str(TTL)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_a_holder_that_was_stopped_is_refused(start, peers, holder):
    """SIGSTOP for longer than the time to live, SIGCONT, and it acts: nothing of it is carried out."""
    # The worker says nothing while the processes start.
    broker = start("--liveness", "100")
    worker = peers(Peer(broker.endpoint)).ready(service=b"bank", credit=100)
    names = [f"bank-{number}" for number in range(STOPPED)]
    for number, first in enumerate(range(0, STOPPED, AT_ONCE)):
        stop_and_go(broker, worker, peers, holder, names[first : first + AT_ONCE], number)


def stop_and_go(broker, worker, peers, holder, names, number):
    holders = [(name, holder(broker.endpoint, name)) for name in names]
    epochs = {name: int(process.stdout.readline()) for name, process in holders}
    for _, process in holders:
        os.kill(process.pid, signal.SIGSTOP)
    time.sleep(3 * TTL / 1000)
    heir = peers(Peer(broker.endpoint))
    now = {name: hold(heir, id, name, ttl=60_000) for id, name in enumerate(names, 1)}
    for name, process in holders:
        assert now[name] > epochs[name]
        os.kill(process.pid, signal.SIGCONT)
        process.stdin.write("go\n")
        process.stdin.flush()
    for name, process in holders:
        says = process.stdout.readline()
        assert "'stale_epoch'" in says and f"'epoch': {now[name]}" in says, says
    worker.hears_nothing()
    heir.call(1000 + number, b"mine", service=b"bank", lease=names[0], epoch=now[names[0]])
    assert worker.request()[2] == [b"mine"]


def test_epochs_grow_over_a_restart(start, peers):
    """And a lease is nobody's behind it."""
    epochs = []
    for _ in range(3):
        broker = start()
        client = peers(Peer(broker.endpoint))
        epochs += [hold(client, id, f"a{id}") for id in (1, 2, 3)]
        broker.stop()
    assert epochs == sorted(set(epochs)), epochs


def test_epochs_grow_over_brokers_that_are_killed(start, peers, tmp_path):
    """With a store: kill -9 leaves no time to write anything down."""
    epochs = []
    for _ in range(4):
        broker = start("--store", tmp_path / "store")
        client = peers(Peer(broker.endpoint))
        epochs += [hold(client, id, f"a{id}") for id in (1, 2, 3)]
        broker.kill()
    assert epochs == sorted(set(epochs)), epochs


def test_what_is_counted_is_in_the_metrics(start, peers):
    broker = start("--http", "127.0.0.1:0")
    http = broker.process.stdout.readline().strip()
    client = peers(Peer(broker.endpoint))
    hold(client, 1, "a")
    lease(client, 2, "campaign", "a")
    client.expect("LEASE", 2)
    lease(client, 3, "renew", "a", epoch=1)
    assert refusal(client, 3)[0] == "stale_epoch"
    with urllib.request.urlopen(f"{http}/metrics", timeout=10) as page:
        text = page.read().decode()
    for line in [
        "majordomo_leases_held 1",
        "majordomo_lease_waiters 1",
        "majordomo_leases_granted_total 1",
        'majordomo_lease_refused_total{reason="stale_epoch"} 1',
    ]:
        assert line in text, line
