"""The port of node 0 at which a job's own processes meet."""

from __future__ import annotations

import contextlib
import random
import socket

from ..records import AgentError

PORTS = 20000, 32767  # below those that Linux gives to outgoing connections


def hold_port(address: str) -> socket.socket:
    """Return a socket that keeps a free port for the job until it is closed; raises AgentError.

    Bound but not listening, it keeps away all who do not ask to reuse an address. The server of torch does, as most servers do.
    """
    for port in random.sample(range(*PORTS), 1000):
        held = socket.socket()
        with contextlib.suppress(OSError):
            held.bind((address, port))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return held
        held.close()
    raise AgentError(f"no free port on {address}")


def choose_port(address: str) -> int:
    """Return a port of this node that nothing has; raises AgentError."""
    with hold_port(address) as held:
        return int(held.getsockname()[1])
