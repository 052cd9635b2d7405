"""Rights to flows, over sockets of libzmq that have proven who they are."""

import os

import pytest
import zmq

import canary
import mjp
from curve import user
from mdp import Socket
from zio import Message, decode

BIND = "tcp://127.0.0.1:0"
RIGHTS = {"anna": "flow writers", "bob": "serve writers", "eve": "call *"}


def entry(name, folder, right=None):
    right = right or RIGHTS[name]
    return (
        f'[[user]]\nname = "{name}"\npassword_file = "{folder}/{name}.password"\n'
        f'roles = []\nallow = ["{right}"]\n'
    )


@pytest.fixture
def broker(guard, tmp_path):
    folder = tmp_path / "passwords"
    folder.mkdir()
    for name in RIGHTS:
        path = folder / f"{name}.password"
        path.write_text(canary.password(name) + "\n")
        os.chmod(path, 0o600)
    broker = guard(
        f'--set=auth.plain=["{BIND}"]',
        "--set=flow.otherwise=writers",
        authorized="\n".join(entry(name, folder) for name in RIGHTS),
        binds=[BIND],
    )
    broker.folder = folder
    return broker


class End(Socket):
    """A DEALER that is an end of flows."""

    def __init__(self, broker, name):
        super().__init__(broker.endpoint, zmq.DEALER, None, user(name, canary.password(name)))

    def put(self, message):
        self.socket.send_multipart([b"", *message.parts()])

    def get(self):
        empty, *parts = self.receive(30)
        assert empty == b""
        return Message.of(parts)


def handlers(broker, name):
    worker = mjp.Peer(broker.endpoint, options=user(name, canary.password(name)))
    worker.say("READY", 0, {"service": "writers", "role": "flow"})
    return worker


BOT = Message({"flow": "BOT", "direction": "extract", "credit": 1})


def test_who_may_not_open_a_flow_is_refused_and_who_may_not_serve_one_is_told(broker, peers):
    eve = peers(End(broker, "eve"))
    eve.put(BOT)
    assert eve.get().kind == "EOT"
    told = peers(handlers(broker, "anna")).recv()
    assert mjp.kind(told) == "ERROR" and mjp.header(told)["code"] == "denied"
    bob = peers(handlers(broker, "bob"))
    anna = peers(End(broker, "anna"))
    anna.put(BOT)
    bot = Message.of(decode(bob.expect("FLOW")[3]))
    # Who knows the client's id needs the right all the same.
    eve.put(bot)
    assert eve.get().kind == "EOT"
    end = peers(End(broker, "bob"))
    end.put(bot)
    assert end.get().kind == "BOT" and anna.get().kind == "BOT"
    metrics = broker.metrics()
    assert 'majordomo_auth_denied_total{reason="flow"} 1' in metrics
    assert 'majordomo_flows_refused_total{reason="denied"} 2' in metrics
    assert 'majordomo_flows{state="open"} 1' in metrics


def test_a_flow_ends_when_its_right_is_taken_away(broker, peers):
    bob, anna = peers(handlers(broker, "bob")), peers(End(broker, "anna"))
    anna.put(BOT)
    end = peers(End(broker, "bob"))
    end.put(Message.of(decode(bob.expect("FLOW")[3])))
    assert end.get().kind == "BOT" and anna.get().kind == "BOT"
    rights = {**RIGHTS, "anna": "call *"}
    broker.authorize(*(entry(name, broker.folder, right) for name, right in rights.items()))
    assert broker.command("admin", "reload").code == 0
    assert anna.get().kind == "EOT" and end.get().kind == "EOT"
