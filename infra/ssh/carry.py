"""Carrying: a project's files to the node as one gzipped tar stream, a job's outputs home as one tar stream."""

import gzip
import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from fabric import Connection

from infra.errors import NodeError, ProjectError
from infra.model import Output
from infra.project import File
from infra.ssh.connection import CHUNK_BYTES, DroppedError, exit_status, open_channel, open_stdout


def pack(root: Path, files: Iterable[File], stream: BinaryIO, report: Callable[[int], None]) -> None:
    """Write files to `stream` as a gzipped tar, each named by its hash; `report` gets the size of each as it has gone."""
    # Level 1: three quarters of the gain for a tenth of the work, and the link is rarely the slower part.
    with (
        gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in files:
            member = tarfile.TarInfo(file.sha256)
            try:
                with (root / file.path).open("rb") as content:
                    member.size = os.fstat(content.fileno()).st_size
                    archive.addfile(member, content)
            except (PermissionError, FileNotFoundError) as error:
                raise ProjectError(f"{file.path} went away while it was being sent", "run it again") from error
            report(file.size_bytes)


def receive(
    connection: Connection, sender: Sequence[str], places: Mapping[Output, Path], report: Callable[[int], None]
) -> tuple[Output, ...]:
    """Bring these outputs to their places, each verified before it takes its name; return those that arrived whole.

    `sender` is the command that takes a JSON list of paths and offsets and answers with a tar of those files from there on.
    What came before the connection broke is kept beside its place, and the next call goes on from there. What the node sends
    is not trusted: a member that was not asked for is skipped, and only `places` are written to.
    """
    wanted = {output.path: output for output in places}
    asked = [(output.path, part_size(output, place)) for output, place in places.items()]
    arrived = []
    with open_channel(connection, sender) as channel:
        channel.sendall(json.dumps(asked).encode())
        channel.shutdown_write()
        try:
            with tarfile.open(fileobj=open_stdout(channel), mode="r|") as archive:
                for member in archive:
                    output = wanted.pop(member.name, None)
                    content = archive.extractfile(member) if member.isreg() else None
                    if output and content and write_verified(content, member.size, output, places[output], report):
                        arrived.append(output)
        except tarfile.TarError as error:
            raise DroppedError(f"the outputs did not arrive whole: {error}", "gpujob fetch") from error
        if exit_status(channel):
            reason = channel.makefile_stderr("rb").read().decode(errors="replace").strip()
            raise NodeError(f"the outputs could not be sent: {reason}", "gpujob fetch")
    return tuple(arrived)


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


def write_verified(
    content: IO[bytes], size_bytes: int, output: Output, place: Path, report: Callable[[int], None]
) -> bool:
    """Write the rest of a file, `size_bytes`, behind what came before; give it its name if it has the hash that was announced.

    Return whether it has; if it has not, nothing of it is kept. Raises DroppedError if the connection broke before its end.
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
        try:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
                with local_errors(place):
                    file.write(chunk)
                report(len(chunk))
                size_bytes -= len(chunk)
        except tarfile.ReadError:
            pass  # the stream ended; and where it ends in the last block of a file, tarfile does not even say so
        if size_bytes:
            raise DroppedError(f"{output.path!r} did not arrive whole", "gpujob fetch")
    if digest.hexdigest() == output.sha256:
        with local_errors(place):
            part.chmod(output.mode & 0o777 | 0o600)
            part.replace(place)
        return True
    part.unlink(missing_ok=True)
    return False


@contextmanager
def local_errors(place: Path) -> Iterator[None]:
    """Tell a disk that is full here from a connection that broke."""
    try:
        yield
    except OSError as error:
        raise ProjectError(f"{place} cannot be written: {error.strerror}", "make room, then: gpujob fetch") from error
