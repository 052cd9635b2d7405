"""Groups of MJP/1: round trips with the octets of SPEC.md, members in any language, and leaders
that are stopped or killed."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

import msgpack
import pytest

from broker import HERE, ROOT
from mjp import EXAMPLES, Peer, example, header, id_of, kind

MEMBER = HERE / "group_member.py"
LED = {"leader": True, "min_size": 2}
# Leaders that are stopped, in all and at a time; 1,000 of them are a long suite.
STOPPED = int(os.environ.get("MAJORDOMO_STOPS", "20"))
AT_ONCE = 50
TTL = 300
# Nobody is taken for silent.
PATIENT = {"min_size": 1, "ttl": 60_000, "peer_timeout": 60_000}


@pytest.fixture
def peer(broker, peers):
    """Connects to the default broker."""
    return lambda *args, **kwargs: peers(Peer(broker.endpoint, *args, **kwargs))


def join(client, member, id=1, group="Escort.1", **kind):
    """Joins; gives what it is told."""
    says = {"verb": "join", "group": group, "member": member, "type": {**LED, **kind}}
    client.say("GROUP", id, says)
    return header(told(client, "joined", id))


def told(client, event, id=1):
    """The next thing of that name; others are passed over."""
    while True:
        frames = client.recv()
        if (kind(frames), id_of(frames)) == ("GROUP", id) and header(frames)["event"] == event:
            return frames


def do(client, id, verb, *body, seat=1, **says):
    client.say("GROUP", id, {"verb": verb, "seat": seat, **says}, *body)


def refusal(client, id):
    while True:
        frames = client.recv()
        if (kind(frames), id_of(frames)) == ("ERROR", id):
            return header(frames)["code"]


def shown(frames, **changed):
    """What an example says, with what differs from run to run."""
    return {**header(frames), **changed}


def roster(frames):
    return [row["member"] for row in msgpack.unpackb(frames[3])["members"]]


def of_spec(id, event):
    """The first example of the broker with that id and event."""
    begins = f'GROUP {id} {{"event": "{event}"'
    of_broker = (says for way, says in EXAMPLES if way == "mjp-broker")
    return example("mjp-broker", next(says for says in of_broker if says.startswith(begins)))


def test_a_group_with_the_octets_of_the_specification(peer):
    bert, cleo, anna = peer(), peer(), peer()
    join(bert, "bert", min_size=3)
    join(cleo, "cleo", min_size=3)
    anna.send(example("mjp", "GROUP 1"))
    joined = told(anna, "joined")
    assert roster(joined) == ["bert", "cleo", "anna"]
    says, spec = header(joined), header(of_spec(1, "joined"))
    for key in ("incarnation", "clock", "seq"):
        assert says.pop(key) > 0 and spec.pop(key) > 0
    assert says == spec
    elected = header(told(anna, "elected"))
    spec = shown(of_spec(1, "elected"), **{k: elected[k] for k in ("seq", "incarnation", "epoch")})
    assert elected == spec and elected["member"] == "bert"
    epoch = elected["epoch"]
    # A beat shows life, and the clock of the broker.
    anna.send(example("mjp", "GROUP 2"))
    beat = header(told(anna, "beat", 2))
    assert beat == shown(of_spec(2, "beat"), clock=beat["clock"])
    anna.send(example("mjp", "GROUP 3"))
    assert refusal(anna, 3) == "stale_epoch"
    # Messages: to the leader, and from it to all.
    anna.send(example("mjp", "GROUP 4"))
    ack = header(told(anna, "ack", 4))
    assert ack == shown(of_spec(4, "ack"), seq=ack["seq"])
    assert told(bert, "message")[3:] == [b"hi"]
    do(bert, 0, "send", b"go", epoch=epoch)
    message = told(anna, "message")
    assert message[3:] == [b"go"]
    same = {k: header(message)[k] for k in ("seq", "incarnation", "epoch")}
    assert header(message) == shown(of_spec(1, "message"), **same)
    # A poll, decided by two of three.
    anna.send(example("mjp", "GROUP 5"))
    opened = header(told(anna, "opened", 5))
    assert opened == shown(of_spec(5, "opened"), epoch=epoch)
    poll = told(anna, "poll")
    same = {k: header(poll)[k] for k in ("seq", "incarnation", "epoch")}
    assert (header(poll), poll[3:]) == (shown(of_spec(1, "poll"), **same), [b"north?"])
    anna.send(example("mjp", "GROUP 6"))
    assert header(told(anna, "voted", 6)) == header(of_spec(6, "voted"))
    do(bert, 0, "vote", poll="p1", vote="yes")
    result = header(told(anna, "result"))
    assert result == shown(of_spec(1, "result"), seq=result["seq"], epoch=epoch)
    # A list, and the end.
    anna.send(example("mjp", "GROUP 11"))
    groups = header(told(anna, "list", 11))["groups"]
    [row] = header(of_spec(11, "list"))["groups"]
    assert groups == [{**row, "epoch": epoch, "view": 3, "polls": 0}]
    anna.send(example("mjp", "GROUP 10"))
    assert header(told(anna, "left", 10)) == header(of_spec(10, "left"))
    assert header(told(bert, "exited"))["reason"] == "too_few"


def test_a_type_limits_what_members_say(start, peers):
    """Declared in the configuration: then nobody says it otherwise."""
    kind = '{min_size = 1, leader = true, message = "8B", rate = 2}'
    broker = start(f'--set=group.types={{"Escort.*" = {kind}}}')
    anna, bert = peers(Peer(broker.endpoint)), peers(Peer(broker.endpoint))
    bert.say("GROUP", 1, {"verb": "join", "group": "Escort.1", "member": "bert", "type": {"rate": 9}})
    assert refusal(bert, 1) == "group_conflict"
    anna.say("GROUP", 1, {"verb": "join", "group": "Escort.1", "member": "anna"})
    kind = header(told(anna, "joined"))["type"]
    assert (kind["message"], kind["rate"]) == (8, 2)
    do(anna, 2, "send", b"123456789")
    assert refusal(anna, 2) == "too_big"
    for id in (3, 4):
        do(anna, id, "send", b"12345678")
        told(anna, "ack", id)
    do(anna, 5, "send", b"3")
    do(anna, 6, "open", poll="p")
    assert (refusal(anna, 5), refusal(anna, 6)) == ("overloaded", "overloaded")
    time.sleep(0.6)
    do(anna, 7, "send", b"4")
    told(anna, "ack", 7)


def test_the_first_member_limits_what_members_say(peer):
    """With the octets of the specification: where nothing is declared, the first one declares it."""
    anna, bert = peer(), peer()
    anna.send(example("mjp", "GROUP 13"))
    kind = header(told(anna, "joined", 13))["type"]
    assert (kind["message"], kind["rate"]) == (8, 2)
    bert.say("GROUP", 1, {"verb": "join", "group": "Talk.1", "member": "bert", "type": {"message": 9}})
    assert refusal(bert, 1) == "group_conflict"
    anna.say("GROUP", 2, {"verb": "send", "seat": 13}, b"123456789")
    assert refusal(anna, 2) == "too_big"
    anna.say("GROUP", 3, {"verb": "send", "seat": 13}, b"12345678")
    told(anna, "ack", 3)


def test_who_is_no_member_looks_on(peer):
    """With the octets of the specification: a group that is not there yet, and who comes and goes."""
    eye, bert, anna = peer(), peer(), peer()
    eye.send(example("mjp", "GROUP 12"))
    assert header(told(eye, "info", 12)) == header(of_spec(12, "info"))
    joined = join(bert, "bert")
    view = header(told(eye, "view", 12))
    assert view == shown(of_spec(12, "view"), incarnation=joined["incarnation"], seq=view["seq"])
    join(anna, "anna")
    # What members are told under the same numbers.
    same = header(told(bert, "view"))
    assert header(told(eye, "view", 12)) == same and same["member"] == "anna"
    elected = header(told(eye, "elected", 12))
    assert elected == header(told(bert, "elected"))
    do(bert, 0, "send", b"not for it")
    anna.close()
    left = header(told(eye, "view", 12))
    assert (left["change"], left["reason"]) == ("left", "closed")
    assert header(told(eye, "exited", 12))["reason"] == "too_few"
    # One that comes now is told first how things are.
    late = peer()
    late.say("GROUP", 1, {"verb": "observe", "group": "Escort.1"})
    info = told(late, "info")
    assert roster(info) == ["bert"] and header(info)["view"] == left["view"]
    late.say("CANCEL", 1)
    late.hears_nothing()
    bert.close()
    assert header(told(eye, "view", 12))["member"] == "bert"
    late.hears_nothing()


def test_keys_of_later_versions_are_survived(peer):
    client = peer()
    client.say("GROUP", 1, {"verb": "join", "group": "a", "member": "x", "later": [1, None]})
    assert header(told(client, "joined"))["size"] == 1
    do(client, 2, "steal")
    assert refusal(client, 2) == "unsupported"


def test_a_killed_leader_is_followed_at_once_and_all_see_the_same_views(broker, peer):
    first, others = Peer(broker.endpoint), [peer() for _ in range(3)]
    join(first, "n0")
    for number, other in enumerate(others, 1):
        join(other, f"n{number}")
    old = header(told(others[0], "elected"))
    first.close()
    since = time.monotonic()
    seen = []
    for other in others:
        view = header(told(other, "view"))
        while view["change"] != "left":
            view = header(told(other, "view"))
        elected = header(told(other, "elected"))
        assert elected["member"] == "n1" and elected["epoch"] > old["epoch"]
        keys = ("reason", "view", "member", "incarnation", "seq")
        seen.append(tuple(view[key] for key in keys))
    assert len(set(seen)) == 1 and seen[0][0] == "closed", seen
    assert time.monotonic() - since < 1


def test_what_two_members_hear_they_hear_in_one_order(peer):
    members = [peer() for _ in range(4)]
    for number, member in enumerate(members):
        join(member, f"n{number}")
    for turn in range(200):
        do(members[turn % 4], 0, "send", b"%d" % turn)
    heard = []
    for member in members:
        messages = [told(member, "message") for _ in range(200)]
        order = [header(message)["seq"] for message in messages]
        assert order == sorted(set(order))
        heard.append([(header(message)["seq"], message[3]) for message in messages])
    assert all(one == heard[0] for one in heard)


def test_a_timed_action_is_decided_announced_and_its_outcomes_are_told(peer):
    members = [peer() for _ in range(3)]
    for number, member in enumerate(members):
        join(member, f"n{number}")
    do(members[0], 2, "beat")
    clock = header(told(members[0], "beat", 2))["clock"]
    do(members[0], 3, "open", b"brake", poll="p", kind="unanimous", timeout=500, when=clock)
    assert refusal(members[0], 3) == "too_late"
    when = clock + 1_000_000
    asked = {"poll": "p", "kind": "unanimous", "timeout": 500, "when": when, "error": 50_000}
    do(members[0], 4, "open", b"brake", **asked)
    for member in members:
        says = header(told(member, "poll"))
        assert (says["when"], says["error"], says["elector"]) == (when, 50_000, True)
        do(member, 0, "vote", poll="p", vote="yes", error=1000)
    for member in members:
        assert header(told(member, "result"))["status"] == "yes"
        do(member, 0, "outcome", poll="p", outcome="done")
    rows = msgpack.unpackb(told(members[0], "outcomes")[3])["members"]
    outcomes = [(row["member"], row["outcome"]) for row in rows]
    assert outcomes == [(f"n{number}", "done") for number in range(3)]


@pytest.fixture
def member():
    """Starts members as processes of their own."""
    started = []

    def begin(endpoint, group, name):
        command = [sys.executable, MEMBER, endpoint, group, name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def until(process, word):
    """The first line that has the word."""
    for line in process.stdout:
        if word in line:
            return line
    raise AssertionError(f"the member has ended before it said {word}")


def test_a_member_in_python_is_short_and_shown(broker, peer, member):
    """It joins, leads, votes and acts with at most 60 lines, which SPEC.md shows."""
    text = MEMBER.read_text()
    assert len(text.splitlines()) <= 60
    assert f"```python\n{text}```" in (ROOT / "SPEC.md").read_text()
    anna = member(broker.endpoint, "Escort.1", "anna")
    until(anna, "joined")
    bert = peer()
    join(bert, "bert")
    until(anna, "elected")
    # It answers as the leader, once it may believe that it leads; what comes before is not answered.
    deadline, answer = time.monotonic() + 5, None
    while answer is None:
        assert time.monotonic() < deadline, "the leader does not answer"
        do(bert, 0, "send", b"task", to="leader")
        while answer is None and bert.socket.poll(300):
            frames = bert.recv()
            if kind(frames) == "GROUP" and header(frames)["event"] == "message":
                answer = frames
    assert answer[3] == b"done task" and header(answer)["epoch"] > 0
    do(bert, 2, "beat")
    when = header(told(bert, "beat", 2))["clock"] + 900_000
    asked = {"poll": "p", "kind": "unanimous", "timeout": 500, "when": when, "error": 100_000}
    do(bert, 3, "open", b"brake", **asked)
    do(bert, 0, "vote", poll="p", vote="yes", error=1000)
    assert header(told(bert, "result"))["status"] == "yes"
    until(anna, "acts p")
    do(bert, 0, "outcome", poll="p", outcome="done")
    rows = msgpack.unpackb(told(bert, "outcomes")[3])["members"]
    assert {row["member"]: row["outcome"] for row in rows} == {"anna": "done", "bert": "done"}


# A leader as a process of its own: it leads, says by which epoch, and acts when it is told to.
LEADER = """
import sys
sys.path.insert(0, sys.argv[1])
from mjp import Peer, header, kind
peer = Peer(sys.argv[2])
says = {"leader": True, "min_size": 1, "ttl": int(sys.argv[4]), "peer_timeout": 60_000}
peer.say("GROUP", 1, {"verb": "join", "group": sys.argv[3], "member": "old", "type": says})
event = {}
while event.get("event") != "elected":
    event = header(peer.recv())
