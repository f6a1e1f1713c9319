"""Bring parts of objects to this machine, and copy objects inside the bucket."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ..aws.documents import read_fields, write_parts
from ..aws.s3 import Bucket
from ..aws.wire import S3Error
from ..records import CHUNK_BYTES

PIECE_BYTES = 8 << 20
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/copy-object.html
MOST_COPIED_BYTES, COPIED_PART_BYTES = 5 << 30, 1 << 30


class Part(NamedTuple):
    """Bytes of an object, and their SHA-256."""

    key: str
    offset: int
    size_bytes: int
    sha256: str


def fetch_part(bucket: Bucket, part: Part, path: Path) -> Path:
    """Download bytes to a file, continuing an earlier download; return the file.

    Raises S3Error if they are not the expected ones.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    digest, unfinished = hashlib.sha256(), path.with_name(f"{path.name[:200]}.part")
    with unfinished.open("ab+") as file:
        at = file.seek(0, os.SEEK_END)
        while at < part.size_bytes:
            at += file.write(bucket.get_part(part.key, part.offset + at, min(PIECE_BYTES, part.size_bytes - at)))
        file.flush()
        file.seek(0)
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    if at != part.size_bytes or digest.hexdigest() != part.sha256:
        unfinished.unlink()
        raise S3Error("", f"{part.key} is not what was written there")
    unfinished.replace(path)
    return path


def copy_object(bucket: Bucket, source: str, target: str, size_bytes: int) -> None:
    """Copy an object inside the bucket, without its bytes crossing the network; raises S3Error."""
    headers = {"x-amz-copy-source": quote(f"/{bucket.name}/{source}")}
    if size_bytes <= MOST_COPIED_BYTES:
        bucket.ask("PUT", target, headers=headers)
        return
    upload = read_fields(bucket.ask("POST", target, query={"uploads": ""}).body)["UploadId"]
    rows = []
    for number, start in enumerate(range(0, size_bytes, COPIED_PART_BYTES), 1):
        area = f"bytes={start}-{min(start + COPIED_PART_BYTES, size_bytes) - 1}"
        query = {"uploadId": upload, "partNumber": str(number)}
        answer = bucket.ask("PUT", target, query=query, headers={**headers, "x-amz-copy-source-range": area})
        rows.append({"PartNumber": str(number), "ETag": read_fields(answer.body)["ETag"]})
    body = write_parts(rows)
    bucket.ask("POST", target, query={"uploadId": upload}, body=body, sha256=hashlib.sha256(body).hexdigest())
