"""Peers that go on in the background: healthy ones in a process of their own, and workers."""

import json
import os
import resource
import select
import subprocess
import sys
import threading
import time

import mdp
from broker import HERE

# `full` has the sizes of the promise; otherwise they are those for every run.
FULL = os.environ.get("MAJORDOMO_FLOODS") == "full"
WAIT = 60.0


def size(small, full):
    return full if FULL else small


def files_max(wanted):
    """So many files may be open, as far as the system lets us; a broker that starts then, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + 500:
        soft = min(hard, wanted + 500)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft - 500)


class Answering(threading.Thread):
    """A worker that answers with what `answer` makes of a body, and notes the first frame of each."""

    def __init__(self, endpoint, service, options=None, answer=lambda *body: body):
        super().__init__()
        self.worker = mdp.Worker(endpoint, service, options=options)
        self.answer, self.seen = answer, []
        self.stopping = threading.Event()
        self.start()

    def run(self):
        while not self.stopping.is_set():
            if self.worker.socket.poll(20):
                name, frames = self.worker.recv(beats=True)
                if name == "REQUEST":
                    self.seen.append(frames[2])
                    self.worker.final(frames[0], *self.answer(*frames[2:]))
                else:
                    self.worker.say("HEARTBEAT")

    def close(self):
        self.stopping.set()
        self.join()
        self.worker.close()


class Healthy:
    """Clients that call all the time, each with a pause between its calls, and their workers."""

    def __init__(self, endpoint, options=None, clients=10):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "healthy.py", endpoint, str(clients)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        options = [[int(option), value.decode()] for option, value in (options or {}).items()]
        self.process.stdin.write(json.dumps(options) + "\n")
        # All of them talk.
        end = time.monotonic() + WAIT
        while self.figures()["rate"] == 0:
            assert time.monotonic() < end
            time.sleep(0.1)

    def figures(self):
        """Since the last time: calls a second, median, 99th percentile and worst in ms."""
        assert self.process.poll() is None, "a healthy peer has failed"
        self.process.stdin.write("\n")
        ready, _, _ = select.select([self.process.stdout], [], [], WAIT)
        line = self.process.stdout.readline() if ready else ""
        assert line, "a healthy peer has failed"
        return json.loads(line)

    def quiet(self, seconds=1.5):
        """The figures while nothing happens."""
        self.figures()
        time.sleep(seconds)
        return self.figures()

    def close(self):
        self.process.kill()
        self.process.communicate()
