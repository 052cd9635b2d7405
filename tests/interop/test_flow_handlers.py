"""Who comes for a flow: workers of MJP with the role `flow`, and the broker's own handlers (SPEC
13.5, 13.10)."""

import json
import subprocess

import pytest

import mjp
from broker import BINARY
from zio import End, Message, decode


class Handlers(mjp.Peer):
    """Offers a flow service."""

    def __init__(self, endpoint, service, credit=1):
        super().__init__(endpoint)
        self.say("READY", 0, {"service": service, "role": "flow", "credit": credit})

    def given(self):
        """The next flow: its number, and the BOT to say."""
        frames = self.recv()
        assert mjp.kind(frames) == "FLOW" and len(frames) == 4, frames
        return mjp.id_of(frames), Message.of(decode(frames[3]))


def flags(**settings):
    return [flag for key, value in settings.items() for flag in ("--set", f"flow.{key}={value}")]


@pytest.fixture
def writers(start):
    """A broker whose flows are all for the service `writers`."""
    return start(*flags(otherwise="writers"))


@pytest.fixture
def end(peers):
    return lambda broker, *args: peers(End(broker.endpoint, *args))


def begin(client, direction="extract", credit=2, **attributes):
    client.tell("BOT", direction=direction, credit=credit, **attributes)


def come(handler, bot):
    handler.put(bot)
    handler.seqno = 0
    assert handler.get().kind == "BOT"


def test_a_worker_is_given_flows_and_comes_for_them(writers, end, peers):
    worker = peers(Handlers(writers.endpoint, "writers"))
    client, handler = end(writers), end(writers)
    begin(client, stream="raw")
    _, bot = worker.given()
    assert bot.label["direction"] == "inject" and bot.label["stream"] == "raw"
    come(handler, bot)
    assert client.expect("BOT", direction="inject", credit=2, stream="raw")
    handler.tell("PAY", credit=2)
    client.expect("PAY", credit=2)
    client.tell("DAT", b"data")
    assert handler.expect("DAT").payload == [b"data"]


def test_credit_is_flows_at_a_time_and_workers_take_turns(writers, end, peers):
    one = peers(Handlers(writers.endpoint, "writers", credit=1))
    two = peers(Handlers(writers.endpoint, "writers", credit=2))
    clients = [end(writers) for _ in range(4)]
    for number, client in enumerate(clients):
        begin(client, number=number)
        client.nothing()
    numbers = [worker.given()[1].label["number"] for worker in (one, two, two)]
    assert numbers == [0, 1, 2]
    one.hears_nothing()
    # Who has had enough, and ended one, is given the next.
    clients[1].tell("EOT")
    assert clients[1].get().kind == "EOT"
    assert two.given()[1].label["number"] == 3


def test_a_flow_of_a_lost_worker_goes_to_another(writers, end, peers):
    worker = Handlers(writers.endpoint, "writers")
    client, handler = end(writers), end(writers)
    begin(client)
    worker.given()
    worker.close()
    client.nothing()
    other = peers(Handlers(writers.endpoint, "writers"))
    come(handler, other.given()[1])
    assert client.get().kind == "BOT"


def test_a_worker_may_decline_and_its_client_is_refused(writers, end, peers):
    worker = peers(Handlers(writers.endpoint, "writers"))
    client = end(writers)
    begin(client)
    number, _ = worker.given()
    worker.say("ERROR", number, {"code": "failed", "message": "no disk"})
    assert client.get().kind == "EOT"
    begin(client)
    assert worker.given()[0] != number


def test_a_worker_that_drains_is_given_nothing_more(writers, end, peers):
    worker = peers(Handlers(writers.endpoint, "writers"))
    worker.say("DRAIN")
    assert mjp.kind(worker.recv()) == "DRAIN"
    client = end(writers)
    begin(client)
    client.nothing()
    worker.say("READY", 0, {"service": "writers", "role": "flow"})
    worker.given()


def test_ready_has_one_role(writers, peers):
    worker = peers(Handlers(writers.endpoint, "writers"))
    for says in ({"service": "writers"}, {"service": "other", "role": "flow"}, {"service": "x", "role": "y"}):
        worker.say("READY", 0, says)
        frames = worker.recv()
        assert mjp.kind(frames) == "ERROR" and mjp.header(frames)["code"] == "bad_request"


