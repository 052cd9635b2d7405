"""Peers with a key, in every dialect."""

import pytest
import zmq

import mdp
import mjp
import nfp


class Seats:
    """Makes peers of a broker that asks for keys, each with the key that is given."""

    def __init__(self, broker, keep):
        self.broker, self.keep = broker, keep
        self.endpoint = broker.endpoint

    def options(self, key, name=None, **more):
        options = {**key.to(self.broker), zmq.RECONNECT_IVL: 20, **more.get("options", {})}
        return {**options, zmq.IDENTITY: name} if name else options

    def mjp(self, key, name=None, **more):
        return self.keep(mjp.Peer(self.endpoint, options=self.options(key, name, **more)))

    def client(self, key, version=1, name=None, **more):
        options = self.options(key, name, **more)
        return self.keep(mdp.Client(self.endpoint, version, options=options))

    def worker(self, key, service, version=1, name=None, **more):
        options = self.options(key, name, **more)
        return self.keep(mdp.Worker(self.endpoint, service, version, options=options))

    def nfp_client(self, key, name, **more):
        return self.keep(nfp.Client(self.endpoint, name, options=self.options(key, name, **more)))

    def nfp_worker(self, key, name, service, **more):
        options = self.options(key, name, **more)
        return self.keep(nfp.Worker(self.endpoint, name, service, options=options))


@pytest.fixture
def seats(peers):
    """Peers of a broker."""
    return lambda broker: Seats(broker, peers)


def sent_away(worker):
    """A worker that may not serve: its READY has no answer, and what it says then has one."""
    if isinstance(worker, nfp.Worker):
        worker.beat()
        assert worker.command()[0] == nfp.DISCONNECT
    else:
        worker.say("HEARTBEAT")
        assert worker.recv() == ("DISCONNECT", [])


def denied(peer, name, id, says=None, *body):
    """What an MJP peer says is denied."""
    if name in ("REQUEST", "SCATTER") and not body:
        body = (b"body",)
    peer.say(name, id, says, *body)
    refused = mjp.header(peer.expect("ERROR", id))
    assert refused["code"] == "denied", refused
    return refused["message"]
