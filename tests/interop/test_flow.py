"""Flows of ZIO over real sockets: two ends, the broker between them, and a factory (SPEC 13)."""

import json
import time

import pytest

from broker import ROOT
from zio import End, Factory, Message, decode, encode
from zmtp import frame, message

CLIENT, DEALER = b"CLIENT", b"DEALER"
VECTORS = json.loads((ROOT / "src/wire/zio/vectors.json").read_text())


@pytest.fixture
def factory():
    factory = Factory()
    yield factory
    factory.close()


@pytest.fixture
def flows(start, factory):
    """A broker that asks the factory."""
    broker = start("--flow-factory", f"127.0.0.1:{factory.port}")
    factory.accept(broker)
    return broker


@pytest.fixture
def end(flows, peers):
    return lambda socket_type=CLIENT: peers(End(flows.endpoint, socket_type))


def pair(client, handler, factory, direction="extract", credit=3, accept=True):
    """A client's BOT, the factory's yes, and the handler's BOT."""
    client.tell("BOT", b"hello", direction=direction, credit=credit, stream="s1")
    number, bot, _ = factory.asked()
    other = {"extract": "inject", "inject": "extract"}[direction]
    assert bot.label["direction"] == other and bot.label["credit"] == credit, bot
    factory.answer(number)
    handler.put(bot)
    handler.seqno = 0
    own = {key: value for key, value in bot.label.items() if key not in ("cid", "flow")}
    handler.expect("BOT", **{**own, "direction": direction})
    assert client.expect("BOT", **own).payload == [b"hello"]
    return bot


def finish(one, other):
    one.tell("EOT")
    other.expect("EOT")
    other.tell("EOT")
    one.expect("EOT")


@pytest.mark.parametrize("shapes", [(CLIENT, CLIENT), (CLIENT, DEALER), (DEALER, CLIENT), (DEALER, DEALER)])
def test_what_is_given_is_taken_in_order_and_both_ends_end(end, factory, shapes):
    client, handler = map(end, shapes)
    pair(client, handler, factory)
    handler.tell("PAY", credit=3)
    client.expect("PAY", credit=3)
    for number in range(30):
        client.tell("DAT", b"%d" % number, b"", bytes(number * 500))
        dat = handler.expect("DAT")
        assert (dat.payload, dat.seqno) == ([b"%d" % number, b"", bytes(number * 500)], number + 1)
        handler.tell("PAY", credit=1)
        client.expect("PAY", credit=1)
    finish(client, handler)
    # Both sockets begin another flow, the other way around.
    pair(client, handler, factory, direction="inject", credit=1)
    client.tell("PAY", credit=1)
    handler.expect("PAY", credit=1)
    handler.tell("DAT", bytes(5 << 20))
    assert client.expect("DAT").payload == [bytes(5 << 20)]
    finish(handler, client)


@pytest.mark.parametrize("name", [it["name"] for it in VECTORS["transcripts"]])
def test_the_recorded_flows_are_said_octet_by_octet(end, factory, name):
    [transcript] = [it for it in VECTORS["transcripts"] if it["name"] == name]
    client, handler, ours = end(), end(), None
    ends = {"client": client, "handler": handler}
    theirs = str(transcript["cid"])

    def as_ours(octets):
        """With the id that this broker gave, which has other digits."""
        parts = decode(octets)
        return encode([parts[0].replace(theirs.encode(), ours), *parts[1:]])

    for path, octets in transcript["steps"]:
        octets = bytes.fromhex(octets)
        if path == "client>broker" and ours is None:
            client.send(frame(octets))
            number, bot, asked = factory.asked()
            ours = str(bot.label["cid"]).encode()
            given = as_ours(bytes.fromhex(transcript["factory_bot"]))
            assert asked == given.replace(b'"EOT"', b'"BOT"')
            factory.answer(number, accept=name != "refused")
        elif path in ("client>broker", "handler>broker"):
            ends[path.split(">")[0]].send(frame(as_ours(octets)))
        elif path in ("broker>client", "broker>handler"):
            assert ends[path.split(">")[1]].message() == [as_ours(octets)]
    client.no_more()
    handler.no_more()


def test_a_libzmq_client_may_say_an_identity_and_zmtp_3_0(flows, peers, factory):
    from zio import ready
    from zmtp import Peer, command, greeting, properties

    peer = peers(Peer(flows.endpoint, greet=False))
    metadata = properties((b"Socket-Type", b"CLIENT"), (b"Identity", b"me"))
    peer.send(greeting(minor=0) + command(b"READY", metadata))
    peer.exactly(64)
    assert peer.frame()[1].endswith(b"SERVER")
    peer.send(frame(encode(Message({"flow": "BOT", "direction": "inject", "credit": 1}).parts())))
    number, bot, _ = factory.asked()
    factory.answer(number, accept=False)
    assert Message.of(decode(peer.message()[0])).kind == "EOT"


