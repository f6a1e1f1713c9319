"""The store: every uploaded content once, by its SHA-256; jobs get copies of their own.

Each upload writes its contents to one pack file, which takes a fraction of the time of one file per content. The index
has a line for each content: SHA-256, pack, offset, size. A line is written once its content is stored; a line with the
pack "-" deletes it. Users of the store share its lock, so that no pack disappears while it is read (see `packs`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator, NamedTuple

from .. import trees
from ..records import CHUNK_BYTES, HOME, AgentError
from .blocks import Blocks

FOLDER = HOME / "store"
INDEX = FOLDER / "index"
LOCK = FOLDER / "lock"
GONE = "-"
MOST_OPEN = 64  # packs at a time: a process may open 1,024 files
# Blocks are shared whole, so contents worth sharing start at a block boundary; smaller ones are packed tightly.
BLOCK_BYTES = 4096
SHARED_BYTES = 4 * BLOCK_BYTES
FICLONERANGE = 0x4020940D  # linux/fs.h: share blocks of another file, copy on write
RANGE = struct.Struct("qQQQ")


class Place(NamedTuple):
    """Where a content is stored."""

    pack: str
    offset: int
    size_bytes: int


class Store:
    """The store as of opening, plus the contents that this process has added."""

    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.lock = LOCK.open("ab")
        fcntl.flock(self.lock, fcntl.LOCK_SH)
        self.index = read_index()
        self.packs: OrderedDict[str, int] = OrderedDict()
        """The descriptors of open packs, the least recently used first."""
        self.sharing = True

    def close(self) -> None:
        """Close all packs and release the lock."""
        while self.packs:
            os.close(self.packs.popitem()[1])
        self.lock.close()

    def find_missing(self, hashes: Iterable[str]) -> list[str]:
        """Return the hashes whose content is missing, without duplicates; raises AgentError for invalid ones."""
        for sha256 in hashes:
            if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
                raise AgentError(f"invalid SHA-256: {sha256[:80]!r}")
        return [sha256 for sha256 in dict.fromkeys(hashes) if sha256 not in self.index]

    def take_in(self, stream: BinaryIO, sizes: dict[str, int]) -> Iterator[str]:
        """Store contents that arrive as blocks in this order; yield each hash once stored.

        Raises AgentError for one that is incomplete; those before it are kept.
        """
        if not sizes:
            return
        name = name_pack()
        blocks, end, lines = Blocks(stream), 0, []
        with create_pack(name) as pack:
            try:
                for sha256, size_bytes in sizes.items():
                    place = Place(name, place_after(end, size_bytes), size_bytes)
                    keep(blocks, pack.fileno(), place, sha256)
                    end = place.offset + size_bytes
                    self.index[sha256] = place
                    lines.append(write_line(sha256, place))
                    yield sha256
            finally:
                os.ftruncate(pack.fileno(), end)  # partial content must not take space: a full disk may be the reason
                add_to_index(lines)

    def lay_out(self, sha256: str, path: str, mode: int, mtime_ns: int) -> os.stat_result:
        """Create a file with this content, sharing the store's blocks where the file system supports it.

        Never a hard link: a job that writes to its files must not change another job's. If the stored content is
        damaged, forgets it and raises AgentError.
        """
        # Plain system calls: with many small files, pathlib would double the time.
        target = create(path, mode)
        try:
            place = self.index[sha256]
            source = self.open_pack(place.pack)
            if not self.share(place, source, target) and not copy(place, source, target, sha256):
                add_to_index([f"{sha256} {GONE} 0 0\n"])
                raise AgentError(
                    "the machine's disk lost a file of an earlier upload; rerun the command to upload it again"
                )
            os.utime(target, ns=(mtime_ns, mtime_ns))
            if stat.S_IMODE(os.fstat(target).st_mode) != mode:  # the umask removed some of it
                os.fchmod(target, mode)
            return os.fstat(target)
        finally:
            os.close(target)

    def share(self, place: Place, source: int, target: int) -> bool:
        """Share a content's blocks with a new file; return whether the file system did."""
        if not self.sharing or place.size_bytes < SHARED_BYTES:
            return False
        length = align(place.size_bytes)
        if os.fstat(source).st_size < place.offset + length:
            os.ftruncate(source, place.offset + length)  # the last one in the pack: pad the block
        try:
            fcntl.ioctl(target, FICLONERANGE, RANGE.pack(source, place.offset, length, 0))
        except OSError:
            self.sharing = False
            return False
        os.ftruncate(target, place.size_bytes)
        return True

    def open_pack(self, name: str) -> int:
        """Return a pack's descriptor; only the most recently used ones stay open."""
        if name not in self.packs:
            # Created if it is missing, so that its contents count as lost.
            self.packs[name] = os.open(FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if len(self.packs) > MOST_OPEN:
                os.close(self.packs.popitem(last=False)[1])
        self.packs.move_to_end(name)
        return self.packs[name]


def create_pack(name: str) -> BinaryIO:
    """Create a pack and open it."""
    descriptor = os.open(FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "r+b", buffering=0)


def name_pack() -> str:
    """Return a new pack's name: later ones follow earlier ones in order."""
    return f"{time.time_ns():x}-{os.getpid()}"


def keep(blocks: Blocks, descriptor: int, place: Place, sha256: str) -> None:
    """Write one content to its pack; raises AgentError if the hash does not match."""
    digest = hashlib.sha256()
    os.lseek(descriptor, place.offset, os.SEEK_SET)
    for chunk in blocks.read(place.size_bytes):
        digest.update(chunk)
        write_all(descriptor, chunk)
    if digest.hexdigest() != sha256:
        raise AgentError("a file changed during the upload; rerun the command")


def place_after(end: int, size_bytes: int) -> int:
    """Return the offset of a content that is stored after `end`."""
    return align(end) if size_bytes >= SHARED_BYTES else end


def write_line(sha256: str, place: Place) -> str:
    """Return the index's line for a content."""
    return f"{sha256} {place.pack} {place.offset} {place.size_bytes}\n"


def copy(place: Place, source: int, target: int, sha256: str) -> bool:
    """Copy a content from its pack to a new file; return whether its hash matches."""
    digest = hashlib.sha256()
    for chunk in read_range(source, place):
        digest.update(chunk)
        write_all(target, chunk)
    return digest.hexdigest() == sha256


def read_range(source: int, place: Place) -> Iterator[bytes]:
    """Yield a content in pieces, as far as its pack has it."""
    offset, end = place.offset, place.offset + place.size_bytes
    while offset < end:
        chunk = os.pread(source, min(CHUNK_BYTES, end - offset), offset)
        if not chunk:
            return
        yield chunk
        offset += len(chunk)


def read_index() -> dict[str, Place]:
    """Return where each content is; incomplete lines are ignored."""
    index = {}
    for line in INDEX.read_text().splitlines() if INDEX.exists() else []:
        words = line.split()
        if len(words) == 4 and words[1] != GONE:
            index[words[0]] = Place(words[1], int(words[2]), int(words[3]))
        elif len(words) == 4:
            index.pop(words[0], None)
    return index


def add_to_index(lines: list[str]) -> None:
    """Append lines in one write, after ending a line that a crash may have cut short."""
    with INDEX.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(("\n" + "".join(lines)).encode())


def align(offset: int) -> int:
    """Round up to the next block boundary."""
    return -(-offset // BLOCK_BYTES) * BLOCK_BYTES


def create(path: str, mode: int) -> int:
    """Create a new file, and its folder if needed; return the descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileNotFoundError:
        trees.make(Path(path).parent)
        return os.open(path, flags, mode)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write everything: the system may accept less at once."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
