"""etcd that is asked by TLS: it proves who it is, and wants to know who asks."""

import datetime
import ipaddress
import json
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from servers import Etcd, until


class Authority:
    """Makes certificates in a folder."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.sign(self.name, self.key.public_key(), True).public_bytes(Encoding.PEM))

    def sign(self, subject, public, is_authority):
        now = datetime.datetime.now(datetime.timezone.utc)
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(hours=1)).add_extension(host, critical=False)
                .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
                .sign(self.key, hashes.SHA256()))

    def pair(self, name):
        """The files of a certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(self.sign(subject, key.public_key(), False).public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private.chmod(0o600)
        return str(certificate), str(private)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"), "ours")


@pytest.fixture(scope="module")
def secured(authority):
    certificate, key = authority.pair("server")
    server = Etcd(tls=["--cert-file", certificate, "--key-file", key, "--client-cert-auth",
                       "--trusted-ca-file", str(authority.file)])
    server.launch()
    try:
        yield server
    finally:
        server.close()


def test_only_who_has_a_certificate_is_let_in_and_only_the_right_etcd_is_believed(binary, secured, authority, tmp_path):
    certificate, key = authority.pair("joe")
    etcd = ["--etcd", secured.endpoint]
    known = [*etcd, "--etcd-ca", str(authority.file), "--etcd-cert", certificate, "--etcd-key", key]

    def run(*words):
        return subprocess.run([binary, "lease", *words], capture_output=True, text=True, timeout=60)

    until(lambda: run("ls", *known).returncode == 0)
    held = subprocess.Popen([binary, "lease", "campaign", "boss", "--name", "joe", "--json", *known],
                            stdout=subprocess.PIPE, text=True)
    try:
        assert json.loads(held.stdout.readline())["event"] == "held"
        assert "joe" in run("ls", *known).stdout
        # Who shows no certificate, or that of another authority, is not let in; by TLS 1.3 it may
        # not be told, and its questions have no answer.
        stranger = Authority(tmp_path, "theirs")
        strange, own = stranger.pair("eve")
        for words in ([], ["--etcd-cert", strange, "--etcd-key", own]):
            refused = run("ls", *etcd, "--etcd-ca", str(authority.file), *words)
            assert refused.returncode in (3, 4) and not refused.stdout, refused
        # An etcd that nobody vouches for is not believed.
        refused = run("ls", *etcd, "--etcd-ca", str(stranger.file), "--etcd-cert", certificate, "--etcd-key", key)
        assert refused.returncode in (3, 4) and not refused.stdout, refused
        # And nothing is sent where others could read it.
        refused = run("ls", *etcd)
        assert refused.returncode == 2 and "which authority is to vouch for it" in refused.stderr, refused
        plain = ["--etcd", secured.endpoint.replace("https", "http"), "--etcd-ca", str(authority.file)]
        refused = run("ls", *plain)
        assert refused.returncode == 2 and "does not begin with https://" in refused.stderr, refused
    finally:
        held.terminate()
        held.wait(20)
