"""Connections from one node to another, its peer, which serves only those who prove a key.

The key came to both on standard input, from the client, and is recorded nowhere. The port is open on the private address only.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from typing import Any, BinaryIO, Callable, Iterator

from ..records import AgentError
from .channel import LostError, check, make_nonce, sign
from .lead import listen

CONNECT_S = 10.0
CODE_BYTES, NONCE_CHARACTERS, COUNT_BYTES = 64, 32, 8
CONTENTS = b"contents"  # what is proved: that a peer may have what the client uploaded
Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(address: str, purpose: bytes, answer: Answer) -> Iterator[bytes]:
    """Serve peers on this node's address while the caller runs; yield the key.

    That is a line on standard input. Replies with {"port"} in a line. Raises AgentError if it cannot listen.
    """
    key = sys.stdin.buffer.readline().strip()
    if not key or not address:  # the empty address would be every one
        raise AgentError("serving other nodes takes a private address and a key")
    with listen(address) as listening:
        threading.Thread(target=serve, args=(listening, key, purpose, answer), daemon=True).start()
        reply({"port": listening.getsockname()[1]})
        yield key


def reply(said: dict[str, Any]) -> None:
    """Write a line of the answer to the client."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def serve(listening: socket.socket, key: bytes, purpose: bytes, answer: Answer) -> None:
    """Answer every connection that proves the key, until this process ends."""
    while True:
        with contextlib.suppress(OSError):
            link = listening.accept()[0]
            threading.Thread(target=answer_proven, args=(link, key, purpose, answer), daemon=True).start()


def answer_proven(link: socket.socket, key: bytes, purpose: bytes, answer: Answer) -> None:
    """Answer a connection once it has proved the key."""
    with link, contextlib.suppress(OSError, ValueError, AgentError, LostError):
        link.settimeout(CONNECT_S)
        nonce = make_nonce().encode()
        link.sendall(nonce)
        check(receive(link, CODE_BYTES), key, purpose, nonce)
        answer(link)


def connect(address: str, port: int, key: bytes, purpose: bytes) -> socket.socket:
    """Return a connection to a peer that has got the proof of the key; raises OSError, AgentError."""
    link = socket.create_connection((address, port), timeout=CONNECT_S)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(sign(key, purpose, receive(link, NONCE_CHARACTERS)))
    return link


def receive(link: socket.socket, size: int) -> bytes:
    """Return so many bytes of a connection; raises AgentError at its end."""
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise AgentError("it closed the connection")
        data += more
    return data


def ask(peer: dict[str, Any], wanted: list[list[Any]]) -> BinaryIO:
    """Return a stream of blocks with the wanted contents, each from its offset on.

    Raises OSError, AgentError. The caller checks the contents against their hashes, like what the client sends.
    """
    with connect(peer["address"], peer["port"], peer["key"].encode(), CONTENTS) as link:
        asked = json.dumps(wanted).encode()
        link.sendall(len(asked).to_bytes(COUNT_BYTES, "big") + asked)
        return link.makefile("rb")
