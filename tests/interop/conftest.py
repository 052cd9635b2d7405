"""Starts the built binary, and looks after it: at the end of a test it lives and never panicked."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

import mdp

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
BINARY = pathlib.Path(os.environ.get("MAJORDOMO_BIN", ROOT / "target/debug/majordomo"))


class Broker:
    def __init__(self, directory, *flags, binds=("tcp://127.0.0.1:0",)):
        assert BINARY.exists(), f"no {BINARY}: run `cargo build` or set MAJORDOMO_BIN"
        self.log_path = directory / f"broker-{len(list(directory.iterdir()))}.log"
        command = [BINARY, "broker", "--config", "/dev/null", *flags]
        for bind in binds:
            command += ["--bind", bind]
        self.stopped = False
        # Records and panics both go to standard error.
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.endpoints = [self.process.stdout.readline().strip() for _ in binds]
        assert all(self.endpoints), f"no endpoint; the log says: {self.log()}"
        self.endpoint = self.endpoints[0]

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def resident(self):
        """Resident memory, octets."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) * 1024

    def terminate(self):
        self.stopped = True
        self.process.send_signal(signal.SIGTERM)

    def check(self):
        if not self.stopped:
            assert self.process.poll() is None, f"the broker died: {self.process.returncode}"
        assert "panicked" not in self.log(), self.log()


@pytest.fixture
def start(tmp_path):
    """Starts brokers with the flags of the test."""
    brokers = []

    def start_broker(*flags, **kwargs):
        brokers.append(Broker(tmp_path, *flags, **kwargs))
        return brokers[-1]

    yield start_broker
    try:
        for broker in brokers:
            broker.check()
    finally:
        for broker in brokers:
            broker.process.kill()
            broker.process.communicate()


@pytest.fixture
def broker(start):
    return start()


class Process:
    """A worker in a process of its own, to be killed or frozen."""

    def __init__(self, endpoint, service, mode):
        command = [sys.executable, HERE / "worker.py", endpoint, service.decode(), mode]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.expect("ready")

    def expect(self, word):
        line = self.process.stdout.readline().strip()
        assert line == word, line

    def signal(self, number):
        self.process.send_signal(number)


@pytest.fixture
def spawn():
    """Starts worker processes."""
    processes = []

    def spawn_worker(*args):
        processes.append(Process(*args))
        return processes[-1]

    yield spawn_worker
    for process in processes:
        process.process.kill()
        process.process.communicate()


@pytest.fixture
def peers():
    """Closes every peer that is put in."""
    opened = []

    def keep(peer):
        opened.append(peer)
        return peer

    yield keep
    for peer in opened:
        peer.close()


@pytest.fixture
def connect(peers, broker):
    """Clients and workers of the default broker."""

    class Connect:
        @staticmethod
        def client(*args, **kwargs):
            return peers(mdp.Client(broker.endpoint, *args, **kwargs))

        @staticmethod
        def worker(*args, **kwargs):
            return peers(mdp.Worker(broker.endpoint, *args, **kwargs))

    return Connect
