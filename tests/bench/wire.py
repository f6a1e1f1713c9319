"""Count what passes over a connection: a proxy on loopback."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CHUNK_BYTES = 1 << 16


@dataclass
class Wire:
    """A proxy, and how many bytes it has carried both ways."""

    port: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    carried_bytes: int = 0

    def take(self) -> int:
        """Return the bytes carried since the last call."""
        with self.lock:
            carried, self.carried_bytes = self.carried_bytes, 0
        return carried

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        """Copy one direction of a connection until it ends."""
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                target.sendall(chunk)
                with self.lock:
                    self.carried_bytes += len(chunk)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def tap(port: int) -> Iterator[Wire]:
    """Yield a proxy to a port of this computer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wire = Wire(int(listening.getsockname()[1]))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near, far = listening.accept()[0], socket.create_connection(("127.0.0.1", port))
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=wire.carry, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield wire
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # ends the accept
