"""A loopback port of this laptop that leads to a port of a node, over whichever connection stands at the time.

Not by the ssh program: that ends with its connection, and would outlive a command that is killed and go on counting as a login.
Not by Fabric's `forward_local` either, whose listener ends with the first connection that a node refuses, and which finds out in
the background that the port is taken.
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
    """Listens from the start; what connects before `lead` was called, or while the node is not reached, is hung up on."""

    def __init__(self, port: int, others: int = 0) -> None:
        """Listen on a port, or on the first free one of so many `others` after it; raises UsageError if all are taken."""
        self._transport: paramiko.Transport | None = None
        self._there = 0
        self._listener = listen(range(port, min(port + others + 1, 65536)))
        self.port: int = self._listener.getsockname()[1]

    def lead(self, connection: Connection, there: int) -> None:
        """Lead to a port of the node that this connection reaches."""
        self._transport, self._there = connection.transport, there

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="forward", daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
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
    """Carry what the node sends to who is connected here, and its end, too."""
    with suppress(OSError, EOFError, paramiko.SSHException):
        while data := channel.recv(CHUNK_BYTES):
            here.sendall(data)
    with suppress(OSError):
        here.shutdown(socket.SHUT_RDWR)


def listen(ports: range) -> socket.socket:
    """Return a socket that listens on the first of these ports that is free; raises UsageError if none is."""
    for port in ports:
        try:
            return socket.create_server((LOOPBACK, port))
        except OSError:
            continue
    taken = f"port {ports[0]} is" if len(ports) == 1 else f"the ports {ports[0]} to {ports[-1]} are"
    raise UsageError(f"{taken} taken on this laptop, or not yours to take", f"--port {ports[-1] % 64000 + 1001}")
