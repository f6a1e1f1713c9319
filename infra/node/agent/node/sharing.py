"""Send other nodes what this one has, so that the client uploads it once."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from ..data.store import VERSION, content_of, list_roots
from ..muster.peers import CONTENTS, COUNT_BYTES, receive, serving
from ..records import AgentError
from ..snapshot.blocks import HEAD, STORED
from ..snapshot.store import FOLDER, Place, Store, read_range

MOST_BYTES = 64 << 20  # of a request: as many hashes as the client accepts


def share(address: str) -> None:
    """Listen on this node's address, and send contents to other nodes; see `peers`.

    Ends with standard input. Raises AgentError if it cannot listen.
    """
    store = Store()
    with serving(address, CONTENTS, lambda link: answer(link, store)):
        sys.stdin.buffer.read()


def answer(link: socket.socket, store: Store) -> None:
    """Send the wanted contents in blocks, as the client does; ends the connection at one that is missing."""
    size = int.from_bytes(receive(link, COUNT_BYTES), "big")
    if size > MOST_BYTES:
        raise AgentError("the request is too long")
    for sha256, offset in json.loads(receive(link, size)):
        send(link, store, str(sha256), int(offset))


def send(link: socket.socket, store: Store, sha256: str, offset: int) -> None:
    """Send a content from an offset on; raises AgentError if it is missing, OSError if it cannot be read."""
    path, place = find(store, sha256)
    rest = place._replace(offset=place.offset + offset, size_bytes=place.size_bytes - offset)
    with path.open("rb") as file:
        for chunk in read_range(file.fileno(), rest):
            link.sendall(HEAD.pack(STORED, len(chunk)) + chunk)


def find(store: Store, sha256: str) -> tuple[Path, Place]:
    """Return the file that has a content of a project or a data set, and where; raises AgentError."""
    if sha256 in store.index:
        place = store.index[sha256]
        return FOLDER / place.pack, place
    paths = [content_of(root, sha256) for root in list_roots()] if VERSION.fullmatch(sha256) else []
    for path in paths:
        if path.is_file():
            return path, Place("", 0, path.stat().st_size)
    raise AgentError(f"this node does not have {sha256[:12]!r}")
