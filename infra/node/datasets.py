"""The data sets of a node: sent by this computer, listed, removed."""

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from infra.base.decoding import decode, parse
from infra.errors import NodeError, ProjectError
from infra.model import DataSet, FileName, Sha256
from infra.node.calls import call
from infra.node.client import ASKED_BYTES, Freed
from infra.node.packing import write
from infra.node.peers import Peer
from infra.project.datasets import Listing
from infra.project.files import File
from infra.ssh import carry
from infra.ssh.connection import Connection


@dataclass(frozen=True)
class Wanted:
    """The agent's first reply: the missing contents, how much it has of each, and changed files."""

    missing: tuple[tuple[Sha256, int], ...]
    changed: tuple[str, ...]
    free_bytes: int


@dataclass(frozen=True)
class Version:
    """Its second reply: the version that it has stored."""

    version: Sha256


@dataclass(frozen=True)
class StoredSet:
    """A version of a data set on a node; the names are not trusted."""

    version: Sha256
    path: FileName
    source: str
    files: int
    size_bytes: int
    stored_at: float
    jobs: tuple[int, ...]
    """The jobs that use it and have not ended."""
    changed: int
    """How many of its files were changed after they were stored."""


@dataclass(frozen=True)
class Pushed:
    """A data set on a node, how much of it was sent, and which files had been changed there."""

    data_set: DataSet
    sent_bytes: int
    changed: tuple[str, ...]


def push(
    connection: Connection,
    listing: Listing,
    report: Callable[[int], None],
    expect: Callable[[int], None],
    peer: Peer | None = None,
) -> Pushed:
    """Send what a node does not have of a data set; `expect` gets its size, `report` that of each part.

    It gets from `peer` what that node has. An interrupted transfer continues where it stopped. Raises ProjectError if a file
    changes during the transfer.
    """
    wanted = Wanted((), (), 0)
    about = {"path": listing.source.path, "source": listing.source.shown, "files": listing.stored}
    request = {**about, "peer": asdict(peer) if peer else None}
    line = base64.b64encode(zlib.compress(json.dumps(request).encode(), 1)) + b"\n"
    sent_bytes = 0

    def count(size_bytes: int) -> None:
        nonlocal sent_bytes
        sent_bytes += size_bytes
        report(size_bytes)

    def converse(stdin: BinaryIO, stdout: BinaryIO) -> None:
        nonlocal wanted
        write(stdin, line)
        asked = stdout.readline(ASKED_BYTES)
        if asked:  # otherwise it has ended, and stderr says why
            wanted = decode(Wanted, parse(asked))
            expect(sum(file.size_bytes - offset for file, offset in find_rest(listing, wanted)))
            send(listing, wanted, stdin, count)
            stdin.flush()

    answer = decode(Version, call(connection, "data-push", converse=converse))
    if answer.version != listing.data_set.version:
        raise NodeError(f"the node stored another version of {listing.source.path}", "gpujob data ls")
    return Pushed(listing.data_set, sent_bytes, wanted.changed)


def find_rest(listing: Listing, wanted: Wanted) -> list[tuple[File, int]]:
    """Return the files whose content a node does not have, and how much of each it has."""
    by_hash = {file.sha256: file for file in listing.files}
    return [(by_hash[sha256], offset) for sha256, offset in wanted.missing if sha256 in by_hash]


def send(listing: Listing, wanted: Wanted, stream: BinaryIO, report: Callable[[int], None]) -> None:
    """Send the rest of each missing content; raises NodeError if the node has no room for it."""
    rest = find_rest(listing, wanted)
    needed_bytes = sum(min(held_bytes(listing.place, file), file.size_bytes - offset) for file, offset in rest)
    if needed_bytes > wanted.free_bytes:
        raise NodeError(
            f"{listing.source.path} needs another {needed_bytes / 1e9:.1f} GB, but only"
            f" {wanted.free_bytes / 1e9:.1f} GB are free on the machine's disk",
            "free some: gpujob data rm, gpujob jobs rm --done; or launch one with --disk",
        )
    places = ((file, listing.place / file.path if file.path else listing.place, offset) for file, offset in rest)
    carry.pack_rest(places, stream, report)


def held_bytes(place: Path, file: File) -> int:
    """Return how much of the disk a file takes, without its holes."""
    try:
        return (place / file.path if file.path else place).stat().st_blocks * 512
    except OSError as error:
        raise ProjectError(f"cannot read {str(place / file.path)!r}: {error.strerror}", "then rerun") from error


def list_sets(connection: Connection, versions: Sequence[str] = ()) -> tuple[StoredSet, ...]:
    """Return those of these versions of data sets that a node has; without arguments, all."""
    return decode(tuple[StoredSet, ...], call(connection, "data-list", *versions))


def remove_sets(connection: Connection, versions: Sequence[str]) -> int:
    """Remove versions from a node; return the freed bytes. Raises NodeError for one that a job uses."""
    return decode(Freed, call(connection, "data-remove", *versions)).freed_bytes
