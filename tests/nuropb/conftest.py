"""Fixtures: one RabbitMQ and one etcd for all tests, a virtual host and a service for each."""

import itertools
import os
import subprocess

import pytest

from peers import Ours, Theirs
from servers import Etcd, Rabbit

_count = itertools.count()


@pytest.fixture(scope="session")
def binary():
    path = os.environ["MAJORDOMO_BIN"]
    assert subprocess.run([path, "container", "--help"], capture_output=True).returncode == 0
    return path


@pytest.fixture(scope="session")
def rabbit():
    server = Rabbit()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def etcd():
    server = Etcd()
    try:
        yield server.start()
    finally:
        server.close()


class Mesh:
    """A virtual host, and whoever is started in it; all of them are ended with the test."""

    def __init__(self, binary, rabbit, etcd):
        self.binary, self.rabbit, self.etcd = binary, rabbit, etcd
        number = next(_count)
        self.vhost, self.service = f"mesh{number}", f"svc{number}"
        rabbit.vhost(self.vhost)
        self.members = []

    @property
    def url(self):
        return self.rabbit.url(self.vhost)

    def environment(self, etcd=True):
        environment = dict(os.environ, MAJORDOMO_AMQP=self.url, MAJORDOMO_AMQP_API=self.rabbit.api_url,
                           MAJORDOMO_QUEUES="rabbitmq", MAJORDOMO_LEASES="etcd" if etcd else "none")
        environment.pop("MAJORDOMO_ETCD", None)
        if etcd:
            environment["MAJORDOMO_ETCD"] = self.etcd.endpoint
        return environment

    def ours(self, instance, *flags, etcd=True, service=None):
        """An instance of ours; it is not waited for."""
        one = Ours(self, instance, service or self.service, flags, etcd)
        self.members.append(one)
        return one

    def theirs(self, instance, etcd=True, service=None):
        """An instance of NuroPb's own; it is not waited for."""
        one = Theirs(self, instance, self.service if service is None else service, etcd)
        self.members.append(one)
        return one

    def cli(self, *words, etcd=True, timeout=60):
        return subprocess.run([self.binary, "container", *words], env=self.environment(etcd),
                              capture_output=True, text=True, timeout=timeout)

    def queue(self, name):
        """The queue, as the server knows it; None: there is no such."""
        try:
            return self.rabbit.api("GET", f"queues/{self.vhost}/{name}")
        except OSError as error:
            if getattr(error, "code", None) == 404:
                return None
            raise

    def messages(self, name):
        """What is in a queue, and stays there."""
        return self.rabbit.api("POST", f"queues/{self.vhost}/{name}/get",
                               {"count": 100, "ackmode": "ack_requeue_true", "encoding": "auto"})

    def close(self):
        for member in self.members:
            member.close()


@pytest.fixture
def mesh(binary, rabbit, etcd):
    mesh = Mesh(binary, rabbit, etcd)
    try:
        yield mesh
    finally:
        mesh.close()
