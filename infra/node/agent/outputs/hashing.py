"""Hash a job's files with SHA-256, remembering results between scans."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Mapping, Tuple

from ..records import CHUNK_BYTES, read_json, write_json
from ..trees import stamp_of

SETTLED_NS = 2_000_000_000  # a file written more recently may be written again within one clock tick


Key = Tuple[bool, str]
"""The identity of a file: whether it is outside the working tree, and its name."""


def key_of(entry: Mapping[str, Any]) -> Key:
    """Return what identifies an output."""
    return entry["outside"], entry["path"]


class Hashes:
    """Hashes from the last scan; a file with an unchanged stamp is not read again."""

    def __init__(self, record: Path) -> None:
        """Start from what an earlier scan recorded."""
        self.record = record
        self.known: dict[str, Any] = read_json(record, {})
        self.found: dict[str, Any] = {}
        self.read: dict[Key, str] = {}

    def hash_of(self, key: Key, path: str, info: os.stat_result, first: Key) -> str:
        """Return a file's SHA-256; `first` is another name (hard link) of it that was hashed before."""
        name, stamp = ("//" if key[0] else "") + key[1], stamp_of(info)
        known = self.known.get(name)
        if known and known[0] == stamp and first not in self.read:
            self.found[name], self.read[key] = known, known[1]
            return str(known[1])
        sha256 = self.read.get(first) or read_hash(path)
        self.read[key] = sha256
        if info.st_ctime_ns < time.time_ns() - SETTLED_NS and stamp_of(os.lstat(path)) == stamp:
            self.found[name] = [stamp, sha256]
        return sha256

    def save(self) -> None:
        """Save the hashes for a later scan."""
        if self.found != self.known:
            with contextlib.suppress(OSError):  # a full disk: this is only a cache
                write_json(self.record, self.found)


def hash_so_far(path: Path) -> tuple[int, str]:
    """Return the size of a file that is appended to, and the SHA-256 of this many bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        while file.tell() < size_bytes:
            chunk = file.read(min(CHUNK_BYTES, size_bytes - file.tell()))
            if not chunk:
                raise OSError("it became shorter")
            digest.update(chunk)
    return size_bytes, digest.hexdigest()


def read_hash(path: str | os.PathLike[str]) -> str:
    """Return a file's SHA-256."""
    digest = hashlib.sha256()
    descriptor = os.open(
        path, os.O_RDONLY | os.O_CLOEXEC
    )  # by plain system calls, as there may be very many small files
    try:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            digest.update(chunk)
    finally:
        os.close(descriptor)
    return digest.hexdigest()
