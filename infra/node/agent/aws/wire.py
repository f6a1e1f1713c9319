"""Send a signed request to S3 again until it is answered, whatever the network, load or clock."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import socket
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Iterator, Mapping, NamedTuple
from urllib.parse import urlsplit

from .credentials import Kept
from .documents import read_fields
from .signing import Credentials, Request, sign

SILENCE_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
CHUNK_BYTES = 1 << 20
MOST_BYTES = 64 << 20  # of an answer that is kept in memory
BUSY = {408, 429, 500, 502, 503, 504}
AGAIN = {
    "RequestTimeout",
    "SlowDown",
    "InternalError",
    "IncompleteBody",
    "ConditionalRequestConflict",
    "OperationAborted",
}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId"}
SKEWED = {"RequestTimeTooSkewed", "RequestExpired"}


class S3Error(Exception):
    """S3 refused a request; `code` is its own word for the reason, "" if it did not answer."""

    def __init__(self, code: str, message: str) -> None:
        """Keep what S3 said."""
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.repeated = False
        """Whether an earlier attempt of the same request may have been carried out."""


class NotThereError(S3Error):
    """The object, or its bucket, does not exist."""


class TakenError(S3Error):
    """The object exists already, or is another one than the request expected."""


class ChangedError(Exception):
    """A file changed while it was sent."""


class Slice(NamedTuple):
    """A part of an open file, as a body."""

    descriptor: int
    offset: int
    size_bytes: int

    def read(self) -> Iterator[bytes]:
        """Yield it piece by piece; raises ChangedError if the file has become shorter."""
        at, end = self.offset, self.offset + self.size_bytes
        while at < end:
            chunk = os.pread(self.descriptor, min(CHUNK_BYTES, end - at), at)
            if not chunk:
                raise ChangedError("it became shorter")
            at += len(chunk)
            yield chunk


class Answer(NamedTuple):
    """What S3 answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def age_s(self) -> float:
        """How long ago the object was written at least, both by S3's clock; 0 if S3 does not say."""
        try:
            written, now = (parsedate_to_datetime(self.headers[name]) for name in ("last-modified", "date"))
        except (KeyError, ValueError, TypeError):
            return 0.0
        return max(0.0, (now - written).total_seconds() - 1)  # both are cut to whole seconds


class Wire:
    """Connections to one endpoint, one for each thread; a request is repeated for `patience_s` at most."""

    def __init__(self, endpoint: str, region: str, credentials: Kept | None = None, patience_s: float = 60.0) -> None:
        """Connect to nothing yet."""
        parts = urlsplit(endpoint)
        self.secure, self.host = parts.scheme == "https", parts.netloc
        self.region, self.credentials, self.patience_s = region, credentials or Kept(), patience_s
        self.ahead_s = 0.0  # of S3's clock before this machine's
        self.local = threading.local()

    def send(self, request: Request, body: bytes | Slice = b"") -> Answer:
        """Return S3's answer to a request; raises S3Error and its kinds, NoCredentialsError, ChangedError."""
        until, pause_s, repeated, renewed = time.monotonic() + self.patience_s, FIRST_PAUSE_S, False, 0
        while True:
            credentials = self.credentials.get(self.now_s())
            try:
                answer = self.send_once(request, credentials, body)
                error = refusal_of(request.method, answer)
                if error is None:
                    return answer
                again = answer.status in BUSY or error.code in AGAIN
                if error.code in EXPIRED | SKEWED and renewed < 2:
                    renewed, again = renewed + 1, True
                    self.adjust(answer, credentials, error.code)
                repeated = repeated or answer.status >= 500
            except (OSError, http.client.HTTPException) as failure:
                self.close()
                error, again, repeated = S3Error("", f"no answer from {self.host}: {failure}"), True, True
            except BaseException:
                self.close()  # an unfinished request
                raise
            if not again or time.monotonic() + pause_s > until:
                error.repeated = repeated
                raise error
            time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  so that many machines do not come back at once
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def now_s(self) -> float:
        """Return the time by S3's clock."""
        return time.time() + self.ahead_s

    def adjust(self, answer: Answer, refused: Credentials, code: str) -> None:
        """Take S3's clock for the right one, or read new credentials, after a refusal for these reasons."""
        if code in EXPIRED:
            self.credentials.forget(refused)
        date = parsedate_to_datetime(answer.headers["date"]) if "date" in answer.headers else None
        if date and code in SKEWED:
            self.ahead_s = date.timestamp() - time.time()

    def send_once(self, request: Request, credentials: Credentials, body: bytes | Slice) -> Answer:
        """Send a request and read the answer; raises OSError or HTTPException without one."""
        headers = sign(request, credentials, self.region, "s3", self.now_s())
        size_bytes = body.size_bytes if isinstance(body, Slice) else len(body)
        if size_bytes or request.method in ("PUT", "POST"):
            headers["content-length"] = str(size_bytes)
        content = body.read() if isinstance(body, Slice) else body or None
        link = self.connect()
        # S3 may refuse before it has read the body; its answer then says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            link.request(request.method, request.target, content, headers)
        found = link.getresponse()
        answer = {name.lower(): value for name, value in found.getheaders()}
        received = found.read(MOST_BYTES)
        if found.will_close or not found.isclosed():
            self.close()
        return Answer(found.status, answer, received)

    def connect(self) -> http.client.HTTPConnection:
        """Return this thread's connection."""
        link: http.client.HTTPConnection | None = getattr(self.local, "link", None)
        if link is None:
            if self.secure:
                link = http.client.HTTPSConnection(self.host, timeout=SILENCE_S, context=ssl.create_default_context())
            else:
                link = http.client.HTTPConnection(self.host, timeout=SILENCE_S)
            link.connect()
            link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.local.link = link
        return link

    def close(self) -> None:
        """Close this thread's connection."""
        link = getattr(self.local, "link", None)
        self.local.link = None
        if link:
            link.close()


def refusal_of(method: str, answer: Answer) -> S3Error | None:
    """Return why S3 refused a request; None if it did not.

    The answer to a copy, or to what completes an upload, may have the status 200 and be a refusal.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    found = read_fields(answer.body) if answer.status >= 300 or method in ("POST", "PUT") else {}
    if answer.status < 300 and "Code" not in found:
        return None
    code = found.get("Code") or str(answer.status)
    message = found.get("Message") or http.client.responses.get(answer.status, "")
    if answer.status == 301:
        message += f" (its region is {answer.headers.get('x-amz-bucket-region', 'another one')})"
    kind = {404: NotThereError, 412: TakenError}.get(answer.status, S3Error)
    return kind(code, message)
