"""Networks with a web proxy: certificates of its own, and an address that is not the one SSH leaves from."""

import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.ec2.account import Account, open_aws
from infra.ec2.errors import aws_errors
from infra.ec2.network.address import describe_proxy, find_caller_address
from infra.errors import CloudError

PROXIES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "AWS_CA_BUNDLE")
ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=5)


class Speaker(http.server.BaseHTTPRequestHandler):
    """A service that tells an address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"8.8.8.8\n")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make an untrusted certificate for this computer; return its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "ca.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return certificate, private


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """An account on AWS that no call reaches."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return open_aws("us-east-1")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A service with a certificate that only its own file vouches for: its address, and the file."""
    certificate, key = make_certificate(tmp_path)
    server = http.server.HTTPServer(("127.0.0.1", 0), Speaker)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", certificate
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_certificate_of_a_proxy_that_inspects_tls_is_trusted_once_aws_ca_bundle_names_it(
    account, service, monkeypatch
):
    url, certificate = service
    with pytest.raises(CloudError, match="cannot verify the certificate") as refused:
        find_caller_address(replace(account, checkip_url=url))
    assert "AWS_CA_BUNDLE" in refused.value.hint
    with pytest.raises(CloudError, match="cannot verify AWS's certificate") as refused, aws_errors():
        account.session.client("sts", "us-east-1", endpoint_url=url, config=ONCE).get_caller_identity()
    assert "AWS_CA_BUNDLE" in refused.value.hint
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert find_caller_address(replace(open_aws("us-east-1"), checkip_url=url)) == "8.8.8.8/32"


def test_a_proxy_that_does_not_answer_is_named(account, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(CloudError, match="through the proxy") as refused, aws_errors():
        account.session.client("sts", "us-east-1", config=ONCE).get_caller_identity()
    assert "HTTPS_PROXY" in refused.value.hint


def test_it_is_said_that_ssh_does_not_go_through_a_web_proxy(account, monkeypatch):
    url = account.checkip_url
    assert describe_proxy(url) == ""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy.example:3128")
    said = describe_proxy(url)
    assert "the address of the proxy proxy.example, but SSH does not go through it" in said
    assert "--ssh-from" in said
    assert "secret" not in said
    monkeypatch.setenv("NO_PROXY", "amazonaws.com")
    assert describe_proxy(url) == ""
