"""The S3 client: a separate program, run by an interpreter that has boto3.

    list ADDRESS    -> a line for each object: [PATH, KEY, SIZE, ETAG, MTIME_NS]
    get ADDRESS     lines of [KEY, ETAG, SIZE, FILE] on stdin -> lines of [BYTES, NAME, SHA256]: the bytes that have arrived
                    since the last line and, once a file is complete, its name and hash

A file that already exists is continued. Without credentials, requests are anonymous, which public buckets allow.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Iterator

from ..records import CHUNK_BYTES
from .arriving import append

LIBRARY = "boto3"  # by name: the agent itself has the standard library only
THREADS, ATTEMPTS, PAUSE_S = 16, 5, 1.0
WRITING = threading.Lock()


def main() -> None:
    """Run the command given as arguments."""
    command, address = sys.argv[1:3]
    bucket, _, prefix = address[len("s3://") :].partition("/")
    try:
        client = connect()
        if command == "list":
            for row in list_objects(client, bucket, prefix):
                answer(row)
        else:
            rows = [json.loads(line) for line in sys.stdin]
            with ThreadPoolExecutor(THREADS) as pool:
                for _ in pool.map(lambda row: get_object(client, (bucket, row[0], row[1]), *row[2:]), rows):
                    pass
    except Exception as error:
        sys.stderr.write(f"{error}\n".replace("\n", " ") + "\n")
        sys.exit(1)


def connect() -> Any:
    """Return a client of S3."""
    boto3, botocore, config = (import_module(name) for name in (LIBRARY, "botocore", "botocore.config"))
    signed = boto3.Session().get_credentials() is not None
    settings = {"retries": {"max_attempts": ATTEMPTS, "mode": "standard"}, "max_pool_connections": THREADS}
    if not signed:
        settings["signature_version"] = botocore.UNSIGNED
    return boto3.client("s3", config=config.Config(**settings))


def list_objects(client: Any, bucket: str, prefix: str) -> Iterator[list[Any]]:
    """Yield the objects below a prefix, or the object of that name if there are none."""
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    own = None
    count = 0
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix.rstrip("/")):
        for one in page.get("Contents", ()):
            key = one["Key"]
            row = [key, one["Size"], one["ETag"], int(one["LastModified"].timestamp()) * 10**9]
            if key == prefix:
                own = ["", *row]
            elif key.startswith(folder) and not key.endswith("/"):  # others are markers of empty folders
                count += 1
                yield [key[len(folder) :], *row]
    if own and not count:
        yield own


def get_object(client: Any, version: tuple[str, str, str], size_bytes: int, name: str) -> None:
    """Download an object to a file, from where an interrupted download stopped."""
    part = Path(name)
    for attempt in range(ATTEMPTS):
        offset = part.stat().st_size if part.exists() else 0
        try:
            rest = read(client, version, offset) if offset < size_bytes else ()
            found = append(part, offset, rest)
        except Exception as error:
            if attempt == ATTEMPTS - 1 or getattr(error, "response", None):  # S3 has answered with a refusal
                raise
            time.sleep(PAUSE_S * (attempt + 1))
        else:
            answer([0, part.name, found])
            return


def read(client: Any, version: tuple[str, str, str], offset: int) -> Iterator[bytes]:
    """Yield an object (bucket, key, ETag) from an offset on; fails if it has been replaced."""
    bucket, key, etag = version
    body = client.get_object(Bucket=bucket, Key=key, IfMatch=etag, Range=f"bytes={offset}-")["Body"]
    for chunk in iter(lambda: body.read(CHUNK_BYTES), b""):
        yield chunk
        answer([len(chunk), "", ""])


def answer(row: list[Any]) -> None:
    """Write one line."""
    with WRITING:
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
