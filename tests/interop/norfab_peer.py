"""One real NorFab peer in a process of its own, run by the Python that its package is installed in.

    norfab_peer.py broker ENDPOINT FOLDER KEEPALIVE_MS
    norfab_peer.py worker ENDPOINT FOLDER SERVICE NAME
    norfab_peer.py files  ENDPOINT FOLDER NAME
    norfab_peer.py client ENDPOINT FOLDER NAME

Security is off (`broker.zmq_auth: false`). A peer prints one line of JSON when it is ready; SIGTERM
sets its exit event, which is NorFab's own graceful stop. A client then reads one line of JSON a
call, `{"do": NAME, ..arguments}`, and prints `{"ok": ..}` or `{"error": ..}` for each.
"""

import importlib.metadata
import json
import logging.config  # noqa: F401  The versions before 0.20 use it and do not import it.
import os
import pathlib
import queue
import signal
import sys
import threading
import time
import traceback

import zmq

VERSION = tuple(int(part) for part in importlib.metadata.version("norfab").split("."))


class PlainSocket(zmq.Socket):
    """Before 0.8.0 NorFab cannot do without CURVE: its sockets lose the keys that it gives them."""

    def __setattr__(self, name, value):
        if not name.startswith("curve_"):
            super().__setattr__(name, value)


# Before 0.20 a process hands its records to a queue of the process that started it.
LOG = {"log_level": "WARNING"}
if VERSION < (0, 20):
    LOG["log_queue"] = queue.Queue()
if VERSION < (0, 8):
    zmq.Context._socket_class = PlainSocket

from norfab.core.broker import NFPBroker  # noqa: E402
from norfab.core.client import NFPClient  # noqa: E402
from norfab.core.inventory import NorFabInventory  # noqa: E402
from norfab.core.worker import NFPWorker  # noqa: E402

if VERSION >= (0, 9):
    from norfab.core.worker import Job, Task
    from norfab.models import Result
else:
    from norfab.core.worker import Result


def say(**line):
    print(json.dumps(line, default=str), flush=True)


def inventory(endpoint, folder):
    """What `inventory.yaml` in the folder says, and that there is no CURVE."""
    path = pathlib.Path(folder) / "inventory.yaml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("broker: {}\n")
    loaded = NorFabInventory(path=str(path))
    # Until 0.8.0 the broker's public key has to be known; PlainSocket then ignores it.
    key, _ = zmq.curve_keypair()
    loaded.broker = {"endpoint": endpoint, "zmq_auth": False, "shared_key": key.decode(), **loaded.broker}
    return loaded


class Common(NFPWorker):
    """What the workers of all versions share."""

    def __init__(self, loaded, endpoint, service, name, exit_event):
        super().__init__(loaded, endpoint, service, name, exit_event, **LOG)
        started = time.monotonic()
        self.loaded = self.load_inventory()
        self.loading = time.monotonic() - started


if VERSION >= (0, 9):

    class Dummy(Common):
        """Serves whatever service it is told."""

        @Task()
        def add(self, a: int, b: int) -> Result:
            return Result(result=a + b)

        @Task()
        def sleep(self, seconds: float) -> Result:
            time.sleep(seconds)
            return Result(result="slept")

        @Task()
        def big(self, size: int) -> Result:
            return Result(result="x" * size)

        @Task()
        def fail(self) -> Result:
            raise RuntimeError("as it was told")

        @Task()
        def loaded_inventory(self) -> Result:
            return Result(result=self.loaded)

        @Task()
        def count(self, job: Job, to: int) -> Result:
            for at in range(to):
                job.event(f"step {at}", severity="WARNING", resource=["r1"])
            return Result(result=to)

        @Task()
        def ask(self, job: Job, question: str) -> Result:
            return Result(result={"answer": job.request_input(question, timeout=20)})

else:

    class Dummy(Common):
        """Serves whatever service it is told."""

        def add(self, a, b):
            return Result(result=a + b)

        def big(self, size):
            return Result(result="x" * size)

        def loaded_inventory(self):
            return Result(result=self.loaded)

        def count(self, to):
            for at in range(to):
                self.event(f"step {at}")
            return Result(result=to)


