"""RabbitMQ and etcd of Debian, started as processes of the tests: own ports, own directories, own
epmd, so that several runs do not meet."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode


def free_port(below: int = 32000) -> int:
    """A port that nobody has at the moment, below those the system hands out by itself."""
    for port in range(11000 + os.getpid() % 5000, below):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no free port")


_given: set[int] = set()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def until(what, timeout: float = 30.0, every: float = 0.05):
    """What `what` gives, once that is true."""
    deadline = time.monotonic() + timeout
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(every)


class Etcd:
    """One process of etcd, alone or as a member of a cluster."""

    def __init__(self, name: str = "t", tls=()):
        """With flags for TLS it is asked at https://."""
        self.tls = list(tls)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mj-etcd-"))
        self.name, self.port, self.peers = name, free_port(), free_port()
        self.process, self.cluster = None, f"{name}=http://127.0.0.1:{self.peers}"

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self):
        self.launch()
        until(self.healthy)
        return self

    def launch(self):
        """Starts it and does not wait for it."""
        peers = f"http://127.0.0.1:{self.peers}"
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            ["etcd", "--name", self.name, "--data-dir", str(self.dir / "data"),
             "--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint,
             "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
             "--initial-cluster", self.cluster, "--logger", "zap", "--log-level", "warn", *self.tls],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint + "/health", timeout=1) as answer:
                return json.load(answer)["health"] == "true"
        except (OSError, ValueError):
            return False

    def signal(self, number: int):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ctl(self, *words: str) -> str:
        environment = dict(os.environ, ETCDCTL_API="3")
        return subprocess.run(["etcdctl", "--endpoints", self.endpoint, *words], env=environment,
                              capture_output=True, text=True, check=True, timeout=20).stdout

    def get(self, key: str):
        """The value of a key, or None."""
        lines = self.ctl("get", key).splitlines()
        return lines[1] if lines else None

    def history(self, key: str):
        """All that has ever become of a key: PUT or DELETE, and the value."""
        environment = dict(os.environ, ETCDCTL_API="3")
        words = ["etcdctl", "--endpoints", self.endpoint, "watch", "--rev=1", key]
        try:
            # It goes on for ever.
            text = subprocess.run(words, env=environment, capture_output=True, timeout=2).stdout
        except subprocess.TimeoutExpired as over:
            text = over.stdout
        lines = (text or b"").decode().splitlines()
        return list(zip(lines[0::3], lines[2::3]))

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class EtcdCluster:
    """Three of them."""

    def __init__(self):
        self.members = [Etcd(f"m{number}") for number in range(3)]
        for member in self.members:
            member.cluster = ",".join(f"{it.name}=http://127.0.0.1:{it.peers}" for it in self.members)

    @property
    def endpoint(self) -> str:
        return ",".join(member.endpoint for member in self.members)

    def start(self):
        for member in self.members:
            member.launch()
        until(lambda: all(member.healthy() for member in self.members))
        return self

    def close(self):
        for member in self.members:
            member.close()


class Rabbit:
    """One RabbitMQ with its management plugin."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mj-rabbit-"))
        self.port, self.management, self.dist, self.epmd = (free_port() for _ in range(4))
        ctl = free_port()
        real = os.path.realpath("/usr/lib/rabbitmq/bin/rabbitmq-server")
        self.bin = pathlib.Path(real).parent
        (self.dir / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self.dir / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nmanagement.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self.management}\n")
        self.environment = dict(
            os.environ, HOME=str(self.dir), LANG="C.UTF-8",
            RABBITMQ_NODENAME=f"t{self.port}@localhost", RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=str(self.port), RABBITMQ_DIST_PORT=str(self.dist),
            ERL_EPMD_PORT=str(self.epmd), ERL_EPMD_ADDRESS="127.0.0.1",
            RABBITMQ_CTL_DIST_PORT_MIN=str(ctl), RABBITMQ_CTL_DIST_PORT_MAX=str(ctl + 9),
            RABBITMQ_MNESIA_BASE=str(self.dir / "mnesia"), RABBITMQ_LOG_BASE=str(self.dir / "log"),
            RABBITMQ_PID_FILE=str(self.dir / "pid"), RABBITMQ_CONF_ENV_FILE="/dev/null",
            RABBITMQ_CONFIG_FILE=str(self.dir / "rabbitmq.conf"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.dir / "enabled_plugins"))
        self.process = None

    def launch(self):
        """Starts the server and does not wait for it."""
        (self.dir / "pid").unlink(missing_ok=True)
        out = open(self.dir / "out", "ab")
        self.process = subprocess.Popen(
            [str(self.bin / "rabbitmq-server")], cwd=self.dir, env=self.environment, stdout=out,
            stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
        return self

    def start(self):
        self.launch()
        self.ready()
        return self

    def ready(self):
        try:
            until(lambda: self.api("GET", "overview", quiet=True), timeout=120, every=0.2)
        except TimeoutError as error:
            said = (self.dir / "out").read_text()
            raise AssertionError(f"RabbitMQ does not start:\n{said}") from error

    def vhost(self, name: str) -> str:
        """Makes a virtual host; its URL for AMQP."""
        self.api("PUT", f"vhosts/{name}", {})
        return self.url(name)

    def url(self, vhost: str) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"

    @property
    def api_url(self) -> str:
        return f"http://guest:guest@127.0.0.1:{self.management}/api"

    def api(self, method: str, path: str, body=None, quiet: bool = False):
        octets = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management}/api/{path}", data=octets, method=method,
            headers={"authorization": "Basic " + b64encode(b"guest:guest").decode(),
                     "content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                text = answer.read()
        except OSError:
            if quiet:
                return None
            raise
        return json.loads(text) if text else None

    def pid(self) -> int:
        return int((self.dir / "pid").read_text())

    def signal(self, number: int):
        os.kill(self.pid(), number)

    def kill(self):
        """As if the power failed: only what is on the disk is there after the next start."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        subprocess.run(["epmd", "-port", str(self.epmd), "-kill"], env=self.environment,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
