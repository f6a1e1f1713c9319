"""Read a job's log from any offset."""

from __future__ import annotations

import os
import select
import sys

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
    folder, offset, follow = folder_of(number), int(start), "--follow" in options
    with (folder / "log").open("ab+", buffering=0) as log:
        size = log.seek(0, os.SEEK_END)
        if offset > size:
            raise AgentError(f"the log of job {number} has only {size} bytes, offset {offset} is past its end")
        log.seek(offset)
        while True:
            over = not (
                follow and is_supervised(folder)
            )  # checked first, so that everything written before the end is sent
            for chunk in iter(lambda: log.read(CHUNK_BYTES), b""):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
            if over or (select.select([0], [], [], POLL_S)[0] and not os.read(0, 1)):
                return
