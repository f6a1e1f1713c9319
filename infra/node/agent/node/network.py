"""Measure the network to another node: latency, and the speed of several connections at once.

At the same time, a third node may measure the way to this one. The receiver counts, so that what is still in a buffer
does not.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import sys
import threading
import time
from typing import Any

from ..muster.peers import COUNT_BYTES, connect, receive, reply, serving
from ..records import AgentError

CONNECTIONS = 8  # outside of a placement group, EC2 gives one connection 5 Gbit/s
SEND_S, PINGS = 3.0, 50
BLOCK_BYTES = 1 << 20
PING, STREAM = b"p", b"s"
NETWORK = b"network"  # what is proved: that a peer may measure


def measure_network(address: str) -> None:
    """Listen on this node's address, then measure the way to another node.

    A key in a line -> {"port"} in a line; {"address", "port"} of the other in a line -> {"bytes_s", "latency_s", "error"} in a
    line. Ends with standard input. Raises AgentError if it cannot listen.
    """
    with serving(address, NETWORK, answer) as key:
        line = sys.stdin.buffer.readline()
        if line:
            other = json.loads(line)
            reply(measure_way(other["address"], other["port"], key))
        sys.stdin.buffer.read()  # until then, another node may measure the way to this one


def answer(link: socket.socket) -> None:
    """Return what comes, or count it and return the count."""
    if receive(link, 1) == PING:
        while True:
            link.sendall(receive(link, 1))
    buffer, count, size = bytearray(BLOCK_BYTES), 0, 1
    while size:
        size = link.recv_into(buffer)
        count += size
    link.sendall(count.to_bytes(COUNT_BYTES, "big"))


def measure_way(address: str, port: int, key: bytes) -> dict[str, Any]:
    """Return the latency and the speed of the way to another node, or an "error"."""
    found: dict[str, Any] = {"bytes_s": 0.0, "latency_s": 0.0, "error": ""}
    counts: list[int] = []
    try:
        found["latency_s"] = measure_latency(address, port, key)
        links = [reach(address, port, key, STREAM) for _ in range(CONNECTIONS)]
        began = time.monotonic()
        threads = [threading.Thread(target=send, args=(link, began + SEND_S, counts)) for link in links]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found["bytes_s"] = sum(counts) / (time.monotonic() - began)
    except (OSError, AgentError) as error:
        found["error"] = str(error)
    if len(counts) < CONNECTIONS and not found["error"]:
        found["error"] = "a connection was broken"
    return found


def measure_latency(address: str, port: int, key: bytes) -> float:
    """Return half the median time of a byte to another node and back."""
    with reach(address, port, key, PING) as link:
        took_s = []
        for _ in range(PINGS):
            began = time.monotonic()
            link.sendall(b"x")
            receive(link, 1)
            took_s.append(time.monotonic() - began)
    return statistics.median(took_s) / 2


def send(link: socket.socket, until_s: float, counts: list[int]) -> None:
    """Send until a time, then note how much has arrived."""
    block = bytes(BLOCK_BYTES)
    with link, contextlib.suppress(OSError, AgentError):
        while time.monotonic() < until_s:
            link.sendall(block)
        link.shutdown(socket.SHUT_WR)
        counts.append(int.from_bytes(receive(link, COUNT_BYTES), "big"))


def reach(address: str, port: int, key: bytes, kind: bytes) -> socket.socket:
    """Return a connection to another node for measuring this; raises OSError, AgentError."""
    link = connect(address, port, key, NETWORK)
    link.sendall(kind)
    return link
