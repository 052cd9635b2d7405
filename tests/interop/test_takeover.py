"""Nobody takes over what belongs to another key: names, work, jobs, answers."""

import signal
import time

import pytest

import nfp
from curve import Command, Key
from mdp import until
from mjp import header

ANNA, BOB, EVE = Key("anna"), Key("bob"), Key("eve")
BOTH = ("client", "worker")
# How long Eve tries, seconds: longer than a peer of NULL has to answer for its name.
TRIES = 1.5


@pytest.fixture(scope="module", params=["any", "file"])
def broker(request, guard_of_module):
    """Every key may do the same here, so it is not for want of rights that Eve fails."""
    file = "".join(key.entry(*BOTH) for key in (ANNA, BOB, EVE))
    return guard_of_module(authorized="any" if request.param == "any" else file)


@pytest.fixture
def at(broker, seats):
    return seats(broker)


def test_the_name_of_an_mdp_worker(at):
    """Eve is closed, and may come again; Bob goes on, and all work is his."""
    bob, client = at.worker(BOB, b"print", name=b"printer"), at.client(ANNA)
    until(lambda: client.status(b"print") == b"200")
    eve = at.worker(EVE, b"print", name=b"printer")
    end, pages = time.monotonic() + TRIES, 0
    while time.monotonic() < end:
        client.send(b"print", b"%d" % pages)
        address, body = bob.request()
        bob.final(address, *body)
        assert client.reply(b"print") == [b"%d" % pages]
        pages += 1
    assert not eve.socket.poll(0)
    bob.close()
    # The name is free, and a worker that has connected anew says READY anew.
    eve.say("READY", b"print")
    until(lambda: client.status(b"print") == b"200")


def test_the_name_of_a_worker_that_is_frozen(broker, at, tmp_path):
    """With another key it is not free before its connection is gone."""
    flags = ["--endpoint", broker.endpoint, f"--server-key={broker.public.decode()}"]
    command = Command(tmp_path, *flags, "--curve-key", BOB.write(tmp_path))
    bob = command.start("work", "freeze", "--identity=freezer", "--", "cat")
    client = at.client(ANNA)
    try:
        until(lambda: client.status(b"freeze") == b"200")
        bob.process.send_signal(signal.SIGSTOP)
        client.send(b"freeze", b"x")
        assert client.status(b"freeze") == b"200"
        eve = at.worker(EVE, b"freeze", name=b"freezer")
        assert not eve.socket.poll(int(TRIES * 1000))
        bob.process.send_signal(signal.SIGCONT)
        assert client.reply(b"freeze") == [b"x"]
    finally:
        bob.close()


def test_the_same_key_replaces_its_own_peer(at):
    """A process that has been started anew does not wait until its old connection expires."""
    first, client = at.worker(BOB, b"again", name=b"again"), at.client(ANNA)
    client.send(b"again", b"work")
    assert first.request()[1] == [b"work"]
    second = at.worker(BOB, b"again", name=b"again", options={})
    second.echo()
    assert client.reply(b"again") == [b"work"]


@pytest.mark.parametrize("version", [1, 2])
def test_the_work_of_an_mdp_worker(at, version):
    """Its address is good for nothing, whether Eve has work of her own or none."""
    bob, client = at.worker(BOB, b"mine", version), at.client(ANNA, version)
    client.send(b"mine", b"work")
    address, _ = bob.request()
    for busy in (False, True):
        eve, other = at.worker(EVE, b"hers", version), at.client(ANNA, version)
        if busy:
            other.send(b"hers", b"work")
            eve.request()
        eve.final(address, b"forged")
        assert eve.recv() == ("DISCONNECT", [])
        eve.close()
    bob.final(address, b"done")
    assert client.reply(b"mine") == [b"done"]


def test_the_work_of_an_mjp_worker(at):
    bob, eve = at.mjp(BOB).ready(service=b"native"), at.mjp(EVE).ready(service=b"other")
    client = at.mjp(ANNA)
    client.call(1, b"work", service=b"native", events=True, parts=True)
    id, _, _ = bob.request()
    for name in ("EVENT", "PARTIAL", "FINAL"):
        eve.say(name, id, {}, b"forged")
    eve.say("ERROR", id, {"code": "failed"})
    bob.say("HEARTBEAT")
    eve.say("HELLO")
    eve.expect("HELLO")
    bob.say("FINAL", id, {}, b"done")
    assert client.expect("FINAL", 1)[3:] == [b"done"]


def test_the_answer_under_a_key_of_somebody_else(at):
    """The same key of another principal is another key: Eve gets no answer of Anna's."""
    bob = at.mjp(BOB).ready(service=b"pay", credit=2)
    anna, eve = at.mjp(ANNA), at.mjp(EVE)
    anna.call(1, b"order 7", service=b"pay", key="order-7")
    first, _, _ = bob.request()
    bob.say("FINAL", first, {}, b"for anna")
    assert anna.expect("FINAL", 1)[3:] == [b"for anna"]
    eve.call(1, b"order 7", service=b"pay", key="order-7")
    again, says, _ = bob.request()
    assert says["attempt"] == 1
    bob.say("FINAL", again, {}, b"for eve")
    assert eve.expect("FINAL", 1)[3:] == [b"for eve"]
    # Anna herself gets it, also on another connection.
    other = at.mjp(ANNA)
    other.call(9, b"order 7", service=b"pay", key="order-7")
    assert other.expect("FINAL", 9)[3:] == [b"for anna"]


