"""The client's end of a job's terminal, as `infra/node/agent/terminal.py` reads it."""

import struct
from collections.abc import Callable

HEAD, SIZE = struct.Struct(">cH"), struct.Struct(">HH")
TYPED, RESIZED = b"D", b"W"
MOST_BYTES = 1024  # of a frame
MOST_CELLS = 0xFFFF


class AttachedTerminal:
    """Sends what is typed and the window's size to a job, over the current connection if there is one."""

    def __init__(self, columns: int, rows: int) -> None:
        self.size = columns, rows
        self.early: list[bytes] = []
        """What was typed before there was a connection."""
        self.send: Callable[[bytes], None] = self.early.append

    def lead(self, send: Callable[[bytes], None]) -> None:
        """Send over a new connection from now on, beginning with the size."""
        self.send = send
        self.resize(*self.size)
        while self.early:
            send(self.early.pop(0))

    def resize(self, columns: int, rows: int) -> None:
        """Send the window's size."""
        self.size = min(columns, MOST_CELLS), min(rows, MOST_CELLS)
        content = SIZE.pack(*self.size)
        self.send(HEAD.pack(RESIZED, len(content)) + content)

    def type(self, data: bytes) -> None:
        """Send what was typed."""
        pieces = (data[start : start + MOST_BYTES] for start in range(0, len(data), MOST_BYTES))
        self.send(b"".join(HEAD.pack(TYPED, len(piece)) + piece for piece in pieces))