def test_dump_takes_all_and_both_may_end(start, end):
    broker = start(*flags(otherwise="dump", handlers='{ dump = { kind = "dump", credit = 5 } }'))
    client = end(broker)
    for _ in range(2):
        begin(client, credit=100)
        # The handler lowers the credit.
        client.expect("BOT", direction="inject", credit=5)
        held = 0
        for number in range(50):
            while held == 0:
                held += client.get().label["credit"]
            client.tell("DAT", b"%d" % number)
            held -= 1
        client.tell("EOT")
        while client.get().kind != "EOT":
            pass
    begin(client, direction="inject")
    assert client.get().kind == "EOT"


def files(tmp_path, name="{{ file }}"):
    handler = f'{{ files = {{ kind = "file", folder = "{tmp_path}", name = "{name}" }} }}'
    return flags(otherwise="files", handlers=handler)


def write(client, messages, **attributes):
    """Gives messages to whoever takes them."""
    begin(client, credit=3, **attributes)
    answer = client.get()
    if answer.kind == "EOT":
        return False
    held = 0
    for message in messages:
        while held == 0:
            said = client.get()
            assert said.kind == "PAY", said
            held += said.label["credit"]
        message.label["flow"], client.seqno, held = "DAT", client.seqno + 1, held - 1
        message.seqno = client.seqno
        client.put(message)
    client.tell("EOT")
    while client.get().kind != "EOT":
        pass
    return True


def read(client, **attributes):
    """Takes all that somebody gives."""
    begin(client, direction="inject", credit=3, **attributes)
    if client.get().kind == "EOT":
        return None
    client.tell("PAY", credit=3)
    messages = []
    while (said := client.get()).kind == "DAT":
        messages.append(said)
        client.tell("PAY", credit=1)
    assert said.kind == "EOT"
    client.tell("EOT")
    return messages


def test_what_is_written_to_a_file_is_read_back_message_by_message(start, end, tmp_path):
    folder = tmp_path / "flows"
    folder.mkdir()
    broker = start(*files(folder, "runs/{{ run }}/{{ stream }}.zio"))
    written = [
        Message({"at": number, "über": [1.5, None]}, [b"%d" % number, b"", bytes(number * 9000)], origin=7, granule=2**63 + number)
        for number in range(40)
    ]
    client = end(broker)
    assert write(client, written, run=3, stream="raw")
    assert (folder / "runs/3/raw.zio").read_bytes()[:8] == b"ZIOFLOW1"
    back = read(client, run=3, stream="raw")
    assert len(back) == len(written)
    for number, (one, other) in enumerate(zip(written, back)):
        assert one.label == other.label
        assert (one.payload, one.origin, one.granule) == (other.payload, other.origin, other.granule)
        assert other.seqno == number + 1
    # There is one file for one flow.
    assert not write(client, [], run=3, stream="raw")
    assert read(client, run=4, stream="raw") is None
    # By another kind of socket, too.
    assert len(read(end(broker, b"DEALER"), run=3, stream="raw")) == len(written)


def test_no_file_is_outside_of_the_folder(start, end, tmp_path):
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    (tmp_path / "secret").write_bytes(b"ZIOFLOW1")
    broker = start(*files(folder))
    client = end(broker)
    for name in ("../x", "/tmp/x", "a/../../x", "out/x", ".hidden", "a//b", "", "a\n", "x" * 300):
        assert not write(client, [], file=name), name
        assert read(client, file=name) is None, name
    assert read(client, file="out/secret") is None
    assert not write(client, [])
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("broker")} == {"flows", "secret"}
    assert write(client, [], file="a/b")


def test_a_file_that_was_cut_off_has_all_whole_messages(start, end, tmp_path):
    broker = start(*files(tmp_path))
    client = end(broker)
    assert write(client, [Message({}, [b"one"]), Message({}, [b"two"])], file="x")
    octets = (tmp_path / "x").read_bytes()
    (tmp_path / "cut").write_bytes(octets[:-1])
    assert [it.payload for it in read(client, file="cut")] == [[b"one"]]
    (tmp_path / "bad").write_bytes(b"something")
    assert read(client, file="bad") is None


def test_an_end_may_come_right_behind_the_beginning(start, end, tmp_path):
    broker = start(*files(tmp_path))
    client = end(broker)
    for number in range(100):
        assert write(client, [], file=f"{number}")
        assert read(client, file=f"{number}") == []


