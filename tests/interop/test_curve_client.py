"""Our client and our worker dial a broker made of libzmq: CURVE in the other role."""

import os
import time

import pytest
import zmq

from curve import AGAIN, SERVED, Command, Key, Try
from mdp import until
from mdp_stub import Stub

SERVER, CLIENT, WORKER, EVE = Key("stub"), Key("caller"), Key("server of shouts"), Key("eve")


@pytest.fixture
def stub(peers):
    """Makes brokers of libzmq."""
    return lambda **kwargs: peers(Stub(SERVER.server(), **kwargs))


@pytest.fixture
def dial(tmp_path, peers):
    """The command, which says MDP/0.1 to a broker with a key."""

    class Dial:
        @staticmethod
        def command(broker, key=CLIENT, server=SERVER):
            flags = ["--endpoint", broker.endpoint, "--protocol=mdp01", f"--server-key={server}"]
            return Command(tmp_path, *flags, "--curve-key", key.write(tmp_path))

        @classmethod
        def call(cls, broker, *words, wait=60, **kwargs):
            return cls.command(broker, **kwargs)("call", *words, wait=wait)

        @classmethod
        def work(cls, broker, service, *words, **kwargs):
            command = cls.command(broker, **kwargs)
            return peers(command.start("work", service, "--", *words))

    return Dial


def test_a_call_goes_through_a_broker_of_libzmq_to_a_worker_and_back(stub, dial):
    broker = stub(keys=[CLIENT.public, WORKER.public])
    dial.work(broker, "shout", "tr", "a-z", "A-Z", key=WORKER)
    said = dial.call(broker, "shout", "hello")
    assert (said.code, said.out.strip()) == (0, "HELLO"), said
    assert set(broker.asked) == {CLIENT.public, WORKER.public}, "libzmq has seen the right keys"


def test_a_call_of_many_kilobytes(stub, dial, tmp_path):
    broker = stub()
    dial.work(broker, "cat", "cat", key=WORKER)
    body = os.urandom(1 << 20).hex()
    (tmp_path / "body").write_text(body)
    said = dial.call(broker, "cat", f"@{tmp_path}/body")
    assert (said.code, said.out.strip()) == (0, body), said.err


def test_who_has_the_wrong_key_of_the_broker_sends_nothing(stub, dial):
    broker = stub()
    said = dial.call(broker, "shout", "hello", "--timeout=2s", server=Key("another"))
    assert said.code in (3, 4, 5), said
    assert broker.calls == [] and broker.asked == []


def test_a_key_that_libzmq_refuses_is_told_so(stub, dial):
    broker = stub(keys=[WORKER.public])
    said = dial.call(broker, "shout", "hello", "--timeout=5s", key=EVE)
    assert said.code == 5, said
    assert broker.calls == [] and EVE.public in broker.asked


def test_a_client_with_a_key_does_not_speak_to_a_broker_without(peers, dial):
    """What answers at the endpoint is not the broker that was meant."""
    broker = peers(Stub({}))
    said = dial.call(broker, "shout", "hello", "--timeout=2s")
    assert said.code in (3, 4, 5), said
    assert broker.calls == []


def test_a_client_without_a_key_does_not_come_in(stub, tmp_path):
    broker = stub()
    command = Command(tmp_path, "--endpoint", broker.endpoint, "--protocol=mdp01")
    said = command("call", "shout", "hello", "--timeout=2s")
    assert said.code in (3, 4, 5), said
    assert broker.calls == []


def test_the_stub_itself_is_strict(stub):
    """Or the tests above would prove nothing."""
    broker = stub(keys=[CLIENT.public])
    assert Try(broker.endpoint, CLIENT.to(SERVER)).outcome == SERVED
    assert Try(broker.endpoint, EVE.to(SERVER)).outcome != SERVED
    assert Try(broker.endpoint, CLIENT.to(Key("another"))).outcome == AGAIN


def test_a_worker_of_ours_stays_while_nothing_happens(stub, dial):
    """Its heartbeats and PINGs, and those of libzmq, pass inside the boxes."""
    broker = stub()
    broker.socket.set(zmq.HEARTBEAT_IVL, 50)
    broker.socket.set(zmq.HEARTBEAT_TIMEOUT, 500)
    dial.work(broker, "cat", "cat", key=WORKER)
    until(lambda: broker.services)
    [worker] = broker.services
    time.sleep(1.5)
    assert [*broker.services] == [worker], "it never had to come again"
    said = dial.call(broker, "cat", "still there")
    assert said.out.strip() == "still there", said
