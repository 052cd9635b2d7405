"""Workers that die, freeze, are slow or take several requests; and heartbeats both ways."""

import signal
import time

import pytest

import mdp
import zmtp
from mdp import Client, Worker, until

FAST = ("--heartbeat", "100ms", "--liveness", "8")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_request_of_a_killed_or_frozen_process_goes_to_another_worker(
    start, spawn, peers, number
):
    broker = start(*FAST)
    lost = spawn(broker.endpoint, b"work", "stuck")
    client = peers(Client(broker.endpoint))
    until(lambda: client.status(b"work") == b"200")
    client.send(b"work", b"precious")
    lost.expect("got")
    lost.signal(number)
    spawn(broker.endpoint, b"work", "echo")
    assert client.reply(b"work") == [b"precious"]
    assert client.status(b"work") == b"200", "and no second reply came before this answer"


def test_a_busy_stock_worker_may_be_silent_as_long_as_its_process_lives(start, spawn, peers):
    broker = start(*FAST)
    worker = spawn(broker.endpoint, b"work", "stuck")
    client = peers(Client(broker.endpoint))
    until(lambda: client.status(b"work") == b"200")
    client.send(b"work", b"long")
    worker.expect("got")
    time.sleep(2)  # More than twice the expiry of an idle worker; silence is what is tested.
    assert client.status(b"work") == b"200"


def test_busy_timeout_gives_the_request_to_another_worker(start, spawn, peers):
    broker = start(*FAST, "--busy-timeout", "1s")
    stuck = spawn(broker.endpoint, b"work", "stuck")
    client = peers(Client(broker.endpoint))
    until(lambda: client.status(b"work") == b"200")
    client.send(b"work", b"precious")
    stuck.expect("got")
    spawn(broker.endpoint, b"work", "echo")
    assert client.reply(b"work") == [b"precious"]


def test_a_worker_dismissed_by_busy_timeout_is_told(start, peers):
    broker = start(*FAST, "--busy-timeout", "300ms")
    worker = peers(Worker(broker.endpoint, b"work"))
    client = peers(Client(broker.endpoint))
    client.send(b"work", b"x")
    worker.request()
    assert worker.recv() == ("DISCONNECT", [])
    assert client.status(b"work") == b"404"


def test_the_broker_beats_to_idle_and_busy_workers(start, peers):
    broker = start("--heartbeat", "50ms", "--liveness", "100")
    for version in (1, 2):
        worker = peers(Worker(broker.endpoint, b"work", version))
        client = peers(Client(broker.endpoint))
        for _ in range(3):
            assert worker.recv(beats=True) == ("HEARTBEAT", [])
            worker.say("HEARTBEAT")
        client.send(b"work", b"x")
        address, _ = worker.request()
        for _ in range(3):
            assert worker.recv(beats=True) == ("HEARTBEAT", [])
        worker.final(address, b"x")
        assert client.reply(b"work") == [b"x"]
        worker.close()


@pytest.mark.parametrize("version", [1, 2])
def test_an_idle_worker_that_beats_stays_and_a_silent_one_expires(start, peers, version):
    broker = start(*FAST)
    client = peers(Client(broker.endpoint))
    worker = peers(Worker(broker.endpoint, b"work", version))
    until(lambda: client.status(b"work") == b"200")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        worker.say("HEARTBEAT")
        name, _ = worker.recv(beats=True)
        assert name == "HEARTBEAT", "expired although it beats"
    assert client.status(b"work") == b"200"
    assert worker.recv() == ("DISCONNECT", [])
    assert client.status(b"work") == b"404"


def test_the_first_heartbeat_after_expiry_gets_one_disconnect_then_silence(start, peers):
    broker = start(*FAST)
    worker = peers(zmtp.Peer(broker.endpoint))
    worker.say(mdp.worker(1, "READY", b"work"))
    commands = []
    while not commands or commands[-1][0] == "HEARTBEAT":
        commands.append(mdp.from_broker(1, worker.message()))
    assert commands[-1] == ("DISCONNECT", [])
    worker.say(mdp.worker(1, "HEARTBEAT"))
    assert worker.fence() == [mdp.worker(1, "DISCONNECT")]
    for _ in range(5):
        worker.say(mdp.worker(1, "HEARTBEAT"))
    assert worker.fence() == []


