"""Fetch data sets from the internet to the node, before their job joins the queue."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Iterator, Mapping

from ..records import CHUNK_BYTES, AgentError
from .arriving import append, taking
from .bucket import fetch_bucket
from .progress import Progress, check_space
from .store import ARRIVED, ITSELF, File, choose_root, complete, content_of, find_changed, find_record, forget_changed

S3 = "s3://"
ATTEMPTS, PAUSE_S, SILENCE_S = 5, 1.0, 60.0


def fetch(each: Mapping[str, Any], python: str, variables: Mapping[str, str], log: BinaryIO) -> str:
    """Fetch a set unless the machine has it; return its version. Raises AgentError.

    `variables` may have credentials; `python` is an interpreter that may have boto3.
    """
    if each["address"].startswith(S3):
        return fetch_bucket(each, python, variables, log)
    place = find_record(each["version"])
    if place and not find_changed(*place):
        return str(each["version"])
    root = place[0] if place else choose_root()
    with taking(root, each["version"], impatient=False) as parts:
        place = find_record(each["version"])
        file = File(ITSELF, each["sha256"], 0, False, time.time_ns(), None)
        if place and find_changed(*place):
            forget_changed(*place, [ITSELF], [file])
            place = None
        if not place:
            if not content_of(root, file.sha256).exists():
                download(each, parts / file.sha256, log)
            whole = parts / f"{file.sha256}{ARRIVED}"
            size_bytes = (whole if whole.exists() else content_of(root, file.sha256)).stat().st_size
            facts = {"path": each["path"], "source": each["source"]}
            complete(root, parts, [file._replace(size_bytes=size_bytes)], facts)
    return str(each["version"])


def download(each: Mapping[str, Any], part: Path, log: BinaryIO) -> None:
    """Download a file, and check its SHA-256; raises AgentError."""
    vain = 0
    while True:
        offset = part.stat().st_size if part.exists() else 0
        try:
            found = download_rest(each, part, offset, log)
            break
        except (OSError, http.client.HTTPException) as error:
            answered = isinstance(error, urllib.error.HTTPError) and error.code < 500
            grew = part.exists() and part.stat().st_size > offset
            vain = 0 if grew else vain + 1
            if answered or vain >= ATTEMPTS:
                raise AgentError(f"cannot download {each['path']} from {each['source']}: {error}") from error
            time.sleep(PAUSE_S * vain)
    if found != each["sha256"]:
        part.unlink()
        raise AgentError(
            f"{each['path']}: {each['source']} has the SHA-256 {found}, but gpujob.toml has {each['sha256']}"
        )
    part.rename(part.with_name(f"{part.name}{ARRIVED}"))


def download_rest(each: Mapping[str, Any], part: Path, offset: int, log: BinaryIO) -> str:
    """Continue a download; return the SHA-256 of the whole. Some servers can only send all of it again."""
    request = urllib.request.Request(each["address"], headers={"User-Agent": "gpujob"})  # noqa: S310  http(s) only
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response = urllib.request.urlopen(request, timeout=SILENCE_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # nothing remains: all had arrived when the connection broke
            return append(part, offset, ())
        raise
    with response:
        offset = offset if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        check_space(part.parent, int(length or 0), each["path"])
        progress = Progress(log, each["path"], offset + int(length or 0))
        progress(offset)
        found = append(part, offset, count(response, progress))
        if length is not None and progress.done_bytes < progress.total_bytes:
            raise http.client.IncompleteRead(b"")
        return found


def count(response: Any, progress: Progress) -> Iterator[bytes]:
    """Yield what a server sends."""
    for chunk in iter(lambda: response.read(CHUNK_BYTES), b""):
        yield chunk
        progress(len(chunk))


def fetch_all(
    sets: Iterable[Mapping[str, Any]], python: str, variables: Mapping[str, str], log: BinaryIO
) -> dict[str, str]:
    """Fetch these sets; return the version of each by its path."""
    return {each["path"]: fetch(each, python, variables, log) for each in sets}
