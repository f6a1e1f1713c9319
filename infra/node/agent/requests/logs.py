"""Read a job's log from any offset."""

from __future__ import annotations

import json
import os
import select
import sys
from typing import BinaryIO, Callable

from ..job.recovery import list_jobs
from ..records import CHUNK_BYTES, AgentError
from ..tasks.one import is_alive, place_of

POLL_S = 0.05
RECORD_CHARACTERS = 60_000  # the client reads no more of stderr; it asks for a longer record


def find_tail(number: str, count: str) -> dict[str, int]:
    """Return the offset of the log's last lines; an unfinished line counts."""
    with (place_of(number) / "log").open("ab+", buffering=0) as log:
        return {"offset": seek_back(log, int(count))}


def seek_back(log: BinaryIO, lines: int) -> int:
    """Return where the last lines of a file start, reading each part of it at most once."""
    end = log.seek(0, os.SEEK_END)
    if not lines:
        return end
    log.seek(max(end - 1, 0))
    end -= log.read(1) == b"\n"  # it ends the last line, and starts none
    while end:
        start = max(end - CHUNK_BYTES, 0)
        log.seek(start)
        block = log.read(end - start)
        ends = block.count(b"\n")
        if ends >= lines:
            at = len(block)
            for _ in range(lines):
                at = block.rindex(b"\n", 0, at)
            return start + at + 1
        lines, end = lines - ends, start
    return 0


def send_log(number: str, start: str, *options: str) -> None:
    """Write the log from an offset on.

    With `--follow`, until the job is over or the client hangs up (stdin ends).
    """

    def is_gone() -> bool:
        return bool(select.select([0], [], [], POLL_S)[0]) and not os.read(0, 1)

    copy_log(number, int(start), "--follow" in options, is_gone)


def copy_log(number: str, offset: int, follow: bool, is_gone: Callable[[], bool]) -> None:
    """Write a job's log from an offset; with `follow`, until client or job ends, then its record.

    The record is written to stderr. Raises AgentError if the log is shorter.
    """
    with (place_of(number) / "log").open("ab+", buffering=0) as log:
        size = log.seek(0, os.SEEK_END)
        if offset > size:
            raise AgentError(f"the log of job {number} has only {size} bytes, offset {offset} is past its end")
        log.seek(offset)
        while True:
            # checked first, so that everything written before the end is sent
            over = not (follow and is_alive(number))
            for chunk in iter(lambda: log.read(CHUNK_BYTES), b""):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
            if over or is_gone():
                break
    if over and follow:
        text = json.dumps(list_jobs(number)[0])
        sys.stderr.write(text if len(text) < RECORD_CHARACTERS else "")
