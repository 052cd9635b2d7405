"""What NFP keepalives cost: broker CPU a worker and second, with few workers and with many.

    target/venv/bin/python benches/norfab/keepalives.py --majordomo target/release/majordomo

Workers are bare TCP connections of this process that shake hands, register and then only beat, as
often as NorFab's do; both ways each beat is a message of its own, so that a worker costs the broker
one read and one write an interval, however many others there are.
"""

import argparse
import os
import pathlib
import resource
import selectors
import socket
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/interop"))

INTERVAL = 2.5
FEW, MANY = 2_000, 20_000
TARGET = 1.3
# Files that a broker or this program has open besides its connections.
SPARE = 300
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)


def frame(octets, flags=0):
    return bytes([flags, len(octets)]) + octets


def message(*frames):
    return b"".join(frame(octets, 1) for octets in frames[:-1]) + frame(frames[-1])


def ready(name):
    """The command READY of ZMTP: a DEALER of that name."""
    properties = b"\x0bSocket-Type\0\0\0\x06DEALER\x08Identity" + len(name).to_bytes(4, "big") + name
    return frame(b"\x05READY" + properties, 4)


BEAT = message(b"", b"NFPW01", b"0x02", b"many")


def worker(address, at):
    """A registered worker."""
    stream = socket.create_connection(address)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = b"worker-%d" % at
    stream.sendall(GREETING + ready(name) + message(b"", b"NFPW01", b"0x01", b"many"))
    said = b""
    while len(said) < 66 or len(said) < 66 + said[65]:
        said += stream.recv(4096)
    stream.setblocking(False)
    return stream


def cpu(process):
    """Seconds of CPU that all threads of a process have used."""
    tasks = pathlib.Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def beat(workers, seconds):
    """All beat, evenly over each interval, and read what they are sent; says how many beats came."""
    selector, came = selectors.DefaultSelector(), 0
    for stream in workers:
        selector.register(stream, selectors.EVENT_READ)
    started, sent = time.monotonic(), 0
    while (passed := time.monotonic() - started) < seconds:
        due = int(passed / INTERVAL * len(workers))
        for at in range(sent, due):
            workers[at % len(workers)].sendall(BEAT)
        sent = max(sent, due)
        for key, _ in selector.select(0.001):
            octets = key.fileobj.recv(4096)
            assert octets, "the broker has given up a worker that beats"
            came += octets.count(b"NFPB01")
    selector.close()
    return came


def measure(count, seconds, registered):
    with tempfile.TemporaryDirectory() as directory:
        broker = nfp_peers.Ours(pathlib.Path(directory))
        try:
            host, port = broker.endpoint.removeprefix("tcp://").rsplit(":", 1)
            workers, beaten = [], time.monotonic()
            for at in range(count):
                workers.append(worker((host, int(port)), at))
                if time.monotonic() > beaten + INTERVAL:
                    beaten = time.monotonic()
                    for stream in workers:
                        stream.sendall(BEAT)
            # By then everybody has found its rhythm.
            beat(workers, 2 * INTERVAL)
            before, started = cpu(broker.process.pid), time.monotonic()
            came = beat(workers, seconds)
            used, passed = cpu(broker.process.pid) - before, time.monotonic() - started
            there = registered(broker)
            assert there == count, f"{there} of {count} workers are there"
            for stream in workers:
                stream.close()
            return used / passed / count * 1e6, came / passed / count * INTERVAL
        finally:
            broker.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--majordomo", type=pathlib.Path, default=ROOT / "target/release/majordomo")
    parser.add_argument("--few", type=int, default=FEW)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    os.environ["MAJORDOMO_BIN"] = str(options.majordomo)
    os.environ["MAJORDOMO__LIMITS__CONNECTIONS"] = str(2 * options.many)
    global nfp_peers
    import nfp
    import nfp_peers

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.many > most - SPARE:
        options.many = most - SPARE
        print(f"this machine lets a process have {most} files: at most {options.many} workers")

    def registered(broker):
        with nfp.Client(broker.endpoint, b"bench-watch") as watch:
            return watch.manage("get_stats")["worker_count"]

    costs = {}
    for count in (options.few, options.many):
        costs[count], beats = measure(count, options.seconds, registered)
        print(f"{count:6} workers: {costs[count]:6.2f} us CPU a worker and second; {beats:.2f} beats an interval each")
    ratio = costs[options.many] / costs[options.few]
    met = "met" if ratio <= TARGET else "NOT MET"
    print(f"{met:8} CPU a worker with many workers to that with few <= {TARGET}: {ratio:.2f}")


if __name__ == "__main__":
    main()
