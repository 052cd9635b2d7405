"""NFP dispatch: what a job costs our broker, and what it costs NorFab's own, in one run.

    target/venv/bin/python benches/norfab/dispatch.py --majordomo target/release/majordomo

`tests/run` makes the environments of Python that this needs. Clients and workers are raw sockets
that go through a job as NorFab 0.25.0 does: POST, 202, from each worker 201 and two events, then
for each worker GET, 202, 200. One pair of real peers runs jobs as well. Every round starts both
brokers anew, in turns; each figure is the median of the rounds. Broker CPU is that of all its
threads, to the nanosecond.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time

import zmq

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/interop"))

TASK = b'{"task":"add","kwargs":{"a":1,"b":2},"args":[],"timeout":60}'
STARTING = b'{"worker":"%s","event_type":"progress","message":"starting","task":"add","status":"running"}'
READY = b'{"worker":"%s","event_type":"result_ready","message":"completed","task":"add","status":"completed"}'
ACCEPTED = b'{"worker":"%s","status":"ACCEPTED","service":"work"}'
RESULT = b'{"%s":{"result":3,"failed":false,"errors":[],"task":"add","status":"completed"}}'
BEAT = 2.0
AT_ONCE = 200
SEQUENTIAL_TARGET, AT_ONCE_TARGET = 12.0, 20.0


def cpu(process):
    """Seconds of CPU that all threads of a process have used."""
    tasks = pathlib.Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


class Load:
    """A raw client and raw workers in one thread, which count what they send and receive."""

    def __init__(self, endpoint, count):
        self.nfp = nfp
        self.client = nfp.Client(endpoint, b"bench-client")
        self.workers = [nfp.Worker(endpoint, b"worker-%d" % at) for at in range(count)]
        nfp.joined(self.client, *self.workers)
        self.poller = zmq.Poller()
        self.peers = {peer.socket: peer for peer in (self.client, *self.workers)}
        for socket in self.peers:
            self.poller.register(socket, zmq.POLLIN)
        self.messages = 0
        self.left = {}
        self.done = 0
        self.beaten = time.monotonic()

    def close(self):
        for peer in self.peers.values():
            peer.close()

    def post(self):
        uuid = nfp.fresh()
        self.left[uuid] = len(self.workers)
        self.send(self.client, nfp.CLIENT, nfp.POST, b"work", b"all", uuid, TASK)

    def send(self, peer, *frames):
        peer.socket.send_multipart((b"", *frames))
        self.messages += 1

    def turn(self):
        if time.monotonic() > self.beaten + BEAT:
            self.beaten = time.monotonic()
            for worker in self.workers:
                worker.beat()
        for socket, _ in self.poller.poll(10_000):
            peer = self.peers[socket]
            take = self.of_client if peer is self.client else self.of_worker
            while True:
                try:
                    frames = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                take(peer, frames)

    def of_worker(self, worker, frames):
        if frames[2] == nfp.KEEPALIVE:
            return
        self.messages += 1
        client, uuid = frames[3], frames[5]

        def say(command, status, body):
            body %= worker.name
            self.send(worker, nfp.WORKER, command, client, b"", uuid, status, body)

        if frames[2] == nfp.POST:
            say(nfp.RESPONSE, b"201", ACCEPTED)
            say(nfp.EVENT, b"200", STARTING)
            say(nfp.EVENT, b"200", READY)
        else:
            assert frames[2] == nfp.GET, frames
            say(nfp.RESPONSE, b"200", RESULT)

    def of_client(self, client, frames):
        self.messages += 1
        _, _, command, _, uuid, status, body = frames
        if command == nfp.EVENT and b"result_ready" in body:
            target = json.dumps([json.loads(body)["worker"]]).encode()
            self.send(client, nfp.CLIENT, nfp.GET, b"work", target, uuid, TASK)
        elif command == nfp.RESPONSE and status == b"200":
            self.left[uuid] -= 1
            if not self.left[uuid]:
                del self.left[uuid]
                self.done += 1
        else:
            assert status in (b"200", b"201", b"202"), frames

    def run(self, jobs, window):
        """Runs jobs, so many at once."""
        end, posted = self.done + jobs, 0
        while self.done < end:
            while posted < jobs and len(self.left) < window:
                self.post()
                posted += 1
            self.turn()


def measured(process, jobs, run):
    """What a run cost: broker CPU and wall clock, microseconds a job."""
    before, started = cpu(process), time.monotonic()
    run()
    return {
        "cpu": (cpu(process) - before) / jobs * 1e6,
        "wall": (time.monotonic() - started) / jobs * 1e6,
    }


def raw(broker, workers, window, jobs):
    load = Load(broker.endpoint, workers)
    try:
        load.run(min(20, jobs), window)
        load.messages = 0
        said = measured(broker.process.pid, jobs, lambda: load.run(jobs, window))
        return {**said, "messages": load.messages / jobs}
    finally:
        load.close()
        nfp.mdp.until(lambda: registered(broker) == 0)


def registered(broker):
    """How many workers the broker still lists; NorFab's own lists those of before for 15 s."""
    with nfp.Client(broker.endpoint, b"bench-watch") as watch:
        return len(watch.workers())


