"""Access to nested folders by descriptor, never through a symbolic link.

The names in a results folder come from a job, and a foreign project may contain links: a path that is resolved again for each
call can lead to another place the next time. A descriptor cannot.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from infra.errors import ProjectError

FETCH = "then: gpujob fetch"
FOLDER = "folder"
OTHER = "other"
PLAIN_BYTES = 16 << 20
HashOf = Callable[[os.stat_result, Callable[[], str]], str]
WAY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe would wait for a writer.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def open_folder(name: str | Path, within: int | None = None) -> Iterator[int]:
    """Yield the descriptor of a folder; raises OSError for a link or anything else."""
    folder = os.open(name, WAY, dir_fd=within)
    try:
        yield folder
    finally:
        os.close(folder)


class Descent:
    """A path down from an open folder, with only the deepest folder open.

    A job can nest more folders than a process may open.
    """

    def __init__(self, top: int) -> None:
        self.folder = os.dup(top)

    def __enter__(self) -> Self:
        """Start at the top."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the current folder."""
        self.close()

    def __del__(self) -> None:
        """Close the current folder, if it is still open."""
        self.close()

    def close(self) -> None:
        """Close the current folder, once."""
        folder, self.folder = self.folder, -1
        if folder >= 0:
            os.close(folder)

    def enter(self, name: str) -> None:
        """Descend into a folder; raises OSError for anything else, and for a name that is a path."""
        if name == ".." or "/" in name:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        inner = os.open(name, WAY, dir_fd=self.folder)
        os.close(self.folder)
        self.folder = inner


def make_folder(name: str, within: int) -> None:
    """Create a folder unless something of that name exists."""
    try:
        os.mkdir(name, dir_fd=within)
    except FileExistsError:
        return


def look_at(name: str, within: int, hash_of: HashOf = lambda _, read: read()) -> str | None:
    """Return a file's SHA-256, "-> TARGET" for a link, `FOLDER` or `OTHER`; None if nothing exists.

    `hash_of` gets the file's status and a function that reads the hash, in case it does not know it yet.
    """
    try:
        info = os.stat(name, dir_fd=within, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            return FOLDER
        if stat.S_ISLNK(info.st_mode):
            return f"-> {os.readlink(name, dir_fd=within)}"
        if stat.S_ISREG(info.st_mode):
            return hash_of(info, lambda: read_hash(name, within))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        pass
    return OTHER


def read_hash(name: str, within: int) -> str:
    """Return the SHA-256 of a file."""
    with os.fdopen(os.open(name, READ, dir_fd=within), "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(name: str, within: int) -> int:
    """Return the size of a regular file; 0 if there is none."""
    try:
        info = os.stat(name, dir_fd=within, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return info.st_size if stat.S_ISREG(info.st_mode) else 0


def read_file(name: str, within: int) -> bytes | None:
    """Return the content of a regular file; None if there is none."""
    try:
        with os.fdopen(os.open(name, READ, dir_fd=within), "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO):
            return None
        raise


def read_end(name: str, within: int, most_bytes: int) -> bytes:
    """Return the last bytes of a regular file; raises OSError for anything else."""
    with os.fdopen(os.open(name, READ, dir_fd=within), "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        file.seek(max(info.st_size - most_bytes, 0))
        return file.read(most_bytes)


def read_plain(path: Path, most_bytes: int = PLAIN_BYTES) -> bytes:
    """Return the content of a project's file; raises OSError if it is not a regular file or too large."""
    with os.fdopen(os.open(path, READ & ~os.O_NOFOLLOW), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def write_file(name: str, within: int, content: bytes) -> None:
    """Write a file atomically, replacing any file or link of that name."""
    part = f".{name}.part"
    remove(part, within)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o666, dir_fd=within), "wb") as file:
        file.write(content)
    os.rename(part, name, src_dir_fd=within, dst_dir_fd=within)


def remove(name: str, within: int) -> None:
    """Remove a file or link if it exists."""
    try:
        os.unlink(name, dir_fd=within)
    except FileNotFoundError:
        return


@contextmanager
def local_errors(place: Path | str, then: str = FETCH) -> Iterator[None]:
    """Turn a failure to write locally, such as a full disk, into ProjectError."""
    try:
        yield
    except OSError as error:
        raise cannot_write(place, error, then) from error


def cannot_write(place: Path | str, error: OSError, then: str = FETCH) -> ProjectError:
    """Return the error for a failure to write locally, where a context manager would be slow."""
    fix = "free some disk space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "fix it"
    return ProjectError(f"cannot write {place}: {error.strerror}", f"{fix}, {then}")
