"""Real NorFab peers and brokers for the tests; and our broker with the settings that NFP needs.

The suite also runs against NorFab's own broker, to prove the tests: `NFP_BROKER=norfab`. Tests
that carry the mark `better` have to fail then, for they say where ours is better.
"""

import json
import os
import pathlib
import select
import signal
import subprocess
import time

import pytest

import nfp
from broker import HERE, ROOT, Broker
from nfp import AGAINST_NORFAB, until

PEER = HERE / "norfab_peer.py"
ENVIRONMENTS = pathlib.Path(os.environ.get("NORFAB_VENVS", ROOT / "target"))
NEW, MIDDLE, OLD = "0.25.0", "0.14.0", "0.6.0"
START = 120.0

# The names of our settings, here and nowhere else.
KEEPALIVE, MULTIPLIER = "nfp.keepalive", "nfp.multiplier"
INVENTORY, FILES = "nfp.inventory", "nfp.files"
QUEUE = "service.queue"
OLD_LISTENERS = "nfp.old"


def better(why):
    """Marks what NorFab's own broker does worse, or not at all."""
    return pytest.mark.better(why)


class Process:
    """A process that speaks lines of JSON."""

    def __init__(self, version, log, *args):
        python = ENVIRONMENTS / f"norfab-{version}/bin/python"
        assert python.exists(), f"no {python}: `tests/run` installs it"
        self.log_path = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [python, PEER, *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
            )
        try:
            self.hello = self.line(START)
        except AssertionError:
            self.close()
            raise

    def line(self, wait):
        ready, _, _ = select.select([self.process.stdout], [], [], wait)
        assert ready, f"no line within {wait} s; the log says: {self.log()}"
        line = self.process.stdout.readline()
        assert line, f"the process ended; its log says: {self.log()}"
        return json.loads(line)

    def log(self):
        return self.log_path.read_text(errors="replace")[-4000:]

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM, wait=START):
        """Ends it and says its code."""
        self.process.send_signal(number)
        return self.process.wait(wait)

    def close(self):
        self.process.kill()
        self.process.communicate()


class Client(Process):
    """A real client: `client.run("dummy", "add", ..)` calls a method of norfab_peer.Calls."""

    def start(self, do, **call):
        self.process.stdin.write(json.dumps({"do": do, **call}) + "\n")

    def finish(self, wait=START):
        said = self.line(wait)
        assert "ok" in said, said["error"]
        return said["ok"]

    def call(self, do, wait=START, **call):
        self.start(do, **call)
        return self.finish(wait)

    def run(self, service, task, wait=START, **options):
        """Runs a job: the results by worker, or nothing if it failed."""
        return self.call("run", wait, service=service, task=task, **options)["result"]

    def values(self, service, task, **options):
        """Runs a job: the result of each worker, all of which have to succeed."""
        results = self.run(service, task, **options)
        assert results is not None, self.log()
        assert not [result for result in results.values() if result["failed"]], results
        return {worker: result["result"] for worker, result in results.items()}

    def manage(self, task, kwargs=None, service="mmi.service.broker"):
        said = self.call("mmi", service=service, task=task, kwargs=kwargs)
        assert (said["status"], said["errors"]) == ("200", []), said
        return said["results"]


class Ours(Broker):
    """Our broker. What is set has the names of our configuration."""

    def __init__(self, directory, binds=None, **settings):
        self.settings = settings
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        # Peers up to 0.14.0 need a listener of their own.
        binds = binds or ["tcp://127.0.0.1:0"] + ["tcp://127.0.0.2:0"] * ("era" in settings)
        named = {
            KEEPALIVE: f"{settings.get('keepalive', 2500)}ms",
            INVENTORY: settings.get("inventory"),
            FILES: settings.get("files"),
            QUEUE: settings.get("queue"),
            OLD_LISTENERS: json.dumps(binds[1:]),
        }
        flags = [f"--set={name}={value}" for name, value in named.items() if value is not None]
        super().__init__(directory, *flags, binds=binds)
        self.old_endpoint = self.endpoints[-1]

    def again(self):
        """A new process on the same endpoints."""
        return Ours(self.directory, self.endpoints, **self.settings)