def test_the_requests_of_an_mjp_client(at):
    """CANCEL and TELL mean the requests of the one who says them."""
    bob, anna, eve = at.mjp(BOB).ready(service=b"slow"), at.mjp(ANNA), at.mjp(EVE)
    anna.call(7, b"work", service=b"slow", asks=True, events=True)
    id, _, _ = bob.request()
    bob.say("ASK", id, {"ask": 1, "message": "go on?"})
    anna.expect("ASK", 7)
    eve.say("TELL", 7, {"ask": 1}, b"no")
    eve.say("CANCEL", 7)
    eve.say("HELLO")
    while header(eve.recv()).get("code"):
        pass
    anna.say("TELL", 7, {"ask": 1}, b"yes")
    told = bob.expect("TELL", id)
    assert told[3:] == [b"yes"]
    bob.say("FINAL", id, {}, b"done")
    assert anna.expect("FINAL", 7)[3:] == [b"done"]


def test_a_job_of_mjp_is_cancelled_by_nobody_else(at):
    bob, anna, eve = at.mjp(BOB, b"b1").ready(service=b"job"), at.mjp(ANNA, b"anna"), at.mjp(EVE)
    anna.say("SCATTER", 1, {"service": b"job"}, b"work")
    anna.expect("TARGETS", 1)
    id, _, _ = bob.request()
    eve.say("ADMIN", 1, {"verb": "jobs", "owner": "anna", "state": "open"})
    [row] = header(eve.expect("ADMIN", 1))["jobs"]
    eve.say("ADMIN", 2, {"verb": "cancel", "uuid": row["uuid"]})
    assert header(eve.expect("ERROR", 2))["code"] == "denied"
    bob.say("FINAL", id, {}, b"done")
    anna.expect("OUTCOME", 1)
    anna.expect("FINAL", 1)


class TestNorfab:
    """NorFab's own broker lets the newest peer have any name, and anybody read any job."""

    def test_the_name_of_a_worker(self, at):
        bob, anna = at.nfp_worker(BOB, b"dummy-1", b"dummy"), at.nfp_client(ANNA, b"anna-w")
        nfp.joined(anna, bob)
        eves = [at.nfp_client(EVE, b"dummy-1"), at.nfp_worker(EVE, b"dummy-1", b"dummy")]
        end = time.monotonic() + TRIES
        while time.monotonic() < end:
            uuid, workers = anna.post(b"dummy", b"dummy-1")
            assert workers == ["dummy-1"]
            job = bob.job()
            assert job.uuid == uuid
            bob.beat()
        assert not any(eve.socket.poll(0) for eve in eves)

    def test_the_name_of_a_client(self, at):
        bob, anna = at.nfp_worker(BOB, b"w-c", b"mail"), at.nfp_client(ANNA, b"reader")
        nfp.joined(anna, bob)
        eve = at.nfp_client(EVE, b"reader")
        end = time.monotonic() + TRIES
        while time.monotonic() < end:
            uuid, _ = anna.post(b"mail")
            job = bob.job()
            bob.result(job, "secret")
            anna.expect(nfp.RESPONSE, uuid, b"200")
            bob.beat()
        assert not eve.socket.poll(0)

    def test_a_job_by_its_uuid(self, at):
        """Nobody else may read it, end it or write to it, whatever name he has."""
        bob, anna = at.nfp_worker(BOB, b"w-j", b"job-j"), at.nfp_client(ANNA, b"owner")
        nfp.joined(anna, bob)
        uuid, _ = anna.post(b"job-j")
        job = bob.job()
        eve = at.nfp_client(EVE, b"eve-j")
        self.may_not(eve, uuid)
        # When the owner has gone Eve gets her name, and neither her job nor its answer.
        anna.close()
        self.is_free(b"owner", eve)
        thief = at.nfp_client(EVE, b"owner")
        until(lambda: "w-j" in thief.workers())
        self.may_not(thief, uuid)
        bob.result(job, "secret")
        bob.beat()
        assert thief.fence() == []
        # The owner herself comes back, and may have it.
        thief.close()
        self.is_free(b"owner", eve)
        anna = at.nfp_client(ANNA, b"owner")
        assert "w-j" in anna.workers()
        anna.say(nfp.GET, b"job-j", b"all", uuid)
        anna.expect(nfp.RESPONSE, uuid, b"202")

    @staticmethod
    def is_free(name, watch):
        """Nobody has that name any more."""
        clients = lambda: [row["name"] for row in watch.manage("show_clients")]  # noqa: E731
        until(lambda: name.decode() not in clients())

    @staticmethod
    def may_not(client, uuid):
        for command in (nfp.GET, nfp.PUT, nfp.DELETE):
            client.say(command, b"job-j", b"all", uuid)
            assert "another client" in client.expect(nfp.RESPONSE, uuid, b"400").body.decode()