def test_a_stop_lets_a_client_write_its_file_to_the_end(start, end, tmp_path):
    broker = start(*files(tmp_path))
    client = end(broker)
    begin(client, credit=3, file="x")
    assert client.get().kind == "BOT" and client.get().label["credit"] == 3
    client.tell("DAT", b"one")
    broker.terminate()
    while client.get().kind != "EOT":
        pass
    client.tell("DAT", b"two")
    client.tell("EOT")
    broker.process.wait(20)
    assert broker.process.returncode == 0
    octets = (tmp_path / "x").read_bytes()
    assert octets.index(b"\3one") < octets.index(b"\3two")


def test_a_taker_may_end_before_the_file_does(start, end, tmp_path):
    broker = start(*files(tmp_path))
    client = end(broker)
    assert write(client, [Message({}, [bytes(1000)]) for _ in range(100)], file="x")
    begin(client, direction="inject", credit=2, file="x")
    assert client.get().kind == "BOT"
    client.tell("PAY", credit=2)
    assert client.get().kind == "DAT"
    client.tell("EOT")
    while client.get().kind != "EOT":
        pass
    assert len(read(client, file="x")) == 100


def test_each_message_becomes_a_request(start, end, peers):
    broker = start(*flags(otherwise="calls", handlers='{ calls = { kind = "service", service = "echo" } }'))
    worker = peers(mjp.Peer(broker.endpoint))
    worker.say("READY", 0, {"service": "echo", "credit": 10})
    client = end(broker)
    begin(client, credit=5)
    client.expect("BOT", direction="inject", credit=5)
    assert client.get().label["credit"] == 5
    for number in range(5):
        client.tell("DAT", b"%d" % number, b"more")
    for number in range(5):
        frames = worker.recv()
        assert mjp.kind(frames) == "REQUEST" and frames[4:] == [b"%d" % number, b"more"]
        worker.say("FINAL", mjp.id_of(frames), {}, b"")
    client.tell("EOT")
    while client.get().kind != "EOT":
        pass
    # A request that fails ends the flow, and its EOT says why.
    begin(client, credit=1)
    client.get()
    client.get()
    client.tell("DAT", b"x")
    worker.say("ERROR", mjp.id_of(worker.recv()), {"code": "failed", "message": "no paper"})
    while (said := client.get()).kind != "EOT":
        pass
    assert said.label["error"] == "failed: no paper"


def test_rules_choose_by_the_label(start, end, tmp_path):
    rules = """[
        { direction = "extract", attributes = { stream = "raw-*", run = "2" }, to = "files" },
        { attributes = { stream = "*" }, to = "dump" },
        { direction = "inject", to = "refuse" },
    ]"""
    handlers = f'{{ dump = {{ kind = "dump" }}, files = {{ kind = "file", folder = "{tmp_path}", name = "{{{{ stream }}}}" }} }}'
    broker = start(*flags(rules=" ".join(rules.split()), handlers=handlers, otherwise="dump"))
    client = end(broker)
    assert write(client, [Message({}, [b"x"])], stream="raw-1", run=2)
    assert (tmp_path / "raw-1").exists()
    assert write(client, [Message({}, [b"x"])], stream="raw-3", run=3)
    assert not (tmp_path / "raw-3").exists()
    assert read(client, stream="raw-1") is None
    assert read(client) is None
    assert write(client, [])


def test_flows_and_their_ends_are_listed(writers, end, peers):
    worker = peers(Handlers(writers.endpoint, "writers"))
    client, handler = end(writers), end(writers, b"DEALER")
    begin(client)
    come(handler, worker.given()[1])
    client.get()
    handler.tell("PAY", credit=2)
    client.get()
    client.tell("DAT", b"x" * 100)
    handler.get()
    waiting = end(writers)
    begin(waiting, direction="inject")
    waiting.nothing()

    def asked(*words):
        command = [BINARY, *words, "--json", "--endpoint", writers.endpoint]
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    flows = asked("flow", "ls")["flows"]
    assert [(it["service"], it["direction"], it["state"], it["messages"]) for it in flows] == [
        ("writers", "extract", "open", 1),
        ("writers", "inject", "queued", 0),
    ]
    assert flows[0]["credit"] == 2 and flows[0]["octets"] > 100
    ends = asked("flow", "peers")["peers"]
    assert sorted((it["socket"], it["state"]) for it in ends) == [
        ("CLIENT", "open"),
        ("CLIENT", "waiting"),
        ("DEALER", "open"),
    ]
