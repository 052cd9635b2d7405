"""The life of an NFP worker: registered, watched, gone, back."""

import signal
import time

import pytest
import zmq

import nfp
from nfp import BROKER, DISCONNECT, EVENT, KEEPALIVE, POST, READY, RESPONSE, STREAM, joined, until
from nfp_peers import better, seconds

SOON = 1.0


@better("it dies of it")
@pytest.mark.parametrize("malformed", [(), (b"",), (b"\xff\xfe",), (b"s" * 300,)], ids=len)
def test_a_malformed_ready_leaves_the_broker_alive(net, malformed):
    one = net()
    client, worker = one.raw_pair()
    stranger = one.keep(nfp.Socket(one.endpoint, b"w2"))
    stranger.send(b"", nfp.WORKER, READY, *malformed)
    other = one.raw_worker(b"w3")
    joined(client, worker, other)
    assert client.workers() == ["w1", "w3"]


@pytest.mark.parametrize("service", [b"mmi.service.broker", b"sid.service.broker", b"all"])
@better("it takes every name")
def test_a_worker_cannot_take_a_name_of_the_broker(net, service):
    one = net()
    client = one.raw_client()
    one.raw_worker(b"w1", service)
    other = one.raw_worker(b"w2", b"work")
    joined(client, other)
    assert "w1" not in [row["name"] for row in client.manage("show_workers")]
    assert client.manage("nothing") == "Unsupported task 'nothing'"


def test_a_workers_disconnect_ends_it_without_an_answer(pair):
    client, worker = pair
    worker.say(DISCONNECT, b"work")
    until(lambda: client.workers() == [])
    uuid = client.say(POST)
    client.expect(RESPONSE, uuid, b"400")
    worker.say(READY, b"work")
    joined(client, worker)
    client.post()
    assert worker.receive()[2] == POST, "and the DISCONNECT had no answer"


@better("it finds out when the hold time is over")
def test_a_worker_is_gone_when_its_connection_closes(pair):
    client, worker = pair
    worker.close()
    assert seconds(lambda: until(lambda: client.workers() == [])) < SOON


def test_a_silent_worker_expires_and_one_that_beats_stays(net):
    one = net(keepalive=100)
    client = one.raw_client()
    silent, beating = one.raw_worker(b"silent"), one.raw_worker(b"beating")
    joined(client, silent, beating)
    end = time.monotonic() + 2
    gone = None
    while time.monotonic() < end:
        beating.beat()
        time.sleep(0.05)  # The interval of the keepalives.
        if gone is None and client.workers() == ["beating"]:
            gone = time.monotonic()
    assert gone, "six intervals have passed three times"
    assert client.workers() == ["beating"]


def test_the_hold_time_is_six_intervals(net):
    one = net(keepalive=200)
    client, worker = one.raw_pair()
    took = seconds(lambda: until(lambda: client.workers() == []))
    assert 0.8 < took < 2.0, took


def test_keepalives_are_counted_and_shown(net):
    one = net(keepalive=100)
    client, worker = one.raw_pair()
    for _ in range(3):
        worker.command(beats=True)
        worker.beat()
    [row] = client.rows()
    assert set(map(type, row.values())) == {str}
    sent, received = map(int, row["keepalives tx/rx"].split(" / "))
    assert sent >= 3 and received >= 2
    assert 0 < float(row["holdtime"]) <= 0.6
    assert int(row["alive (s)"]) >= 0


@pytest.mark.parametrize("command", [RESPONSE, EVENT, STREAM])
def test_an_unknown_worker_reaches_nobody(net, command):
    one = net()
    client, worker = one.raw_pair()
    stranger = one.keep(nfp.Socket(one.endpoint, b"w2"))
    uuid, _ = client.post()
    stranger.send(b"", nfp.WORKER, command, b"raw-client", b"", uuid, b"200", b"{}")
    stranger.send(b"", nfp.WORKER, READY, b"work")
    until(lambda: client.workers() == ["w1", "w2"])
    assert client.fence() == []


