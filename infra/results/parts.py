"""Parts: what has come of a file that is being downloaded, kept until all of it is there and has the hash that was announced."""

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
    """Return where an output is kept until all of it has come; another content has another name."""
    path = output.path.encode("utf-8", "surrogateescape")
    return f"{hashlib.sha256(path).hexdigest()[:16]}.{output.sha256[:16]}"


def count_left(output: Output, parts: int) -> int:
    """Return how many bytes of an output have not come yet."""
    return max(output.size_bytes - size_of(name_part(output), parts), 0)


def write_part(content: Iterable[bytes], output: Output, parts: int, report: Callable[[int], None]) -> bool:
    """Write the rest of a file behind what came before; return whether it has the hash that was announced.

    If it has not, nothing of it is kept. Where it is nothing but zeros, no room is taken.
    """
    name = name_part(output)
    with local_errors(Path(output.path)):
        # The umask takes its share of the mode, as of any new file's; what a set-uid bit would give, nobody here asked for.
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
                file.truncate()  # a hole at the end is none until the file is as long as that
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
    """Raise ProjectError if the disk has no room for so many bytes of each of these outputs."""
    disk = os.fstatvfs(folder)
    needed, free = sum(wanted.values()), disk.f_bavail * disk.f_frsize
    if needed > free:
        largest = max(wanted, key=lambda output: wanted[output])
        raise ProjectError(
            f"the outputs take {gigabytes(needed)}, and {path} has {gigabytes(free)} left;"
            f" the largest is {largest.path!r} with {gigabytes(largest.size_bytes)}",
            f"free {gigabytes(needed - free)} or choose with --pattern, {FETCH}",
        )


def gigabytes(count: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def clear_parts(parts: int) -> None:
    """Remove what came of outputs that have changed since, or are not wanted any more."""
    for name in os.listdir(parts):
        if stat.S_ISREG(os.stat(name, dir_fd=parts, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parts)
