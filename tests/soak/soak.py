"""Clients and workers under load while both are killed and frozen: each request has one outcome.

    python tests/soak/soak.py --minutes 5

Runs the release build (or MAJORDOMO_BIN), prints one line of figures, and exits with 1 if a
request was lost, doubled, changed or misled, or if resident memory passed 1.5 times the broker's
own account and 64 MiB. The logs it judges from stay in target/soak.
"""

import argparse
import dataclasses
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import venv

from judge import judge

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
BINARY = pathlib.Path(os.environ.get("MAJORDOMO_BIN", ROOT / "target/release/majordomo"))
LOGS = ROOT / "target/soak"
# What tests/run installs for the peers; installed here if it is missing.
PINS = ROOT / "tests/interop/requirements.txt"
VENV = ROOT / "target/venv"
PYTHON = VENV / "bin/python"
SERVICES = [f"service-{number}" for number in range(5)]
WORKERS_EACH = 2
CLIENTS = 8
# These clients are never killed, so that many requests must have exactly one answer.
CLIENTS_THAT_LIVE = 3
RESIDENT_FREE = 64 << 20


def install():
    stamp = VENV / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != PINS.read_bytes():
        venv.create(VENV, clear=True, with_pip=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "-r", PINS], check=True)
        shutil.copy(PINS, stamp)


