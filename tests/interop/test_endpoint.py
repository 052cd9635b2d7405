"""Where the broker listens, and where it refuses to."""

import socket
import subprocess

import pytest

from conftest import BINARY
from mdp import Client, Worker, until


def round_trip(worker_endpoint, client_endpoint):
    with Worker(worker_endpoint, b"echo") as worker, Client(client_endpoint) as client:
        client.send(b"echo", b"x")
        worker.echo()
        assert client.reply(b"echo") == [b"x"]


def test_ipc(start, tmp_path):
    broker = start(binds=[f"ipc://{tmp_path}/broker.sock"])
    assert broker.endpoint == f"ipc://{tmp_path}/broker.sock"
    mode = (tmp_path / "broker.sock").stat().st_mode & 0o777
    assert mode == 0o600, f"others than the owner may connect: {mode:o}"
    round_trip(broker.endpoint, broker.endpoint)


def test_ipv6_with_libzmq(start, peers):
    import zmq

    broker = start(binds=["tcp://[::1]:0"])
    assert broker.endpoint.startswith("tcp://[::1]:")
    client = peers(Client(broker.endpoint, options={zmq.IPV6: 1}))
    assert client.status(b"x") == b"404"


def test_several_endpoints_are_one_broker(start, tmp_path):
    binds = ["tcp://127.0.0.1:0", f"ipc://{tmp_path}/broker.sock", "tcp://localhost:0"]
    broker = start(binds=binds)
    for client in broker.endpoints:
        for worker in broker.endpoints:
            round_trip(worker, client)


def test_a_socket_file_that_a_killed_broker_left_is_no_obstacle(start, tmp_path):
    endpoint = f"ipc://{tmp_path}/broker.sock"
    first = start(binds=[endpoint])
    first.stopped = True
    first.process.kill()
    first.process.wait()
    second = start(binds=[endpoint])
    round_trip(endpoint, endpoint)
    second.terminate()
    assert second.process.wait(30) == 0
    assert not (tmp_path / "broker.sock").exists(), "a clean stop takes it away"


def refused(*flags):
    command = [BINARY, "broker", "--config", "/dev/null", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode not in (0, 101), done
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("endpoint", ["tcp://*:0", "tcp://0.0.0.0:0", "tcp://[::]:0"])
def test_beyond_loopback_only_with_insecure(start, endpoint):
    reason = refused("--bind", endpoint)
    assert "--insecure" in reason and "authenticated" in reason, reason
    broker = start("--insecure", binds=[endpoint])
    port = broker.endpoint.rsplit(":", 1)[1]
    assert int(port) > 0
    until(lambda: '"listening"' in broker.log())
    if "[" not in endpoint:
        round_trip(f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}")


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused("--bind", f"tcp://127.0.0.1:{port}")
