"""NFP frame by frame: what clients and workers get for what they send, octet for octet."""

import json

import pytest

import nfp
from nfp import BODY, BROKER, CLIENT, DELETE, DISCONNECT, EVENT, GET, MMI, OPEN, POST, PUT
from nfp import READY, RESPONSE, STREAM, fresh, joined, until
from nfp_peers import better

HEX = b"00112233445566778899aabbccddeeff"


def test_post_is_answered_by_202_and_reaches_the_worker(pair):
    client, worker = pair
    client.send(b"", b"NFPC01", b"0x04", b"work", b"all", HEX, b'{"task":"x"}')
    frames = client.receive()
    assert frames[:-1] == [b"", b"NFPB01", b"0x05", b"work", HEX, b"202"]
    assert json.loads(frames[-1]) == {
        "workers": ["w1"],
        "uuid": HEX.decode(),
        "target": "all",
        "status": "DISPATCHED",
        "service": "work",
    }
    assert worker.receive() == [b"", b"NFPB01", b"0x04", b"raw-client", b"", HEX, b'{"task":"x"}']


def test_get_is_answered_by_202_each_time_and_reaches_the_worker(pair):
    client, worker = pair
    uuid, _ = client.post()
    worker.job()
    for _ in range(3):
        client.say(GET, target=b"w1", uuid=uuid)
        answer = client.expect(RESPONSE, uuid, b"202")
        assert answer.json["target"] == "w1"
        assert worker.job() == (GET, b"raw-client", uuid, BODY)


def test_put_reaches_the_worker_and_has_no_202(pair):
    client, worker = pair
    uuid, _ = client.post()
    worker.job()
    client.say(PUT, target=b'["w1"]', uuid=uuid, body=b'{"offset":1}')
    assert worker.job() == (PUT, b"raw-client", uuid, b'{"offset":1}')
    assert client.fence() == []


@pytest.mark.parametrize("command,status", [(RESPONSE, b"201"), (EVENT, b"200"), (STREAM, b"200")])
def test_what_a_worker_says_of_a_job_reaches_its_client(pair, command, status):
    client, worker = pair
    uuid, _ = client.post()
    job = worker.job()
    body = b"\0\1\xff" * 3 if command == STREAM else b'{"some":"thing"}'
    worker.send(b"", b"NFPW01", command, b"raw-client", b"", uuid, status, body)
    assert client.receive() == [b"", b"NFPB01", command, b"work", uuid, status, body]
    assert job.client == b"raw-client"


@pytest.mark.parametrize("more", [(), (b"201",), (b"200", b"a", b"", b"c")], ids=len)
def test_all_frames_after_the_delimiter_are_forwarded_as_they_are(pair, more):
    client, worker = pair
    uuid, _ = client.post()
    job = worker.job()
    worker.say(RESPONSE, job.client, b"", uuid, *more)
    assert client.receive() == [b"", BROKER, RESPONSE, b"work", uuid, *more]


def test_a_delimiter_that_is_not_empty_is_passed_over(pair):
    client, worker = pair
    uuid, _ = client.post()
    job = worker.job()
    worker.say(RESPONSE, job.client, b"not empty", uuid, b"201", b"{}")
    assert client.receive() == [b"", BROKER, RESPONSE, b"work", uuid, b"201", b"{}"]


def test_a_keepalive_of_the_broker_names_the_service(net):
    client, worker = net(keepalive=100).raw_pair()
    for _ in range(3):
        assert worker.receive() == [b"", b"NFPB01", b"0x02", b"work"]
        worker.beat()


def test_ready_gets_no_answer_and_a_second_one_registers_nothing(pair):
    client, worker = pair
    worker.say(READY, b"work")
    worker.say(READY, b"other")
    client.post()
    assert worker.receive()[2] == POST, "nothing else was said"
    assert [(row["name"], row["service"]) for row in client.rows()] == [("w1", "work")]


def test_an_unsupported_command_gets_five_frames(pair):
    client, _ = pair
    client.send(b"", CLIENT, b"0x99", b"work", b"all", fresh(), BODY)
    frames = client.receive()
    assert frames[:4] == [b"", b"NFPB01", b"0x05", b"work"] and len(frames) == 5, frames
    assert "0x99" in frames[4].decode()


@pytest.mark.parametrize("command", [b"0x01", b"0x02", b"0x05", b"0x08", b"0x09"])
def test_the_commands_of_a_worker_are_not_taken_from_a_client(pair, command):
    client, _ = pair
    client.send(b"", CLIENT, command, b"work", b"all", fresh(), BODY)
    assert len(client.receive()) == 5


@better("its plain text tells the client nothing: the job hangs until its deadline")
@pytest.mark.parametrize("command", [b"\4", b"4", b"", b"0x004"])
def test_what_is_no_command_at_all_is_refused_so_that_the_client_hears_it(pair, command):
    client, _ = pair
    client.send(b"", CLIENT, command, b"work", b"all", HEX, BODY)
    client.expect(RESPONSE, HEX, b"400")


