"""Flows within MJP (SPEC 13.11): lanes made of the octets that SPEC.md shows, with one another and
with ZIO sockets."""

import json
import struct

import msgpack
import pytest

import mjp
from zio import End

# What SPEC.md has of each message, and where in it what is.
BOT = mjp.example("mjp", "LANE 3 {\"bytes\": 1048576}")
DAT = mjp.example("mjp", "LANE 3 {}")
PAY = mjp.example("mjp-broker", "LANE 3 {\"bytes\": 300}")


def flags(**settings):
    return [flag for key, value in settings.items() for flag in ("--set", f"flow.{key}={value}")]


class Lane:
    """One end of a flow, over the connection of a peer that may have others."""

    def __init__(self, peer, id):
        self.peer, self.id, self.seqno = peer, id, 0

    def put(self, frames, label=None, payload=None, bytes=None):
        """Says a message of SPEC.md with another lane and number, and what else is to differ."""
        signature, _, says, prefix, coordinates, *parts = frames
        if label is not None:
            prefix = prefix[:8] + json.dumps(label).encode()
        coordinates = coordinates[:16] + struct.pack("<Q", self.seqno)
        says = says if bytes is None else msgpack.packb({"bytes": bytes})
        parts = parts if payload is None else payload
        second = mjp.second("LANE", self.id)
        self.peer.send([signature, second, says, prefix, coordinates, *parts])
        self.seqno += 1
        return sum(len(part) for part in [prefix, coordinates, *parts])

    def bot(self, bytes, **label):
        self.seqno = 0
        self.put(BOT, {"flow": "BOT", **label}, bytes=bytes)

    def dat(self, payload):
        return self.put(DAT, payload=[payload])

    def pay(self, credit, bytes):
        self.put(PAY, {"flow": "PAY", "credit": credit}, bytes=bytes)

    def eot(self):
        self.put(DAT, {"flow": "EOT"}, payload=[])

    def hear(self, flow):
        """The next message of this lane: header, label and payload."""
        frames = self.peer.expect("LANE", self.id)
        label = json.loads(frames[3][8:])
        assert frames[3][:8] == BOT[3][:8] and label["flow"] == flow, frames
        return mjp.header(frames), label, frames[5:]


@pytest.fixture
def writers(start):
    """A broker whose flows are all for the service `writers`."""
    return start(*flags(otherwise="writers"))


@pytest.fixture
def peer(peers):
    return lambda broker: peers(mjp.Peer(broker.endpoint))


def come(worker, lane, bytes):
    """A worker comes for the flow that it is given, in a lane of its own connection."""
    given = worker.expect("FLOW")
    asked = mjp.header(given)
    # One frame: a size, the prefix, a size, the coordinates.
    size = given[3][0]
    label = json.loads(given[3][9 : 1 + size])
    lane.put(BOT, label, bytes=bytes)
    return asked, lane.hear("BOT")


def offers(worker):
    worker.say("READY", 0, {"service": "writers", "role": "flow", "credit": 100})


def pair(client, worker, asked, own, direction="extract", ids=(3, 3), credit=10):
    """Two lanes that have a flow, and the octets that they were told."""
    one, two = Lane(client, ids[0]), Lane(worker, ids[1])
    one.bot(asked, direction=direction, credit=credit)
    said, (told, _, _) = come(worker, two, own)
    assert said == {"bytes": asked}
    answer, _, _ = one.hear("BOT")
    assert answer == told
    return one, two, told.get("bytes")


def test_it_is_a_feature(writers, peer):
    client = peer(writers)
    client.say("HELLO")
    assert "lanes" in mjp.header(client.expect("HELLO"))["features"]


def test_a_flow_within_mjp_has_credit_in_messages_and_octets(writers, peer):
    client, worker = peer(writers), peer(writers)
    offers(worker)
    giver, taker, bytes = pair(client, worker, 1000, 400)
    assert bytes == 400
    taker.pay(10, 400)
    says, label, _ = giver.hear("PAY")
    assert (says, label["credit"]) == ({"bytes": 400}, 10)
    spent = giver.dat(b"x" * 100) + giver.dat(b"")
    assert [taker.hear("DAT")[2] for _ in range(2)] == [[b"x" * 100], [b""]]
    taker.pay(2, spent)
    assert giver.hear("PAY")[0] == {"bytes": spent}
    giver.eot()
    taker.hear("EOT")
    taker.eot()
    giver.hear("EOT")
    # Neither lane is known any more; each may begin again.
    pair(client, worker, 1000, 1000, direction="inject", ids=(3, 9))


