"""Cached hashes of a project's files, so that unchanged files are not read again."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from platformdirs import user_cache_path

CHUNK_BYTES = 1 << 20
MOST_BYTES = 100_000_000  # of all projects' hashes, a million files
SETTLED_NS = 2_000_000_000  # a more recent file may be written again within one tick of the clock


def read_beginning(path: Path | str, size_bytes: int) -> Iterator[bytes]:
    """Yield at most the first `size_bytes` of a file, without what was appended since.

    Raises OSError if a link has replaced the file.
    """
    # Plain system calls: a project may have thousands of small files.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while size_bytes > 0 and (chunk := os.read(descriptor, min(size_bytes, CHUNK_BYTES))):
            size_bytes -= len(chunk)
            yield chunk
    finally:
        os.close(descriptor)


class Hashes:
    """Hashes of files by path, each valid while the file's size, times and inode are unchanged.

    SHA-256, or with `git`, the name of a repository's algorithm, git's object name of the content.
    """

    def __init__(self, root: Path, git: str = "") -> None:
        self.root = root
        self.git = git
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
        self.place = user_cache_path("gpujob") / "hashes" / f"{name}{git and f'-git-{git}'}.json"
        self.known: dict[str, list[object]] = self.read()
        self.used: dict[str, list[object]] = {}

    def read(self) -> dict[str, list[object]]:
        """Return the cache of earlier runs; empty if it is missing or damaged."""
        try:
            known = json.loads(self.place.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def hash_of(self, name: str, info: os.stat_result, read: Callable[[], str] | None = None) -> str:
        """Return the hash of a file's content up to the size in `info`; raises OSError if it cannot be read.

        `read` reads a file that must be opened in another way.
        """
        stamp = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
        known = self.known.get(name)
        if known is None or known[:4] != stamp:
            known = [*stamp, read() if read else self.read_hash(name, info.st_size)]
        found = str(known[4])
        if info.st_ctime_ns < time.time_ns() - SETTLED_NS:
            self.used[name] = [*stamp, found]
        return found

    def read_hash(self, name: str, size_bytes: int) -> str:
        """Read a file's hash."""
        digest = hashlib.new(self.git or "sha256", usedforsecurity=not self.git)
        if self.git:
            digest.update(b"blob %d\0" % size_bytes)
        for chunk in read_beginning(f"{self.root}/{name}", size_bytes):
            digest.update(chunk)
        return digest.hexdigest()

    def save(self, whole: bool = True) -> None:
        """Write the cache, if all files were looked at; a failure, such as a full disk, is ignored."""
        if not whole or self.used == self.known:
            return
        part = self.place.with_name(f"{self.place.name}.{os.getpid()}")
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(json.dumps(self.used))
            part.replace(self.place)
            prune(self.place.parent, MOST_BYTES)
        except OSError:
            part.unlink(missing_ok=True)


def prune(folder: Path, most_bytes: int) -> None:
    """Remove the caches that were written least recently until the others fit into `most_bytes`."""
    files = [(path.stat(), path) for path in folder.iterdir()]
    for info, path in sorted(files, key=lambda each: each[0].st_mtime_ns, reverse=True):
        most_bytes -= info.st_size
        if most_bytes < 0:
            path.unlink(missing_ok=True)
