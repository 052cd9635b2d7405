"""CURVE and PLAIN with libzmq: keys, brokers that ask for them, and how a handshake ends."""

import contextlib
import json
import os
import subprocess
import time
import urllib.request

import zmq
from zmq.utils.monitor import recv_monitor_message

import canary
from broker import BINARY, Broker

WAIT = 30.0


class Key:
    """A pair of keys, made of a name; both in Z85."""

    def __init__(self, name, secret=None):
        self.name = name
        self.secret = canary.plant(secret) if secret else canary.secret(name)
        self.public = canary.public(self.secret)

    def __str__(self):
        return self.public.decode()

    def to(self, server):
        """The options of a client of that server."""
        return {
            zmq.CURVE_SERVERKEY: server.public,
            zmq.CURVE_PUBLICKEY: self.public,
            zmq.CURVE_SECRETKEY: self.secret,
        }

    def server(self):
        """The options of a server."""
        return {zmq.CURVE_SERVER: 1, zmq.CURVE_SECRETKEY: self.secret}

    def write(self, directory):
        """Writes the certificate, as pyzmq does; the secret file is only ours to read."""
        path = directory / f"{self.name}.secret"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(
                f'metadata\ncurve\n    public-key = "{self}"\n'
                f'    secret-key = "{self.secret.decode()}"\n'
            )
        return path

    def entry(self, *roles, allow=(), deny=()):
        """What a file of authorized keys says of it."""
        return (
            f'[[key]]\nname = "{self.name}"\nkey = "{self}"\n'
            f"roles = {json.dumps(roles)}\nallow = {json.dumps(allow)}\ndeny = {json.dumps(deny)}\n"
        )

    def denied(self):
        return f'[[denied]]\nname = "{self.name}"\nkey = "{self}"\n'


def user(name, password):
    """The options of a user of PLAIN."""
    return {zmq.PLAIN_USERNAME: name.encode(), zmq.PLAIN_PASSWORD: password.encode()}


class Guarded(Broker):
    """A broker that asks for keys over TCP, and serves those who administer it over a socket.

    `authorized` is `any`, or the text of the file that says who may do what.
    """

    def __init__(self, directory, *flags, authorized="any", binds=("tcp://127.0.0.1:0",), key=None):
        self.directory = directory
        self.key = key or Key("broker")
        self.secret = self.key.write(directory)
        number = len(list(directory.iterdir()))
        self.file = directory / f"authorized-{number}.toml"
        if authorized != "any":
            self.authorize(authorized)
        self.flags = ["--curve-secret", self.secret, "--http", "127.0.0.1:0", *flags]
        self.flags += ["--authorized-keys", "any" if authorized == "any" else self.file]
        admin = f"ipc://{directory}/admin-{number}.sock"
        self.binds = [f"--bind={bind}" for bind in (*binds, admin)]
        super().__init__(directory, *self.flags, binds=[*binds, admin])
        self.admin = self.endpoints.pop()
        self.http = self.process.stdout.readline().strip()
        self.command = Command(directory, "--endpoint", self.admin)
        self.alone = Command(directory)

    def refuses(self, *words):
        """What a broker says that does not start with these words, by its exit code of 78."""
        said = self.alone("broker", *words)
        assert said.code == 78, said
        return said.err

    @property
    def public(self):
        return self.key.public

    def authorize(self, *texts):
        """Writes the file of authorized keys; the broker reads it when it is told to."""
        self.file.touch(mode=0o600)
        self.file.write_text("\n".join(texts))

    def metrics(self):
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=WAIT) as page:
            text = page.read().decode()
        canary.said("metrics", text)
        return text

    def check(self):
        super().check()
        if not self.stopped:
            self.metrics()


class Said:
    """What a command has said."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"exit code {self.code}, said {self.out!r}, errors {self.err!r}"

    @property
    def json(self):
        assert self.code == 0, self
        return json.loads(self.out.splitlines()[-1])


class Command:
    """The command `majordomo` in a folder, with these flags at its end."""

    def __init__(self, home, *flags):
        self.home, self.flags = home, list(flags)
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"]}

    def line(self, *words):
        # What stands behind `--` is another command.
        at = words.index("--") if "--" in words else len(words)
        return [str(word) for word in (BINARY, *words[:at], *self.flags, *words[at:])]

    def __call__(self, *words, stdin=None, wait=WAIT):
        done = subprocess.run(
            self.line(*words),
            capture_output=True,
            text=True,
            cwd=self.home,
            env=self.environment,
            timeout=wait,
            input=stdin,
        )
        canary.said(f"majordomo {words}", done.stdout + done.stderr)
        return Said(done)

    def start(self, *words):
        """Starts one that goes on."""
        return Running(self, words)


class Running:
    """A command that goes on; what it says is in a file."""

    def __init__(self, command, words):
        self.path = command.home / f"command-{time.monotonic_ns()}.log"
        canary.watch(self.path)
        with self.path.open("wb") as log:
            self.process = subprocess.Popen(
                command.line(*words),
                cwd=command.home,
                env=command.environment,
                stdout=log,
                stderr=log,
            )

    def close(self):
        self.process.kill()
        self.process.wait()


SERVED, AGAIN, FINAL = "served", "tries again", "gave up"


@contextlib.contextmanager
def monitored(socket, events=zmq.EVENT_ALL):
    """What libzmq tells about a socket. With a monitor that nobody reads all its sockets stand still."""
    monitor = socket.get_monitor_socket(events)
    try:
        yield monitor
    finally:
        socket.disable_monitor()
        monitor.close()


class Try:
    """A libzmq peer that does nothing but connect: how its handshakes end.

    `SERVED`; `AGAIN`, closed, so that it has come back `times` times; `FINAL`, it comes no more,
    because of an ERROR or of a mechanism that is not its own. `failure` says why, as libzmq has it.
    """

    def __init__(self, endpoint, options=None, times=3, kind=zmq.DEALER):
        self.failure = None
        with zmq.Context() as context, context.socket(kind) as socket:
            socket.linger = 0
            for option, value in {zmq.RECONNECT_IVL: 20, **(options or {})}.items():
                socket.set(option, value)
            with monitored(socket) as self.monitor:
                socket.connect(endpoint)
                self.outcome = self.watch(times)

    def watch(self, times):
        closed = 0
        while True:
            # Who tries again has done so long before.
            if not self.monitor.poll(1000 if closed else WAIT * 1000):
                return FINAL
            said = recv_monitor_message(self.monitor)
            match said["event"]:
                case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    return SERVED
                case zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                    self.failure = said["value"]
                case zmq.EVENT_DISCONNECTED:
                    closed += 1
                    if closed > times:
                        return AGAIN
