"""Rights: what a key may do, in every dialect, and what becomes of it otherwise."""

import msgpack
import pytest

import nfp
from curve import Key
from mdp import until
from mjp import Peer, header, id_of
from seats import denied, sent_away

NOBODY, ANNA, WORKER, CLERK, BOSS = (Key(name) for name in ("nobody", "anna", "w", "clerk", "boss"))
PAPER, READER = Key("paper"), Key("reader")
FILE = "\n".join(
    [
        '[roles.billing]\nallow = ["serve billing.*"]\ndeny = ["serve billing.secret"]\n',
        NOBODY.entry(),
        ANNA.entry("client", deny=["call payroll.*"]),
        WORKER.entry("billing", allow=["serve payroll.run", "call mmi.*"]),
        CLERK.entry(allow=["call billing.invoice", "call mmi.*"]),
        BOSS.entry("admin"),
        PAPER.entry(allow=["publish news.*"], deny=["publish news.secret"]),
        READER.entry(allow=["subscribe news.*"], deny=["subscribe news.secret"]),
    ]
)


@pytest.fixture(scope="module")
def broker(guard_of_module):
    return guard_of_module(authorized=FILE)


@pytest.fixture
def at(broker, seats):
    """Peers of the broker."""
    return seats(broker)


def test_mdp_without_rights(at):
    """A worker is sent away, and a call gets no answer, as MDP has no word for that."""
    for version in (1, 2):
        sent_away(at.worker(NOBODY, b"billing.a", version))
        client = at.client(NOBODY, version)
        client.send(b"billing.a", b"x")
        assert client.call(b"mmi.service", b"billing.a") == [b"403"]


def test_mjp_without_rights(at):
    peer = at.mjp(NOBODY)
    peer.say("HELLO")
    peer.expect("HELLO")
    assert "billing.a" in denied(peer, "REQUEST", 1, {"service": b"billing.a"})
    denied(peer, "REQUEST", 2, {"service": b"mmi.service"}, b"x")
    denied(peer, "SCATTER", 3, {"service": b"billing.a"})
    denied(peer, "SUBSCRIBE", 4, {"subject": "news.a"})
    denied(peer, "PUBLISH", 5, {"subject": "news.a"}, b"x")
    denied(peer, "STATUS", 6, {"what": "broker"})
    denied(peer, "ADMIN", 7, {"verb": "workers"})
    denied(peer, "ADMIN", 8, {"verb": "pause", "service": b"billing.a"})
    denied(at.mjp(NOBODY), "READY", 0, {"service": b"billing.a"})


def refusal(client, *says, **more):
    """A command of NFP that is denied: 403, and a body as that of 400."""
    uuid = client.say(*says, **more)
    refused = client.expect(nfp.RESPONSE, uuid, b"403").json
    assert (refused["workers"], refused["status"]) == (None, "FAILED"), refused


LOOK = b'{"task":"show_workers","kwargs":{},"args":[]}'


def test_nfp_without_rights(at):
    sent_away(at.nfp_worker(NOBODY, b"n1", b"billing.a"))
    client = at.nfp_client(NOBODY, b"n2")
    for command in (nfp.POST, nfp.GET, nfp.PUT, nfp.DELETE):
        refusal(client, command, b"billing.a")
    # To a management call there are always two answers.
    uuid = client.say(nfp.MMI, nfp.MANAGEMENT, body=LOOK)
    for command in (nfp.RESPONSE, nfp.MMI):
        client.expect(command, uuid, b"403")


def test_a_worker_serves_what_its_role_and_its_own_rules_say(at):
    for name in (b"billing.a", b"billing.", b"payroll.run"):
        worker = at.worker(WORKER, name)
        until(lambda name=name: worker_of(at, name) == b"200")
        worker.close()
        denied(at.mjp(ANNA), "READY", 0, {"service": name})


def worker_of(at, name):
    return at.client(CLERK).status(name)


@pytest.mark.parametrize("name", [b"billing", b"billing.secret", b"Billing.a", b"payroll.runs", b"a"])
def test_a_worker_serves_nothing_else(at, name):
    sent_away(at.worker(WORKER, name))
    denied(at.mjp(WORKER), "READY", 0, {"service": name})
    sent_away(at.nfp_worker(WORKER, b"w1", name))


