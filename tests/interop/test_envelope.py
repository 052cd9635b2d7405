"""What libzmq puts before the delimiter, and options of REQ that change a conversation."""

import zmq

import zmtp
from mdp import request, until

CORRELATE = {zmq.REQ_CORRELATE: 1}
RELAXED = {zmq.REQ_RELAXED: 1, zmq.REQ_CORRELATE: 1}


def test_req_correlate_gets_its_number_back(connect):
    worker, client = connect.worker(b"echo"), connect.client(1, zmq.REQ, options=CORRELATE)
    for at in range(3):
        client.send(b"echo", b"%d" % at)
        worker.echo()
        assert client.reply(b"echo") == [b"%d" % at]
    assert client.status(b"echo") == b"200"


def test_req_relaxed_sends_again_and_gets_the_answer_to_its_last_request(connect):
    worker, client = connect.worker(b"echo"), connect.client(1, zmq.REQ, options=RELAXED)
    client.send(b"echo", b"given up")
    address, _ = worker.request()
    client.send(b"echo", b"wanted")
    worker.final(address, b"given up")
    worker.echo()
    assert client.reply(b"echo") == [b"wanted"]


def test_probe_router_means_nothing(connect):
    probing = {zmq.PROBE_ROUTER: 1}
    worker = connect.worker(b"echo", options=probing)
    for version in (1, 2):
        client = connect.client(version, options=probing)
        client.send(b"echo", b"x")
        worker.echo()
        assert client.reply(b"echo") == [b"x"]


def test_a_chain_of_addresses_goes_back_as_it_came(broker, peers, connect):
    """As a proxy between a client and the broker makes it: up to eight frames."""
    worker, peer = connect.worker(b"echo"), peers(zmtp.Peer(broker.endpoint))
    chain = [b"a", b"\0" + b"b" * 254, b"c", b"d", b"e", b"f", b"g"]
    peer.say(chain + request(1, b"echo", b"x"))
    address, body = worker.request()
    worker.final(address, *body)
    assert peer.message() == [*chain, b"", b"MDPC01", b"echo", b"x"]


def test_a_req_client_survives_the_worst_that_workers_and_brokers_do(start, peers, connect):
    """libzmq closes a REQ for good when a message comes without its delimiter."""
    client = connect.client(1, zmq.REQ)
    for body in ([b""], [b"", b""], [b"MDPW01", b"\5"]):
        worker = connect.worker(b"echo")
        client.send(b"echo", b"x")
        address, _ = worker.request()
        worker.final(address, *body)
        assert client.reply(b"echo") == body
        worker.say("READY", b"echo")
        assert worker.recv() == ("DISCONNECT", [])
    until(lambda: client.status(b"echo") == b"404")


def test_a_router_may_be_a_client(connect):
    """A broker behind a broker connects as ROUTER: it cannot speak first, but is let in."""
    client = connect.client(1, zmq.ROUTER, options={zmq.PROBE_ROUTER: 1})
    assert not client.socket.poll(200)
    assert connect.client().status(b"none") == b"404"
