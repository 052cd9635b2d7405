"""Keys come and go while the broker runs: pending, approved, denied, revoked, read again."""

import signal
import time

import pytest

from curve import AGAIN, FINAL, SERVED, Key, Try, monitored
from mdp import until
from mjp import header, id_of
from seats import denied, sent_away

ANNA, BOB, CARL, EVE, BOSS = (Key(name) for name in ("anna", "bob", "carl", "eve", "boss"))
BOTH = ("client", "worker")
FILE = BOSS.entry("admin") + ANNA.entry(*BOTH) + BOB.entry(*BOTH) + CARL.entry(*BOTH)
# What "within one second" may take on a busy machine, seconds.
AT_ONCE = 1.0


@pytest.fixture
def broker(guard):
    return guard(authorized=FILE)


@pytest.fixture
def at(broker, seats):
    return seats(broker)


def pending(broker):
    return broker.command("key", "pending", "--json").json["pending"]


def waiting(broker, count=1):
    until(lambda: len(pending(broker)) == count)
    return pending(broker)


def done(said):
    assert said.code == 0, said
    return said


class TestPending:
    def test_an_approved_key_gets_in_without_a_restart_of_its_client(self, broker, at):
        worker = at.worker(BOB, b"echo")
        client = at.client(EVE)
        client.send(b"echo", b"sent before it was approved")
        [row] = waiting(broker)
        done(broker.command("key", "approve", row["fingerprint"], "--role=client", "--name=eve"))
        worker.echo()
        assert client.reply(b"echo") == [b"sent before it was approved"]
        assert pending(broker) == []
        # It is in the file, and good after a restart.
        assert str(EVE) in broker.file.read_text()
        sent_away(at.worker(EVE, b"echo"))

    def test_a_denied_key_is_told_so_at_its_next_attempt(self, broker):
        assert Try(broker.endpoint, EVE.to(broker)).outcome == AGAIN
        [row] = waiting(broker)
        done(broker.command("key", "deny", row["fingerprint"]))
        assert Try(broker.endpoint, EVE.to(broker)).outcome == FINAL
        assert pending(broker) == []

    def test_a_key_that_is_refused_often_is_one_row(self, broker):
        assert Try(broker.endpoint, EVE.to(broker), times=20).outcome == AGAIN
        [row] = waiting(broker)
        assert row["fingerprint"].count("-") == 3

    def test_the_list_is_bounded(self, broker):
        keys = [Key(f"stranger-{number}") for number in range(30)]
        for key in keys:
            assert Try(broker.endpoint, key.to(broker), times=1).outcome == AGAIN
        assert len(waiting(broker, 30)) == 30

    def test_who_only_knows_the_file_cannot_approve_over_tcp(self, broker, at):
        """That takes the right to administer."""
        assert Try(broker.endpoint, EVE.to(broker)).outcome == AGAIN
        [row] = waiting(broker)
        flags = ["--endpoint", broker.endpoint, f"--server-key={broker.public.decode()}"]
        command = type(broker.command)(broker.directory, *flags)
        for key, code in ((ANNA, 5), (BOSS, 0)):
            command.flags[2:] = [f"--server-key={broker.public.decode()}"]
            command.flags += ["--curve-key", key.write(broker.directory)]
            said = command("key", "approve", row["fingerprint"], "--role=client", "--name=eve")
            assert said.code == code, said
        assert Try(broker.endpoint, EVE.to(broker)).outcome == SERVED


class TestRevoked:
    def test_a_worker_is_cut_off_and_its_work_goes_to_another(self, broker, at):
        """Within a second, though its connection is alive and it is at work."""
        first = at.mjp(BOB, b"first").ready()
        client = at.client(ANNA)
        client.send(b"echo", b"work")
        id, _, body = first.request()
        second = at.mjp(CARL, b"second").ready()
        with monitored(first.socket) as monitor:
            started = time.monotonic()
            done(broker.command("key", "revoke", "bob"))
            assert monitor.poll(10_000)
            frames = second.expect("REQUEST")
            took = time.monotonic() - started
        assert took < AT_ONCE, took
        assert frames[4:] == body == [b"work"] and header(frames, 3)["attempt"] == 2
        # What it says now reaches nobody.
        first.say("FINAL", id, {}, b"too late")
        second.say("FINAL", id_of(frames), {}, b"done")
        assert client.reply(b"echo") == [b"done"]
        assert Try(broker.endpoint, BOB.to(broker)).outcome == AGAIN

    def test_all_connections_of_the_key_are_cut_and_no_others(self, broker, at):
        clients = [at.client(BOB) for _ in range(10)]
        other = at.client(CARL)
        for client in (*clients, other):
            assert client.status(b"x") == b"404"
        with monitored(other.socket) as monitor:
            done(broker.command("key", "revoke", "bob"))
            for client in clients:
                client.send(b"mmi.service", b"x")
            assert not any(client.socket.poll(100) for client in clients)
            assert not monitor.poll(200)
        assert other.status(b"x") == b"404"

    def test_by_its_fingerprint(self, broker):
        row = broker.alone("key", "show", CARL.write(broker.directory), "--json").json
        done(broker.command("key", "revoke", row["fingerprint"]))
        assert Try(broker.endpoint, CARL.to(broker)).outcome == AGAIN

    def test_nobody_of_that_name(self, broker):
        assert broker.command("key", "revoke", "nobody").code == 6


