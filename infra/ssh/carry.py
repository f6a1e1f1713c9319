"""Transfer: a project's files to the node in blocks, a job's outputs from there."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from infra.base.text import last_line
from infra.errors import NodeError, ProjectError
from infra.model import Output
from infra.project.files import File
from infra.project.hashes import read_beginning
from infra.ssh.blocks import Blocks
from infra.ssh.commands import CHUNK_BYTES, exit_status, open_channel, open_stdout, read_complaint
from infra.ssh.connection import Connection, DroppedError

HEADER_BYTES = 1 << 16  # a path has at most 4,096 bytes, each of which JSON may write as six


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
    connection: Connection,
    sender: Sequence[str],
    wanted: Mapping[Output, int],
    take: Callable[[Output, Iterator[bytes]], None],
) -> None:
    """Download the last so many bytes of each of these outputs; `take` gets them as they come.

    `sender` is the command that takes a JSON list of paths, offsets and whether each lies outside of the job's working folder,
    and answers with those files from there on, each behind a line that tells its path and length. What the node sends is not
    trusted: a file that was not asked for, or is not as long as was announced, is skipped.
    """
    asked = {output.path: output for output in wanted}
    with open_channel(connection, sender) as channel:
        offsets = [(output.path, output.size_bytes - left, output.outside) for output, left in wanted.items()]
        channel.sendall(json.dumps(offsets).encode())
        channel.shutdown_write()
        stdout = open_stdout(channel)
        while line := stdout.readline(HEADER_BYTES):
            path, size_bytes = read_header(line)
            output, content = asked.pop(path, None), read_exactly(stdout, size_bytes)
            if output and size_bytes == wanted[output]:
                take(output, content)
            for _ in content:
                pass
        if exit_status(channel):
            reason = last_line(read_complaint(channel))
            raise NodeError(f"the outputs could not be sent: {reason}", "gpujob fetch")


def read_header(line: bytes) -> tuple[str, int]:
    """Return the path and the length that the line before a file tells; raises NodeError for a line that does not."""
    if not line.endswith(b"\n") and len(line) < HEADER_BYTES:
        raise DroppedError("the outputs did not arrive whole", "gpujob fetch")
    try:
        header = json.loads(line)
        path, size_bytes = str(header["path"]), int(header["size_bytes"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
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
