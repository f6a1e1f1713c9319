"""A job's terminal: its output goes to the log as any job's, its input comes through a named pipe.

The client sends frames, each a kind, a length of two bytes and that many bytes: `D` for what was typed, `W` for the
window's columns and rows, two bytes each. They pass through the pipe `input` in the job's folder, into which a frame is
written atomically, even if several clients are attached. Input for a queued job waits there while a client is attached,
except Ctrl-C, which cancels the job.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from pathlib import Path
from typing import Any

from .processes import unblock_signals

HEAD = struct.Struct(">cH")
SIZE = struct.Struct(">HH")
TYPED, RESIZED = b"D", b"W"
INPUT = "input"
READ_BYTES = 1 << 16


def open_terminal(size: dict[str, Any]) -> tuple[int, int]:
    """Return both ends of a new terminal of this size, for the runner and for the job."""
    ours, theirs = os.openpty()
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.ONLCR  # the log has plain line ends; the client's terminal adds the carriage returns
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    resize(ours, size["columns"], size["rows"])
    return ours, theirs


def open_input(folder: Path, flags: int = 0) -> int:
    """Open the pipe to a job's terminal, for reading and writing so that it never ends."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(str(folder / INPUT), 0o600)
    return os.open(str(folder / INPUT), os.O_RDWR | flags)


def resize(terminal: int, columns: int, rows: int) -> None:
    """Set a terminal's window size; the job gets SIGWINCH."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def take_terminal() -> None:
    """Make stdin the controlling terminal of a new session: otherwise Ctrl-C is an ordinary byte."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    unblock_signals()


def feed(folder: Path, terminal: int) -> None:
    """Pass frames on to a job's terminal until it is closed."""
    with contextlib.suppress(OSError):
        pipe = open_input(folder)
        rest = b""
        while True:
            rest += os.read(pipe, READ_BYTES)
            frames, rest = split(rest)
            for kind, content in frames:
                if kind == TYPED:
                    os.write(terminal, content)
                elif kind == RESIZED and len(content) == SIZE.size:
                    resize(terminal, *SIZE.unpack(content))


def split(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the complete frames in some bytes, and the rest."""
    frames = []
    while len(data) >= HEAD.size:
        kind, length = HEAD.unpack_from(data)
        end = HEAD.size + length
        if len(data) < end:
            break
        frames.append((kind, data[HEAD.size : end]))
        data = data[end:]
    return frames, data