class Calls:
    """What a client can be told."""

    def __init__(self, client):
        self.client = client
        self.futures = {}

    def run(self, service, task, uuid=None, **options):
        started = time.monotonic()
        result = self.client.run_job(service, task, uuid=uuid, **options)
        return {"result": result, "seconds": time.monotonic() - started}

    def submit(self, uuid, service, task, **options):
        self.futures[uuid] = self.client.submit_job(service, task, uuid=uuid, **options)

    def event(self, uuid, wait=10):
        """The next event of a job, or nothing once it has ended."""
        return next(self.futures[uuid].events(timeout=wait), None)

    def events(self, uuid, wait=10):
        """All further events of a job."""
        return list(self.futures[uuid].events(timeout=wait))

    def old_events(self):
        """All events so far, as clients up to 0.14.0 keep them."""
        found = []
        while not self.client.event_queue.empty():
            found.append(json.loads(self.client.event_queue.get()[6]))
        return found

    def answer(self, uuid, **options):
        self.futures[uuid].send_response(**options)

    def result(self, uuid, wait=30):
        return self.futures[uuid].result(timeout=wait)

    def job(self, uuid):
        """What the client's own database says of a job."""
        return self.client.job_db.get_job(uuid)

    def many(self, count, service, task, wait=60, **options):
        """Submits `count` jobs at once and collects the results of all."""
        started = time.monotonic()
        futures = [self.client.submit_job(service, task, **options) for _ in range(count)]
        results = [future.result(timeout=wait) for future in futures]
        return {"results": results, "seconds": time.monotonic() - started}

    def bench(self, jobs, service, task, **options):
        """Runs one job after the other; seconds of each."""
        took = []
        for _ in range(jobs):
            started = time.monotonic()
            assert self.client.run_job(service, task, **options)
            took.append(time.monotonic() - started)
        return took

    def mmi(self, service, task, kwargs=None, wait=10):
        return self.client.mmi(service, task, kwargs=kwargs, timeout=wait)

    def get(self, service, task, kwargs=None):
        """A management call, as clients up to 0.14.0 make it."""
        return self.client.get(service, task, kwargs=kwargs)

    def fetch(self, url, **options):
        return self.client.fetch_file(url, **options)

    def forget(self, url):
        """Removes what was fetched, so that it is fetched again."""
        return self.client.delete_fetched_files(url)

    def validate(self, stats):
        """Has NorFab's own model of the broker's figures read them."""
        from norfab.core.monitoring import BrokerMonitoringStats

        read = BrokerMonitoringStats.model_validate_json(json.dumps(stats))
        return read.model_dump(mode="json")

    def stats(self):
        return self.client.get_stats()


def end_with_the_parent():
    """Nobody who starts a peer has to clean up after it: it ends when its input does."""
    sys.stdin.read()
    os._exit(0)


def serve(client):
    calls = Calls(client)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            say(ok=getattr(calls, call.pop("do"))(**call))
        except Exception:
            say(error=traceback.format_exc())


def main(kind, endpoint, folder, *more):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    loaded = inventory(endpoint, folder)
    if kind != "client":
        threading.Thread(target=end_with_the_parent, daemon=True).start()
    if kind == "broker":
        log = {**LOG, "log_level": "INFO"}
        broker = NFPBroker(endpoint, stop, loaded, keepalive=int(more[0]), **log)
        say(endpoint=broker.socket.getsockopt_string(zmq.LAST_ENDPOINT))
        broker.mediate()
    elif kind == "worker":
        service, name = more
        worker = Dummy(loaded, endpoint, service, name, stop)
        say(inventory=worker.loaded, loading=worker.loading)
        worker.work()
    elif kind == "files":
        from norfab.workers.filesharing_worker.filesharing_worker import FileSharingWorker

        worker = FileSharingWorker(loaded, endpoint, more[0], stop, threading.Event(), "WARNING")
        say(base=worker.base_dir)
        worker.work()
    else:
        # The signal ends a client at once: it has nothing to say when it goes.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        client = NFPClient(loaded, endpoint, more[0])
        say(name=more[0])
        serve(client)
        client.destroy()


main(*sys.argv[1:])
