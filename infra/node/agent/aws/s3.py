"""A bucket of S3: write, read, list and delete objects; S3 verifies each body's SHA-256."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import Iterator, Mapping, NamedTuple
from urllib.parse import unquote_plus

from .credentials import Kept
from .documents import read_fields, read_rows
from .service import domain_of
from .signing import EMPTY_SHA256, Request
from .wire import Answer, ChangedError, NotThereError, S3Error, Slice, TakenError, Wire

DIFFERS = {"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest"}


class Object(NamedTuple):
    """An object as a listing or its headers describe it."""

    key: str
    size_bytes: int
    etag: str


class Bucket(NamedTuple):
    """A bucket, which has to belong to `owner` (an account's number) for S3 to answer."""

    wire: Wire
    name: str
    owner: str
    path: str
    """What precedes a key in the address: "/", or the bucket's name where it is not part of the host."""

    def put(self, key: str, body: bytes | Slice, *, sha256: str = "", absent: bool = False, match: str = "") -> str:
        """Write an object; return its ETag.

        With `absent` only if there is none of this key, with `match` only over the one with this ETag. Give the `sha256` of a
        slice if it is known. Raises TakenError if the condition does not hold, ChangedError if the body differs from its hash.
        """
        content = body if isinstance(body, bytes) else b"" if sha256 else b"".join(body.read())
        digest = sha256 or hashlib.sha256(content).hexdigest()
        headers = {"x-amz-checksum-sha256": encode(digest)}
        headers.update({"if-none-match": "*"} if absent else {"if-match": match} if match else {})
        try:
            return self.ask("PUT", key, headers=headers, body=body, sha256=digest).headers.get("etag", "")
        except TakenError as error:
            if error.repeated and isinstance(body, bytes):  # the answer to an attempt that succeeded may have been lost
                with contextlib.suppress(NotThereError):
                    content, etag = self.get(key)
                    if content == body:
                        return etag
            raise

    def get(self, key: str) -> tuple[bytes, str]:
        """Return an object's content and ETag; raises NotThereError."""
        return self.get_aged(key)[:2]

    def get_aged(self, key: str) -> tuple[bytes, str, float]:
        """Return an object's content, ETag, and seconds since it was written; raises NotThereError."""
        answer = self.ask("GET", key)
        return answer.body, answer.headers.get("etag", ""), answer.age_s

    def get_part(self, key: str, start: int, size_bytes: int, match: str = "") -> bytes:
        """Return this many bytes of an object.

        Raises NotThereError, and TakenError if its ETag is not `match`.
        """
        area = {"range": f"bytes={start}-{start + size_bytes - 1}", **({"if-match": match} if match else {})}
        content = self.ask("GET", key, headers=area).body if size_bytes else b""
        if len(content) != size_bytes:
            raise S3Error("", f"{key} ends before byte {start + size_bytes}")
        return content

    def head(self, key: str) -> Object:
        """Return an object's size and ETag; raises NotThereError."""
        found = self.ask("HEAD", key).headers
        return Object(key, int(found.get("content-length", 0)), found.get("etag", ""))

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        self.ask("DELETE", key)

    def list(self, prefix: str) -> Iterator[Object]:
        """Yield the objects whose keys start with a prefix, in order of their keys."""
        for body in self.list_pages({"prefix": prefix}):
            for row in read_rows(body, "Contents"):
                yield Object(unquote_plus(row["Key"]), int(row["Size"]), row["ETag"])

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield each prefix up to the next slash after this one."""
        for body in self.list_pages({"prefix": prefix, "delimiter": "/"}):
            for row in read_rows(body, "CommonPrefixes"):
                yield unquote_plus(row["Prefix"])

    def list_pages(self, query: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the documents of a listing."""
        more = {"list-type": "2", "encoding-type": "url", **query}
        while more:
            body = self.ask("GET", "", query=more).body
            yield body
            token = read_fields(body).get("NextContinuationToken")
            more = {**more, "continuation-token": token} if token else {}

    def ask(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Slice = b"",
        sha256: str = EMPTY_SHA256,
    ) -> Answer:
        """Send a request about an object, or about the bucket if there is no key.

        Raises S3Error and its kinds, ChangedError if the body has another SHA-256, NoCredentialsError.
        """
        more = {**(headers or {}), **({"x-amz-expected-bucket-owner": self.owner} if self.owner else {})}
        request = Request(method, self.wire.host, f"{self.path}{key}", query or {}, more, sha256)
        try:
            return self.wire.send(request, body)
        except S3Error as error:
            if error.code in DIFFERS:
                raise ChangedError(str(error)) from error
            raise


def open_bucket(about: Mapping[str, str], credentials: Kept | None = None, patience_s: float = 60.0) -> Bucket:
    """Return a bucket by its `name`, `region` and `owner`; a local cloud's by its `endpoint` too."""
    name, region, endpoint = about["name"], about["region"], about.get("endpoint", "")
    beside = not endpoint and "." not in name  # no certificate covers a host of more parts
    host = f"{name}.s3.{region}.{domain_of(region)}" if beside else f"s3.{region}.{domain_of(region)}"
    wire = Wire(endpoint or f"https://{host}", region, credentials, patience_s)
    return Bucket(wire, name, about["owner"], "/" if beside else f"/{name}/")


def encode(sha256: str) -> str:
    """Return a hash as S3's headers have it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()