class Broker:
    def __init__(self):
        assert BINARY.exists(), f"no {BINARY}: run `cargo build --release` or set MAJORDOMO_BIN"
        flags = ["--bind", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--prefetch", "4"]
        flags += ["--heartbeat", "200ms", "--liveness", "5", "--busy-timeout", "30s"]
        # No request here is poison and none may end without an answer, however unlucky.
        flags += ["--set", "service.attempts=100", "--set", "service.resend_after_partial=true"]
        self.log = LOGS / "broker.log"
        command = [BINARY, "broker", "--config", "/dev/null", *flags]
        # Records and panics both go to standard error.
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.endpoint, self.http = (self.process.stdout.readline().strip() for _ in range(2))
        assert self.http.startswith("http://"), f"no HTTP endpoint: {self.log.read_text()}"

    def resident(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s*(\d+) kB$", status, re.MULTILINE)[1]) << 10

    def accounted(self):
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=10) as page:
            text = page.read().decode()
        pattern = r"^\w*memory_accounted_bytes(?:\{.*\})? (\S+)$"
        return sum(int(float(part)) for part in re.findall(pattern, text, re.MULTILINE))


class Memory(threading.Thread):
    """Samples resident memory and the broker's account, once a second."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.broker = broker
        self.ended = threading.Event()
        self.samples = []
        self.failure = None

    def run(self):
        try:
            while not self.ended.wait(1):
                before, resident = self.broker.accounted(), self.broker.resident()
                # What comes or goes between two readings is no fault.
                self.samples.append((resident, max(before, self.broker.accounted())))
        except Exception as failure:
            self.failure = failure

    def faults(self):
        if self.failure or not self.samples:
            yield f"memory could not be read: {self.failure}"
        for second, (resident, account) in enumerate(self.samples):
            if resident > account * 1.5 + RESIDENT_FREE:
                yield f"second {second}: {resident} octets resident, {account} accounted"


@dataclasses.dataclass
class Actor:
    role: str
    services: list
    mortal: bool
    process: subprocess.Popen = None
    name: str = ""
    frozen_until: float = 0.0


class Crowd:
    """All clients and workers, and what is done to them."""

    def __init__(self, broker, seed):
        self.broker, self.seed = broker, seed
        self.rng = random.Random(seed)
        self.births = 0
        self.counts = dict.fromkeys(("kill worker", "kill client", "freeze"), 0)
        self.faults = []
        self.actors = [
            Actor("worker", [service], True) for service in SERVICES for _ in range(WORKERS_EACH)
        ]
        self.actors += [
            Actor("client", SERVICES, number >= CLIENTS_THAT_LIVE) for number in range(CLIENTS)
        ]
        for actor in self.actors:
            self.bear(actor)

    def bear(self, actor):
        self.births += 1
        actor.name = f"{actor.role}-{self.births:05}"
        actor.frozen_until = 0.0
        log = LOGS / f"{actor.name}.log"
        command = [PYTHON, HERE / "actor.py", actor.role, actor.name]
        command += [self.broker.endpoint, log, f"{self.seed}/{self.births}", *actor.services]
        with (LOGS / "actors.err").open("ab") as stderr:
            actor.process = subprocess.Popen(command, stderr=stderr)

    def torment(self, seconds):
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline and self.broker.process.poll() is None:
            self.thaw(now)
            for actor in self.actors:
                if actor.process.poll() is not None:
                    self.faults.append(f"{actor.name} ended by itself: {actor.process.returncode}")
                    self.bear(actor)
            self.harm(now)
            time.sleep(self.rng.uniform(0.05, 0.5))
        self.thaw(float("inf"))

    def harm(self, now):
        role, deed = self.rng.choices(
            [("worker", "kill"), ("client", "kill"), ("worker", "freeze"), ("client", "freeze")],
            [45, 15, 30, 10],
        )[0]
        able = [a for a in self.actors if a.role == role and (deed == "freeze" or a.mortal)]
        actor = self.rng.choice(able)
        if deed == "kill":
            self.counts[f"kill {role}"] += 1
            actor.process.kill()
            actor.process.wait()
            self.bear(actor)
        elif not actor.frozen_until:
            self.counts["freeze"] += 1
            actor.frozen_until = now + self.rng.uniform(0.1, 3)
            actor.process.send_signal(signal.SIGSTOP)

    def thaw(self, now):
        for actor in self.actors:
            if actor.frozen_until and actor.frozen_until <= now:
                actor.frozen_until = 0.0
                actor.process.send_signal(signal.SIGCONT)

    def end(self):
        """Clients stop asking and wait for their answers; then the workers leave."""
        for role in ("client", "worker"):
            leaving = [actor for actor in self.actors if actor.role == role]
            for actor in leaving:
                while not (LOGS / f"{actor.name}.log").exists() and actor.process.poll() is None:
                    time.sleep(0.01)
                actor.process.terminate()
            for actor in leaving:
                if actor.process.wait(180) != 0:
                    self.faults.append(f"{actor.name} ended with {actor.process.returncode}")

    def kill(self):
        for actor in self.actors:
            actor.process.kill()


def soak(minutes, seed):
    """Returns the faults that were found."""
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    broker = Broker()
    crowd = Crowd(broker, seed)
    memory = Memory(broker)
    memory.start()
    try:
        crowd.torment(minutes * 60)
        crowd.end()
        memory.ended.set()
        memory.join()
        broker.process.terminate()
        code = broker.process.wait(60)
    finally:
        crowd.kill()
        broker.process.kill()
    verdict = judge(LOGS)
    faults = [*crowd.faults, *verdict.faults, *memory.faults()]
    if code != 0:
        faults.append(f"the broker ended with {code}")
    if "panicked" in broker.log.read_text():
        faults.append("the broker panicked")
    if not verdict.replies:
        faults.append("nothing was answered")
    resident, account = max(memory.samples, default=(0, 0))
    print(
        f"soak: {minutes} min, seed {seed}: {verdict.requests} requests, {verdict.replies} replies,"
        f" {verdict.unanswered} of killed clients unanswered; {verdict.executions} executions,"
        f" {verdict.repeated} requests more than once; {crowd.counts['kill worker']} workers and"
        f" {crowd.counts['kill client']} clients killed, {crowd.counts['freeze']} frozen;"
        f" most resident {resident >> 20} MiB with {account >> 20} MiB accounted;"
        f" {len(faults)} faults"
    )
    return faults


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=5)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = arguments.parse_args()
    install()
    faults = soak(options.minutes, options.seed)
    for fault in faults[:20]:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
