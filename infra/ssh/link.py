"""Measure the connection to a node: upload, download and round trip."""

import time
from dataclasses import dataclass
from typing import BinaryIO

from infra.ssh.commands import execute, open_channel
from infra.ssh.connection import Connection, ssh_errors
from infra.ssh.transport import limit_time

MOST_S, MOST_BYTES, BLOCK_BYTES, TRIES = 2.0, 1 << 26, 1 << 18, 5
# What was sent may still be in buffers before a slow link; a node that reads nothing is given up.
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Link:
    """The measured speed of a connection."""

    up_bytes_s: float
    down_bytes_s: float
    round_trip_s: float


def measure_link(connection: Connection) -> Link:
    """Measure for two seconds or 64 MB each way, without disks; raises NodeError if the node stalls."""
    with (
        ssh_errors(connection.node.instance_id),
        limit_time(connection.transport, PATIENCE_S, "did not measure its network"),
    ):
        return Link(measure_there(connection), measure_back(connection), measure_round_trip(connection))


def measure_there(connection: Connection) -> float:
    """Return the upload speed in bytes per second."""
    sent, block = 0, bytes(BLOCK_BYTES)
    start = time.monotonic()

    def send(stdin: BinaryIO, _: BinaryIO) -> None:
        nonlocal sent
        while sent < MOST_BYTES and time.monotonic() - start < MOST_S:
            stdin.write(block)
            sent += len(block)
        stdin.flush()

    execute(connection, ["sh", "-c", "cat > /dev/null"], send)  # returns when everything has arrived
    return sent / (time.monotonic() - start)


def measure_back(connection: Connection) -> float:
    """Return the download speed in bytes per second."""
    came = 0
    with open_channel(connection, ["cat", "/dev/zero"]) as channel:
        start = time.monotonic()
        while came < MOST_BYTES and time.monotonic() - start < MOST_S:
            came += len(channel.recv(BLOCK_BYTES))
        return came / (time.monotonic() - start)


def measure_round_trip(connection: Connection) -> float:
    """Return the shortest of several round trips, each an SSH keepalive request."""
    trips = []
    for _ in range(TRIES):
        start = time.monotonic()
        connection.transport.global_request("keepalive@openssh.com", wait=True)
        trips.append(time.monotonic() - start)
    return min(trips)
