"""Attach a client to a job's terminal."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path
from typing import Iterator

from ..records import AgentError, folder_of, read_json, read_runner
from ..terminal import HEAD, READ_BYTES, TYPED, open_input, split
from .cancelling import cancel
from .logs import copy_log

INTERRUPT = b"\x03"
MOST_BYTES = 1024  # of a frame: writes of up to 4,096 bytes to a pipe are atomic
POLL_S = 0.02


def attach(number: str, start: str) -> None:
    """Write a job's log until it ends, and pass on frames from stdin until the client hangs up."""
    folder = folder_of(number)
    if not read_json(folder / "job.json").get("terminal"):
        raise AgentError(f"job {number} has no terminal; follow it with: gpujob logs -f {number}")
    pipe = open_input(folder, os.O_NONBLOCK)
    rest = b""

    def is_gone() -> bool:
        nonlocal rest
        if not select.select([0], [], [], POLL_S)[0]:
            return False
        data = os.read(0, READ_BYTES)
        frames, rest = split(rest + data)
        for kind, content in frames:
            pass_on(number, folder, pipe, kind, content)
        return not data

    copy_log(number, int(start), True, is_gone)


def pass_on(number: str, folder: Path, pipe: int, kind: bytes, content: bytes) -> None:
    """Pass a frame on to the job; before its start, Ctrl-C cancels it."""
    if kind == TYPED and INTERRUPT in content and not read_runner(folder)[1]:
        cancel(number)
        return
    for piece in cut(content):
        with contextlib.suppress(BlockingIOError):  # nothing reads it, and it is full
            os.write(pipe, HEAD.pack(kind, len(piece)) + piece)


def cut(content: bytes) -> Iterator[bytes]:
    """Yield a content in pieces small enough for atomic writes to a pipe."""
    for start in range(0, len(content), MOST_BYTES):
        yield content[start : start + MOST_BYTES]
