"""Send one request to one of AWS's services; `wire` keeps a connection to S3."""

from __future__ import annotations

import hashlib
import http.client
import ssl
from typing import Mapping, NamedTuple
from urllib.parse import urlsplit

from .credentials import read_credentials
from .signing import Request, sign

LIMIT_S = 30.0
MOST_BYTES = 1 << 20


class Service(NamedTuple):
    """A service in a region."""

    name: str
    region: str
    endpoint: str = ""
    """Of a local cloud; "" on AWS."""

    @property
    def address(self) -> str:
        """Where requests go."""
        return self.endpoint or f"https://{self.name}.{self.region}.{domain_of(self.region)}"


class Answer(NamedTuple):
    """What a service answered."""

    status: int
    body: bytes


def domain_of(region: str) -> str:
    """Return the domain of AWS's services in a region."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def ask(service: Service, headers: Mapping[str, str], body: bytes, now_s: float) -> Answer:
    """Send a request, signed for this time; raises OSError or HTTPException without an answer."""
    place = urlsplit(service.address)
    request = Request("POST", place.netloc, "/", {}, headers, hashlib.sha256(body).hexdigest())
    signed = sign(request, read_credentials(), service.region, service.name, now_s)
    signed["content-length"] = str(len(body))
    return send(place.scheme, request, signed, body)


def send(
    scheme: str, request: Request, signed: Mapping[str, str], body: bytes | None = None, most_bytes: int = MOST_BYTES
) -> Answer:
    """Send a request with the headers that it was signed with; raises OSError or HTTPException.

    No more than `most_bytes` of the answer are read.
    """
    link: http.client.HTTPConnection
    if scheme == "https":
        link = http.client.HTTPSConnection(request.host, timeout=LIMIT_S, context=ssl.create_default_context())
    else:
        link = http.client.HTTPConnection(request.host, timeout=LIMIT_S)
    try:
        link.request(request.method, request.target, body, dict(signed))
        answer = link.getresponse()
        return Answer(answer.status, answer.read(most_bytes))
    finally:
        link.close()