def test_nobody_is_asked_where_there_is_nobody(broker, peers):
    client = peers(End(broker.endpoint))
    client.tell("BOT", direction="extract", credit=1)
    client.expect("EOT", direction="inject", credit=1)


def test_what_is_malformed_is_dropped_and_harms_nobody(end, factory):
    client, handler, stranger = end(), end(), end()
    pair(client, handler, factory)
    for octets in (b"", b"x", b"\xff\x00", b"\x08ZIO0FLOW", b"MJP1", b"\x03abc\x18" + bytes(24)):
        stranger.send(frame(octets))
    for label in ("", "[]", "{}", '{"flow": "BAT"}', '{"flow": "EOT"}', "{", '{"flow": 3}'):
        stranger.raw([b"ZIO0FLOW" + label.encode(), bytes(24)])
    # RFC 41: what has several frames is discarded whole.
    stranger.send(message(b"MJP1", b"\x01" + bytes(8)))
    stranger.send(message(b"", b"MDPC01", b"echo", b"x"))
    stranger.nothing()
    stranger.tell("BOT", direction="sideways", credit=1)
    stranger.expect("EOT", direction="sideways", credit=1)
    handler.tell("PAY", credit=1)
    client.expect("PAY", credit=1)


def test_an_unknown_end_is_freed_once(end):
    peer = end()
    peer.tell("DAT", b"x")
    peer.tell("DAT", b"y")
    peer.expect("EOT")
    peer.no_more()
    peer.tell("EOT")
    peer.no_more()


def test_nobody_takes_a_client_away_from_its_handler(end, factory):
    client, handler, thief = end(), end(), end()
    bot = pair(client, handler, factory)
    thief.put(bot)
    assert thief.get().kind == "EOT"
    for cid in (1, 2**32 - 1, 2**32, "7", [1], 1.5):
        thief.tell("BOT", direction="inject", credit=3, cid=cid)
        assert thief.get().kind == "EOT"
    handler.tell("PAY", credit=3)
    client.expect("PAY", credit=3)
    client.no_more()


def test_a_handler_may_be_faster_than_the_factory(end, factory):
    client, handler = end(), end()
    client.tell("BOT", direction="extract", credit=2)
    number, bot, _ = factory.asked()
    handler.put(bot)
    handler.no_more()
    factory.answer(number)
    handler.expect("BOT", direction="extract", credit=2)
    client.expect("BOT", direction="inject", credit=2)


def test_a_lost_end_ends_the_flow_of_its_partner(end, factory):
    client, handler = end(), end()
    pair(client, handler, factory)
    handler.tell("PAY", credit=3)
    client.expect("PAY", credit=3)
    handler.close()
    assert client.expect("EOT").seqno == 2
    client.tell("EOT")
    again = end()
    pair(client, again, factory)


def test_who_breaks_the_rules_of_credit_ends_its_own_flow(end, factory):
    client, handler, other, third = end(), end(), end(), end()
    pair(client, handler, factory, credit=1)
    pair(other, third, factory)
    client.tell("DAT", b"without credit")
    client.expect("EOT")
    handler.expect("EOT")
    third.tell("PAY", credit=3)
    other.expect("PAY", credit=3)


def test_a_peer_that_does_not_read_stops_its_partner_alone(start, factory, peers):
    broker = start("--flow-factory", f"127.0.0.1:{factory.port}", "--set", "flow.queue=64KiB")
    factory.accept(broker)
    client, handler, other, third = (peers(End(broker.endpoint)) for _ in range(4))
    credit = 10_000
    pair(client, handler, factory, credit=credit)
    pair(other, third, factory)
    handler.tell("PAY", credit=credit)
    client.expect("PAY", credit=credit)
    client.socket.settimeout(1)
    before, sent = broker.resident(), 0
    dat = frame(encode(Message({"flow": "DAT"}, [bytes(64 << 10)]).parts()))
    with pytest.raises(TimeoutError):
        for sent in range(credit):
            client.send(dat)
    # What the sockets of both sides take, and nothing to speak of in the broker.
    assert broker.resident() - before < 8 << 20, f"{sent} DATs of 64 KiB"
    third.tell("PAY", credit=3)
    other.expect("PAY", credit=3)
    for number in range(3):
        other.tell("DAT", b"%d" % number)
        assert third.expect("DAT").payload == [b"%d" % number]
    # Once it reads again all comes, and in its place.
    for _ in range(sent):
        assert handler.expect("DAT").payload == [bytes(64 << 10)]


