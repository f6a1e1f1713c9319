"""A job that was submitted: its log until it is over, and whether any job still runs."""

from collections.abc import Callable

from infra.cluster.connections import persist
from infra.model import Job
from infra.node import client
from infra.ssh.connection import Connection


def follow(
    connection: Connection,
    number: int,
    write: Callable[[bytes], None],
    warn: Callable[[str], None],
    offset: int = 0,
) -> Job:
    """Hand the job's log to `write` from a byte on until the job is over; return the job as it ended.

    When the connection drops, a new one takes up at the next byte; NodeError once that has failed for `RECONNECT_S`.
    """

    def read(connection: Connection) -> Job:
        nonlocal offset
        for chunk in client.read_log(connection, number, offset, follow=True):
            write(chunk)
            offset += len(chunk)
        return client.find_job(connection, number)

    return persist(connection, read, warn, "the job may go on")


def print_log(connection: Connection, number: int, write: Callable[[bytes], None], offset: int = 0) -> None:
    """Hand the log as it is now to `write`, from a byte on."""
    for chunk in client.read_log(connection, number, offset, follow=False):
        write(chunk)