@better("it says nothing, or swaps the frames")
def test_the_keepalive_of_an_unknown_worker_is_answered_by_disconnect(net):
    one = net()
    stranger = one.keep(nfp.Socket(one.endpoint, b"w2"))
    stranger.send(b"", nfp.WORKER, KEEPALIVE, b"work")
    frames = stranger.receive()
    assert frames[:3] == [b"", BROKER, DISCONNECT] and len(frames) in (3, 4), frames


@better("its frames are swapped")
def test_a_broker_that_stops_says_disconnect(net):
    one = net()
    _, worker = one.raw_pair()
    one.broker.stop()
    command, _ = worker.command()
    assert command == DISCONNECT


@better("it closes the listener last, so that a READY is lost in the broker that dies")
def test_a_ready_said_at_the_disconnect_finds_the_next_broker(net):
    one = net()
    client, worker = one.raw_pair()
    one.broker.stop()
    assert worker.command()[0] == DISCONNECT
    worker.say(READY, b"work")
    one.restart()
    assert seconds(lambda: joined(client, worker)) < SOON


@better("whoever comes last has the name")
def test_a_living_workers_name_cannot_be_taken(net):
    one = net()
    client, worker = one.raw_pair()
    thief = one.raw_worker(b"w1")
    # The worker is asked for a sign of life, which its libzmq gives.
    assert not thief.socket.poll(2000)
    client.post(target=b"w1")
    assert worker.job().command == POST
    assert client.workers() == ["w1"]


def test_a_worker_that_went_and_came_back_at_once_stays_registered(net):
    one = net()
    client, worker = one.raw_pair()
    worker.close()
    again = one.raw_worker(b"w1")

    def served():
        client.say(POST, target=b"w1")
        client.fence()
        return again.socket.poll(100)

    until(served)
    time.sleep(0.3)  # The end of the old connection must not end the new one.
    assert client.workers() == ["w1"]


def test_a_killed_broker_forgets_and_takes_a_ready(net):
    one = net()
    client, worker = one.raw_pair()
    one.broker.kill()
    one.restart()
    assert client.workers() == []
    worker.say(READY, b"work")
    joined(client, worker)
    client.post()
    assert worker.job().command == POST


def test_another_command_of_a_registered_worker_changes_nothing(pair):
    client, worker = pair
    for command in (b"0x11", b"0x99", b"0x04", b""):
        worker.say(command, b"raw-client", b"", nfp.fresh(), b"200", b"{}")
    client.post()
    assert worker.job().command == POST
    assert client.workers() == ["w1"]


@better("it remembers each")
def test_services_that_do_not_exist_are_not_remembered(pair):
    client, _ = pair
    before = client.manage("get_stats")["service_count"]
    for at in range(50):
        client.expect(RESPONSE, client.say(POST, b"none-%d" % at), b"400")
    assert client.manage("get_stats")["service_count"] == before


def test_a_frozen_client_does_not_stop_the_others(net):
    one = net()
    client, worker = one.raw_pair()
    frozen = one.client("frozen")
    frozen.call("mmi", service="mmi.service.broker", task="show_workers")
    frozen.send(signal.SIGSTOP)
    uuid = nfp.fresh()
    for _ in range(2000):
        worker.say(EVENT, b"frozen", b"", uuid, b"200", b"{" + b" " * 1000 + b"}")
    client.post()
    assert worker.job().command == POST


@better("it cannot write the 202 for it")
def test_a_worker_without_a_name_can_serve(net):
    one = net()
    client = one.raw_client()
    nameless = one.keep(nfp.Worker(one.endpoint, b"", b"work", options={zmq.LINGER: 0}))
    until(lambda: client.rows() != [])
    uuid, [name] = client.post()
    job = nameless.job()
    assert job.uuid == uuid and name