def test_a_stop_lets_the_giver_finish(end, factory, flows):
    client, handler, waiting = end(), end(), end()
    pair(client, handler, factory)
    handler.tell("PAY", credit=3)
    client.expect("PAY", credit=3)
    waiting.tell("BOT", direction="extract", credit=1)
    factory.asked()
    flows.terminate()
    assert waiting.get().kind == "EOT"
    client.expect("EOT")
    client.tell("DAT", b"the last")
    assert handler.expect("DAT").payload == [b"the last"]
    client.tell("EOT")
    handler.expect("EOT")
    late = client
    late.tell("BOT", direction="extract", credit=1)
    assert late.get().kind == "EOT"
    handler.tell("EOT")
    flows.process.wait(20)
    assert flows.process.returncode == 0


def test_a_listener_may_be_for_flows_alone(start, factory, peers):
    bind = "tcp://127.0.0.2:0"
    broker = start("--set", f'flow.only=["{bind}"]', binds=("tcp://127.0.0.1:0", bind))
    everything, only = (peers(End(endpoint, DEALER)) for endpoint in broker.endpoints)
    everything.say([b"", b"MDPC01", b"mmi.service", b"x"])
    assert everything.message() == [b"", b"MDPC01", b"mmi.service", b"404"]
    only.say([b"", b"MDPC01", b"mmi.service", b"x"])
    only.nothing()
    only.tell("BOT", direction="extract", credit=1)
    only.expect("EOT", direction="inject", credit=1)


class TestFactory:
    def test_answers_may_come_late_and_in_any_order(self, end, factory):
        clients = [end() for _ in range(20)]
        for number, client in enumerate(clients):
            client.tell("BOT", direction="extract", credit=1, number=number)
        asked = [factory.asked() for _ in clients]
        assert [number for number, _, _ in asked] == list(range(1, 21))
        for number, bot, _ in reversed(asked):
            factory.answer(number, accept=bot.label["number"] % 2 == 0)
        for number, client in enumerate(clients):
            if number % 2:
                assert client.get().kind == "EOT"
            else:
                client.nothing()

    def test_what_it_says_of_nothing_means_nothing(self, end, factory):
        client, handler = end(), end()
        for octets in (b"\n", b"what?\n", b"[]\n", b'{"id": 99, "accept": true}\n', b'{"id": 1}\n', b"\xff\n"):
            factory.send(octets)
        client.tell("BOT", direction="extract", credit=1)
        number, bot, _ = factory.asked()
        # A line may come in pieces.
        factory.send(b'{"accept": tr')
        client.nothing()
        factory.send(b'ue, "id": %d, "why": {}}\n' % number)
        handler.put(bot)
        assert client.get().kind == "BOT"

    def test_a_slow_one_holds_up_nobody_else_and_has_a_time(self, start, factory, peers):
        times = ("--set", "flow.decision_timeout=500ms")
        broker = start("--flow-factory", f"127.0.0.1:{factory.port}", *times)
        factory.accept(broker)
        client, handler, slow = (peers(End(broker.endpoint)) for _ in range(3))
        slow.tell("BOT", direction="extract", credit=1)
        late, _, _ = factory.asked()
        pair(client, handler, factory)
        began = time.monotonic()
        assert slow.get().kind == "EOT"
        assert time.monotonic() - began < 5
        factory.answer(late)
        slow.no_more()

    def test_when_it_is_lost_flows_are_refused_until_it_is_back(self, flows, end, factory):
        client = end()
        client.tell("BOT", direction="extract", credit=1)
        factory.asked()
        factory.hang_up()
        assert client.get().kind == "EOT"
        client.tell("BOT", direction="extract", credit=1)
        assert client.get().kind == "EOT"
        factory.accept(flows)
        handler = end()
        pair(client, handler, factory)

    def test_a_line_without_an_end_is_not_heard(self, flows, end, factory):
        factory.send(b" " * 5000)
        with pytest.raises((AssertionError, ConnectionResetError)):
            factory.asked()
        factory.accept(flows)
        pair(end(), end(), factory)

    def test_a_handler_that_does_not_come_is_not_waited_for(self, start, factory, peers):
        times = ("--set", "flow.handler_timeout=300ms")
        broker = start("--flow-factory", f"127.0.0.1:{factory.port}", *times)
        factory.accept(broker)
        client = peers(End(broker.endpoint))
        client.tell("BOT", direction="extract", credit=1)
        factory.answer(factory.asked()[0])
        assert client.get().kind == "EOT"


def test_an_idle_flow_is_said_to_be_one_and_goes_on(start, factory, peers):
    broker = start("--flow-factory", f"127.0.0.1:{factory.port}", "--set", "flow.idle_after=200ms")
    factory.accept(broker)
    client, handler = (peers(End(broker.endpoint)) for _ in range(2))
    pair(client, handler, factory)
    deadline = time.monotonic() + 10
    while "flow_idle" not in broker.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    handler.tell("PAY", credit=1)
    client.expect("PAY", credit=1)
