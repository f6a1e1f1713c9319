"""S3 for tests: moto's server behind a proxy that fails as asked."""

import http.client
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from infra.ec2.account import Account
from infra.ec2.storage.objects import Store
from infra.ec2.storage.policies import make_machine_policy
from infra.local.cloud.iam import permissions, policies, storage

KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}


class Proxy(ThreadingHTTPServer):
    """Passes requests on to moto, or fails them in the ways that are left in `faults`, one for each request."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.behind, self.faults, self.seen = port, list[str](), list[str]()
        self.policy = dict[str, Any]()
        """What machines may do, which sign their requests without boto3; anything if it is empty."""
        self.rule: Callable[[str, str], str] = lambda method, path: ""
        """Returns the fault of a request for which `faults` has none."""
        self.ahead_s = 0.0
        """How much later the answers are by S3's clock than they would be."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless the other side has been killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def date_in(ahead_s: float) -> str:
    """Return the time as a header has it, so many seconds from now."""
    return format_datetime(datetime.fromtimestamp(time.time() + ahead_s, UTC), usegmt=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        fault = server.faults.pop(0) if server.faults else server.rule(self.command, self.path)
        server.seen.append(f"{self.command} {self.path}")
        if server.policy and not self.is_allowed(server.policy):
            fault = "403 AccessDenied 0"
        if fault == "drop":
            self.close_connection = True
            return
        if fault and fault != "drop-after":
            status, code, ahead_s = fault.split()
            # S3 sends white space while it copies: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
            start = " \n" if status == "200" else ""
            answer = (
                f'{start}<?xml version="1.0"?><Error><Code>{code}</Code><Message>told to</Message></Error>'.encode()
            )
            self.reply(int(status), {"Date": date_in(float(ahead_s))}, answer)
            return
        link = http.client.HTTPConnection("127.0.0.1", server.behind, timeout=30)
        link.request(self.command, self.path, body, dict(self.headers))
        found = link.getresponse()
        answer = found.read()
        link.close()
        if fault == "drop-after":
            self.close_connection = True
            return
        later = {"Date": date_in(server.ahead_s)} if server.ahead_s else {}
        self.reply(found.status, {**dict(found.getheaders()), **later}, answer)

    def is_allowed(self, policy: dict[str, Any]) -> bool:
        """Return whether a request to S3 is one that the machines' policy allows, or is not a machine's."""
        signed, program = (self.headers.get(name, "") for name in ("authorization", "user-agent"))
        if "/s3/aws4_request" not in signed or "Boto3" in program:
            return True
        asked = urlsplit(self.path)
        environ = {"PATH_INFO": asked.path, "QUERY_STRING": asked.query, "REQUEST_METHOD": self.command}
        action, arns = storage.name_action(environ)
        environ["HTTP_X_AMZ_COPY_SOURCE"] = self.headers.get("x-amz-copy-source", "")
        pairs = [*((action, arn) for arn in arns), *storage.name_more(environ).items()]
        needs = [permissions.Need(f"s3:{one}", arn, {}, {}) for one, arn in pairs]
        return all(policies.is_allowed(policy, need, {}) for need in needs)

    def reply(self, status: int, headers: dict[str, str], answer: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(answer))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(answer if self.command != "HEAD" else b"")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Proxy]:
    """Yield a proxy while it serves."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    server = Proxy(moto.get_host_and_port()[1])
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        moto.stop()


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """A proxy in front of moto, for the tests of a module."""
    with serving() as server:
        yield server


@pytest.fixture
def store(proxy: Proxy) -> Store:
    """A new bucket behind the proxy, which fails at nothing yet."""
    proxy.faults.clear()
    proxy.seen.clear()
    proxy.policy = make_machine_policy("b-*")
    account = Account("aws", boto3.Session(**KEYS), proxy.endpoint)
    name = f"b-{uuid4()}"
    account.s3.create_bucket(Bucket=name)
    return Store(account, name)
