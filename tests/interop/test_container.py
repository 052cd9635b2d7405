"""Service containers at our broker, as processes: leaders that are killed and frozen, calls that go
on, pause and resume, a broker that is killed."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time

import pytest

from broker import BINARY

LONG = os.environ.get("MAJORDOMO_LONG") == "1"
ADD = "add=python3 -c 'import json,sys; a=json.load(sys.stdin); print(a[\"a\"]+a.get(\"b\",2))'"


def until(what, timeout=30.0, every=0.01):
    deadline = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(every)
    return found


class Instance:
    """A process of `container run`, and what it says of itself."""

    def __init__(self, endpoint, name, *flags, service="sums"):
        self.name, self.said = name, []
        self.errors = tempfile.TemporaryFile("w+")
        words = [BINARY, "container", "run", service, "--instance", name, "--json", "--method", ADD,
                 "--endpoint", endpoint, *flags]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True)
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self):
        for line in self.process.stdout:
            self.said.append((time.monotonic(), json.loads(line)))

    def now(self):
        return next((it for _, it in reversed(self.said) if it["event"] == "status"), {})

    def when(self, state):
        """The first time at which it said so."""
        return next((at for at, it in self.said if it.get("state") == state), None)

    def state(self, *states, timeout=30.0):
        try:
            return until(lambda: self.now().get("state") in states, timeout)
        except AssertionError:
            self.errors.seek(0)
            raise AssertionError(f"{states}: {self.said[-3:]}\n{self.errors.read()[-2000:]}") from None

    def running(self):
        return self.state("running-leader", "running-follower", "running-standalone")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        self.reader.join(10)
        self.errors.close()


@pytest.fixture
def instances():
    """Starts instances, and ends them."""
    started = []

    def start(endpoint, name, *flags, **words):
        started.append(Instance(endpoint, name, *flags, **words))
        return started[-1]

    yield start
    for one in started:
        one.close()


def cli(endpoint, *words, timeout=60):
    words = [BINARY, "container", *words, "--endpoint", endpoint]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout)


def add(endpoint, a):
    done = cli(endpoint, "call", "sums", "add", json.dumps({"a": a}))
    assert done.returncode == 0, done
    return int(done.stdout)


@pytest.mark.parametrize("times", [50 if LONG else 6])
def test_a_leader_that_is_killed_is_replaced_when_its_connections_end(start, instances, times):
    broker = start()
    waits, epochs = [], []
    members = [instances(broker.endpoint, f"r{n}") for n in range(2)]
    for member in members:
        member.running()
    for turn in range(times):
        leader = until(lambda: next((it for it in members if it.now()["state"] == "running-leader"), None))
        [other] = [it for it in members if it is not leader]
        epochs.append(leader.now()["epoch"])
        killed = time.monotonic()
        leader.kill()
        other.state("running-leader")
        waits.append(other.when("running-leader") - killed)
        assert add(broker.endpoint, turn) == turn + 2
        members = [other, instances(broker.endpoint, f"s{turn}")]
        members[-1].state("running-follower")
    waits.sort()
    print(f"killed: next leader after {waits[0]:.3f} to {waits[-1]:.3f} s, median {waits[len(waits) // 2]:.3f} s")
    assert epochs == sorted(set(epochs)), "epochs grow"
    # The lease is 15 s, and is not waited for.
    assert waits[-1] < 5, waits


@pytest.mark.parametrize("times", [20 if LONG else 2])
def test_a_leader_that_is_frozen_is_replaced_when_its_lease_runs_out(start, instances, times):
    broker = start()
    waits = []
    first, second = (instances(broker.endpoint, f"r{n}", "--ttl", "2s") for n in range(2))
    for turn in range(times):
        members = [first, second]
        for member in members:
            member.running()
        leader = until(lambda: next((it for it in members if it.now()["state"] == "running-leader"), None))
        [other] = [it for it in members if it is not leader]
        other.state("running-follower")
        frozen = time.monotonic()
        leader.signal(signal.SIGSTOP)
        other.state("running-leader")
        waits.append(time.monotonic() - frozen)
        leader.signal(signal.SIGCONT)
        until(lambda: leader.now().get("leader") == other.name)
        leader.state("running-follower")
        assert not leader.now()["leading"] and leader.now()["epoch"] == other.now()["epoch"]
        assert add(broker.endpoint, turn) == turn + 2
    print("frozen: seconds to the next leader:", [round(wait, 2) for wait in waits])
    assert max(waits) < 2 + 1.5, waits


def test_a_leader_that_stops_hands_over_at_once(broker, instances):
    first = instances(broker.endpoint, "r1")
    first.state("running-leader")
    second = instances(broker.endpoint, "r2")
    second.state("running-follower")
    began = time.monotonic()
    first.signal(signal.SIGTERM)
    second.state("running-leader")
    assert second.when("running-leader") - began < 1
    assert first.process.wait(10) == 0


def test_what_is_confirmed_is_carried_out_whoever_is_killed(start, instances, tmp_path):
    """Commands at level disk, while instances and the broker are killed."""
    store = ("--set", f"store.path={tmp_path / 'store'}")
    broker = start(*store)
    port = broker.endpoint.rsplit(":", 1)[1]
    kept = tmp_path / "kept"
    flags = ("--method", f"keep=cat >> {kept}", "--level", "disk", "--ttl", "2s")
    members = [instances(broker.endpoint, f"r{n}", *flags) for n in range(2)]
    for member in members:
        member.running()
    confirmed, refused = [], 0

    def command(number):
        done = cli(broker.endpoint, "call", "sums", "keep", json.dumps({"n": number}), "--command",
                   "--level", "disk", "--timeout", "3s")
        return done.returncode == 0

    for number in range(60 if LONG else 24):
        if number % 8 == 3:
            members.pop(0).kill()
            members.append(instances(broker.endpoint, f"s{number}", *flags))
        if number % 8 == 6:
            broker.kill()
            broker = start(*store, binds=(f"tcp://127.0.0.1:{port}",))
        # A service that is not back yet refuses at once, and all of them would come meanwhile.
        time.sleep(0.3)
        if command(number):
            confirmed.append(number)
        else:
            refused += 1
    assert len(confirmed) > refused, f"{len(confirmed)} confirmed, {refused} refused"

    def numbers():
        return {json.loads(line)["n"] for line in kept.read_text().splitlines()} if kept.exists() else set()

    until(lambda: set(confirmed) <= numbers(), timeout=40)
    until(lambda: sum(it.now().get("state") == "running-leader" for it in members) == 1)
    print(f"{len(confirmed)} confirmed, {refused} refused")


def test_each_call_is_answered_while_leaders_are_killed(start, instances):
    broker = start()
    members = [instances(broker.endpoint, f"r{n}") for n in range(3)]
    for member in members:
        member.running()
    failed, answered, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            number = len(answered)
            done = cli(broker.endpoint, "call", "sums", "add", json.dumps({"a": number}))
            (answered if done.stdout == f"{number + 2}\n" else failed).append(done)

    asking = threading.Thread(target=ask)
    asking.start()
    for turn in range(4):
        before = len(answered)
        until(lambda: len(answered) > before + 2)
        leader = until(lambda: next((it for it in members if it.now()["state"] == "running-leader"), None))
        leader.kill()
        members.remove(leader)
        members.append(instances(broker.endpoint, f"s{turn}"))
        members[-1].running()
    stop.set()
    asking.join(60)
    assert not failed, failed[0]


def test_an_operator_pauses_resumes_and_looks(broker, instances):
    members = [instances(broker.endpoint, f"r{n}", "--hw-mark", "100") for n in range(3)]
    for member in members:
        member.running()
    began = time.monotonic()
    done = cli(broker.endpoint, "pause", "sums")
    assert done.returncode == 0, done
    until(lambda: all(it.now()["prefetch"] is None for it in members))
    assert time.monotonic() - began < 1.5, "a process is started in that time"
    [service] = json.loads(cli(broker.endpoint, "ls", "--json").stdout)["services"]
    assert service["service"] == "sums" and service["properties"]["consume"] == "False"
    assert service["leader"] in {it.name for it in members} and service["consumers"] == 0
    # The next leader says so, too.
    leader = next(it for it in members if it.now()["leading"])
    leader.kill()
    members.remove(leader)
    until(lambda: any(it.now()["state"] == "running-leader" for it in members))
    assert all(it.now()["prefetch"] is None for it in members)
    done = cli(broker.endpoint, "resume", "sums")
    assert done.returncode == 0, done
    until(lambda: all(it.now()["prefetch"] for it in members))
    assert add(broker.endpoint, 1) == 3
    described = json.loads(cli(broker.endpoint, "describe", "sums", "--json").stdout)
    assert "add" in described["description"]["methods"]
    assert described["service"]["properties"]["hw_mark"] == "100"
    assert described["service"]["configured"] is True and described["service"]["consumers"] == 2
    assert cli(broker.endpoint, "pause", "nobody").returncode == 6
    assert cli(broker.endpoint, "describe", "nobody").returncode == 6


def test_events_and_commands_of_the_command_line(broker, instances, tmp_path):
    heard = tmp_path / "heard"
    members = [instances(broker.endpoint, f"r{n}", "--on", f"orders.#=cat >> {heard}")
               for n in range(2)]
    for member in members:
        member.running()
    for number in range(5):
        done = cli(broker.endpoint, "event", f"orders.{number}.paid", str(number))
        assert done.returncode == 0, done
    until(lambda: heard.exists() and len(heard.read_text().split()) == 5)
    time.sleep(0.3)
    assert sorted(heard.read_text().split()) == ["0", "1", "2", "3", "4"]
    asked = cli(broker.endpoint, "call", "nobody", "add")
    assert asked.returncode == 6, asked
