"""What a call to a service container costs, beside NuroPb's Python package, in one run.

    cargo bench --all-features --bench container -- [--rounds 3] [--seconds 3] [--windows 1,64]

Service, callers and server are processes of their own; the service answers with what it is asked,
and every answer is checked. In each round every peer is measured once for each window, which is the
number of calls in flight, in another order; each figure is the median of the rounds. `kept` means that
RabbitMQ keeps messages on the disk, which is our default and not what NuroPb does. CPU is that of
all threads of a process, microseconds a call.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/nuropb"))

from servers import Rabbit  # noqa: E402

# Service and callers: ours or NuroPb's.
PEERS = {
    "ours, embedded": ("broker", "ours", "ours", False),
    "ours, RabbitMQ, kept": ("rabbitmq", "ours", "ours", True),
    "ours, RabbitMQ": ("rabbitmq", "ours", "ours", False),
    "NuroPb, RabbitMQ": ("rabbitmq", "theirs", "theirs", False),
    "our service, NuroPb calls": ("rabbitmq", "ours", "theirs", False),
    "NuroPb's service, we call": ("rabbitmq", "theirs", "ours", False),
}
BASE = "NuroPb, RabbitMQ"
# The rest of the machine may use that much of a core while a measurement counts.
REST_MAX = 1 / 3


def cpu(process):
    """Seconds of CPU that all threads of a process have used."""
    tasks = pathlib.Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def cpu_of_machine():
    """Seconds of CPU that the machine has spent on anything."""
    user, nice, system, _idle, _waiting, *more = pathlib.Path("/proc/stat").read_text().split()[1:9]
    return sum(int(it) for it in (user, nice, system, *more)) / 100


class Process:
    def __init__(self, *words):
        self.words = [str(word) for word in words]
        self.process = subprocess.Popen(self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def line(self):
        line = self.process.stdout.readline()
        assert line, f"it has ended: {self.words}"
        return line.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Servers:
    """Our broker, and RabbitMQ."""

    def __init__(self, options):
        self.options, self.rabbit = options, Rabbit().start()
        flags = ["--config", "/dev/null", "--bind", "tcp://127.0.0.1:0", "--log-level", "warn"]
        self.broker = Process(options.majordomo, "broker", *flags)
        self.endpoint = self.broker.line()
        self.count = 0

    def close(self):
        self.broker.process.kill()
        self.broker.process.wait()
        self.rabbit.close()

    def measure(self, peer, window):
        """Calls of one peer; its figures."""
        at, service, callers, kept = PEERS[peer]
        self.count += 1
        # A virtual host of its own: nothing is left of those before.
        url = self.endpoint if at == "broker" else self.rabbit.vhost(f"bench{self.count}")
        home = ["--at", at, "--url", url, *(["--keep"] if kept else [])]
        theirs = [sys.executable, ROOT / "benches/container/nuropb_peer.py"]
        options, ours = self.options, [self.options.bench]
        serve = {
            "ours": [*ours, "service", *home, "--prefetch", options.prefetch],
            "theirs": [*theirs, "service", url, self.rabbit.api_url, options.prefetch],
        }
        call = {
            "ours": [*ours, "callers", *home, "--window", window, "--seconds", options.seconds],
            "theirs": [*theirs, "callers", url, window, options.seconds],
        }
        with Process(*serve[service]) as one:
            assert one.line() == "serves"
            with Process(*call[callers]) as other:
                assert other.line() == "begins"
                server = self.broker.pid if at == "broker" else self.rabbit.pid()
                pids = {"service": one.pid, "callers": other.pid, "server": server}
                before = {name: cpu(pid) for name, pid in pids.items()}, cpu_of_machine()
                said = json.loads(other.line())
                used = {name: cpu(pid) - before[0][name] for name, pid in pids.items()}
                rest = cpu_of_machine() - before[1] - sum(used.values())
        used = {name: seconds / said["calls"] * 1e6 for name, seconds in used.items()}
        rate = said["calls"] / said["seconds"]
        return {"rate": rate, "p50": said["p50"], "p99": said["p99"], **used, "rest": rest / said["seconds"]}


def machine(servers, options):
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    overview = servers.rabbit.api("GET", "overview")
    ours = subprocess.run([options.majordomo, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    build = "debug" if "/debug/" in str(options.majordomo) else "release"
    return (
        f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}; {ours} ({build}); RabbitMQ {overview['rabbitmq_version']} on Erlang "
        f"{overview['erlang_version']}; NuroPb {version('nuropb')}, pika {version('pika')}, Python "
        f"{platform.python_version()}; prefetch {options.prefetch}, {options.rounds} rounds of {options.seconds} s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=pathlib.Path, required=True, help="the program of this bench")
    parser.add_argument("--majordomo", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--windows", default="1,64", help="calls in flight")
    parser.add_argument("--prefetch", type=int, default=100, help="messages that a service takes at a time; NuroPb's default is 1")
    parser.add_argument("--json", type=pathlib.Path, help="write all samples there")
    options = parser.parse_args()
    samples, servers = [], Servers(options)
    try:
        print(machine(servers, options))
        for at in range(options.rounds):
            peers = list(PEERS)[at % len(PEERS):] + list(PEERS)[:at % len(PEERS)]
            for window in map(int, options.windows.split(",")):
                for peer in peers:
                    said = servers.measure(peer, window)
                    samples.append({"peer": peer, "window": window, "round": at, **said})
                    print(f"round {at} x{window:<3} {peer:26} {said['rate']:8.0f} calls/s", file=sys.stderr)
    finally:
        servers.close()
    report(samples)
    if options.json:
        options.json.write_text(json.dumps(samples, indent=1))


def report(samples):
    for window in dict.fromkeys(sample["window"] for sample in samples):
        def median(peer, figure):
            some = [it[figure] for it in samples if (it["peer"], it["window"]) == (peer, window)]
            return statistics.median(some)

        print(f"\n{window} in flight               calls/s  of NuroPb's    p50 ms    p99 ms"
              "   us CPU a call: callers   service    server")
        for peer in PEERS:
            times = median(peer, "rate") / median(BASE, "rate")
            print(f"{peer:26} {median(peer, 'rate'):9.0f} {times:13.2f} {median(peer, 'p50'):9.3f} "
                  f"{median(peer, 'p99'):9.3f} {median(peer, 'callers'):24.0f} {median(peer, 'service'):9.0f} "
                  f"{median(peer, 'server'):9.0f}")
    disturbed = [it for it in samples if it["rest"] > REST_MAX]
    if disturbed:
        most = max(it["rest"] for it in disturbed)
        print(f"\nNOT QUIET: in {len(disturbed)} of {len(samples)} measurements the rest of the machine "
              f"used more than a third of a core, up to {most:.2f} of one; run it again")


if __name__ == "__main__":
    main()
