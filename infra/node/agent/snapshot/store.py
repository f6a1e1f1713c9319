"""The store: every content that ever came, once, under its SHA-256; jobs get copies that are their own.

Contents lie in packs, one for each time that something came, one content behind the other: to write them so takes a fraction
of the time that a file for each would. The index has a line for each content: SHA-256, pack, offset, size. A line is written when
its content is there, and one with the pack "-" takes it back.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import struct
import time
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator, NamedTuple

from .. import trees
from ..records import CHUNK_BYTES, HOME, AgentError
from .blocks import Blocks

FOLDER = HOME / "store"
INDEX = FOLDER / "index"
GONE = "-"
# Blocks are shared whole: what is worth sharing begins at one. Smaller contents are packed close.
BLOCK_BYTES = 4096
SHARED_BYTES = 4 * BLOCK_BYTES
FICLONERANGE = 0x4020940D  # linux/fs.h: share a range of another file's blocks until one of the two is written
RANGE = struct.Struct("qQQQ")


class Place(NamedTuple):
    """Where a content lies."""

    pack: str
    offset: int
    size_bytes: int


class Store:
    """The store as it was when it was opened, and what came since by way of this process."""

    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.index = read_index()
        self.packs: dict[str, int] = {}
        self.sharing = True

    def find_missing(self, hashes: Iterable[str]) -> list[str]:
        """Return those of the hashes whose content is not here, each once; raises AgentError for what is no hash."""
        for sha256 in hashes:
            if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
                raise AgentError(f"no SHA-256: {sha256[:80]!r}")
        return [sha256 for sha256 in dict.fromkeys(hashes) if sha256 not in self.index]

    def take_in(self, stream: BinaryIO, sizes: dict[str, int]) -> Iterator[str]:
        """Keep the contents that come in blocks, in this order, and yield the hash of each once it is here.

        Raises AgentError for one that does not come whole; those before it stay.
        """
        if not sizes:
            return
        name = f"{time.time_ns():x}-{os.getpid()}"
        self.packs[name] = os.open(FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        blocks, end, lines = Blocks(stream), 0, []
        try:
            for sha256, size_bytes in sizes.items():
                place = Place(name, align(end) if size_bytes >= SHARED_BYTES else end, size_bytes)
                self.keep(blocks, place, sha256)
                end = place.offset + size_bytes
                self.index[sha256] = place
                lines.append(f"{sha256} {name} {place.offset} {size_bytes}\n")
                yield sha256
        finally:
            os.ftruncate(self.packs[name], end)  # what came in part takes no room: the disk may be full because of it
            add_to_index(lines)

    def keep(self, blocks: Blocks, place: Place, sha256: str) -> None:
        """Write one content into its pack; raises AgentError unless it has that hash."""
        descriptor, digest = self.packs[place.pack], hashlib.sha256()
        os.lseek(descriptor, place.offset, os.SEEK_SET)
        for chunk in blocks.read(place.size_bytes):
            digest.update(chunk)
            write_all(descriptor, chunk)
        if digest.hexdigest() != sha256:
            raise AgentError("a file was changed while it was being sent; run it again")

    def lay_out(self, sha256: str, path: str, mode: int, mtime_ns: int) -> os.stat_result:
        """Make a file with this content; it shares the store's blocks where the file system can do that.

        Never a hard link: a job that writes into one of its files must not change another job's.
        Raises AgentError, and forgets the content, if the disk has not kept what came.
        """
        # Plain system calls: a project may have many small files, and Python's own add as many again to each.
        target = create(path, mode)
        try:
            place = self.index[sha256]
            if not self.share(place, target) and not self.copy(place, target, sha256):
                add_to_index([f"{sha256} {GONE} 0 0\n"])
                raise AgentError(
                    "the machine's disk has not kept what came earlier; run it again, and it is sent again"
                )
            os.utime(target, ns=(mtime_ns, mtime_ns))
            if stat.S_IMODE(os.fstat(target).st_mode) != mode:  # the umask took some of it
                os.fchmod(target, mode)
            return os.fstat(target)
        finally:
            os.close(target)

    def copy(self, place: Place, target: int, sha256: str) -> bool:
        """Write a content into a new file; return whether it is what came."""
        source, digest = self.open_pack(place.pack), hashlib.sha256()
        offset, end = place.offset, place.offset + place.size_bytes
        while offset < end:
            chunk = os.pread(source, min(CHUNK_BYTES, end - offset), offset)
            if not chunk:
                return False
            digest.update(chunk)
            write_all(target, chunk)
            offset += len(chunk)
        return digest.hexdigest() == sha256

    def share(self, place: Place, target: int) -> bool:
        """Let a new file share a content's blocks; return whether it does: few file systems can."""
        if not self.sharing or place.size_bytes < SHARED_BYTES:
            return False
        source = self.open_pack(place.pack)
        length = align(place.size_bytes)
        if os.fstat(source).st_size < place.offset + length:
            os.ftruncate(source, place.offset + length)  # it is the pack's last: the block is filled up
        try:
            fcntl.ioctl(target, FICLONERANGE, RANGE.pack(source, place.offset, length, 0))
        except OSError:
            self.sharing = False
            return False
        os.ftruncate(target, place.size_bytes)
        return True

    def open_pack(self, name: str) -> int:
        """Return a pack's descriptor."""
        if name not in self.packs:
            self.packs[name] = os.open(FOLDER / name, os.O_RDWR | os.O_CLOEXEC)
        return self.packs[name]


def read_index() -> dict[str, Place]:
    """Return where each content lies; a line that was cut short is none."""
    index = {}
    for line in INDEX.read_text().splitlines() if INDEX.exists() else []:
        words = line.split()
        if len(words) == 4 and words[1] != GONE:
            index[words[0]] = Place(words[1], int(words[2]), int(words[3]))
        elif len(words) == 4:
            index.pop(words[0], None)
    return index


def add_to_index(lines: list[str]) -> None:
    """Add lines in one stroke; a line that a crash has cut short before them is ended first."""
    with INDEX.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(("\n" + "".join(lines)).encode())


def align(offset: int) -> int:
    """Return where the next block begins, at `offset` or behind it."""
    return -(-offset // BLOCK_BYTES) * BLOCK_BYTES


def create(path: str, mode: int) -> int:
    """Return the descriptor of a new file, whose folder is made if need be."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileNotFoundError:
        trees.make(Path(path).parent)
        return os.open(path, flags, mode)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of it: the system may take less at once."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
