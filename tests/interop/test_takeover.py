"""Nobody takes over what belongs to another key: names, work, jobs, answers."""

import json

import pytest
import zmq

import mdp
import nfp
import zmtp
from curve import Key
from mdp import until
from mjp import header, id_of, second

ANNA, BOB, EVE = Key("anna"), Key("bob"), Key("eve")
BOTH = ("client", "worker")
NAME = b"printer"


@pytest.fixture(scope="module", params=["any", "file"])
def broker(request, guard_of_module):
    """Every key may do the same here, so it is not for want of rights that Eve fails."""
    file = "".join(key.entry(*BOTH) for key in (ANNA, BOB, EVE))
    return guard_of_module(authorized="any" if request.param == "any" else file)


@pytest.fixture
def at(broker, seats):
    return seats(broker)


def test_mdp_a_live_name_is_not_taken(at):
    """Eve is closed, and may come again; Bob goes on."""
    bob = at.worker(BOB, b"print", name=NAME)
    client = at.client(ANNA)
    until(lambda: client.status(b"print") == b"200")
    eve = at.worker(EVE, b"print", name=NAME)
    for page in range(20):
        client.send(b"print", b"%d" % page)
        assert bob.request()[1] == [b"%d" % page]
        bob.final(*finishing(bob, client, page))
    assert not eve.socket.poll(100)


def finishing(bob, client, page):
    raise NotImplementedError


def test_mdp_nobody_else_answers(at):
    bob, eve, client = at.worker(BOB, b"print"), at.worker(EVE, b"other"), at.client(ANNA)
    client.send(b"print", b"page")
    address, _ = bob.request()
    eve.final(address, b"forged")
    eve.say("HEARTBEAT")
    until(lambda: at.client(EVE).status(b"other") == b"404" or True)
    bob.final(address, b"printed")
    assert client.reply(b"print") == [b"printed"]


def test_the_same_key_replaces_its_own_peer(at):
    """A process that has been started anew does not wait for the old connection to expire."""
    first = at.worker(BOB, b"again", name=b"again")
    client = at.client(ANNA)
    client.send(b"again", b"work")
    first.request()
    second = at.worker(BOB, b"again", name=b"again")
    second.echo()
    assert client.reply(b"again") == [b"work"]
