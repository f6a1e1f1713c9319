"""Forward a loopback port of this computer to a port of a node, over the current connection.

Not with the ssh program: it ends with its connection, and would outlive a killed command and still count as a login. Nor with
Fabric's `forward_local`, whose listener ends with the first connection that a node refuses, and which detects a port in use
only in the background.
"""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

import paramiko

from infra.errors import UsageError
from infra.ssh.commands import CHUNK_BYTES
from infra.ssh.connection import Connection

LOOPBACK = "127.0.0.1"


class Forward:
    """A listening port; connections are closed before the first `lead` and while the node is unreachable."""

    def __init__(self, port: int, others: int = 0) -> None:
        """Listen on a port, or on the first free one of the `others` after it; raises UsageError if none is."""
        self._transport: paramiko.Transport | None = None
        self._there = 0
        self._listener = listen(range(port, min(port + others + 1, 65536)))
        self.port: int = self._listener.getsockname()[1]

    def lead(self, connection: Connection, there: int) -> None:
        """Forward to a port of this connection's node."""
        self._transport, self._there = connection.transport, there

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="forward", daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread waiting in accept
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                here, peer = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._carry, args=(here, peer), daemon=True).start()

    def _carry(self, here: socket.socket, peer: tuple[str, int]) -> None:
        with here, suppress(OSError, EOFError, paramiko.SSHException):
            if self._transport is None:
                return
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel = self._transport.open_channel("direct-tcpip", (LOOPBACK, self._there), peer)
            with channel:
                back = threading.Thread(target=answer, args=(channel, here), daemon=True)
                back.start()
                while data := here.recv(CHUNK_BYTES):
                    channel.sendall(data)
                channel.shutdown_write()
                back.join()


def answer(channel: paramiko.Channel, here: socket.socket) -> None:
    """Forward the node's data, and its end, to the local client."""
    with suppress(OSError, EOFError, paramiko.SSHException):
        while data := channel.recv(CHUNK_BYTES):
            here.sendall(data)
    with suppress(OSError):
        here.shutdown(socket.SHUT_RDWR)


def listen(ports: range) -> socket.socket:
    """Return a socket listening on the first free port; raises UsageError if none is free."""
    for port in ports:
        try:
            return socket.create_server((LOOPBACK, port))
        except OSError:
            continue
    taken = f"port {ports[0]} is" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]} are"
    raise UsageError(f"{taken} in use on this computer, or not permitted", f"--port {ports[-1] % 64000 + 1001}")
