"""Identities: names that peers give themselves, one at a time."""

import pytest
import zmq

import mdp
import zmtp
from mdp import Client, until


def test_a_newcomer_with_the_name_of_a_live_peer_is_closed_and_may_come_back(broker, peers):
    named = {zmq.IDENTITY: b"printer"}
    first = peers(Client(broker.endpoint, options=named))
    assert first.status(b"x") == b"404"
    second = zmtp.Peer(broker.endpoint, identity=b"printer")
    assert second.until_closed() is None, "ERROR would keep libzmq away for good"
    assert first.status(b"x") == b"404"
    late = peers(Client(broker.endpoint, options=named))
    late.send(b"mmi.service", b"x")
    first.close()
    assert late.reply(b"mmi.service") == [b"404"], "libzmq tries again until the name is free"


def test_a_newcomer_replaces_a_frozen_peer_and_its_work_goes_on(broker, peers):
    frozen = peers(zmtp.Peer(broker.endpoint, identity=b"printer"))
    frozen.say(mdp.worker(1, "READY", b"print"))
    frozen.fence()
    client = peers(Client(broker.endpoint))
    client.send(b"print", b"page")
    assert client.status(b"print") == b"200"
    # From here on the first peer says nothing, not even PONG.
    worker = peers(mdp.Worker(broker.endpoint, b"print", options={zmq.IDENTITY: b"printer"}))
    worker.echo()
    assert client.reply(b"print") == [b"page"]
    assert frozen.until_closed() is None


def test_the_name_of_a_peer_that_has_gone_is_free_at_once(broker, peers):
    for _ in range(20):
        client = Client(broker.endpoint, options={zmq.IDENTITY: b"printer"})
        assert client.status(b"x") == b"404"
        client.close()


def test_names_of_255_octets_of_any_value_are_fine(broker, peers):
    names = [b"x", bytes(range(1, 256)), b"\xff" * 255]
    clients = [peers(Client(broker.endpoint, options={zmq.IDENTITY: name})) for name in names]
    worker = peers(mdp.Worker(broker.endpoint, b"echo"))
    for client, name in zip(clients, names, strict=True):
        client.send(b"echo", name)
    worker.echo(3)
    assert [client.reply(b"echo") for client in clients] == [[name] for name in names]


@pytest.mark.parametrize("name", [b"\0", b"\0abcd", b"x" * 256])
def test_a_name_that_nobody_may_have_is_refused_for_good(broker, name):
    peer = zmtp.Peer(broker.endpoint, greet=False)
    peer.send(zmtp.greeting() + zmtp.ready(identity=name))
    peer.exactly(64)
    assert peer.until_closed().startswith("identity-")


def test_a_restarted_broker_gets_its_workers_back(start, peers):
    """libzmq connects again by itself, and does not say READY: DISCONNECT makes the worker."""
    first = start("--heartbeat", "100ms")
    worker = peers(mdp.Worker(first.endpoint, b"echo"))
    client = peers(Client(first.endpoint))
    until(lambda: client.status(b"echo") == b"200")
    first.stopped = True
    first.process.kill()
    first.process.wait()
    start("--heartbeat", "100ms", binds=[first.endpoint])
    worker.say("HEARTBEAT")
    assert worker.recv() == ("DISCONNECT", [])
