"""Flows between sockets of libzmq, CLIENT ones of a libzmq with drafts among them, and the commands
`majordomo flow send` and `recv`: all by way of the broker, whose factory is the test."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from broker import BINARY, HERE
from nfp_peers import ENVIRONMENTS
from zio import Factory
from zio_real import content

CLIENT, DEALER = "CLIENT", "DEALER"
DRAFT = ENVIRONMENTS / "venv-draft/bin/python"
WAIT = 60


class Peer:
    """An end in a process of its own."""

    def __init__(self, endpoint, kind):
        python = sys.executable if kind == DEALER else DRAFT
        assert pathlib.Path(python).exists(), f"no {python}: `tests/run` installs it"
        command = [python, HERE / "zio_real.py", endpoint, kind]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self.expect("ready")
        assert kind == DEALER or ready["draft"], ready

    def flow(self, **order):
        self.process.stdin.write(json.dumps({"do": "flow", **order}) + "\n")
        self.process.stdin.flush()

    def expect(self, event):
        line = self.process.stdout.readline()
        assert line, f"the process of the peer ended: {self.process.wait(WAIT)}"
        said = json.loads(line)
        assert said["event"] == event, said
        return said

    def close(self):
        self.process.kill()
        self.process.communicate()


class Command:
    """`majordomo flow ...` with what it says at its end."""

    def __init__(self, endpoint, *words, **kwargs):
        command = [BINARY, "flow", *map(str, words), "--endpoint", endpoint]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
        self.process = subprocess.Popen(command, **pipes)

    def end(self, code=0):
        out, err = self.process.communicate(timeout=WAIT)
        assert self.process.returncode == code, (self.process.returncode, out, err)
        return out, err.decode()

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def flows(start):
    factory = Factory()
    broker = start("--flow-factory", f"127.0.0.1:{factory.port}")
    factory.accept(broker)
    broker.factory = factory
    yield broker
    factory.close()


@pytest.fixture
def peer(flows, peers):
    return lambda kind=CLIENT: peers(Peer(flows.endpoint, kind))


@pytest.fixture
def command(flows, peers):
    return lambda *words, **kwargs: peers(Command(flows.endpoint, *words, **kwargs))


def assigned(flows, accept=True):
    """The next flow that somebody asks for, decided: its BOT for the handler, and the same as hex."""
    number, bot, octets = flows.factory.asked()
    flows.factory.answer(number, accept)
    return bot, octets.hex()


def digest(count, size):
    whole = hashlib.sha256()
    for number in range(count):
        whole.update(content(number, size))
    return whole.hexdigest()


def check(taken, given, count, size):
    assert (taken["messages"], taken["octets"], taken["digest"]) == (count, count * size, digest(count, size))
    assert (given["messages"], given["digest"]) == (count, taken["digest"])
    assert taken["in_order"], "a giver's DATs are numbered from 1, and nothing else is said by it"


@pytest.mark.parametrize("direction", ["extract", "inject"])
@pytest.mark.parametrize("kinds", [(CLIENT, CLIENT), (CLIENT, DEALER), (DEALER, CLIENT)])
def test_what_one_socket_gives_the_other_takes_in_order(flows, peer, kinds, direction):
    client, handler = map(peer, kinds)
    count, size = 500, 1000
    gives = {"count": count, "size": size}
    client.flow(direction=direction, credit=7, attributes={"run": 3}, **(gives if direction == "extract" else {}))
    bot, octets = assigned(flows)
    assert (bot.label["run"], bot.label["credit"]) == (3, 7)
    handler.flow(bot=octets, credit=5, **(gives if direction == "inject" else {}))
    for end in (client, handler):
        assert end.expect("began")["credit"] == 5
    ended = client.expect("ended"), handler.expect("ended")
    given, taken = ended if direction == "extract" else ended[::-1]
    check(taken, given, count, size)
    assert (given["over"], taken["over"]) == (False, True)


def test_a_taker_may_end_first_and_both_sockets_have_another_flow(flows, peer):
    client, handler = peer(), peer()
    for _ in range(3):
        client.flow(direction="inject", credit=4, count=10)
        handler.flow(bot=assigned(flows)[1], size=100)
        for end in (client, handler):
            end.expect("began")
        assert client.expect("ended")["digest"] == digest(10, 100)
        assert handler.expect("ended")["over"]


def test_large_messages_of_a_real_socket_arrive_whole(flows, peer):
    client, handler = peer(), peer()
    count, size = 8, 4 << 20
    client.flow(direction="extract", credit=3, count=count, size=size)
    handler.flow(bot=assigned(flows)[1])
    check(handler.expect("began") and handler.expect("ended"), client.expect("began") and client.expect("ended"), count, size)


def test_a_real_socket_hears_that_it_is_refused(flows, peer):
    client = peer()
    client.flow(direction="extract", credit=3, count=1, size=1)
    assigned(flows, accept=False)
    assert client.expect("refused")["label"]["flow"] == "EOT"
    client.flow(direction="extract", credit=3, count=1, size=1)
    bot, octets = assigned(flows)
    handler = peer()
    handler.flow(bot=octets)
    assert handler.expect("began") and handler.expect("ended")["messages"] == 1


@pytest.mark.parametrize("kind", [CLIENT, DEALER])
def test_the_command_sends_a_file_to_a_real_socket(flows, peer, command, tmp_path, kind):
    file = tmp_path / "file"
    octets = os.urandom(1 << 20) + b"end"
    file.write_bytes(octets)
    send = command("send", file, "--chunk", "100KiB", "--credit", 4, "--attr", "run=3", "--attr", "name=a b", "--json")
    bot, of_bot = assigned(flows)
    assert {key: bot.label[key] for key in ("run", "name", "credit")} == {"run": 3, "name": "a b", "credit": 4}
    handler = peer(kind)
    handler.flow(bot=of_bot)
    handler.expect("began")
    taken = handler.expect("ended")
    assert (taken["octets"], taken["digest"]) == (len(octets), hashlib.sha256(octets).hexdigest())
    said = json.loads(send.end()[0])
    assert (said["messages"], said["octets"]) == (11, len(octets))
    assert said["octets_per_s"] > 0 and said["messages_per_s"] > 0


@pytest.mark.parametrize("kind", [CLIENT, DEALER])
def test_the_command_writes_what_a_real_socket_gives(flows, peer, command, tmp_path, kind):
    count, size = 300, 5000
    whole = b"".join(content(number, size) for number in range(count))
    recv = command("recv", "-o", tmp_path / "file", "--credit", 10, "--json")
    handler = peer(kind)
    handler.flow(bot=assigned(flows)[1], count=count, size=size, eot={"messages": count, "octets": count * size})
    handler.expect("began")
    handler.expect("ended")
    said = json.loads(recv.end()[0])
    assert (said["messages"], said["octets"], said["complete"]) == (count, len(whole), True)
    assert (tmp_path / "file").read_bytes() == whole
    assert [it.name for it in tmp_path.glob("file*")] == ["file"]

    recv = command("recv", "--count", 2)
    handler.flow(bot=assigned(flows)[1], count=count, size=size)
    handler.expect("began")
    assert handler.expect("ended")["over"]
    out, err = recv.end()
    assert out == content(0, size) + content(1, size)
    assert err.startswith("received 2 messages, 9.77 KiB in "), err


def test_too_little_is_not_taken_for_all(flows, peer, command, tmp_path):
    recv = command("recv", "-o", tmp_path / "file")
    handler = peer()
    handler.flow(bot=assigned(flows)[1], count=2, size=10, eot={"messages": 3, "octets": 30})
    out, err = recv.end(1)
    assert err == (
        "majordomo: 2 messages of 20 octets came, and the other end says that there were 3 of 30; "
        "what came is in the .part file\n"
    )
    assert [it.name for it in tmp_path.glob("file*")] == ["file.part"]


def test_the_command_says_why_it_failed(flows, peer, command):
    send = command("send", "/dev/null", "--json")
    assigned(flows, accept=False)
    out, err = send.end(1)
    assert json.loads(out)["error"]["code"] == "refused", out
    assert err.startswith("majordomo: the flow was refused; a rule of the broker has to name somebody"), err
    out, err = command("send", "/dev/null", "--timeout", "300ms").end(4)
    assert err.startswith("majordomo: nobody came for the flow within 300ms; start a handler"), err


def test_the_command_is_told_when_a_real_socket_dies_or_has_enough(flows, peer, command):
    for dies in (True, False):
        send = command("send", "/dev/zero", "--credit", 4)
        handler = peer()
        handler.flow(bot=assigned(flows)[1], **({} if dies else {"count": 20}))
        handler.expect("began")
        if dies:
            time.sleep(0.1)
            handler.process.send_signal(signal.SIGKILL)
        else:
            handler.expect("ended")
        out, err = send.end(1)
        assert err.startswith("majordomo: the other end has ended the flow after "), err


def test_an_interrupted_command_ends_its_flow(flows, peer, command):
    for words in (["send", "/dev/zero"], ["recv"]):
        process = command(*words, stdout=subprocess.DEVNULL)
        handler = peer()
        gives = {"size": 100} if words == ["recv"] else {}
        handler.flow(bot=assigned(flows)[1], **gives)
        handler.expect("began")
        process.process.send_signal(signal.SIGINT)
        assert handler.expect("ended")["over"]
        out, err = process.end(1)
        assert err.startswith("majordomo: interrupted; the other end was told"), err


def test_a_reader_that_has_seen_enough_ends_the_flow(flows, peer, command):
    recv = command("recv", "--credit", 5)
    handler = peer()
    handler.flow(bot=assigned(flows)[1], size=100_000)
    handler.expect("began")
    assert recv.process.stdout.read(10) == content(0, 10)
    recv.process.stdout.close()
    assert handler.expect("ended")["over"]
    assert recv.process.wait(WAIT) == 0
    assert recv.process.stderr.read() == b""


def test_two_commands_meet_at_a_flow_service(start, peers, tmp_path):
    broker = start("--set", "flow.otherwise=archive")
    octets = os.urandom(300_000)
    (tmp_path / "file").write_bytes(octets)
    for handler, client in ((["recv"], ["send", tmp_path / "file"]), (["send", tmp_path / "file"], ["recv"])):
        come = peers(Command(broker.endpoint, *handler, "--service", "archive"))
        ask = peers(Command(broker.endpoint, *client, "--attr", "name=x"))
        ends = {"recv": (come if handler == ["recv"] else ask).end(), "send": (ask if handler == ["recv"] else come).end()}
        assert ends["recv"][0] == octets
        assert ends["recv"][1].startswith("received ") and ends["send"][1].startswith("sent "), ends


def test_what_was_interrupted_is_not_taken_for_all(start, peers, tmp_path):
    broker = start("--set", "flow.otherwise=archive")
    recv = peers(Command(broker.endpoint, "recv", "--service", "archive", "-o", tmp_path / "file"))
    send = peers(Command(broker.endpoint, "send", "/dev/zero", "--credit", 2))
    deadline = time.monotonic() + WAIT
    while not list(tmp_path.glob("file*")):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)
    send.process.send_signal(signal.SIGINT)
    send.end(1)
    assert recv.end(1)[1] == "majordomo: the other end gave up: interrupted; what came is in the .part file\n"
    assert [it.name for it in tmp_path.glob("file*")] == ["file.part"]


def test_a_slow_reader_of_standard_output_loses_nothing_and_the_broker_hears_of_it(flows, peer, command):
    """The command answers PING while nobody reads what it writes."""
    count, size = 200, 10_000
    recv = command("recv", "--credit", 5)
    handler = peer()
    handler.flow(bot=assigned(flows)[1], count=count, size=size)
    handler.expect("began")
    time.sleep(2)
    out, err = recv.end()
    assert hashlib.sha256(out).hexdigest() == digest(count, size)
    assert handler.expect("ended")["messages"] == count


