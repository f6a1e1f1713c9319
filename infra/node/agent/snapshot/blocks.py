"""Read the blocks that the client sends, each raw or deflated, whichever is faster on the link.

A block is its kind and length (five bytes, big-endian), followed by its content.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, Iterator

from ..records import AgentError

HEAD = struct.Struct(">BI")
STORED, DEFLATED = 0, 1
MOST_BYTES = 1 << 26


class Blocks:
    """A stream of blocks, read as continuous bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.rest = memoryview(b"")

    def read(self, size_bytes: int) -> Iterator[memoryview]:
        """Yield the next `size_bytes` bytes in pieces; raises AgentError if the stream ends early."""
        while size_bytes:
            if not self.rest:
                self.rest = memoryview(self.read_block())
            piece, self.rest = self.rest[:size_bytes], self.rest[size_bytes:]
            size_bytes -= len(piece)
            yield piece

    def read_block(self) -> bytes:
        """Return the content of the next block."""
        head = self.stream.read(HEAD.size)
        kind, length = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
        content = self.stream.read(length) if 0 < length <= MOST_BYTES else b""
        if not content or len(content) != length:
            raise AgentError("the upload is incomplete")
        try:
            return zlib.decompress(content) if kind == DEFLATED else content
        except zlib.error as error:
            raise AgentError(f"the upload is corrupted: {error}") from error