def real(broker, folder, window, jobs):
    folder.mkdir(exist_ok=True)
    peer = lambda kind, *more: (nfp_peers.NEW, folder / "log", kind, broker.endpoint, folder, *more)  # noqa: E731
    worker = nfp_peers.Process(*peer("worker", "work", "real-1"))
    client = nfp_peers.Client(*peer("client", "real-client"))
    try:
        nfp.until(lambda: registered(broker) == 1)
        options = {"service": "work", "task": "add", "workers": "any", "args": [1, 2]}
        client.call("bench", wait=600, jobs=20, **options)
        took = []

        def run():
            if window == 1:
                took.extend(client.call("bench", wait=600, jobs=jobs, **options))
            else:
                said = client.call("many", wait=600, count=jobs, **options)
                assert all(said["results"])
                took.append(said["seconds"] / jobs)

        said = measured(broker.process.pid, jobs, run)
        return {**said, "run_job": statistics.median(took) * 1e6}
    finally:
        for process in (client, worker):
            process.end()
        nfp.mdp.until(lambda: registered(broker) == 0)


def rows(counts, jobs):
    """What is measured: name, how, and how many jobs."""
    for count in counts:
        for window in (1, AT_ONCE):
            some = max(AT_ONCE, jobs // count)
            yield f"raw {count:3} x{window}", window, some, lambda b, f, c=count, w=window, n=some: raw(b, c, w, n)
    for window, some in ((1, max(jobs // 5, 100)), (AT_ONCE, AT_ONCE)):
        yield f"real  1 x{window}", window, some, lambda b, f, w=window, n=some: real(b, f, w, n)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--majordomo", type=pathlib.Path, default=ROOT / "target/release/majordomo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs to one worker; fewer to more")
    parser.add_argument("--workers", default="1,10,100")
    parser.add_argument("--only", choices=["ours", "norfab"], help="measure only this one")
    parser.add_argument("--json", type=pathlib.Path, help="write all samples there")
    options = parser.parse_args()
    os.environ["MAJORDOMO_BIN"] = str(options.majordomo)
    global nfp, nfp_peers
    import nfp
    import nfp_peers

    kinds = {"ours": nfp_peers.Ours, "norfab": nfp_peers.Original}
    kinds = {name: kind for name, kind in kinds.items() if options.only in (None, name)}
    counts = [int(count) for count in options.workers.split(",")]
    samples = []
    with tempfile.TemporaryDirectory() as directory:
        for at in range(options.rounds):
            names = list(kinds) if at % 2 == 0 else list(kinds)[::-1]
            for row, window, jobs, run in rows(counts, options.jobs):
                for name in names:
                    folder = pathlib.Path(directory) / f"{name}-{at}-{len(samples)}"
                    broker = kinds[name](folder)
                    try:
                        said = run(broker, folder / "peers")
                    finally:
                        broker.close()
                    samples.append({"row": row, "window": window, "broker": name, "round": at, "jobs": jobs, **said})
                    print(f"round {at} {row:14} {name:7} {said['cpu']:9.1f} us CPU a job", file=sys.stderr)
    report(samples)
    if options.json:
        options.json.write_text(json.dumps(samples, indent=1))


def report(samples):
    def median(row, broker, figure):
        figures = [s[figure] for s in samples if (s["row"], s["broker"]) == (row, broker) and figure in s]
        return statistics.median(figures) if figures else float("nan")

    print("us a job        CPU ours  CPU norfab    times  wall ours  wall norfab  messages")
    for row in dict.fromkeys(sample["row"] for sample in samples):
        ours, norfab = median(row, "ours", "cpu"), median(row, "norfab", "cpu")
        print(
            f"{row:14} {ours:9.1f} {norfab:11.1f} {norfab / ours:8.1f} "
            f"{median(row, 'ours', 'wall'):10.0f} {median(row, 'norfab', 'wall'):12.0f} "
            f"{median(row, 'ours', 'messages'):9.1f}"
        )
    if len({sample["broker"] for sample in samples}) < 2:
        return
    for row in dict.fromkeys(sample["row"] for sample in samples):
        times = median(row, "norfab", "cpu") / median(row, "ours", "cpu")
        target = SEQUENTIAL_TARGET if row.endswith(" x1") else AT_ONCE_TARGET
        met = "met" if times >= target else "NOT MET"
        print(f"{met:8} {row}: broker CPU a job, NorFab's to ours >= {target:.0f}: {times:.1f}")
    took = [median("real  1 x1", broker, "run_job") / 1e3 for broker in ("ours", "norfab")]
    print(f"median run_job of real peers, ms: ours {took[0]:.2f}, norfab {took[1]:.2f}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
