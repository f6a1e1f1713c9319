"""Transfer a project's files to the node, and a job's outputs from it."""

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

HEADER_BYTES = 1 << 16  # a path has at most 4,096 bytes, each at most six in JSON


class ChangedError(ProjectError):
    """A file has changed since it was listed; `path` is its path in the project."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path!r} changed during the upload", "rerun once nothing writes to it, or add it to .gitignore"
        )
        self.path = path


def pack(files: Iterable[tuple[File, Path]], stream: BinaryIO, report: Callable[[int], None]) -> None:
    """Write the contents of files to `stream` in order; `report` gets the size of each block sent.

    Raises ChangedError for a file that has changed since it was listed.
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


def pack_rest(files: Iterable[tuple[File, Path, int]], stream: BinaryIO, report: Callable[[int], None]) -> None:
    """Write the contents of files from an offset on, like `pack`, reporting each chunk.

    What is before the offset is hashed by the receiver.
    """
    blocks = Blocks(stream)
    for file, place, offset in files:
        left = file.size_bytes
        for chunk in read_file(file, place):
            skipped = min(max(offset - (file.size_bytes - left), 0), len(chunk))
            left -= len(chunk)
            if skipped < len(chunk):
                blocks.write(chunk[skipped:])
                report(len(chunk) - skipped)
        if left:
            raise ChangedError(file.path)
    blocks.flush()


def read_file(file: File, place: Path) -> Iterator[bytes]:
    """Yield a file's content up to its listed size; raises ChangedError if it can no longer be read."""
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
    """Download the given number of final bytes of each output; `take` gets them as they arrive.

    `sender` is the command that reads a JSON list of paths, offsets and whether each is outside the job's working folder, and
    sends those files from their offsets, each after a line with its path and length. What the node sends is not trusted: a file
    that was not requested, or whose length is not the announced one, is skipped.
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
            raise NodeError(f"cannot download the outputs: {reason}", "gpujob fetch")


def read_header(line: bytes) -> tuple[str, int]:
    """Return the path and length in a file's header line; raises NodeError for an invalid one."""
    if not line.endswith(b"\n") and len(line) < HEADER_BYTES:
        raise DroppedError("the download was interrupted", "gpujob fetch")
    try:
        header = json.loads(line)
        path, size_bytes = str(header["path"]), int(header["size_bytes"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise NodeError(f"invalid response from the agent: {line[:200]!r}", "gpujob fetch") from error
    if size_bytes < 0:
        raise NodeError(f"invalid response from the agent: {line[:200]!r}", "gpujob fetch")
    return path, size_bytes


def read_exactly(stream: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """Yield the next `size_bytes` bytes of a stream; raises DroppedError if it ends early."""
    while size_bytes:
        # One read of what has arrived, not several until the buffer is full.
        chunk = stream.read1(min(size_bytes, CHUNK_BYTES))  # type: ignore[attr-defined]
        if not chunk:
            raise DroppedError("the download was interrupted", "gpujob fetch")
        size_bytes -= len(chunk)
        yield chunk
