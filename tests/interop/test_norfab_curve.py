"""The real NorFab with security on: its key files, its `shared_key`, and our broker."""

import hashlib
import os
import shutil
import threading

import pytest
import zmq.auth

import canary
import nfp
from curve import Guarded, Key
from mdp import until
from nfp_peers import AGAINST_NORFAB, FILES, INVENTORY, NEW, Client, Process, seconds

pytestmark = pytest.mark.skipif(AGAINST_NORFAB, reason="it is about our broker")
WATCH = Key("watch")
YAML = 'workers:\n  "dummy-*":\n  - service: dummy\n    answer: 42\n'


class Norfab:
    """A broker of ours that asks for keys, and real peers in folders of their own."""

    def __init__(self, directory, keep, *flags, **options):
        self.directory, self.keep = directory, keep
        self.files = directory / "served"
        self.files.mkdir()
        inventory = directory / "inventory.yaml"
        inventory.write_text(YAML)
        home = directory / "broker"
        home.mkdir()
        flags = [f"--set={FILES}={self.files}", f"--set={INVENTORY}={inventory}", *flags]
        self.broker = keep(Guarded(home, *flags, **options))

    def folder(self, name, shared_key=True):
        """The folder of a peer, whose inventory says that there is security, as it is by default."""
        folder = self.directory / name
        if not folder.exists():
            folder.mkdir()
            shared = self.broker.public.decode() if shared_key is True else shared_key
            line = f"  shared_key: '{shared}'\n" if shared else ""
            (folder / "inventory.yaml").write_text("broker:\n  zmq_auth: true\n" + line)
        return folder

    @staticmethod
    def base(folder, kind, name):
        return folder / "__norfab__" / "files" / kind / name

    def key(self, kind, name, peer=None):
        """The key of a peer: that of its files, which NorFab leaves as they are if they are there."""
        base = self.base(self.folder(peer or name), kind, name)
        public, private = base / "public_keys", base / "private_keys"
        if not private.exists():
            for folder in (public, private):
                folder.mkdir(parents=True)
            path, _ = zmq.auth.create_certificates(private, name)
            shutil.move(path, public)
        return Key(name, zmq.auth.load_certificate(private / f"{name}.key_secret")[1])

    def keys(self, name):
        """Those of a worker: its own, and that of the client in it, which asks for its inventory."""
        inner = Key(name, self.key("client", f"{name}-NFPClient", name).secret)
        return [self.key("worker", name), inner]

    def entries(self, name, role="worker"):
        return "".join(key.entry(role) for key in self.keys(name))

    def peer(self, kind, made, name, *more):
        folder = self.folder(name)
        canary.watch(folder / "log")
        peer = made(NEW, folder / "log", kind, self.broker.endpoint, folder, *more, name)
        return self.keep(peer)

    def worker(self, name, service="dummy"):
        return self.peer("worker", Process, name, service)

    def client(self, name):
        return self.peer("client", Client, name)

    def listed(self):
        """The names of all workers, as somebody sees them who may see them."""
        options = {**WATCH.to(self.broker), zmq.IDENTITY: b"watch"}
        with nfp.Client(self.broker.endpoint, b"watch", options) as watch:
            return watch.workers()


@pytest.fixture(scope="module")
def norfab(tmp_path_factory):
    """Makes nets."""
    opened = []

    def keep(one):
        opened.append(one)
        return one

    yield lambda *args, **kwargs: Norfab(tmp_path_factory.mktemp("norfab"), keep, *args, **kwargs)
    try:
        for one in opened:
            if isinstance(one, Guarded):
                one.check()
    finally:
        for one in opened:
            one.close()


class Shop:
    """A worker and a client whose keys are good."""

    def __init__(self, net):
        self.net = net
        self.worker = net.worker("dummy-1")
        self.client = net.client("client-1")
        until(lambda: "dummy-1" in net.listed())


@pytest.fixture(scope="module", params=["any", "file"])
def shop(request, norfab):
    if request.param == "any":
        return Shop(norfab())
    net = norfab(authorized=WATCH.entry("client"))
    net.broker.authorize(
        WATCH.entry("client"),
        net.entries("dummy-1"),
        net.key("client", "client-1").entry("client"),
    )
    assert net.broker.command("admin", "reload").code == 0
    return Shop(net)


def test_a_job_runs(shop):
    values = shop.client.values("dummy", "add", args=[20, 22], timeout=30)
    assert values == {"dummy-1": 42}


def test_a_worker_is_given_its_inventory(shop):
    assert shop.worker.hello["inventory"]["answer"] == 42
    assert shop.worker.hello["loading"] < 10, "nobody had to wait for an answer that never comes"


def test_the_key_files_are_those_of_norfab(shop):
    """The peers have learnt the broker's key from `shared_key`, and have kept their own."""
    for kind, name in (("worker", "dummy-1"), ("client", "client-1")):
        base = shop.net.base(shop.net.folder(name), kind, name)
        server, _ = zmq.auth.load_certificate(base / "public_keys" / "broker.key")
        assert server == shop.net.broker.public
        assert shop.net.key(kind, name).public