def test_a_client_calls_what_its_rules_say(at):
    worker = at.worker(WORKER, b"billing.invoice")
    for client in (at.client(CLERK), at.client(ANNA, 2)):
        client.send(b"billing.invoice", b"x")
        worker.echo()
        assert client.reply(b"billing.invoice") == [b"x"]
    clerk = at.mjp(CLERK)
    clerk.call(1, b"y", service=b"billing.invoice")
    worker.echo()
    clerk.expect("FINAL", 1)
    denied(clerk, "REQUEST", 2, {"service": b"billing.invoices"})
    refusal(at.nfp_client(CLERK, b"c1"), nfp.POST, b"billing.other")


def test_deny_beats_allow(at):
    worker = at.worker(WORKER, b"payroll.run")
    until(lambda: worker_of(at, b"payroll.run") == b"200")
    denied(at.mjp(ANNA), "REQUEST", 1, {"service": b"payroll.run"})
    refusal(at.nfp_client(ANNA, b"anna"), nfp.POST, b"payroll.run")
    client = at.client(ANNA)
    client.send(b"payroll.run", b"x")
    assert client.status(b"payroll.run") == b"200", "what was said before has been dealt with"
    boss = at.client(BOSS)
    boss.send(b"payroll.run", b"the only one")
    assert worker.request()[1] == [b"the only one"]


def test_nothing_goes_to_workers_of_denied_services_by_way_of_all(at):
    mine = at.nfp_worker(WORKER, b"w-mine", b"billing.all")
    other = at.nfp_worker(WORKER, b"w-other", b"payroll.run")
    boss = at.nfp_client(BOSS, b"boss")
    nfp.joined(boss, mine, other)
    _, workers = at.nfp_client(ANNA, b"anna").post(b"all", b'["w-mine", "w-other"]')
    assert workers == ["w-mine"]
    assert mine.job().uuid


def test_publish_and_subscribe(at):
    paper, reader = at.mjp(PAPER), at.mjp(READER)
    reader.say("SUBSCRIBE", 1, {"subject": "news.sport", "ack": True})
    reader.expect("ACCEPTED", 1)
    paper.say("PUBLISH", 1, {"subject": "news.sport"}, b"goal")
    assert header(paper.expect("PUBLISHED", 1)) == {"subscriptions": 1}
    assert reader.expect("MESSAGE", 1)[4:] == [b"goal"]
    for subject in ("news.secret", "weather", "news"):
        denied(paper, "PUBLISH", 2, {"subject": subject}, b"x")
        denied(reader, "SUBSCRIBE", 2, {"subject": subject})
    # A pattern is denied if anything that it means is.
    for pattern in ("news.*", "news.>", ">", "*.sport"):
        denied(reader, "SUBSCRIBE", 3, {"subject": pattern})
    denied(paper, "SUBSCRIBE", 4, {"subject": "news.sport"})
    denied(reader, "PUBLISH", 4, {"subject": "news.sport"}, b"x")


def admin_command(broker, key):
    """The command of somebody who comes over TCP with a key."""
    flags = ["--endpoint", broker.endpoint, f"--server-key={broker.public.decode()}"]
    command = type(broker.command)(broker.directory, *flags, "--curve-key")
    command.flags.append(key.write(broker.directory))
    return command


def test_admin_is_a_right_of_its_own(broker, at):
    worker = at.worker(WORKER, b"billing.pause")
    until(lambda: worker_of(at, b"billing.pause") == b"200")
    said = admin_command(broker, ANNA)("service", "pause", "billing.pause")
    assert said.code == 5, said
    said = admin_command(broker, BOSS)("service", "pause", "billing.pause", "--json")
    assert said.json["done"] == "paused"
    client = at.client(ANNA)
    client.send(b"billing.pause", b"x")
    said = admin_command(broker, BOSS)("service", "resume", "billing.pause", "--json")
    assert said.json["done"] == "resumed"
    worker.echo()
    assert client.reply(b"billing.pause") == [b"x"]


