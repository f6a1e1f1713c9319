"""Bytes as the client sends them: blocks, each as it is or deflated, whichever the link makes quicker.

A block is five bytes, its kind and its length (big-endian), and what it holds.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, Iterator

from ..records import AgentError

HEAD = struct.Struct(">BI")
DEFLATED = 1
MOST_BYTES = 1 << 26


class Blocks:
    """What comes in blocks, read as one."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.rest = memoryview(b"")

    def read(self, size_bytes: int) -> Iterator[memoryview]:
        """Yield the next bytes, so many in all; raises AgentError if fewer come."""
        while size_bytes:
            if not self.rest:
                self.rest = memoryview(self.read_block())
            piece, self.rest = self.rest[:size_bytes], self.rest[size_bytes:]
            size_bytes -= len(piece)
            yield piece

    def read_block(self) -> bytes:
        """Return what the next block holds."""
        head = self.stream.read(HEAD.size)
        kind, length = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
        content = self.stream.read(length) if 0 < length <= MOST_BYTES else b""
        if not content or len(content) != length:
            raise AgentError("the code did not arrive whole")
        try:
            return zlib.decompress(content) if kind == DEFLATED else content
        except zlib.error as error:
            raise AgentError(f"the code did not arrive whole: {error}") from error
