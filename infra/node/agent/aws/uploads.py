"""Upload a file of any size, a large one in parts; those that S3 has are not sent again.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
An object appears only when all of it has arrived and has the SHA-256 that was announced.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator, NamedTuple

from ..records import read_json, write_json
from .documents import read_fields, read_rows, write_parts
from .s3 import Bucket, encode
from .wire import ChangedError, NotThereError, Slice

PART_BYTES = 16 << 20
MOST_PARTS = 10_000  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
THREADS = 4


class Part(NamedTuple):
    """A part of a file, numbered from 1, and its SHA-256."""

    number: int
    content: Slice
    sha256: str


class Uploads:
    """Uploads of one process to a bucket; `record` is where it keeps what S3 has of unfinished ones."""

    def __init__(self, bucket: Bucket, record: Path, part_bytes: int = PART_BYTES) -> None:
        """Start with what an earlier process has recorded."""
        self.bucket, self.record, self.part_bytes = bucket, record, part_bytes
        self.begun: dict[str, dict[str, Any]] = read_json(record, {})
        """By key: the upload's number, the size of its parts, and the ETag and SHA-256 of those sent."""
        self.lock = threading.Lock()

    def put(self, key: str, content: Slice, sha256: str) -> None:
        """Upload a file to an object; raises ChangedError if it does not have this SHA-256, and S3Error."""
        if content.size_bytes <= self.part_bytes:
            self.bucket.put(key, content, sha256=sha256)
            return
        size = max(self.part_bytes, -(-content.size_bytes // MOST_PARTS))
        here = self.resume(key, size)
        whole = hashlib.sha256()
        sent: list[Future[dict[str, str]]] = []
        with ThreadPoolExecutor(THREADS) as pool:
            for number, each in enumerate(cut(content, size), 1):
                part = Part(number, each, digest_of(each, whole))
                if len(sent) >= THREADS:
                    sent[-THREADS].result()  # an error ends it, and no part waits long between its two readings
                sent.append(pool.submit(self.put_part, key, here, part))
            rows = [each.result() for each in sent]
        if whole.hexdigest() != sha256:
            self.abort(key, here["upload"])
            raise ChangedError("it changed while it was uploaded")
        self.complete(key, here["upload"], write_parts(rows), content.size_bytes)

    def resume(self, key: str, size: int) -> dict[str, Any]:
        """Return the record of an upload that is under way, as far as S3 confirms it, or of a new one."""
        begun = self.begun.get(key)
        if begun and begun["size"] == size:
            try:
                there = {row["PartNumber"]: row["ETag"] for row in self.list_parts(key, begun["upload"])}
            except NotThereError:
                pass
            else:
                begun["parts"] = {number: row for number, row in begun["parts"].items() if row[0] == there.get(number)}
                return begun
        query, headers = {"uploads": ""}, {"x-amz-checksum-algorithm": "SHA256"}
        upload = read_fields(self.bucket.ask("POST", key, query=query, headers=headers).body)["UploadId"]
        self.begun[key] = {"upload": upload, "size": size, "parts": {}}
        self.save()
        return self.begun[key]

    def list_parts(self, key: str, upload: str) -> Iterator[dict[str, str]]:
        """Yield the parts of an upload that S3 has; raises NotThereError."""
        query = {"uploadId": upload}
        while query:
            body = self.bucket.ask("GET", key, query=query).body
            yield from read_rows(body, "Part")
            found = read_fields(body)
            more = found.get("IsTruncated") == "true"
            query = {"uploadId": upload, "part-number-marker": found["NextPartNumberMarker"]} if more else {}

    def put_part(self, key: str, here: dict[str, Any], part: Part) -> dict[str, str]:
        """Upload a part unless S3 has it; return its row of the document that completes the upload."""
        number, checksum = str(part.number), encode(part.sha256)
        etag, sha256 = here["parts"].get(number, ("", ""))
        if sha256 != part.sha256:
            query = {"uploadId": here["upload"], "partNumber": number}
            headers = {"x-amz-checksum-sha256": checksum}
            answer = self.bucket.ask("PUT", key, query=query, headers=headers, body=part.content, sha256=part.sha256)
            etag = answer.headers["etag"]
            with self.lock:
                here["parts"][number] = [etag, part.sha256]
                self.save()
        return {"PartNumber": number, "ETag": etag, "ChecksumSHA256": checksum}

    def complete(self, key: str, upload: str, rows: bytes, size_bytes: int) -> None:
        """Make an object of its parts."""
        digest = hashlib.sha256(rows).hexdigest()
        try:
            self.bucket.ask("POST", key, query={"uploadId": upload}, body=rows, sha256=digest)
        except NotThereError as error:  # the answer to an attempt that succeeded may have been lost
            if not error.repeated or self.bucket.head(key).size_bytes != size_bytes:
                raise
        self.forget(key)

    def abort(self, key: str, upload: str) -> None:
        """Remove the parts of an upload; without it, the bucket's lifecycle rule does."""
        self.bucket.ask("DELETE", key, query={"uploadId": upload})
        self.forget(key)

    def forget(self, key: str) -> None:
        """Forget an upload that is over."""
        with self.lock:
            del self.begun[key]
            self.save()

    def save(self) -> None:
        """Record the uploads under way."""
        write_json(self.record, self.begun)


def cut(content: Slice, size: int) -> list[Slice]:
    """Return the parts of a slice, each of this size but the last."""
    end = content.offset + content.size_bytes
    return [Slice(content.descriptor, at, min(size, end - at)) for at in range(content.offset, end, size)]


def digest_of(part: Slice, whole: hashlib._Hash) -> str:
    """Return the SHA-256 of a part, which is added to that of the whole."""
    digest = hashlib.sha256()
    for chunk in part.read():
        digest.update(chunk)
        whole.update(chunk)
    return digest.hexdigest()