class TestReload:
    def test_all_or_nothing(self, broker, at):
        """A file with one mistake changes nothing, and the answer says where it is."""
        worker = at.worker(BOB, b"echo")
        broker.authorize(BOSS.entry("admin"), EVE.entry("client"), '[[key]]\nname = "half"\n')
        said = broker.command("admin", "reload")
        line = 1 + broker.file.read_text().count("\n", 0, broker.file.read_text().index("[[key]]\nname = \"half"))
        assert said.code not in (0, 5) and f"{broker.file.name}:{line}" in said.err, said
        assert Try(broker.endpoint, ANNA.to(broker)).outcome == SERVED
        assert Try(broker.endpoint, EVE.to(broker)).outcome == AGAIN
        client = at.client(ANNA)
        client.send(b"echo", b"still here")
        worker.echo()
        assert client.reply(b"echo") == [b"still here"]

    def test_the_answer_says_what_has_changed(self, broker):
        broker.authorize(BOSS.entry("admin"), ANNA.entry("client"), CARL.entry(*BOTH), EVE.entry(*BOTH))
        said = broker.command("admin", "reload")
        assert said.code == 0, said
        for name in ("eve", "bob", "anna"):
            assert name in said.out, said
        assert "carl" not in said.out, said
        assert Try(broker.endpoint, EVE.to(broker)).outcome == SERVED
        assert Try(broker.endpoint, BOB.to(broker)).outcome == AGAIN

    def test_a_signal_does_it_too(self, broker):
        broker.authorize(BOSS.entry("admin"), EVE.entry("client"))
        broker.process.send_signal(signal.SIGHUP)
        until(lambda: Try(broker.endpoint, EVE.to(broker), times=1).outcome == SERVED)
        assert Try(broker.endpoint, ANNA.to(broker)).outcome == AGAIN

    def test_a_signal_and_a_broken_file_leave_all_as_it_is(self, broker):
        broker.authorize("[[key]\n")
        broker.process.send_signal(signal.SIGHUP)
        until(lambda: f"{broker.file.name}:1" in broker.log())
        assert Try(broker.endpoint, ANNA.to(broker)).outcome == SERVED

    def test_rights_that_are_taken_away_end_at_once(self, broker, at):
        """The worker is sent away, and the subscriber hears no more; both may stay connected."""
        worker, reader, paper = at.worker(BOB, b"echo"), at.mjp(CARL), at.mjp(ANNA)
        reader.say("SUBSCRIBE", 1, {"subject": "news", "ack": True})
        reader.expect("ACCEPTED", 1)
        client = at.client(ANNA)
        until(lambda: client.status(b"echo") == b"200")
        broker.authorize(
            BOSS.entry("admin"), ANNA.entry("client"), BOB.entry("client"), CARL.entry("worker")
        )
        done(broker.command("admin", "reload"))
        assert worker.recv() == ("DISCONNECT", [])
        assert client.status(b"echo") == b"404"
        paper.say("PUBLISH", 1, {"subject": "news"}, b"x")
        assert header(paper.expect("PUBLISHED", 1)) == {"subscriptions": 0}
        denied(paper, "READY", 0, {"service": b"echo"})

    def test_rights_that_are_given_are_there_at_once(self, broker, at):
        peer = at.mjp(BOSS)
        peer.hears_nothing()
        broker.authorize(BOSS.entry("admin"), ANNA.entry(allow=["call mmi.*"]))
        done(broker.command("admin", "reload"))
        anna = at.mjp(ANNA)
        denied(anna, "REQUEST", 1, {"service": b"billing"})
        worker = at.mjp(BOSS).ready(service=b"billing")
        broker.authorize(BOSS.entry("admin"), ANNA.entry(allow=["call billing"]))
        done(broker.command("admin", "reload"))
        anna.call(2, b"now", service=b"billing")
        assert worker.request()[2] == [b"now"]
