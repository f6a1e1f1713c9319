"""Store a data set that the client sends, continuing where an interrupted transfer stopped."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Iterator

from .. import trees
from ..identities import identify, lives
from ..muster.peers import ask
from ..records import CHUNK_BYTES, AgentError
from ..snapshot.blocks import Blocks
from ..snapshot.inside import is_inside, leads_out
from .store import (
    ARRIVED,
    ITSELF,
    File,
    choose_root,
    complete,
    content_of,
    find_changed,
    find_record,
    forget_changed,
    version_of,
)

POLL_S, SILENT_S = 0.2, 15.0
ZEROS = bytes(4 * CHUNK_BYTES)  # as long as any chunk


def push() -> dict[str, Any]:
    """Store a set: its files as a line on stdin, then the missing contents, each from its offset."""
    stdin = sys.stdin.buffer
    asked = json.loads(zlib.decompress(base64.b64decode(stdin.readline())))
    files = [File(*each) for each in asked["files"]]
    check_files(files)
    version = version_of(files)
    place = find_record(version)
    root = place[0] if place else choose_root()
    with taking(root, version) as parts:
        place = find_record(version)
        changed = find_changed(*place) if place else []
        if place and changed:
            forget_changed(*place, changed, files)
        missing = [] if place and not changed else find_missing(root, parts, files)
        sizes = {each.sha256: each.size_bytes for each in files}
        if asked.get("peer") and missing:
            take_from_peer(asked["peer"], parts, missing, sizes)
            missing = find_missing(root, parts, files)
        disk = os.statvfs(root)
        answer = {"missing": missing, "changed": changed[:10], "free_bytes": disk.f_bavail * disk.f_frsize}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        take_in(stdin, parts, missing, sizes)
        if not place or changed:
            complete(root, parts, files, {"path": asked["path"], "source": asked["source"]})
    return {"version": version}


def check_files(files: list[File]) -> None:
    """Raise AgentError for a path or link that points outside the set."""
    links = {each.path for each in files if each.link is not None}
    for file in files:
        if not is_inside(file.path) and (file.path != ITSELF or len(files) > 1 or file.link is not None):
            raise AgentError(f"{file.path!r} is outside the data set")
        if any(file.path[:at] in links for at, letter in enumerate(file.path) if letter == "/"):
            raise AgentError(f"{file.path!r} is behind a link")
        if file.link is not None and leads_out(file.path, file.link):
            raise AgentError(f"the link {file.path!r} points outside the data set")
        if file.link is None and (len(file.sha256) != 64 or set(file.sha256) - set("0123456789abcdef")):
            raise AgentError(f"invalid SHA-256: {file.sha256[:80]!r}")


def find_missing(root: Path, parts: Path, files: Iterable[File]) -> list[list[Any]]:
    """Return each missing content, and how much of it has arrived."""
    missing = []
    for sha256 in dict.fromkeys(each.sha256 for each in files if each.link is None):
        if not (content_of(root, sha256).exists() or (parts / f"{sha256}{ARRIVED}").exists()):
            part = parts / sha256
            missing.append([sha256, part.stat().st_size if part.exists() else 0])
    return missing


def take_in(stream: BinaryIO, parts: Path, missing: Iterable[list[Any]], sizes: dict[str, int]) -> None:
    """Write the missing contents as they arrive; raises AgentError for an incomplete or wrong one."""
    blocks = Blocks(stream)
    for sha256, offset in missing:
        part = parts / sha256
        if append(part, offset, blocks.read(sizes[sha256] - offset)) != sha256:
            part.unlink()
            raise AgentError("a file changed during the upload; rerun the command")
        part.rename(parts / f"{sha256}{ARRIVED}")


def take_from_peer(peer: dict[str, Any], parts: Path, missing: list[list[Any]], sizes: dict[str, int]) -> None:
    """Write what another node has of the missing contents; the client is asked for the rest."""
    with contextlib.suppress(OSError, AgentError), ask(peer, missing) as stream:
        take_in(stream, parts, missing, sizes)


def append(part: Path, offset: int, chunks: Iterable[memoryview | bytes]) -> str:
    """Write chunks from an offset of a partial content on, zeros as holes; return the hash of the whole."""
    digest = hashlib.sha256()
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = 0
    try:
        while end < offset:
            chunk = os.pread(descriptor, min(CHUNK_BYTES, offset - end), end)
            if not chunk:
                raise AgentError("a partial upload was removed; rerun the command")
            digest.update(chunk)
            end += len(chunk)
            mark_alive(part)
        for piece in chunks:
            content = bytes(piece)
            digest.update(content)
            if content != ZEROS[: len(content)]:
                view = memoryview(content)
                at = end
                while view:
                    written = os.pwrite(descriptor, view, at)
                    view, at = view[written:], at + written
            end += len(content)
            mark_alive(part)
    finally:
        os.ftruncate(descriptor, end)
        os.close(descriptor)
    return digest.hexdigest()


def mark_alive(part: Path) -> None:
    """Record that the transfer makes progress."""
    os.utime(f"{part.parent}.lock")


@contextlib.contextmanager
def taking(root: Path, name: str, impatient: bool = True) -> Iterator[Path]:
    """Yield the folder for the parts of a set, for one transfer at a time.

    If impatient, a transfer that has stalled for a while is ended: its connection broke, and this one continues its work.
    """
    parts = root / "parts" / name
    trees.make(parts)
    with Path(f"{parts}.lock").open("r+b" if Path(f"{parts}.lock").exists() else "w+b") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if impatient:
                    end_silent(Path(f"{parts}.lock"))
                time.sleep(POLL_S)
        lock.truncate(0)
        lock.write(json.dumps(identify(os.getpid())).encode())
        lock.flush()
        trees.make(parts)  # the previous transfer may have completed the set
        yield parts


def end_silent(lock: Path) -> None:
    """End the process that holds a lock if it has made no progress for a while."""
    if time.time() - lock.stat().st_mtime < SILENT_S:
        return
    with contextlib.suppress(ValueError, ProcessLookupError):
        holder = json.loads(lock.read_bytes())
        if lives(holder):
            os.kill(holder[0], signal.SIGTERM)
