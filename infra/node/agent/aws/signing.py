"""Sign requests to AWS, version 4.

https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Mapping, NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class Credentials(NamedTuple):
    """An access key, for a session if it has a token, and when it expires (seconds since the epoch)."""

    key: str
    secret: str
    token: str = ""
    expires_at: float = float("inf")


class Request(NamedTuple):
    """A request as it is signed; the path is not encoded yet."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    sha256: str = EMPTY_SHA256
    """Of the body. S3 refuses a body that differs."""

    @property
    def target(self) -> str:
        """The path and query, as they are sent."""
        query = encode_query(self.query)
        return quote(self.path, safe="/~") + (f"?{query}" if query else "")


def encode_query(query: Mapping[str, str]) -> str:
    """Return a query in the order and encoding that are signed."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def sign(request: Request, credentials: Credentials, region: str, service: str, now_s: float) -> dict[str, str]:
    """Return the headers of a request, signed for this time."""
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    headers = {name.lower(): " ".join(value.split()) for name, value in request.headers.items()}
    headers.update({"host": request.host, "x-amz-date": at, "x-amz-content-sha256": request.sha256})
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    signed = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    path = quote(request.path, safe="/~")
    canonical = "\n".join(
        [request.method, path, encode_query(request.query), *lines, "", signed, request.sha256]
    ).encode()
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([ALGORITHM, at, scope, hashlib.sha256(canonical).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    authorization = f"{ALGORITHM} Credential={credentials.key}/{scope}, SignedHeaders={signed}, Signature={signature}"
    return {**headers, "authorization": authorization}
