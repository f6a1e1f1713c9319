"""Removing jobs that are over, with their files; their numbers are never given again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from pathlib import Path

from . import trees
from .records import HOME, JOBS, REMOVED, WORK, AgentError, folder_of, is_supervised, read_json, write_reserved

BYTE_CODE = HOME / "pycache"
LEAVING = "leaving-"  # what has this before its name is no job any more


def remove(*words: str) -> dict[str, int]:
    """Remove jobs and all that they have here; return how much room that made.

    Raises AgentError, and removes none, if one of them runs, or is not downloaded and this is not forced.
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
    # Everything that is leaving, also what an interrupted call has left.
    return {"freed_bytes": sum(remove_tree(path) for path in JOBS.glob(f"{LEAVING}*"))}


def check_removable(number: str, force: bool) -> None:
    """Raise AgentError unless a job is over, and downloaded if need be."""
    folder = folder_of(number)
    if is_supervised(folder):
        raise AgentError(f"job {number} is not over")
    if not force and not (folder / "fetched").exists():
        raise AgentError(f"job {number} is not downloaded")


def take_away(number: str) -> None:
    """Move all that a job has where nobody looks for a job, in one stroke: from then on there is none."""
    for parent in (JOBS, WORK):
        folder = parent / number
        byte_code = BYTE_CODE / folder.relative_to("/")
        for path in (folder, byte_code):
            if path.exists():
                path.rename(JOBS / f"{LEAVING}{number}-{time.time_ns():x}")


def remove_tree(folder: Path) -> int:
    """Remove a folder whatever its modes and owners; return how many bytes of the disk it took.

    Raises AgentError if something stays.
    """
    size_bytes = 0
    with contextlib.suppress(FileNotFoundError):  # another call removes it, too
        trees.open_up(folder)
        for parent, folders, files in trees.walk(folder):
            for name in files:
                with contextlib.suppress(OSError):
                    size_bytes += os.lstat(f"{parent}/{name}").st_blocks * 512
            for name in folders:
                trees.open_up(Path(parent, name))
    trees.remove(folder)
    if folder.exists():  # a job that used sudo left files of root's
        subprocess.run(["sudo", "-n", "rm", "-rf", "--", str(folder)], capture_output=True, check=False)
    if folder.exists():
        raise AgentError(f"not all of {folder} could be removed")
    return size_bytes
