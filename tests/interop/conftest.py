"""Starts the built binary, and looks after it: at the end of a test it lives and never panicked."""

import contextlib
import subprocess
import sys

import pytest

import canary
import mdp
from broker import BINARY, HERE, ROOT, Broker  # noqa: F401
from curve import Guarded
from nfp_peers import AGAINST_NORFAB, net, net_of_module, pair  # noqa: F401
from seats import seats  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_told():
    """Nothing that any program of this run has written holds a secret."""
    yield
    assert canary.leaks() == []


@contextlib.contextmanager
def looked_after():
    """Brokers that live at the end, and are killed then."""
    brokers = []
    yield brokers
    try:
        for broker in brokers:
            broker.check()
    finally:
        for broker in brokers:
            broker.close()


def maker(kind, directory):
    """Starts brokers of a kind, with the flags of the test."""
    with looked_after() as brokers:

        def start_broker(*flags, **kwargs):
            brokers.append(kind(directory, *flags, **kwargs))
            return brokers[-1]

        yield start_broker


@pytest.fixture
def start(tmp_path):
    """Starts brokers."""
    yield from maker(Broker, tmp_path)


@pytest.fixture
def guard(tmp_path):
    """Starts brokers that ask for keys."""
    yield from maker(Guarded, tmp_path)


@pytest.fixture(scope="module")
def guard_of_module(tmp_path_factory):
    """The same, for all tests of a module."""
    yield from maker(Guarded, tmp_path_factory.mktemp("guard"))


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