def test_a_command_is_four_characters_and_not_an_octet(net):
    one = net()
    client = one.raw_client()
    worker = one.raw_worker()
    joined(client, worker)
    octet = one.keep(nfp.Socket(one.endpoint, b"w2"))
    octet.send(b"", nfp.WORKER, b"\1", b"work")
    client.fence()
    assert client.workers() == ["w1"]


@better("the refusal is a JSON object with a message for people, not Python's byte literals")
def test_a_refusal_can_be_read_by_people(pair):
    client, _ = pair
    uuid = client.say(POST, b"svcZ", b"x1")
    refused = client.expect(RESPONSE, uuid, b"400").json
    assert "b'" not in "".join(refused["errors"])


@pytest.mark.parametrize("command", [POST, GET, PUT])
def test_nobody_to_do_it_is_400_at_once(pair, command):
    client, _ = pair
    client.send(b"", b"NFPC01", command, b"svcZ", b"x1", HEX, BODY)
    frames = client.receive()
    assert frames[:-1] == [b"", b"NFPB01", b"0x05", b"svcZ", HEX, b"400"]
    body = json.loads(frames[-1])
    errors = body.pop("errors")
    assert len(errors) == 1 and "svcZ" in errors[0]
    # NorFab's client shows `error`, which its own broker does not send.
    assert body.pop("error", errors[0]) == errors[0]
    assert body == {
        "workers": None,
        "uuid": HEX.decode(),
        "target": "x1",
        "status": "FAILED",
        "service": "svcZ",
    }


def test_management_is_answered_twice_in_this_form(pair):
    client, _ = pair
    body = b'{"task":"nothing","kwargs":{},"args":[]}'
    client.send(b"", b"NFPC01", b"0x11", b"mmi.service.broker", b"all", HEX, body)
    text = b'"Unsupported task \'nothing\'"'
    for command in (b"0x05", b"0x11"):
        expected = [b"", b"NFPB01", command, b"mmi.service.broker", HEX, b"200", text]
        assert client.receive() == expected


@pytest.mark.parametrize(
    "service",
    [b"work", pytest.param(b"svcZ", marks=better("it says 400 to an OPEN that finds no worker"))],
)
def test_open_is_accepted_in_silence(pair, service):
    client, worker = pair
    client.say(OPEN, service)
    assert client.fence() == []
    client.post()
    assert worker.job().command == POST


@better("it drops DELETE")
def test_delete_cancels_the_callers_own_job_and_gets_one_answer(pair):
    client, worker = pair
    uuid, _ = client.post()
    worker.accept(worker.job())
    client.expect(RESPONSE, uuid, b"201")
    client.say(DELETE, uuid=uuid)
    answer = client.answer()
    assert (answer.command, answer.service, answer.uuid) == (RESPONSE, b"work", uuid)
    assert client.fence() == []


@better("it drops DELETE")
def test_delete_of_an_unknown_job_is_refused_with_one_answer(pair):
    client, _ = pair
    uuid = client.say(DELETE)
    answer = client.answer()
    assert (answer.command, answer.uuid) == (RESPONSE, uuid)
    assert answer.status not in (b"200", b"202"), answer
    assert client.fence() == []


@better("it has no record of clients")
def test_a_clients_disconnect_ends_its_record(net):
    one = net()
    watch, client = one.raw_client(b"watch"), one.raw_client(b"leaving")
    client.fence()
    listed = lambda: "leaving" in [row["name"] for row in watch.manage("show_clients")]  # noqa: E731
    assert listed()
    client.say(DISCONNECT)
    until(lambda: not listed())


@pytest.mark.parametrize(
    "frames",
    [
        (),
        (b"",),
        (b"", b"NFPX01", b"0x04"),
        (b"", CLIENT),
        (b"", CLIENT, POST),
        (b"", CLIENT, POST, b"work", b"all", b"u"),
        (b"", CLIENT, MMI, b"mmi.service.broker", b"all", b"u"),
        (b"", CLIENT, POST, b"work", b"\xff\xfe", b"u", BODY),
        (b"", CLIENT, POST, b"work", b"all", b"\xff\xfe", BODY),
        (b"", CLIENT, POST, b"\xff\xfe", b"all", b"u", BODY),
        (b"", nfp.WORKER),
        (b"", nfp.WORKER, RESPONSE),
        (b"", nfp.WORKER, RESPONSE, b"raw-client"),
        (b"", nfp.WORKER, EVENT, b"\xff", b"", b"u", b"200", b"{}"),
    ],
    ids=lambda frames: b"|".join(frames).decode("latin-1"),
)
def test_malformed_messages_do_no_harm(net, frames):
    one = net()
    client, worker = one.raw_pair()
    stranger = one.keep(nfp.Socket(one.endpoint, b"stranger"))
    if frames:
        stranger.send(*frames)
    worker.beat()
    uuid, names = client.post()
    assert names == ["w1"] and worker.job().uuid == uuid
