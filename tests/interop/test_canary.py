"""No secret is told: all that is said about keys and passwords, with the log as open as it can be.

At the end of the whole run everything that any program of it has written is looked through once
more (`no_secret_is_told` in conftest.py).
"""

import base64
import json

import pytest
import zmq.auth
from zmq.utils import z85

import canary
import zmtp
from curve import FINAL, SERVED, Command, Key, Try, user
from mdp import Client, Worker, until

PLAIN = "tcp://127.0.0.2:0"
PASSWORD = canary.password("-of-anna")
ANNA, BOSS, EVE = Key("canary-anna"), Key("canary-boss"), Key("canary-eve")
OCTETS = z85.decode(ANNA.secret)


@pytest.mark.parametrize(
    "text",
    [
        ANNA.secret,
        PASSWORD.encode(),
        OCTETS,
        OCTETS.hex().encode(),
        OCTETS.hex().upper().encode(),
        base64.b64encode(OCTETS),
        base64.urlsafe_b64encode(OCTETS),
        str(list(OCTETS)).encode(),
        b",".join(b"%d" % octet for octet in OCTETS),
        json.dumps(list(OCTETS), indent=1).encode(),
        b", ".join(b"0x%02x" % octet for octet in OCTETS),
        b'secret-key = "%s"' % ANNA.secret,
    ],
)
def test_the_look_finds_a_secret_in_any_form(text):
    """Or the fixture would prove nothing."""
    [leak] = canary.leaks([("here", b"line 1\n... " + text + b" ...")])
    assert leak.startswith("here:")


def test_the_look_does_not_find_what_is_none():
    others = [EVE.public, OCTETS[8:].hex().encode(), b"hush", b"canary-anna", ANNA.public]
    assert canary.leaks([("here", b"\n".join(others))]) == []


def test_a_clamped_key_begins_as_it_did():
    """Nobody sees a difference between a secret key and what X25519 makes of it."""
    assert OCTETS[0] & 7 == 0 and OCTETS[31] & 0xC0 == 0x40


def test_all_that_is_said_about_keys_and_passwords(guard, peers, tmp_path):
    (tmp_path / "anna.password").touch(mode=0o600)
    (tmp_path / "anna.password").write_text(PASSWORD)
    users = '[[user]]\nname = "anna"\npassword_file = "anna.password"\nroles = ["client"]\n'
    users = users.replace("anna.password", f"{tmp_path}/anna.password")
    broker = guard(
        "-vv",
        f'--set=auth.plain=["{PLAIN}"]',
        authorized=users + ANNA.entry("client", "worker") + BOSS.entry("admin"),
        binds=["tcp://127.0.0.1:0", PLAIN],
    )
    curve, plain = broker.endpoints
    # What is right, and what is wrong in every way.
    worker = peers(Worker(curve, b"echo", options=ANNA.to(broker)))
    for endpoint, options in ((curve, ANNA.to(broker)), (plain, user("anna", PASSWORD))):
        client = peers(Client(endpoint, options=options))
        client.send(b"echo", b"hi")
        worker.echo()
        assert client.reply(b"echo") == [b"hi"]
    assert Try(plain, user("anna", PASSWORD + "x")).outcome == FINAL
    assert Try(curve, user("anna", PASSWORD)).outcome == FINAL
    assert Try(curve, EVE.to(broker)).outcome != SERVED
    assert Try(curve, ANNA.to(EVE)).outcome != SERVED
    for broken in (PASSWORD.encode(), b"\4anna" + PASSWORD.encode(), ANNA.secret):
        with zmtp.Peer(plain, greet=False) as peer:
            peer.send(zmtp.greeting(mechanism=b"PLAIN") + zmtp.command(b"HELLO", broken))
            peer.exactly(64)
            peer.until_closed()
    # All commands that have to do with keys.
    command, alone = broker.command, broker.alone
    until(lambda: command("key", "pending", "--json").json["pending"])
    [row] = command("key", "pending", "--json").json["pending"]
    for flags in ([], ["--json"]):
        for words in (
            ("key", "pending"),
            ("acl", "test", "--key=canary-anna", "call", "echo"),
            ("admin", "reload"),
            ("status",),
            ("client", "ls"),
            ("worker", "ls"),
        ):
            assert command(*words, *flags).code == 0, words
        assert alone("key", "show", broker.secret, *flags).code == 0
        assert alone("key", "broker", broker.secret, "--endpoint", curve, *flags).code == 0
        shown = alone("config", "show", "--effective", *broker.flags, *broker.binds, *flags)
        assert shown.code == 0 and str(broker.secret) in shown.out, shown
    assert command("key", "approve", row["fingerprint"], "--role=client", "--name=eve").code == 0
    assert command("key", "revoke", "eve").code == 0
    assert command("key", "deny", str(EVE)).code == 0
    assert alone("key", "new", "fresh").code == 0
    canary.plant(zmq.auth.load_certificate(str(tmp_path / "fresh.secret"))[1])
    # A secret in the wrong place is not said again.
    misplaced = tmp_path / "misplaced.toml"
    for text in (
        f'[[key]]\nname = "x"\nkey = "{ANNA.secret.decode()[:-1]}"\n',
        f'[[key]]\nname = "x"\nsecret = "{PASSWORD}"\n',
        f'[[user]]\nname = "x"\npassword = "{PASSWORD}"\n',
        f'[[user]]\nname = "x"\npassword_file = "y"\npasswrd = "{PASSWORD}',
    ):
        misplaced.write_text(text)
        broker.refuses("--curve-secret", broker.secret, "--authorized-keys", misplaced)
    broken = tmp_path / "broken.secret"
    broken.touch(mode=0o600)
    for text in (
        f'curve\n    secret-key = "{ANNA.secret.decode()}x"\n',
        f'curve\n    secret-key = {ANNA.secret.decode()}"\n',
        f'curve\n    public-key = "{EVE}"\n    secret-key = "{ANNA.secret.decode()}"\n',
    ):
        broken.write_text(text)
        alone("key", "show", broken)
        alone("broker", "--bind=tcp://127.0.0.1:0", "--curve-secret", broken, "--authorized-keys=any", wait=5)
    # Our own peers, with their logs open.
    own = Command(tmp_path, "-vv", "--endpoint", curve, f"--server-key={broker.public.decode()}")
    own.flags += ["--curve-key", ANNA.write(tmp_path)]
    running = peers(own.start("work", "cat", "--", "cat"))
    assert own("call", "cat", "hello").out.strip() == "hello"
    assert own("ping").code == 0
    own.flags[3] = f"--server-key={EVE}"
    assert own("call", "cat", "hello", "--timeout=2s").code != 0
    assert running.process.poll() is None
    broker.metrics()
    broker.stop()
    assert '"DEBUG"' in broker.log(), "the log is as open as it can be"
    assert canary.leaks() == []


def test_no_secret_stands_in_the_arguments_or_the_environment_of_a_process(guard, peers, tmp_path):
    broker = guard()
    own = Command(tmp_path, "--endpoint", broker.endpoint, f"--server-key={broker.public.decode()}")
    own.flags += ["--curve-key", ANNA.write(tmp_path)]
    worker = peers(own.start("work", "cat", "--", "cat"))
    assert own("call", "cat", "hello").out.strip() == "hello"
    for process in (broker.process, worker.process):
        for name in ("cmdline", "environ"):
            with open(f"/proc/{process.pid}/{name}", "rb") as file:
                canary.said(name, file.read())
    assert canary.leaks() == []
