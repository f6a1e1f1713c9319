"""Read a job's log from any offset."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Callable

from .records import CHUNK_BYTES, AgentError, folder_of, is_supervised

POLL_S = 0.05
MOST_BYTES = 64 * CHUNK_BYTES  # limit of a tail: a log may be one endless line


def find_tail(number: str, count: str) -> dict[str, int]:
    """Return the offset of the log's last lines; an unfinished line counts."""
    lines = int(count)
    with (folder_of(number) / "log").open("ab+", buffering=0) as log:
        start = log.seek(0, os.SEEK_END)
        tail = b""
        while start and len(tail) < MOST_BYTES and tail.rstrip(b"\n").count(b"\n") < lines:
            step = min(CHUNK_BYTES, start)
            start -= step
            log.seek(start)
            tail = log.read(step) + tail
    kept = tail.splitlines(keepends=True)[-lines:] if lines else []
    return {"offset": start + len(tail) - sum(map(len, kept))}


def send_log(number: str, start: str, *options: str) -> None:
    """Write the log from an offset on.

    With `--follow`, until the job is over or the client hangs up (stdin ends).
    """

    def is_gone() -> bool:
        return bool(select.select([0], [], [], POLL_S)[0]) and not os.read(0, 1)

    copy_log(number, int(start), folder_of(number) if "--follow" in options else None, is_gone)


def copy_log(number: str, offset: int, followed: Path | None, is_gone: Callable[[], bool]) -> None:
    """Write a job's log from an offset on, with its folder `followed` until the job is over or the client `is_gone`.

    Raises AgentError if the log is shorter.
    """
    with (folder_of(number) / "log").open("ab+", buffering=0) as log:
        size = log.seek(0, os.SEEK_END)
        if offset > size:
            raise AgentError(f"the log of job {number} has only {size} bytes, offset {offset} is past its end")
        log.seek(offset)
        while True:
            # checked first, so that everything written before the end is sent
            over = not (followed and is_supervised(followed))
            for chunk in iter(lambda: log.read(CHUNK_BYTES), b""):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
            if over or is_gone():
                return
