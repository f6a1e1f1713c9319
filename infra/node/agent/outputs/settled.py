"""Decide which outputs of a running job are complete: not open for writing, not written recently."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

from ..identities import lives
from ..processes import descendants
from ..records import read_runner

STILL_NS = 1_000_000_000  # a file written bit by bit, reopened each time, pauses in between


def find_unsettled(folder: Path) -> set[int]:
    """Return inodes that the job's processes may still write, through a descriptor or shared mapping."""
    runner, _ = read_runner(folder)
    found: set[int] = set()
    for pid in descendants(runner[0]) if lives(runner) else ():
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
                _, rights, _, _, inode = line.split(None, 5)[:5]
                if rights[1] == "w" and rights[3] == "s":
                    found.add(int(inode))
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    info = Path(f"/proc/{pid}/fd/{name}").stat()
                    if stat.S_ISREG(info.st_mode) and may_write(pid, name):
                        found.add(info.st_ino)
    return found


def may_write(pid: int, descriptor: str) -> bool:
    """Return whether a process has opened a file for writing (fdinfo shows open(2)'s flags in octal)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines())
    return int(fields["flags"], 8) & os.O_ACCMODE != os.O_RDONLY


def is_settled(info: os.stat_result, unsettled: set[int]) -> bool:
    """Return whether a file is complete; by change time, as programs can set the modification time."""
    return info.st_ino not in unsettled and abs(time.time_ns() - info.st_ctime_ns) > STILL_NS
