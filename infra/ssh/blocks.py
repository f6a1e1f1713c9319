"""Upload bytes in blocks, each compressed if that makes the transfer faster."""

import struct
import time
import zlib
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
# The channel's window and the socket's buffers absorb this much at once, which says nothing about the link's speed.
SWALLOWED_BYTES = 4 << 20
# After this many uncompressed blocks, one is compressed to see whether it pays off by now.
ROUND = 16
STORED, DEFLATED = 0, 1
HEAD = struct.Struct(">BI")


class Blocks:
    """A stream split into blocks, as `infra/node/agent/snapshot/blocks.py` reads them.

    On a fast link, compressing takes longer than sending the bytes uncompressed. So the link is measured while in use.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.waiting: list[bytes] = []
        self.waiting_bytes = self.sent_bytes = self.stored = 0
        self.sent_s = 0.0
        self.worth_bytes_s = float("inf")
        """Below this speed, the link is the bottleneck."""

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self.waiting.append(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send the buffered bytes."""
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
        """Return whether to compress the next block."""
        if self.sent_bytes <= SWALLOWED_BYTES or self.stored >= ROUND:
            return True
        return (self.sent_bytes - SWALLOWED_BYTES) / self.sent_s < self.worth_bytes_s

    def deflate(self, block: bytes) -> tuple[int, bytes]:
        """Return a block and its kind, compressed unless that saves almost nothing; measure cost and saving."""
        began = time.perf_counter()
        # Level 1 has three quarters of the gain for a tenth of the work.
        deflated = zlib.compress(block, 1)
        saved_bytes = max(len(block) - len(deflated), 0)
        self.worth_bytes_s = saved_bytes / max(time.perf_counter() - began, 1e-9)
        self.stored = 0
        return (DEFLATED, deflated) if saved_bytes > len(block) // 32 else (STORED, block)

    def send(self, kind: int, content: bytes) -> None:
        """Send a block, and measure how long the link takes."""
        began = time.perf_counter()
        self.stream.write(HEAD.pack(kind, len(content)) + content)
        self.stream.flush()
        self.sent_s += time.perf_counter() - began
        self.sent_bytes += len(content)
