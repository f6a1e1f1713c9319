"""The other nodes of a cluster: one in use tells them, so that a cluster is idle only as a whole.

The client writes at launch where they are. Who can forge a message, a job on another node, can only keep this one until its lease
ends, as it could by any other use.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket

from ..records import HOME

RECORD = HOME / "neighbours.json"
MOST_BYTES = 64


class Neighbours:
    """A socket between the guards of a cluster's nodes."""

    def __init__(self) -> None:
        """Begin without one: it is opened once the client has said where the others are."""
        self.link: socket.socket | None = None
        self.others: list[tuple[str, int]] = []
        self.word = b""

    def open(self) -> None:
        """Open the socket, if the client has said where."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            record = json.loads(RECORD.read_text())
            self.word = hmac.new(bytes.fromhex(record["key"]), b"busy", hashlib.sha256).digest()
            self.others = [(str(address), int(port)) for address, port in record["others"]]
            link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                link.setblocking(False)
                link.bind((record["own"][0], record["own"][1]))
            except OSError:
                link.close()
                raise
            self.link = link

    def exchange(self, *, busy: bool) -> bool:
        """Tell the others if this node is busy; return whether one of them has been since the last time."""
        if self.link is None:
            self.open()
        if self.link is None:
            return False
        heard = False
        with contextlib.suppress(OSError):  # nothing more has arrived
            while True:
                heard |= hmac.compare_digest(self.link.recv(MOST_BYTES), self.word)
        for other in self.others if busy else ():
            with contextlib.suppress(OSError):
                self.link.sendto(self.word, other)
        return heard