def test_events_of_a_job(shop):
    uuid = "e" * 32
    shop.client.call("submit", uuid=uuid, service="dummy", task="count", kwargs={"to": 3}, timeout=30)
    events = [event["message"] for event in shop.client.call("events", uuid=uuid)]
    assert events == ["starting", "step 0", "step 1", "step 2", "completed"]
    assert shop.client.call("result", uuid=uuid)["dummy-1"]["result"] == 3


def test_a_result_of_two_megabytes(shop):
    values = shop.client.values("dummy", "big", kwargs={"size": 2 << 20}, timeout=60)
    assert values == {"dummy-1": "x" * (2 << 20)}


def test_fetch_file_of_ten_megabytes(shop):
    content = os.urandom(10 << 20)
    (shop.net.files / "big.bin").write_bytes(content)
    said = shop.client.call("fetch", url="nf://big.bin", timeout=60)
    assert said["status"] == "200", said
    with open(said["content"], "rb") as file:
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(content).digest()


def test_management(shop):
    assert "dummy-1" in [row["name"] for row in shop.client.manage("show_workers")]


def test_a_worker_that_is_approved_gets_in_without_a_restart(norfab):
    """Its READY and its question for the inventory wait in its libzmq meanwhile."""
    net = norfab(authorized=WATCH.entry("client"))
    keys, command, approved = net.keys("dummy-9"), net.broker.command, []

    def approve():
        for row in command("key", "pending", "--json").json["pending"]:
            words = (row["fingerprint"], "--role=worker", "--name=dummy-9")
            approved.append(command("key", "approve", *words).code)
        return len(approved) == len(keys)

    operator = threading.Thread(target=until, args=[approve])
    operator.start()
    worker = net.worker("dummy-9")
    operator.join()
    assert worker.hello["inventory"]["answer"] == 42
    until(lambda: "dummy-9" in net.listed())
    assert approved == [0, 0]
    assert all(str(key) in net.broker.file.read_text() for key in keys)


def test_who_knows_another_key_of_the_broker_gets_nothing_done(norfab):
    net = norfab()
    net.folder("lost", Key("another broker").public.decode())
    client = net.client("lost")
    net.worker("dummy-1")
    until(lambda: "dummy-1" in net.listed())
    assert client.run("dummy", "add", args=[1, 2], timeout=3)["all"]["failed"]
    assert "lost" not in net.broker.command("client", "ls").out


def test_a_client_that_may_not_call_fails_at_once(norfab):
    """403 comes in the shape of 400: the client understands that its job has failed."""
    net = norfab(authorized=WATCH.entry("client"))
    net.broker.authorize(
        WATCH.entry("client"),
        net.entries("dummy-1"),
        net.key("client", "poor").entry(allow=["call other"]),
    )
    assert net.broker.command("admin", "reload").code == 0
    net.worker("dummy-1")
    until(lambda: "dummy-1" in net.listed())
    poor = net.client("poor")
    took = seconds(lambda: poor.run("dummy", "add", args=[1, 2], timeout=20))
    assert took < 5, took
    results = poor.run("dummy", "add", args=[1, 2], timeout=20)
    assert not results or all(result["failed"] for result in results.values()), results


def test_the_key_file_of_norfabs_own_broker_is_ours_too(norfab, tmp_path):
    """Who moves from NorFab's broker to ours keeps its key: all its peers know it."""
    base = tmp_path / "__norfab__" / "files" / "broker"
    private, public = base / "private_keys", base / "public_keys"
    for folder in (private, public):
        folder.mkdir(parents=True)
    path, secret = zmq.auth.create_certificates(private, "broker")
    shutil.move(path, public)
    key = Key("broker", zmq.auth.load_certificate(secret)[1])
    net = norfab(key=key)
    # As NorFab leaves it, it is readable by everybody: that is said, and how to mend it.
    os.chmod(secret, 0o644)
    said = net.broker.refuses("--curve-secret", secret, "--authorized-keys=any")
    assert f"chmod 600 {secret}" in said
    # A peer below the same folder copies the broker's key, and needs no `shared_key`.
    folder = net.folder("dummy-1", shared_key=None)
    shutil.copytree(tmp_path / "__norfab__", folder / "__norfab__")
    net.worker("dummy-1")
    until(lambda: "dummy-1" in net.listed())


def test_peers_are_back_after_a_restart_of_the_broker(norfab):
    net = norfab()
    net.worker("dummy-1")
    client = net.client("client-1")
    until(lambda: "dummy-1" in net.listed())
    before = net.broker
    before.kill()
    net.broker = net.keep(Guarded(before.directory, *before.flags[4:6], binds=[before.endpoint]))
    until(lambda: "dummy-1" in net.listed(), 60)
    assert client.values("dummy", "add", args=[1, 2], timeout=30) == {"dummy-1": 3}