class Original(Process):
    """NorFab's own broker, and the worker that serves its files."""

    def __init__(self, directory, bind="tcp://127.0.0.1:0", **settings):
        self.settings = settings
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        if inventory := settings.get("inventory"):
            (directory / "inventory.yaml").write_bytes(pathlib.Path(inventory).read_bytes())
        keepalive = settings.get("keepalive", 2500)
        version = {"old": MIDDLE}.get(settings.get("era"), NEW)
        super().__init__(version, directory / "broker.log", "broker", bind, directory, keepalive)
        self.endpoint = self.old_endpoint = self.hello["endpoint"]
        self.files = None
        if files := settings.get("files"):
            folder = directory / "files"
            folder.mkdir(exist_ok=True)
            (directory / "inventory.yaml").write_text(
                f"workers:\n  files-1:\n  - service: filesharing\n    base_dir: {files}\n"
            )
            self.close()
            super().__init__(version, directory / "broker.log", "broker", self.endpoint, directory, keepalive)
            self.files = Process(NEW, folder / "log", "files", self.endpoint, folder, "files-1")

    def again(self):
        return Original(self.directory, self.endpoint, **self.settings)

    def stop(self):
        self.end()

    def kill(self):
        self.end(signal.SIGKILL)

    def check(self):
        pass

    def close(self):
        super().close()
        if self.files:
            self.files.close()


class Net:
    """A broker with its peers; all of them end with it."""

    def __init__(self, directory, **settings):
        self.directory = directory
        self.settings = settings
        self.opened = []
        self.brokers = []
        self.broker = None
        self.start()

    def start(self):
        kind = Original if AGAINST_NORFAB else Ours
        self.took(kind(self.directory / "broker", **self.settings))

    def took(self, broker):
        self.broker = broker
        self.brokers.append(broker)
        self.endpoint = broker.endpoint

    def restart(self):
        """The broker that was stopped comes back on the same endpoint."""
        self.took(self.broker.again())

    def keep(self, peer):
        self.opened.append(peer)
        return peer

    def raw_client(self, name=b"raw-client", **options):
        return self.keep(nfp.Client(self.endpoint, name, **options))

    def raw_worker(self, name=b"w1", service=b"work", **options):
        return self.keep(nfp.Worker(self.endpoint, name, service, **options))

    def raw_pair(self, name=b"w1", service=b"work"):
        """A raw client, and a raw worker that has been registered."""
        client, worker = self.raw_client(), self.raw_worker(name, service)
        nfp.joined(client, worker)
        return client, worker

    def endpoint_of(self, version):
        return self.broker.endpoint if version == NEW else self.broker.old_endpoint

    def folder(self, name, version):
        folder = self.directory / f"{name}-{version}"
        folder.mkdir(exist_ok=True)
        return folder

    def worker(self, name, service="dummy", version=NEW):
        """Starts a real worker and waits until it is registered."""
        folder = self.folder(name, version)
        args = ("worker", self.endpoint_of(version), folder, service, name)
        worker = self.keep(Process(version, folder / "log", *args))
        with nfp.Socket(self.endpoint, b"watch-" + name.encode()) as watch:
            until(lambda: name in listed(watch))
        return worker

    def client(self, name="client", version=NEW):
        folder = self.folder(name, version)
        args = ("client", self.endpoint_of(version), folder, name)
        return self.keep(Client(version, folder / "log", *args))

    def check(self):
        for broker in self.brokers:
            broker.check()

    def close(self):
        for peer in self.opened + self.brokers:
            peer.close()


def listed(watch):
    """The names of all workers. Brokers of every era say it, each with its own header."""
    body, uuid = b'{"task":"show_workers","kwargs":{},"args":[]}', nfp.fresh()
    watch.send(b"", nfp.CLIENT, nfp.GET, nfp.MANAGEMENT, b"all", uuid, body)
    while True:
        frames = watch.receive()
        if frames[4] == uuid:
            return [row["name"] for row in json.loads(frames[6])]


def nets(factory):
    """Gives out nets of a scope; at its end their brokers have to live."""
    made = []

    def net(**settings):
        made.append(Net(factory(), **settings))
        return made[-1]

    yield net
    try:
        for one in made:
            one.check()
    finally:
        for one in made:
            one.close()


@pytest.fixture
def net(tmp_path):
    """Makes brokers, each with its peers, for one test."""
    count = iter(range(100))
    yield from nets(lambda: _made(tmp_path / str(next(count))))


@pytest.fixture(scope="module")
def net_of_module(tmp_path_factory):
    """The same, for all tests of a module."""
    yield from nets(lambda: tmp_path_factory.mktemp("net"))


def _made(folder):
    folder.mkdir()
    return folder


@pytest.fixture
def pair(net):
    """A raw client and a registered raw worker."""
    return net().raw_pair()


def seconds(what):
    """How long it takes."""
    started = time.monotonic()
    what()
    return time.monotonic() - started
