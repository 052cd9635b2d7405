"""Starts the built binary, and looks after it: at the end of a test it lives and never panicked."""

import subprocess
import sys

import pytest

import mdp
from broker import BINARY, HERE, ROOT, Broker  # noqa: F401
from nfp_peers import AGAINST_NORFAB, net, net_of_module, pair  # noqa: F401


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


def pytest_configure(config):
    config.addinivalue_line("markers", "better(why): what NorFab's own broker does worse")


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("better")
        if AGAINST_NORFAB and mark:
            item.add_marker(pytest.mark.xfail(reason=mark.args[0], strict=True))
