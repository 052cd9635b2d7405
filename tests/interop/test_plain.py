"""PLAIN with libzmq: names and passwords, on this machine alone."""

import os
import signal
import socket
import time

import pytest
import zmq
from zmq.auth.thread import ThreadAuthenticator

import canary
import zmtp
from curve import FINAL, SERVED, Key, Try, user
from mdp import Client, Worker, until
from seats import sent_away

PLAIN, CURVE = "tcp://127.0.0.1:0", "tcp://127.0.0.2:0"
PASSWORD = canary.password("anna's")


def entry(name, file, role):
    return f'[[user]]\nname = "{name}"\npassword_file = "{file}"\nroles = ["{role}"]\n'


USERS = entry("anna", "anna.password", "client") + entry("bob", "bob.password", "worker")


@pytest.fixture(scope="module")
def door(guard_of_module, tmp_path_factory):
    """A broker with users; its other listener speaks CURVE."""
    return plain(guard_of_module, tmp_path_factory.mktemp("passwords"))


def plain(start, folder, mode=0o600, bind=PLAIN):
    for name, text in (("anna", PASSWORD), ("bob", canary.password("bob's"))):
        path = folder / f"{name}.password"
        path.write_text(text + "\n")
        os.chmod(path, mode)
    users = USERS.replace('password_file = "', f'password_file = "{folder}/')
    return start(f'--set=auth.plain=["{bind}"]', authorized=users, binds=[bind, CURVE])


def test_the_right_passwords_come_in_and_speak(door, peers):
    bob = user("bob", canary.password("bob's"))
    worker = peers(Worker(door.endpoint, b"echo", options=bob))
    for kind in (zmq.REQ, zmq.DEALER):
        client = peers(Client(door.endpoint, kind=kind, options=user("anna", PASSWORD)))
        client.send(b"echo", bytes(300))
        worker.echo()
        assert client.reply(b"echo") == [bytes(300)]


@pytest.mark.parametrize(
    "name, password",
    [
        ("anna", canary.password("bob's")),
        ("anna", PASSWORD + "x"),
        ("anna", PASSWORD[:-1]),
        ("anna", PASSWORD.upper()),
        ("anna", PASSWORD + "\n"),
        ("Anna", PASSWORD),
        ("nobody", PASSWORD),
    ],
)
def test_wrong_ones_are_told_so_once_and_for_all(door, name, password):
    assert Try(door.endpoint, user(name, password)).outcome == FINAL


@pytest.mark.parametrize("hello", [b"\4anna\0", b"\0\0", b"\4anna\3x", b"\4anna", b""])
def test_a_hello_without_a_password_is_refused(door, hello):
    with zmtp.Peer(door.endpoint, greet=False) as peer:
        peer.send(zmtp.greeting(mechanism=b"PLAIN") + zmtp.command(b"HELLO", hello))
        peer.exactly(64)
        peer.until_closed(wait=10)
        assert peer.buffer == b""


def test_other_mechanisms_do_not_come_in(door):
    assert Try(door.endpoint).outcome == FINAL
    assert Try(door.endpoint, Key("anna").to(door)).outcome == FINAL
    # Nor do users by the door of keys.
    assert Try(door.endpoints[1], user("anna", PASSWORD)).outcome == FINAL


def test_what_is_said_without_a_password_is_closed_unheard(door):
    with zmtp.Peer(door.endpoint, greet=False) as peer:
        peer.send(zmtp.greeting(mechanism=b"PLAIN") + zmtp.ready())
        peer.exactly(64)
        peer.until_closed(wait=10)
        assert peer.buffer == b""


def test_an_initiate_without_a_hello_is_closed_unheard(door):
    says = zmtp.properties((b"Socket-Type", b"DEALER"), (b"Identity", b""))
    with zmtp.Peer(door.endpoint, greet=False) as peer:
        peer.send(zmtp.greeting(mechanism=b"PLAIN") + zmtp.command(b"INITIATE", says))
        peer.exactly(64)
        peer.until_closed(wait=10)
        assert peer.buffer == b""


def memory(process):
    """All that a process has in memory and may have written itself."""
    parts = []
    with open(f"/proc/{process.pid}/maps") as maps, open(f"/proc/{process.pid}/mem", "rb") as mem:
        for line in maps:
            span, rights, _, _, inode, *_ = line.split()
            begin, end = (int(at, 16) for at in span.split("-"))
            if rights.startswith("rw") and inode == "0":
                mem.seek(begin)
                parts.append(mem.read(end - begin))
    return parts


