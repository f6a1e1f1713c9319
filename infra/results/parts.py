"""Parts: partly downloaded files, kept until they are complete and have the announced hash."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from io import FileIO
from itertools import groupby
from pathlib import Path

from infra.base.folders import FETCH, cannot_write, local_errors, remove, size_of
from infra.errors import ProjectError
from infra.model import Output

HOLE_BYTES = 4096  # a block of most file systems
FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def name_part(output: Output) -> str:
    """Return the name of an output's part, which depends on its content."""
    path = output.path.encode("utf-8", "surrogateescape")
    return f"{hashlib.sha256(path).hexdigest()[:16]}.{output.sha256[:16]}"


def count_left(outputs: Iterable[Output], parts: int) -> dict[Output, int]:
    """Return how many bytes of each output are still missing."""
    begun = set(os.listdir(parts))
    sizes = {
        output: size_of(name, parts) if begun and (name := name_part(output)) in begun else 0 for output in outputs
    }
    return {output: max(output.size_bytes - size, 0) for output, size in sizes.items()}


def write_part(content: Iterable[bytes], output: Output, parts: int, report: Callable[[int], None]) -> str:
    """Append the rest of a file to its part; return its name if it has the announced hash.

    If not, the part is deleted. Zeros are written as holes, which need no space.
    """
    name, place = name_part(output), output.place
    try:
        # The umask applies to the mode, as for any new file; set-uid bits are dropped.
        descriptor = os.open(name, FLAGS, output.mode & 0o777 | 0o600, dir_fd=parts)
        file = FileIO(descriptor, "r+")
    except OSError as error:
        raise cannot_write(place, error) from error
    with closing(file):
        begun = os.fstat(descriptor).st_size
        digest = hashlib.file_digest(file, "sha256") if begun else hashlib.sha256()
        is_hole = False
        try:
            for chunk in content:
                digest.update(chunk)
                try:
                    is_hole = append(file, chunk)
                except OSError as error:
                    raise cannot_write(place, error) from error
                report(len(chunk))
        finally:
            if is_hole:  # it needs the file to have its full length
                with local_errors(place):
                    file.truncate()
    if digest.hexdigest() == output.sha256:
        return name
    remove(name, parts)
    return ""


def append(file: FileIO, chunk: bytes) -> bool:
    """Write a chunk, leaving holes for zeros; return whether it ends with one."""
    is_hole = False
    for is_hole, piece in split_holes(chunk):
        if is_hole:
            file.seek(len(piece), os.SEEK_CUR)
        else:
            while piece:
                piece = piece[file.write(piece) :]
    return is_hole


def split_holes(chunk: bytes) -> Iterator[tuple[bool, memoryview]]:
    """Yield the parts of a chunk in order: whether one is all zeros, and its content."""
    view = memoryview(chunk)
    if chunk.count(0) < min(HOLE_BYTES, len(chunk)):
        yield False, view
        return

    def is_hole(at: int) -> bool:
        return chunk.count(0, at, at + HOLE_BYTES) == min(HOLE_BYTES, len(chunk) - at)

    for hole, places in groupby(range(0, len(chunk), HOLE_BYTES), is_hole):
        first, *others = places
        yield hole, view[first : (others or [first])[-1] + HOLE_BYTES]


def check_room(wanted: dict[Output, int], folder: int, path: Path) -> None:
    """Raise ProjectError if the disk has too little space for these outputs."""
    disk = os.fstatvfs(folder)
    needed, free = sum(wanted.values()), disk.f_bavail * disk.f_frsize
    if needed > free:
        largest = max(wanted, key=lambda output: wanted[output])
        raise ProjectError(
            f"the outputs need {gigabytes(needed)}, but {path} has {gigabytes(free)} free;"
            f" the largest is {largest.path!r} with {gigabytes(largest.size_bytes)}",
            f"free {gigabytes(needed - free)} or select files with --pattern, {FETCH}",
        )


def gigabytes(count: int) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def clear_parts(parts: int) -> None:
    """Remove the parts of outputs that have changed or are no longer wanted."""
    for name in os.listdir(parts):
        if stat.S_ISREG(os.stat(name, dir_fd=parts, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parts)
