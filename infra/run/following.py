"""Follow the log of a submitted job."""

from collections.abc import Callable
from dataclasses import dataclass

from infra.cluster.connections import persist, reach
from infra.errors import GoneError
from infra.ledger import known_clusters
from infra.model import Job
from infra.node import client
from infra.node.attached import AttachedTerminal
from infra.node.client import JobNumber
from infra.run.nodes.merging import Start, from_start
from infra.ssh.connection import Connection
from infra.ssh.forward import Forward


@dataclass(frozen=True)
class Attachment:
    """What is connected to a job while it is followed, besides its output."""

    terminal: AttachedTerminal | None = None
    """Where what is typed for the job comes from."""
    ports: tuple[tuple[Forward, int], ...] = ()
    """Local ports, and the ports of the node that they lead to."""
    nodes: int = 1
    """Over how many nodes the job runs; all of their logs are followed."""
    start: Start = from_start
    """Where the logs of the other nodes start."""


def follow(
    connection: Connection,
    number: JobNumber,
    write: Callable[[bytes], None],
    warn: Callable[[str], None],
    offset: int = 0,
    attachment: Attachment = Attachment(),
) -> Job:
    """Stream the job's log to `write` from an offset until the job ends; return the ended job.

    A dropped connection is replaced and resumed at the next byte; raises NodeError once that fails for `RECONNECT_S`. If the
    node no longer exists, another one says how a job over several nodes ended.
    """

    def count(chunk: bytes) -> None:
        nonlocal offset
        write(chunk)
        offset += len(chunk)

    def read(connection: Connection) -> Job:
        for forward, there in attachment.ports:
            forward.lead(connection, there)
        return client.follow_log(connection, number, offset, count, attachment.terminal)

    try:
        return persist(connection, read, warn, "the job may still be running")
    except GoneError as error:
        if attachment.nodes == 1 or not error.partial:
            raise
        warn(error.what)
    with reach(known_clusters.recall(connection.cluster.name) or connection.cluster) as other:
        end = client.find_job(other, number).log_bytes
        return persist(other, lambda one: client.follow_log(one, number, end, lambda _: None, None), warn, "")
