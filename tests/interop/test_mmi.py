"""MMI (RFC 8): what the broker says about itself."""

import pytest
import zmq

import mdp


@pytest.mark.parametrize("version,kind", [(1, zmq.REQ), (1, zmq.DEALER), (2, zmq.DEALER)])
def test_mmi_service_knows_who_is_registered_busy_or_not(connect, version, kind):
    client = connect.client(version, kind)
    assert client.status(b"echo") == b"404"
    worker = connect.worker(b"echo")
    mdp.until(lambda: client.status(b"echo") == b"200")
    other = connect.client()
    other.send(b"echo", b"work")
    address, _ = worker.request()
    assert client.status(b"echo") == b"200", "busy is registered"
    worker.final(address, b"done")
    worker.close()
    mdp.until(lambda: client.status(b"echo") == b"404")


@pytest.mark.parametrize("name", [b"mmi.", b"mmi.services", b"mmi.Service", b"mmi.service.x"])
def test_other_mmi_names_are_not_implemented(connect, name):
    for version in (1, 2):
        assert connect.client(version).call(name, b"echo") == [b"501"]


def test_a_name_that_only_contains_mmi_is_an_ordinary_one(connect):
    worker, client = connect.worker(b"x.mmi.y"), connect.client()
    client.send(b"x.mmi.y", b"1")
    worker.echo()
    assert client.reply(b"x.mmi.y") == [b"1"]


def test_mmi_service_needs_exactly_one_name(connect):
    client = connect.client()
    connect.worker(b"echo")
    mdp.until(lambda: client.status(b"echo") == b"200")
    assert client.call(b"mmi.service", b"echo", b"echo") == [b"404"]
    assert client.call(b"mmi.service", b"") == [b"404"]