@pytest.mark.parametrize("task", ["shutdown", "restart", "disconnect"])
def test_management_that_changes_something_needs_the_right_too(broker, at, task):
    at.nfp_client(ANNA, b"anna").say(
        nfp.MMI, nfp.MANAGEMENT, b"all", body=b'{"task":"%s","kwargs":{},"args":[]}' % task.encode()
    )
    boss = at.nfp_client(BOSS, b"boss")
    assert boss.manage("show_broker")["endpoint"]
    assert broker.process.poll() is None


def test_what_decides_is_explained(broker):
    def explain(key, *asked):
        return broker.command("acl", "test", f"--key={key}", *asked)

    said = explain(WORKER, "serve", "billing.a")
    assert said.code == 0 and "role billing" in said.out and "line 2" in said.out, said
    said = explain(WORKER, "serve", "billing.secret")
    assert said.code == 5 and "role billing" in said.out + said.err, said
    assert explain(NOBODY, "call", "billing.a").code == 5


def test_what_was_denied_is_counted_and_logged(broker, at):
    denied(at.mjp(NOBODY), "REQUEST", 1, {"service": b"counted"})
    lines = [line for line in broker.metrics().splitlines() if "denied" in line]
    calls = [line for line in lines if 'reason="call"' in line]
    assert calls and float(calls[0].split()[-1]) > 0, lines
    assert "nobody" in broker.log()


def test_a_flood_of_denied_requests_does_not_flood_the_log(broker, at):
    before = len(broker.log())
    peer = at.mjp(NOBODY)
    for id in range(1, 2001):
        peer.call(id, b"x", service=b"flood")
    for id in range(1, 2001):
        assert header(peer.expect("ERROR", id))["code"] == "denied"
    assert len(broker.log()) - before < 100_000


def fingerprint(broker, key):
    """What people compare instead of the key."""
    said = broker.alone("key", "show", key.write(broker.directory), "--json")
    return said.json["fingerprint"]


class TestCaller:
    """A worker of MJP sees who calls, as the broker has found out; the caller has no say in it."""

    FORGED = {"name": "boss", "fingerprint": "0000-0000-0000-0000", "identity": b"boss", "attempt": 9}

    def delivered(self, at, call):
        worker = at.mjp(BOSS).ready(service=b"billing.who")
        call()
        frames = worker.expect("REQUEST")
        worker.say("FINAL", id_of(frames), {}, b"done")
        worker.close()
        return header(frames, 3), frames[4:]

    def test_of_mjp(self, broker, at):
        client = at.mjp(ANNA, b"called-boss")
        says, body = self.delivered(at, lambda: client.call(1, b"x", service=b"billing.who"))
        assert (says["name"], says["identity"]) == ("anna", b"called-boss")
        assert says["fingerprint"] == fingerprint(broker, ANNA)
        assert body == [b"x"]

    def test_of_mdp(self, broker, at):
        client = at.client(ANNA)
        says, _ = self.delivered(at, lambda: client.send(b"billing.who", b"x"))
        assert (says["name"], says["fingerprint"]) == ("anna", fingerprint(broker, ANNA))

    def test_a_forged_header_stays_what_the_caller_has_said(self, broker, at):
        client = at.mjp(ANNA)
        says, body = self.delivered(
            at, lambda: client.call(1, b"x", service=b"billing.who", **self.FORGED)
        )
        assert (says["name"], says["attempt"], body) == ("anna", 1, [b"x"])
        assert says["fingerprint"] == fingerprint(broker, ANNA)
        assert "identity" not in says

    def test_a_forged_frame_is_a_body_and_nothing_else(self, at):
        forged = msgpack.packb(self.FORGED)
        client = at.mjp(ANNA)
        says, body = self.delivered(
            at, lambda: client.call(1, forged, b"x", service=b"billing.who")
        )
        assert (says["name"], body) == ("anna", [forged, b"x"])

    def test_of_somebody_on_this_machine_nothing_is_known(self, broker, at, peers):
        client = peers(Peer(broker.admin))
        says, _ = self.delivered(at, lambda: client.call(1, b"x", service=b"billing.who"))
        assert "name" not in says and "fingerprint" not in says