def test_who_oversteps_its_octets_ends_its_own_flow_and_nothing_else(writers, peer):
    client, worker = peer(writers), peer(writers)
    offers(worker)
    giver, taker, _ = pair(client, worker, 400, 400, ids=(1, 1))
    other, its_taker, _ = pair(client, worker, 400, 400, ids=(2, 2))
    taker.pay(10, 100)
    giver.hear("PAY")
    giver.dat(b"x" * 100)
    giver.hear("EOT")
    taker.hear("EOT")
    # The same peers go on: another flow, and all else that they say.
    its_taker.pay(10, 400)
    other.hear("PAY")
    other.dat(b"still here")
    assert its_taker.hear("DAT")[2] == [b"still here"]
    client.hears_nothing()


def test_a_lane_and_a_zio_socket_have_credit_in_messages_alone(writers, peer, peers):
    client, worker = peer(writers), peer(writers)
    offers(worker)
    giver = Lane(client, 5)
    giver.bot(1000, direction="extract", credit=3)
    given = worker.expect("FLOW")
    zio = peers(End(writers.endpoint))
    zio.raw([given[3][1 : 1 + given[3][0]], bytes(24)])
    assert zio.get().kind == "BOT"
    says, label, _ = giver.hear("BOT")
    assert (says, label["credit"]) == ({}, 3)
    zio.tell("PAY", credit=3)
    assert giver.hear("PAY")[0] == {}
    giver.dat(b"x" * 100_000)
    assert zio.get().payload == [b"x" * 100_000]
    zio.tell("EOT")
    giver.hear("EOT")
    giver.eot()
    assert zio.get().kind == "EOT"
    # And the other way round: the lane takes what the socket gives.
    zio.tell("BOT", direction="extract", credit=2)
    taker = Lane(worker, 1)
    asked, (told, _, _) = come(worker, taker, 500)
    assert (asked, told) == ({}, {})
    assert zio.get().kind == "BOT"
    taker.pay(2, 0)
    assert zio.get().label["credit"] == 2
    zio.tell("DAT", b"a", b"b" * 300)
    assert taker.hear("DAT")[2] == [b"a", b"b" * 300]
    # A lost peer is answered for at each of its lanes.
    worker.close()
    assert zio.get().kind == "EOT"


def test_what_is_wrong_with_a_lane_is_said_under_no_id(writers, peer):
    client = peer(writers)
    for frames in (
        [*BOT[:2], msgpack.packb({"bytes": "many"}), *BOT[3:]],
        BOT[:3],
        mjp.with_id(BOT, 0),
    ):
        client.send(frames)
        assert mjp.header(client.expect("ERROR", 0))["code"] == "bad_request"
    # Without octets it is refused; what is no message of a flow is dropped.
    lane = Lane(client, 4)
    lane.put(BOT, {"flow": "BOT", "direction": "extract", "credit": 1}, bytes=0)
    lane.hear("EOT")
    client.say("LANE", 4, {}, b"ZIO0FLOW{", bytes(24))
    client.hears_nothing()


def test_a_taker_gets_what_its_connection_has_left(start, peer):
    broker = start(*flags(otherwise="writers", lane_bytes="100KiB"))
    client, worker = peer(broker), peer(broker)
    offers(worker)
    _, _, first = pair(client, worker, 60_000, 1 << 30, direction="inject", ids=(1, 1))
    second = Lane(client, 2)
    second.bot(60_000, direction="inject", credit=1)
    # 42,400 octets are left: less than was asked for, and less than 64 KiB.
    assert first == 60_000 and second.hear("EOT")
    _, _, third = pair(client, worker, 40_000, 1 << 30, direction="inject", ids=(2, 2))
    assert third == 40_000


def test_the_brokers_own_handlers_are_lanes_for_lanes(start, peer, tmp_path):
    broker = start(
        *flags(otherwise="files"),
        "--set",
        f'flow.handlers={{files={{kind="file",folder="{tmp_path}",credit=4}}}}',
    )
    giver = Lane(peer(broker), 1)
    giver.bot(2000, direction="extract", credit=9, file="x")
    says, label, _ = giver.hear("BOT")
    assert (says, label["credit"]) == ({"bytes": 2000}, 4)
    assert giver.hear("PAY")[0] == {"bytes": 2000}
    spent = [giver.dat(part) for part in (b"one", b"two" * 300)]
    giver.eot()
    while giver.peer and (said := giver.peer.expect("LANE", 1)) and b'"EOT"' not in said[3]:
        assert mjp.header(said)["bytes"] <= sum(spent)
    taker = Lane(peer(broker), 7)
    taker.bot(4000, direction="inject", credit=9, file="x")
    assert taker.hear("BOT")[0] == {"bytes": 4000}
    taker.pay(4, 4000)
    assert [taker.hear("DAT")[2] for _ in range(2)] == [[b"one"], [b"two" * 300]]
    taker.hear("EOT")
    taker.eot()
