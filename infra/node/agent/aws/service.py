"""Send a request to one of AWS's services other than S3."""

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


class Answer(NamedTuple):
    """What a service answered."""

    status: int
    body: bytes


def ask(service: Service, headers: Mapping[str, str], body: bytes, now_s: float) -> Answer:
    """Send a request, signed for this time; raises OSError or HTTPException without an answer."""
    domain = "amazonaws.com.cn" if service.region.startswith("cn-") else "amazonaws.com"
    parts = urlsplit(service.endpoint or f"https://{service.name}.{service.region}.{domain}")
    request = Request("POST", parts.netloc, "/", {}, headers, hashlib.sha256(body).hexdigest())
    signed = sign(request, read_credentials(), service.region, service.name, now_s)
    signed["content-length"] = str(len(body))
    link: http.client.HTTPConnection
    if parts.scheme == "https":
        link = http.client.HTTPSConnection(parts.netloc, timeout=LIMIT_S, context=ssl.create_default_context())
    else:
        link = http.client.HTTPConnection(parts.netloc, timeout=LIMIT_S)
    try:
        link.request("POST", "/", body, signed)
        answer = link.getresponse()
        return Answer(answer.status, answer.read(MOST_BYTES))
    finally:
        link.close()
