"""Transfer: a project's files to the node in blocks, a job's outputs back, each verified before it takes its name."""

import errno
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fabric import Connection

from infra.errors import NodeError, ProjectError
from infra.hashes import read_beginning
from infra.model import Output
from infra.project import File
from infra.ssh.blocks import Blocks
from infra.ssh.connection import CHUNK_BYTES, DroppedError, exit_status, open_channel, open_stdout

HEADER_BYTES = 1 << 16  # a path has at most 4,096 bytes, each of which JSON may write as six
FETCH = "then: gpujob fetch"


class ChangedError(ProjectError):
    """A file is no longer what the node was told of; `path` is its path in the project."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path!r} changed during the upload", "rerun once nothing writes to it, or add it to .gitignore"
        )
        self.path = path


def pack(files: Iterable[tuple[File, Path]], stream: BinaryIO, report: Callable[[int], None]) -> None:
    """Write the contents of files to `stream`, each from its place, one after another; `report` gets each size as it has gone.

    Raises ChangedError for one that is no longer what it was when it was listed.
    """
    blocks = Blocks(stream)
    for file, place in files:
        digest, left = hashlib.sha256(), file.size_bytes
        for chunk in read_file(file, place):
            digest.update(chunk)
            left -= len(chunk)
            blocks.write(chunk)
        if left or digest.hexdigest() != file.sha256:
            raise ChangedError(file.path)
        report(file.size_bytes)
    blocks.flush()


def read_file(file: File, place: Path) -> Iterator[bytes]:
    """Yield what a file holds, as much of it as was listed; raises ChangedError if it cannot be read any more."""
    try:
        yield from read_beginning(place, file.size_bytes)
    except OSError as error:
        raise ChangedError(file.path) from error


def receive(
    connection: Connection, sender: Sequence[str], places: Mapping[Output, Path], report: Callable[[int], None]
) -> tuple[Output, ...]:
    """Bring these outputs to their places, each verified before it takes its name; return those that arrived whole.

    `sender` is the command that takes a JSON list of paths and offsets and answers with those files from there on, each behind
    a line that tells its path and length. What came before the connection broke is kept beside its place, and the next call goes
    on from there. What the node sends is not trusted: a file that was not asked for is skipped, and only `places` are written to.
    """
    wanted = {output.path: output for output in places}
    asked = [(output.path, part_size(output, place)) for output, place in places.items()]
    arrived = []
    with open_channel(connection, sender) as channel:
        channel.sendall(json.dumps(asked).encode())
        channel.shutdown_write()
        stdout = open_stdout(channel)
        while line := stdout.readline(HEADER_BYTES):
            path, size_bytes = read_header(line)
            output, content = wanted.pop(path, None), read_exactly(stdout, size_bytes)
            if output and write_verified(content, output, places[output], report):
                arrived.append(output)
            for _ in content:
                pass
        if exit_status(channel):
            reason = channel.makefile_stderr("rb").read().decode(errors="replace").strip()
            raise NodeError(f"the outputs could not be sent: {reason}", "gpujob fetch")
    return tuple(arrived)


def read_header(line: bytes) -> tuple[str, int]:
    """Return the path and the length that the line before a file tells; raises NodeError for a line that does not."""
    if not line.endswith(b"\n") and len(line) < HEADER_BYTES:
        raise DroppedError("the outputs did not arrive whole", "gpujob fetch")
    try:
        header = json.loads(line)
        path, size_bytes = str(header["path"]), int(header["size_bytes"])
    except (ValueError, KeyError, TypeError) as error:
        raise NodeError(f"the agent answered nonsense: {line[:200]!r}", "gpujob fetch") from error
    if size_bytes < 0:
        raise NodeError(f"the agent answered nonsense: {line[:200]!r}", "gpujob fetch")
    return path, size_bytes


def read_exactly(stream: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """Yield the next bytes of a stream, so many in all; raises DroppedError if it ends before."""
    while size_bytes:
        # One read of what has come, not several until the buffer is full.
        chunk = stream.read1(min(size_bytes, CHUNK_BYTES))  # type: ignore[attr-defined]
        if not chunk:
            raise DroppedError("the outputs did not arrive whole", "gpujob fetch")
        size_bytes -= len(chunk)
        yield chunk


def part_of(output: Output, place: Path) -> Path:
    """Return where the beginning of an output is kept until the rest has come; another content has another place."""
    name = hashlib.sha256(
        output.path.encode("utf-8", "surrogateescape")
    ).hexdigest()  # the path's own may be as long as can be
    return place.with_name(f".{name[:16]}.{output.sha256[:16]}.part")


def part_size(output: Output, place: Path) -> int:
    """Return how many bytes of an output have come before."""
    part = part_of(output, place)
    return part.stat().st_size if part.is_file() and not part.is_symlink() else 0


def write_verified(content: Iterable[bytes], output: Output, place: Path, report: Callable[[int], None]) -> bool:
    """Write the rest of a file behind what came before; give it its name if it has the hash that was announced.

    Return whether it has; if it has not, nothing of it is kept.
    """
    part = part_of(output, place)
    with local_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if part.is_symlink():
            part.unlink()
        file = part.open("a+b")
    with file:
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")
        for chunk in content:
            digest.update(chunk)
            with local_errors(place):
                file.write(chunk)
            report(len(chunk))
        with local_errors(place):
            file.flush()
    if digest.hexdigest() == output.sha256:
        with local_errors(place):
            part.chmod(output.mode & 0o777 | 0o600)
            part.replace(place)
        return True
    part.unlink(missing_ok=True)
    return False


@contextmanager
def local_errors(place: Path, then: str = FETCH) -> Iterator[None]:
    """Tell a disk that is full here, or a path that cannot be, from a connection that broke."""
    try:
        yield
    except OSError as error:
        mend = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that"
        raise ProjectError(f"{place} cannot be written: {error.strerror}", f"{mend}, {then}") from error
