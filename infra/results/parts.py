"""Parts: partly downloaded files, kept until they are complete and have the announced hash."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from infra.base.folders import FETCH, local_errors, remove, size_of
from infra.errors import ProjectError
from infra.model import Output

FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def name_part(output: Output) -> str:
    """Return the name of an output's part, which depends on its content."""
    path = output.path.encode("utf-8", "surrogateescape")
    return f"{hashlib.sha256(path).hexdigest()[:16]}.{output.sha256[:16]}"


def count_left(output: Output, parts: int) -> int:
    """Return how many bytes of an output are still missing."""
    return max(output.size_bytes - size_of(name_part(output), parts), 0)


def write_part(content: Iterable[bytes], output: Output, parts: int, report: Callable[[int], None]) -> bool:
    """Append the rest of a file to its part; return whether it has the announced hash.

    If not, the part is deleted. Zeros are written as holes, which need no space.
    """
    name = name_part(output)
    with local_errors(Path(output.path)):
        # The umask applies to the mode, as for any new file; set-uid bits are dropped.
        file = os.fdopen(os.open(name, FLAGS, output.mode & 0o777 | 0o600, dir_fd=parts), "r+b")
    with closing(file):
        digest = hashlib.file_digest(file, "sha256")
        try:
            for chunk in content:
                digest.update(chunk)
                with local_errors(Path(output.path)):
                    append(file, chunk)
                report(len(chunk))
        finally:
            with local_errors(Path(output.path)):
                file.truncate()  # a hole at the end needs the file to have its full length
    if digest.hexdigest() == output.sha256:
        return True
    remove(name, parts)
    return False


def append(file: BinaryIO, chunk: bytes) -> None:
    """Write a chunk, or leave a hole for one of zeros."""
    if chunk.count(0) == len(chunk):
        file.seek(len(chunk), os.SEEK_CUR)
    else:
        file.write(chunk)


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