def test_what_was_read_of_a_password_is_wiped_when_its_peer_goes(door):
    """Of half a HELLO that came in pieces no place where it stood still has it."""
    parts = [canary.password(f"-part-{number:02}.") for number in range(8)]
    says = ("\4anna\xff" + "".join(parts)).encode("latin-1")
    octets = zmtp.command(b"HELLO", says, size=400)
    with zmtp.Peer(door.endpoint, greet=False) as peer:
        peer.send(zmtp.greeting(mechanism=b"PLAIN"))
        peer.exactly(64)
        for at in range(0, len(octets), 24):
            peer.send(octets[at : at + 24])
            time.sleep(0.01)
        parts = [part.encode() for part in parts]
        held = b"".join(memory(door.process))
        assert all(part in held for part in parts), "the look finds what is there"
        peer.socket.shutdown(socket.SHUT_WR)
        peer.until_closed(wait=10)
    held = b"".join(memory(door.process))
    assert [part for part in parts if part in held] == []


def test_what_a_user_may_do_is_his_own(door, peers):
    """A client may not serve."""
    sent_away(peers(Worker(door.endpoint, b"mine", options=user("anna", PASSWORD))))


def test_who_came_in_by_a_password_that_has_changed_is_closed(guard, tmp_path, peers):
    broker = plain(guard, tmp_path)
    anna, bob = (
        peers(Client(broker.endpoint, options=user("anna", PASSWORD))),
        peers(Worker(broker.endpoint, b"echo", options=user("bob", canary.password("bob's")))),
    )
    until(lambda: anna.status(b"echo") == b"200")
    closed = anna.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    another = canary.password("anna's, another one")
    (tmp_path / "anna.password").write_text(another + "\n")
    broker.process.send_signal(signal.SIGHUP)
    assert closed.poll(10_000)
    anna.socket.disable_monitor()
    again = peers(Client(broker.endpoint, options=user("anna", another)))
    again.send(b"echo", b"x")
    bob.echo()
    assert again.reply(b"echo") == [b"x"]


def test_beyond_this_machine_it_is_refused_at_the_start(door):
    everywhere = "tcp://*:0"
    said = door.refuses(*door.flags, f'--set=auth.plain=["{everywhere}"]', "--bind", everywhere)
    assert "insecure" in said


@pytest.fixture
def refuses(door):
    """What a broker says that does not start with these users."""

    def refused(name, users):
        file = door.directory / name
        file.write_text(users)
        plain = (f'--set=auth.plain=["{PLAIN}"]', "--bind", PLAIN)
        return door.refuses("--curve-secret", door.secret, "--authorized-keys", file, *plain)

    return refused


def test_a_password_that_others_can_read_is_refused_at_the_start(door, refuses):
    path = door.directory / "open.password"
    path.write_text(PASSWORD)
    path.chmod(0o644)
    assert f"chmod 600 {path}" in refuses("open.toml", entry("anna", path.name, "client"))


def test_a_password_in_the_file_itself_is_refused(refuses):
    users = f'[[user]]\nname = "anna"\npassword = "{PASSWORD}"\nroles = []\n'
    assert "told.toml:3" in refuses("told.toml", users)


def test_a_broker_without_a_key_may_have_users(start, tmp_path):
    (tmp_path / "anna.password").write_text(PASSWORD)
    (tmp_path / "anna.password").chmod(0o600)
    file = tmp_path / "users.toml"
    file.write_text(entry("anna", "anna.password", "client"))
    broker = start("--authorized-keys", str(file), f'--set=auth.plain=["{PLAIN}"]')
    assert Try(broker.endpoint, user("anna", PASSWORD)).outcome == SERVED
    assert Try(broker.endpoint, user("anna", "x")).outcome == FINAL


def test_a_server_of_libzmq_spells_error_in_its_own_way():
    """SPEC 1.5: what our own dialers take for ERROR."""
    context = zmq.Context()
    judge = ThreadAuthenticator(context)
    judge.start()
    try:
        judge.configure_plain(domain="*", passwords={"anna": "right"})
        server = context.socket(zmq.ROUTER)
        server.plain_server, server.zap_domain = True, b"x"
        port = server.bind_to_random_port("tcp://127.0.0.1")
        with zmtp.Peer(f"tcp://127.0.0.1:{port}", greet=False) as peer:
            peer.send(zmtp.greeting(mechanism=b"PLAIN"))
            peer.exactly(64)
            peer.send(zmtp.command(b"HELLO", b"\4anna\5wrong"))
            _, body = peer.frame()
        assert body in (b"^RROR\x03400", b"\5ERROR\x03400")
        server.close(linger=0)
    finally:
        judge.stop()
        context.term()
