"""Instances and clients: ours are processes of `majordomo container run`, theirs of `peer.py`."""

import json
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent


class Lines:
    """A process that says JSON on lines of its own."""

    def __init__(self, words, environment=None, stdin=None):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(words, env=environment, stdin=stdin or subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.said, self.heard, self.ended = [], queue.Queue(), None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            self.said.append((time.monotonic(), said))
            self.heard.put(said)
        self.heard.put(None)

    def until(self, wanted, timeout=30.0):
        """The first thing that is said from now on, or is the last that was said, and is wanted."""
        deadline = time.monotonic() + timeout
        if self.said and wanted(self.said[-1][1]):
            return self.said[-1][1]
        while True:
            try:
                said = self.heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                said = None
            if said is None:
                raise AssertionError(f"it was not said within {timeout} s: {self.trouble()}")
            if wanted(said):
                return said

    def trouble(self):
        self.errors.seek(0)
        return f"{[said for _, said in self.said[-5:]]}\n{self.errors.read()[-3000:]}"

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.ended = time.monotonic()

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self.errors.close()


# What our service does: each method is a command.
METHODS = {
    "add": "python3 -c 'import json,sys; a=json.load(sys.stdin); print(a[\"a\"]+a.get(\"b\",2))'",
    "echo": "cat",
    "who": 'printf \'"%s"\' "$MAJORDOMO_INSTANCE"',
    "slow": 'sleep 1; printf \'"%s"\' "$MAJORDOMO_INSTANCE"',
    "fail": "echo it is broken >&2; exit 3",
}


class Ours(Lines):
    def __init__(self, mesh, instance, service, flags, etcd):
        self.instance, self.mesh = instance, mesh
        words = [mesh.binary, "container", "run", service, "--instance", instance, "--json"]
        for name, command in METHODS.items():
            words += ["--method", f"{name}={command}"]
        words += flags
        super().__init__(words, mesh.environment(etcd))

    def state(self, *states, timeout=40.0):
        """Waits for one of these states."""
        return self.until(lambda said: said.get("state") in states, timeout)

    def running(self, timeout=40.0):
        return self.state("running-leader", "running-follower", "running-standalone", timeout=timeout)

    def now(self):
        """What it said last of itself."""
        return next((it for _, it in reversed(self.said) if it.get("event") == "status"), {})

    def when(self, wanted, after=0.0):
        """When it first said of itself what is wanted; None: not since then."""
        said = (at for at, it in list(self.said) if at > after and it.get("event") == "status" and wanted(it))
        return next(said, None)

    def spans(self, wanted):
        """Times from and to which what it said of itself was what is wanted."""
        spans, since = [], None
        for at, said in list(self.said):
            if said.get("event") == "status" and wanted(said) != (since is not None):
                since, done = (at, None) if since is None else (None, since)
                if done is not None:
                    spans.append((done, at))
        if since is not None:
            spans.append((since, self.ended or time.monotonic()))
        return spans

    def stop(self, timeout=40.0):
        self.signal(signal.SIGTERM)
        assert self.process.wait(timeout) == 0, self.trouble()
        return next(it for _, it in reversed(self.said) if it.get("event") == "stopped")


class Theirs(Lines):
    """NuroPb itself: a service, and a client at the same time."""

    def __init__(self, mesh, instance, service, etcd):
        self.instance, self.mesh, self._number = instance, mesh, 0
        endpoint = mesh.etcd.endpoint if etcd else ""
        words = [sys.executable, str(HERE / "peer.py"), mesh.url, mesh.rabbit.api_url, endpoint,
                 service, instance]
        super().__init__(words, stdin=subprocess.PIPE)

    def running(self, timeout=40.0):
        said = self.until(lambda said: said.get("event") == "started", timeout)
        assert said["ok"], self.trouble()
        return said

    def ask(self, verb, timeout=40.0, **words):
        """Has it do something; what came of it."""
        self._number += 1
        number = self._number
        self.process.stdin.write(json.dumps({"verb": verb, "number": number, **words}) + "\n")
        self.process.stdin.flush()
        return self.until(lambda said: said.get("number") == number, timeout)

    def request(self, service, method, params, **words):
        return self.ask("request", service=service, method=method, params=params, **words)["response"]

    def stop(self, timeout=40.0):
        self.ask("stop")
        self.process.wait(timeout)
