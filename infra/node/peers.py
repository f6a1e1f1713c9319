"""Let a node send other nodes of its cluster what it has, so that this computer uploads it once."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from infra.base.decoding import decode, parse
from infra.errors import NodeError
from infra.node.calls import start_of
from infra.node.measures import Listening
from infra.ssh.commands import stream
from infra.ssh.connection import Connection

KEY_BYTES = 32


@dataclass(frozen=True)
class Peer:
    """Where a node sends what it has to those who prove the key."""

    address: str
    port: int
    key: str = field(repr=False)


@contextmanager
def share(connection: Connection, address: str) -> Iterator[Peer | None]:
    """Let a node with this private address send others what it has; yield None if it cannot.

    Then this computer uploads everything, as it does what a node cannot get from its peer.
    """
    if not address:
        yield None
        return
    key = secrets.token_hex(KEY_BYTES)
    argv, line = start_of(connection, ["share", address])
    with closing(stream(connection, argv, lambda send: send(line + key.encode() + b"\n"))) as chunks:
        try:
            port = decode(Listening, parse(next(chunks, b""))).port
            peer = Peer(address, port, key)
        except NodeError:
            peer = None
        yield peer