def test_prefetch_gives_a_worker_several_requests_and_answers_come_in_any_order(start, peers):
    broker = start("--prefetch", "3")
    worker = peers(Worker(broker.endpoint, b"work"))
    client = peers(Client(broker.endpoint))
    for at in range(5):
        client.send(b"work", b"%d" % at)
    held = [worker.request() for _ in range(3)]
    assert [body for _, body in held] == [[b"0"], [b"1"], [b"2"]]
    for address, [body] in reversed(held):
        worker.final(address, body)
        assert client.reply(b"work") == [body]
    assert [worker.request()[1] for _ in range(2)] == [[b"3"], [b"4"]]
    other = peers(Worker(broker.endpoint, b"work"))
    worker.close()
    assert [other.request()[1] for _ in range(2)] == [[b"3"], [b"4"]], "in their old order"


def test_prefetch_1_gives_one_request_at_a_time(broker, peers):
    worker = peers(zmtp.Peer(broker.endpoint))
    client = peers(Client(broker.endpoint))
    worker.say(mdp.worker(1, "READY", b"work"))
    assert worker.fence() == []
    for at in range(3):
        client.send(b"work", b"%d" % at)
    client.status(b"work")
    for at in range(3):
        [[_, _, _, address, _, body]] = worker.fence()
        assert body == b"%d" % at
        worker.say(mdp.worker(1, "FINAL", address, b"", body))
        assert client.reply(b"work") == [body]


def test_idle_workers_are_used_in_turn(broker, peers):
    client = peers(Client(broker.endpoint))
    workers = []
    for at in range(3):
        workers.append(peers(zmtp.Peer(broker.endpoint)))
        workers[-1].say(mdp.worker(1, "READY", b"work"))
        workers[-1].fence()
    for turn in range(6):
        client.send(b"work", b"x")
        client.status(b"work")
        heard = [worker.fence() for worker in workers]
        assert [len(messages) for messages in heard] == [int(at == turn % 3) for at in range(3)]
        address = heard[turn % 3][0][3]
        workers[turn % 3].say(mdp.worker(1, "FINAL", address, b"", b"x"))
        client.reply(b"work")


def test_at_most_once_does_not_deliver_again(start, peers):
    broker = start("--set", "services.once.at_most_once=true")
    client = peers(Client(broker.endpoint))
    for service, again in ((b"once", False), (b"more", True)):
        worker = peers(Worker(broker.endpoint, service))
        client.send(service, b"first")
        worker.request()
        worker.close()
        until(lambda: client.status(service) == b"404")
        client.send(service, b"second")
        other = peers(Worker(broker.endpoint, service))
        assert other.request()[1] == [b"first" if again else b"second"]


@pytest.mark.parametrize("setting", [False, True])
def test_after_a_partial_nothing_is_delivered_again_unless_the_service_says_so(
    start, peers, setting
):
    broker = start("--set", f"service.resend_after_partial={str(setting).lower()}")
    client = peers(Client(broker.endpoint, 2))
    worker = peers(Worker(broker.endpoint, b"work", 2))
    client.send(b"work", b"first")
    address, _ = worker.request()
    worker.partial(address, b"part")
    assert client.recv() == ("PARTIAL", b"work", [b"part"])
    worker.close()
    until(lambda: client.status(b"work") == b"404")
    client.send(b"work", b"second")
    other = peers(Worker(broker.endpoint, b"work", 2))
    assert other.request()[1] == [b"first" if setting else b"second"]


def test_a_poison_request_is_given_up_and_its_neighbours_live(start, peers):
    broker = start("--prefetch", "10", "--set", "service.attempts=2")
    client = peers(Client(broker.endpoint))
    for body in (b"good 1", b"poison", b"good 2"):
        client.send(b"work", body)
    deliveries, good = 0, set()
    while len(good) < 2:
        worker = peers(Worker(broker.endpoint, b"work"))
        while len(good) < 2:
            address, [body] = worker.request()
            if body == b"poison":
                deliveries += 1
                break
            if deliveries >= 2:
                worker.final(address, body)
                good.add(client.reply(b"work")[0])
        worker.close()
        until(lambda: client.status(b"work") == b"404")
    assert deliveries == 4, "twice among others, then alone as often as `attempts` says"
    client.send(b"work", b"last")
    worker = peers(Worker(broker.endpoint, b"work"))
    bodies = [worker.request()[1]]
    while bodies[-1] != [b"last"]:
        bodies.append(worker.request()[1])
    assert [b"poison"] not in bodies
