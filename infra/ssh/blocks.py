"""Bytes on their way to the node, in blocks: each deflated where that makes the link quicker, else as it is."""

import struct
import time
import zlib
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
# The channel's window and the socket's buffers swallow so much at once, whatever the link: it says nothing of its speed.
SWALLOWED_BYTES = 4 << 20
# After so many blocks sent as they are, one is deflated to see whether that would pay by now.
ROUND = 16
STORED, DEFLATED = 0, 1
HEAD = struct.Struct(">BI")


class Blocks:
    """A stream cut into blocks, as `infra/node/agent/snapshot/blocks.py` reads them.

    To deflate takes longer than a fast link takes to carry the bytes as they are. So the link is measured as it is used.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.waiting: list[bytes] = []
        self.waiting_bytes = self.sent_bytes = self.stored = 0
        self.sent_s = 0.0
        self.worth_bytes_s = float("inf")
        """Slower than this, the link is the bottleneck."""

    def write(self, data: bytes) -> None:
        """Take some more bytes."""
        self.waiting.append(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what was taken."""
        block = b"".join(self.waiting)
        self.waiting, self.waiting_bytes = [], 0
        if not block:
            return
        if self.pays():
            self.send(*self.deflate(block))
        else:
            self.stored += 1
            self.send(STORED, block)

    def pays(self) -> bool:
        """Tell whether the next block should be deflated."""
        if self.sent_bytes <= SWALLOWED_BYTES or self.stored >= ROUND:
            return True
        return (self.sent_bytes - SWALLOWED_BYTES) / self.sent_s < self.worth_bytes_s

    def deflate(self, block: bytes) -> tuple[int, bytes]:
        """Return a block and its kind, deflated unless that would save next to nothing; measure what it costs and saves."""
        began = time.perf_counter()
        # Level 1: three quarters of the gain for a tenth of the work.
        deflated = zlib.compress(block, 1)
        saved_bytes = max(len(block) - len(deflated), 0)
        self.worth_bytes_s = saved_bytes / max(time.perf_counter() - began, 1e-9)
        self.stored = 0
        return (DEFLATED, deflated) if saved_bytes > len(block) // 32 else (STORED, block)

    def send(self, kind: int, content: bytes) -> None:
        """Send a block, and see how long the link takes."""
        began = time.perf_counter()
        self.stream.write(HEAD.pack(kind, len(content)) + content)
        self.stream.flush()
        self.sent_s += time.perf_counter() - began
        self.sent_bytes += len(content)
