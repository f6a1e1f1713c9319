"""One log of a job over several nodes: whole lines, each with the node that printed it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from infra.cluster.connections import persist, reach
from infra.errors import GpujobError, NodeError
from infra.node import client
from infra.node.client import JobNumber
from infra.ssh.connection import Connection

LINE_BYTES = 1 << 16  # a longer line is shown in pieces
LAST_S = 5.0  # for what the other nodes printed last, once the job has ended on node 0
Write = Callable[[bytes], None]
Start = Callable[[Connection], int]


class Lines:
    """What the nodes of a job print, line by line: `1| epoch 3`."""

    def __init__(self, write: Write) -> None:
        """Pass the lines on to `write`."""
        self.write, self.lock = write, threading.Lock()
        self.rest: dict[int, bytes] = {}

    def add(self, rank: int, chunk: bytes) -> None:
        """Add what a node has printed; pass on its complete lines."""
        with self.lock:
            *lines, rest = (self.rest.get(rank, b"") + chunk).split(b"\n")
            if len(rest) > LINE_BYTES:
                lines, rest = [*lines, rest], b""
            self.rest[rank] = rest
            if lines:
                self.write(b"".join(b"%d| %s\n" % (rank, line) for line in lines))

    def flush(self) -> None:
        """Pass on what the nodes have printed without an end of line."""
        for rank, rest in sorted(self.rest.items()):
            if rest:
                self.add(rank, b"\n")


class Sink(NamedTuple):
    """Where a log goes, and what cannot be printed of it."""

    write: Write
    warn: Callable[[str], None]


class Followed(Protocol):
    """The job whose logs are followed."""

    @property
    def nodes(self) -> int:
        """Over how many nodes it runs."""

    @property
    def start(self) -> Start:
        """Returns where the log of another node starts."""


def from_start(_: Connection) -> int:
    """Return the offset at which a whole log starts."""
    return 0


@contextmanager
def merged(
    connection: Connection, number: JobNumber, followed: Followed, write: Write, warn: Callable[[str], None]
) -> Iterator[Write]:
    """Yield what to write this node's log to, while the logs of the other nodes are followed.

    All go to `write`; with one node it is yielded itself.
    """
    nodes, start = followed.nodes, followed.start
    if nodes == 1:
        yield write
        return
    lines = Lines(write)

    def follow(rank: int) -> None:
        offset = None

        def read(connection: Connection) -> None:
            nonlocal offset
            offset = start(connection) if offset is None else offset

            def add(chunk: bytes) -> None:
                nonlocal offset
                lines.add(rank, chunk)
                offset = (offset or 0) + len(chunk)

            client.follow_log(connection, number, offset, add, None)

        try:
            with reach(connection.cluster, rank) as other:
                persist(other, read, lambda _: None, "")
        except GpujobError as error:
            warn(f"cannot follow the log of node {rank}: {error.what}")

    others = [rank for rank in range(nodes) if rank != connection.rank]
    threads = [threading.Thread(target=follow, args=(rank,), daemon=True) for rank in others]
    for thread in threads:
        thread.start()
    yield lambda chunk: lines.add(connection.rank, chunk)
    for thread in threads:
        thread.join(LAST_S)
    lines.flush()


def print_logs(connection: Connection, number: JobNumber, sink: Sink, nodes: int, start: Start = from_start) -> None:
    """Pass the current logs of a job on, node by node; one that does not answer is reported."""
    if nodes == 1:
        for chunk in client.read_log(connection, number, start(connection)):
            sink.write(chunk)
        return
    lines = Lines(sink.write)
    for rank in range(nodes):
        try:
            with reach(connection.cluster, rank) as other:
                for chunk in client.read_log(other, number, start(other)):
                    lines.add(rank, chunk)
        except NodeError as error:
            sink.warn(f"cannot print the log of node {rank}: {error.what}")
        lines.flush()
