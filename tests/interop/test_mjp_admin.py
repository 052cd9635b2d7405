"""ADMIN of MJP/1: the octets of SPEC.md 9.3, over an administration listener and over another."""

import pytest

from mjp import Peer, example, header


@pytest.fixture
def house(start, peers, tmp_path):
    """A broker with both kinds of listeners: a stranger, an operator, and their makers."""
    socket = f"ipc://{tmp_path}/admin.sock"
    broker = start(binds=("tcp://127.0.0.1:0", socket))

    def stranger(identity=None):
        return peers(Peer(broker.endpoints[0], identity))

    def operator():
        return peers(Peer(broker.endpoints[1]))

    return stranger, operator


def admin(peer, id=1_000, **says):
    peer.say("ADMIN", id, says)
    return header(peer.expect("ADMIN", id))


def code(frames):
    return header(frames)["code"]


def test_jobs_are_told_to_everybody(house):
    stranger, _ = house
    worker, client = stranger(b"w1").ready(), stranger(b"anna")
    client.say("SCATTER", 8, {"service": b"echo"}, b"hi")
    client.expect("TARGETS", 8)
    token, _, _ = worker.request()
    client.send(example("mjp", "ADMIN 3"))
    says = header(client.expect("ADMIN", 3))
    shows = header(example("mjp-broker", "ADMIN 3"))
    [row], [shown] = says["jobs"], shows["jobs"]
    assert set(row) == set(shown)
    assert (row["owner"], row["service"], row["targets"], row["open"]) == ("anna", "echo", 1, 1)
    one = admin(client, verb="job", uuid=row["uuid"])
    assert one["targets"] == [{"name": "w1", "state": "dispatched"}]
    worker.say("FINAL", token, {}, b"yo")
    client.expect("OUTCOME", 8)
    client.expect("FINAL", 8)
    assert admin(client, verb="jobs", state="open")["jobs"] == []
    [ended] = admin(client, verb="jobs", owner="anna")["jobs"]
    assert (ended["state"], ended["open"]) == ("replied", 0) and ended["ended"] >= 0


def test_clients_and_workers_have_names(house):
    stranger, operator = house
    stranger(b"w1").ready()
    client, boss = stranger(b"anna"), operator()
    boss.hears_nothing()
    client.hears_nothing()
    rows = {row["name"]: row for row in admin(boss, verb="clients")["clients"]}
    assert rows["anna"]["admin"] is False
    [(name, row)] = [(name, row) for name, row in rows.items() if name != "anna"]
    assert name.startswith("~") and row["admin"] is True
    [worker] = admin(client, verb="workers")["workers"]
    assert (worker["name"], worker["service"], worker["dialect"]) == ("w1", "echo", "MJP/1")
    assert admin(client, verb="workers", service="other")["workers"] == []


def test_what_changes_something_is_for_an_administration_listener(house):
    stranger, operator = house
    worker, client, boss = stranger(b"w1").ready(), stranger(), operator()
    client.send(example("mjp", "ADMIN 4"))
    assert code(client.expect("ERROR", 4)) == "denied"
    client.send(example("mjp", "ADMIN 5"))
    assert code(client.expect("ERROR", 5)) == "denied"
    boss.send(example("mjp", "ADMIN 4"))
    assert header(boss.expect("ADMIN", 4)) == {}
    client.call(1, b"later")
    client.hears_nothing()
    [row] = client.status(what="services")["services"]
    assert (row["state"], row["waiting"], row["in_flight"]) == ("paused", 1, 0)
    assert admin(boss, verb="resume", service="echo") == {}
    token, _, body = worker.request()
    assert body == [b"later"]
    assert admin(boss, verb="drain", service="echo") == {}
    client.call(2, b"new")
    assert code(client.expect("ERROR", 2)) == "draining"
    worker.say("FINAL", token, {}, b"done")
    client.expect("FINAL", 1)


@pytest.mark.parametrize(
    "says, expected",
    [
        ({"verb": "explode"}, "unsupported"),
        ({}, "bad_request"),
        ({"verb": "pause"}, "bad_request"),
        ({"verb": "pause", "service": "nobody"}, "not_found"),
        ({"verb": "kick", "name": "nobody"}, "not_found"),
        ({"verb": "resign", "name": "nobody"}, "not_found"),
        ({"verb": "job", "uuid": "none"}, "not_found"),
        ({"verb": "cancel", "uuid": "none"}, "not_found"),
        ({"verb": "jobs", "state": "happy"}, "bad_request"),
        ({"verb": 1}, "bad_request"),
    ],
)
def test_what_cannot_be_done_gets_an_error(house, says, expected):
    _, operator = house
    boss = operator()
    boss.say("ADMIN", 6, says)
    assert code(boss.expect("ERROR", 6)) == expected


def test_what_happens_is_followed(house):
    stranger, operator = house
    boss, other = operator(), operator()
    boss.send(example("mjp", "ADMIN 5"))
    assert header(boss.expect("ADMIN", 5)) == {"event": "following"}
    stranger(b"w1").ready()
    registered = header(boss.expect("ADMIN", 5))
    assert registered["event"] == "worker.registered"
    assert admin(other, verb="kick", name="w1") == {}
    lost = header(boss.expect("ADMIN", 5))
    shown = header(example("mjp-broker", "ADMIN 5"))
    # Nothing was missed here.
    assert {**lost, "missed": 2} == shown
    boss.say("CANCEL", 5)
    boss.hears_nothing()
    stranger(b"w2").ready()
    boss.hears_nothing()
