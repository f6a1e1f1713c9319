"""The store: every version of every file that ever came, once, under its SHA-256; jobs get copies that are their own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator

from .blocks import Blocks
from .records import CHUNK_BYTES, HOME, AgentError

OBJECTS = HOME / "objects"
FICLONE = 0x40049409  # linux/fs.h: share another file's blocks until one of the two is written


def object_of(sha256: str) -> Path:
    """Return where the content with this hash is kept; raises AgentError for what is no hash."""
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise AgentError(f"no SHA-256: {sha256[:80]!r}")
    return OBJECTS / sha256[:2] / sha256[2:]


def find_missing(hashes: Iterable[str]) -> list[str]:
    """Return those of the hashes whose content is not here, each once."""
    return [sha256 for sha256 in dict.fromkeys(hashes) if not object_of(sha256).exists()]


def take_in(stream: BinaryIO, sizes: dict[str, int]) -> Iterator[str]:
    """Keep the contents that come in blocks, one behind the other in this order, and yield the hash of each once it is kept.

    Raises AgentError for one that does not come whole.
    """
    blocks = Blocks(stream)
    for sha256, size_bytes in sizes.items():
        keep(blocks, size_bytes, sha256)
        yield sha256


def keep(blocks: Blocks, size_bytes: int, sha256: str) -> None:
    """Write one file into the store, under its name only once it is whole and has that hash."""
    target = object_of(sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            for chunk in blocks.read(size_bytes):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise AgentError("a file was changed while it was being sent; run it again")
        temporary.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def place(sha256: str, path: Path) -> None:
    """Put a copy of stored content at `path`; it shares the store's blocks where the file system can do that.

    Never a hard link: a job that writes into one of its files must not change another job's.
    """
    with object_of(sha256).open("rb") as source, path.open("wb") as target:
        try:
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
        except OSError:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
