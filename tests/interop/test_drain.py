"""SIGTERM: no new requests, those in flight finish, workers are told, exit code 0."""

import pytest

from mdp import Client, Worker, until


@pytest.mark.parametrize("version", [1, 2])
def test_requests_in_flight_finish_and_workers_are_dismissed(start, peers, version):
    broker = start("--prefetch", "5")
    worker = peers(Worker(broker.endpoint, b"echo", version))
    idle = peers(Worker(broker.endpoint, b"idle", version))
    client = peers(Client(broker.endpoint, version))
    for at in range(5):
        client.send(b"echo", b"%d" % at)
    held = [worker.request() for _ in range(5)]
    broker.terminate()
    until(lambda: '"stopping' in broker.log())
    late = peers(Client(broker.endpoint, version))
    late.send(b"echo", b"too late")
    for address, body in held:
        worker.final(address, *body)
    assert [client.reply(b"echo") for _ in range(5)] == [[b"%d" % at] for at in range(5)]
    assert worker.recv() == ("DISCONNECT", [])
    assert idle.recv() == ("DISCONNECT", [])
    assert broker.process.wait(30) == 0
    assert not late.socket.poll(0)


def test_waiting_requests_of_live_workers_finish_too(start, peers):
    broker = start()
    worker = peers(Worker(broker.endpoint, b"echo"))
    client = peers(Client(broker.endpoint))
    for at in range(20):
        client.send(b"echo", b"%d" % at)
    first = worker.request()
    client.status(b"echo")
    broker.terminate()
    until(lambda: '"stopping' in broker.log())
    worker.final(first[0], *first[1])
    worker.echo(19)
    assert [client.reply(b"echo") for _ in range(20)] == [[b"%d" % at] for at in range(20)]
    assert worker.recv() == ("DISCONNECT", [])
    assert broker.process.wait(30) == 0


def test_a_request_that_nobody_answers_is_owned_up_to(start, peers):
    broker = start("--set", "broker.drain=300ms")
    worker = peers(Worker(broker.endpoint, b"stuck"))
    client = peers(Client(broker.endpoint))
    client.send(b"stuck", b"x")
    worker.request()
    broker.terminate()
    assert worker.recv() == ("DISCONNECT", [])
    assert broker.process.wait(30) == 1, "an accepted request was lost, and the exit code says so"
    assert '"abandoned":1' in broker.log()


def test_an_idle_broker_stops_at_once_and_a_second_signal_stops_any(start, peers):
    idle = start()
    idle.terminate()
    assert idle.process.wait(10) == 0
    busy = start()
    worker = peers(Worker(busy.endpoint, b"stuck"))
    client = peers(Client(busy.endpoint))
    client.send(b"stuck", b"x")
    worker.request()
    busy.terminate()
    until(lambda: '"stopping' in busy.log())
    busy.terminate()
    assert busy.process.wait(10) == 1


def test_requests_that_nobody_serves_do_not_hold_up_a_stop_and_are_owned_up_to(start, peers):
    broker = start("--set", "broker.drain=10m")
    client = peers(Client(broker.endpoint))
    client.send(b"none", b"x")
    assert client.status(b"none") == b"404"
    broker.terminate()
    assert broker.process.wait(30) == 1
    assert '"abandoned":1' in broker.log()
