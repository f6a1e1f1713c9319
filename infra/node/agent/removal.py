"""Remove finished jobs with their files; their numbers are not reused."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from pathlib import Path

from . import trees
from .records import JOBS, REMOVED, WORK, AgentError, folder_of, is_supervised, read_json, write_reserved

LEAVING = "leaving-"  # the prefix of a folder that is no longer a job


def remove(*words: str) -> dict[str, int]:
    """Remove jobs and their files; return the disk space freed.

    Raises AgentError and removes none if one is running, or not downloaded and this is not forced.
    """
    force, numbers = "--force" in words, [word for word in dict.fromkeys(words) if word != "--force"]
    JOBS.mkdir(parents=True, mode=0o700, exist_ok=True)
    with (JOBS / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in numbers:
            check_removable(number, force)
        write_reserved(REMOVED, max([read_json(REMOVED, 0), *map(int, numbers)]))
        for number in numbers:
            take_away(number)
    # Also remove leftovers of an interrupted call.
    return {"freed_bytes": sum(remove_tree(path) for path in JOBS.glob(f"{LEAVING}*"))}


def check_removable(number: str, force: bool) -> None:
    """Raise AgentError unless a job is over, and downloaded unless forced."""
    folder = folder_of(number)
    if is_supervised(folder):
        raise AgentError(f"job {number} is still running")
    if not force and not (folder / "fetched").exists():
        raise AgentError(f"job {number} is not downloaded yet")


def take_away(number: str) -> None:
    """Rename a job's folders atomically, so that the job no longer exists."""
    for parent in (JOBS, WORK):
        folder = parent / number
        if folder.exists():
            folder.rename(JOBS / f"{LEAVING}{number}-{time.time_ns():x}")


def remove_tree(folder: Path) -> int:
    """Remove a folder regardless of modes and owners; return the disk space freed.

    Raises AgentError if anything remains.
    """
    size_bytes = 0
    with contextlib.suppress(FileNotFoundError):  # another call is removing it too
        trees.open_up(folder)
        for parent, folders, files in trees.walk(folder):
            for name in files:
                with contextlib.suppress(OSError):
                    size_bytes += os.lstat(f"{parent}/{name}").st_blocks * 512
            for name in folders:
                trees.open_up(Path(parent, name))
    trees.remove(folder)
    if folder.exists():  # a job that used sudo left files owned by root
        subprocess.run(["sudo", "-n", "rm", "-rf", "--", str(folder)], capture_output=True, check=False)
    if folder.exists():
        raise AgentError(f"could not remove all of {folder}")
    return size_bytes