print(event["epoch"], flush=True)
sys.stdin.readline()
says = {"verb": "send", "seat": 1, "epoch": event["epoch"]}
peer.say("GROUP", 2, says, b"from one that was stopped")
while True:
    frames = peer.recv()
    if frames[1][1:] == (2).to_bytes(8, "big"):
        print(kind(frames), header(frames), flush=True)
        break
"""


@pytest.fixture
def leader():
    """Starts leaders as processes of their own."""
    started = []

    def begin(endpoint, group, ttl=TTL):
        command = [sys.executable, "-c", LEADER, str(HERE), endpoint, group, str(ttl)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_a_leader_that_was_stopped_is_refused(broker, peer, leader):
    """SIGSTOP for longer than the time to live, SIGCONT, and it acts: nobody hears of it."""
    groups = [f"Bank.{number}" for number in range(STOPPED)]
    for first in range(0, STOPPED, AT_ONCE):
        stop_and_go(broker, peer, leader, groups[first : first + AT_ONCE])


def stop_and_go(broker, peer, leader, groups):
    leaders = [leader(broker.endpoint, group) for group in groups]
    epochs = [int(process.stdout.readline()) for process in leaders]
    heir = peer()
    for id, group in enumerate(groups, 1):
        says = {"leader": True, "min_size": 1, "ttl": TTL, "peer_timeout": 60_000}
        heir.say("GROUP", id, {"verb": "join", "group": group, "member": "new", "type": says})
    for process in leaders:
        os.kill(process.pid, signal.SIGSTOP)
    now = {}
    while len(now) < len(groups):
        frames = heir.recv()
        if header(frames).get("event") == "elected":
            now[id_of(frames)] = header(frames)["epoch"]
    for id, (process, epoch) in enumerate(zip(leaders, epochs), 1):
        assert now[id] > epoch
        os.kill(process.pid, signal.SIGCONT)
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in leaders:
        says = process.stdout.readline()
        assert says.startswith("ERROR") and "'stale_epoch'" in says, says
    heir.say("HELLO")
    while kind(frames := heir.recv()) != "HELLO":
        assert header(frames)["event"] != "message", header(frames)


def test_epochs_and_incarnations_grow_over_a_restart(start, peers):
    numbers = []
    for _ in range(3):
        broker = start()
        client = peers(Peer(broker.endpoint))
        joined = join(client, "a", min_size=1)
        numbers.append((joined["incarnation"], header(told(client, "elected"))["epoch"]))
        broker.stop()
    for column in zip(*numbers):
        assert list(column) == sorted(set(column)), numbers


def test_a_leader_whose_process_is_killed_is_followed_at_once(broker, peer, leader):
    """SIGKILL: its connection ends without a word, and all see the same views."""
    dead = leader(broker.endpoint, "Escort.1", PATIENT["ttl"])
    epoch = int(dead.stdout.readline())
    others = [peer() for _ in range(3)]
    for number, other in enumerate(others):
        join(other, f"n{number}", **PATIENT)
    since = time.monotonic()
    os.kill(dead.pid, signal.SIGKILL)
    seen = []
    for other in others:
        views, event = [], {}
        while event.get("event") != "elected":
            frames = other.recv()
            if (kind(frames), id_of(frames)) == ("GROUP", 1):
                event = header(frames)
                views += [event] if event["event"] == "view" else []
        assert event["member"] == "n0" and event["epoch"] > epoch
        left = views[-1]
        assert (left["change"], left["member"], left["reason"]) == ("left", "old", "closed")
        seen.append((left["view"], left["incarnation"], left["seq"], event["seq"]))
    assert len(set(seen)) == 1, seen
    # Neither a time to live nor a silence was waited for.
    assert time.monotonic() - since < 5


def test_epochs_and_incarnations_grow_over_brokers_that_are_killed(start, peers, tmp_path):
    """With a store: kill -9 leaves no time to write anything down."""
    numbers = []
    for _ in range(4):
        broker = start("--store", tmp_path / "store")
        first = Peer(broker.endpoint)
        clients = [first, *(peers(Peer(broker.endpoint)) for _ in range(2))]
        for number, client in enumerate(clients):
            joined = join(client, f"n{number}", **PATIENT)
            # The first one leads, then each that is left.
            leads = header(told(client, "elected"))["epoch"] if number == 0 else None
            numbers.append((joined["incarnation"], leads))
        first.close()
        numbers.append((None, header(told(clients[1], "elected"))["epoch"]))
        while header(told(clients[2], "elected"))["epoch"] != numbers[-1][1]:
            pass
        broker.kill()
    for column in zip(*numbers):
        known = [number for number in column if number is not None]
        assert known == sorted(set(known)), numbers


def test_what_is_counted_is_in_the_metrics(start, peers):
    broker = start("--http", "127.0.0.1:0")
    http = broker.process.stdout.readline().strip()
    client = peers(Peer(broker.endpoint))
    join(client, "a", min_size=1)
    do(client, 2, "send", b"x")
    told(client, "ack", 2)
    do(client, 3, "open", poll="p")
    do(client, 4, "vote", poll="p", vote="yes")
    told(client, "result")
    do(client, 5, "send", b"x", epoch=1)
    assert refusal(client, 5) == "stale_epoch"
    with urllib.request.urlopen(f"{http}/metrics", timeout=10) as page:
        text = page.read().decode()
    for line in [
        "majordomo_groups 1",
        "majordomo_group_members 1",
        "majordomo_group_leaders 1",
        "majordomo_group_members_joined_total 1",
        'majordomo_group_polls_total{status="yes"} 1',
        'majordomo_group_messages_total{outcome="delivered"} 1',
        'majordomo_group_messages_total{outcome="stale_epoch"} 1',
    ]:
        assert line in text, line
