"""Messages between two parts of a job, over TCP between the nodes' private addresses.

Each is a line of JSON with a code that proves that its sender has the job's key and that no message was left out, repeated or
moved. The key came on the supervisor's standard input and is recorded nowhere. What the job itself prints or sends never
passes through here.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import socket
import threading
from typing import Any

SEND_S = 5.0
LINE_BYTES = 1 << 16
NONCE_BYTES = 16
CALL = b"\n"  # what part 0 sends first: it is this job's turn
KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))


class LostError(Exception):
    """The other part has closed its connection, or is not what it claims to be."""


def make_nonce() -> str:
    """Return a number that is used once."""
    return os.urandom(NONCE_BYTES).hex()


def sign(key: bytes, *parts: bytes) -> bytes:
    """Return the code of a message under a key, as hexadecimal digits."""
    content = b"".join(b"%d:%s" % (len(part), part) for part in parts)
    return hmac.new(key, content, hashlib.sha256).hexdigest().encode()


def check(given: bytes, key: bytes, *parts: bytes) -> None:
    """Raise LostError unless this is the code of a message under a key."""
    if not hmac.compare_digest(given, sign(key, *parts)):
        raise LostError("it does not know the job's key")


def tune(link: socket.socket) -> None:
    """Let the kernel notice a lost machine within half a minute, and never wait for it."""
    link.settimeout(SEND_S)
    link.set_inheritable(False)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Lines:
    """The lines that arrive on a connection."""

    def __init__(self, link: socket.socket) -> None:
        """Read from a connection, which the caller closes."""
        self.link, self.rest = link, b""

    def receive(self) -> list[bytes]:
        """Return the complete lines that have arrived; raises LostError at the end or for too long a line."""
        try:
            data = self.link.recv(LINE_BYTES)
        except socket.timeout:
            return []
        except OSError as error:
            raise LostError(str(error)) from error
        if not data:
            raise LostError("it closed the connection")
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > LINE_BYTES:
            raise LostError("its message is too long")
        return lines


class Channel:
    """A connection to a part that knows the job's key."""

    def __init__(self, lines: Lines, key: bytes, session: str, leads: bool) -> None:
        """Continue a connection after both have sent a nonce, which make the session; one of the two leads."""
        self.lines = lines
        own, theirs = (b"lead", b"part") if leads else (b"part", b"lead")
        self.keys = [sign(key, session.encode(), side) for side in (own, theirs)]
        self.sent = self.received = 0
        self.lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send a message; one that cannot be sent shows when the next one is expected."""
        text = json.dumps(message).encode()
        with self.lock, contextlib.suppress(OSError):
            code = sign(self.keys[0], b"%d" % self.sent, text)
            self.sent += 1
            self.lines.link.sendall(code + b" " + text + b"\n")

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived; raises LostError."""
        return [self.open(line) for line in self.lines.receive()]

    def open(self, line: bytes) -> dict[str, Any]:
        """Return the message in a line; raises LostError."""
        code, _, text = line.partition(b" ")
        check(code, self.keys[1], b"%d" % self.received, text)
        self.received += 1
        return dict(json.loads(text))

    def close(self) -> None:
        """Close the connection in this process."""
        self.lines.link.close()


def introduce(lines: Lines, key: bytes, rank: int, nonce: str) -> Channel:
    """Answer part 0's nonce as a part of the job; return the channel to part 0."""
    own = make_nonce()
    text = json.dumps({"rank": rank, "nonce": own}).encode()
    with contextlib.suppress(OSError):
        lines.link.sendall(sign(key, b"hello", nonce.encode(), text) + b" " + text + b"\n")
    return Channel(lines, key, nonce + own, leads=False)


def admit(lines: Lines, key: bytes, nonce: str, line: bytes) -> tuple[int, Channel]:
    """Return the rank of the part that answered this nonce, and the channel to it; raises LostError."""
    code, _, text = line.partition(b" ")
    check(code, key, b"hello", nonce.encode(), text)
    hello = json.loads(text)
    return int(hello["rank"]), Channel(lines, key, nonce + str(hello["nonce"]), leads=True)
