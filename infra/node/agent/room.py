"""Space on the node's disk: remove downloaded files when it runs short, and explain a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import NamedTuple

from .machine import find_space
from .records import FREED, HOME, JOBS, NOTEBOOK, WORK, AgentError, is_supervised, numbers, read_json
from .removal import LEAVING, remove_tree

RESERVE_BYTES, RESERVE_SHARE = 5e9, 0.05  # half of what `jobs` warns of
FULL_BYTES = 1 << 16  # with less, neither a job nor its log can go on writing
NEXT = WORK / "next"  # the prepared snapshot, see `prepared`


RECORDS = ("manifest.json", "hashes.json", "sent.json")  # of a job's files


class Room(NamedTuple):
    """Free bytes and files."""

    size_bytes: float
    files: float


def find_room() -> Room:
    """Return the room beyond the reserve; a file system without a fixed number of files has any number."""
    disk = os.statvfs(HOME)
    reserve = min(RESERVE_BYTES, RESERVE_SHARE * disk.f_blocks * disk.f_frsize)
    files = disk.f_favail - RESERVE_SHARE * disk.f_files if disk.f_files else float("inf")
    return Room(disk.f_bavail * disk.f_frsize - reserve, files)


def make_room(size_bytes: int, files: int) -> None:
    """Remove the prepared snapshot, then working trees of downloaded jobs, oldest first, until this fits.

    Records, logs and notebooks are kept: the next notebook starts with the files of the last.
    """
    if size_bytes > find_space()["disk_bytes"]:  # removing all of them would not help
        return
    trees, needed = [NEXT, *(WORK / str(number) for number in numbers())], find_needed()
    for tree in trees:
        room = find_room()
        if room.size_bytes >= size_bytes and room.files >= files:
            return
        if tree.exists() and (tree == NEXT or (tree.name not in needed and may_go(JOBS / tree.name))):
            free(tree)


def find_needed() -> set[str]:
    """Return the numbers of jobs whose outputs a job that is not over starts from."""
    alive = [JOBS / str(number) for number in numbers() if is_supervised(JOBS / str(number))]
    earlier = [read_json(folder / "job.json", {}).get("earlier") for folder in alive]
    return {str(each["job"]) for each in earlier if each}


def may_go(folder: Path) -> bool:
    """Return whether a job has ended, is downloaded, and is not a notebook."""
    downloaded = (folder / "fetched").exists() and not is_supervised(folder)
    return downloaded and read_json(folder / "job.json", {}).get("command") != NOTEBOOK


def free(tree: Path) -> None:
    """Remove a working tree; the job's record says so."""
    gone = WORK / f"{LEAVING}{tree.name}-{time.time_ns():x}"
    with contextlib.suppress(FileNotFoundError):
        tree.rename(gone)
        mark_freed(JOBS / tree.name)
        with contextlib.suppress(AgentError):  # files of root are kept
            remove_tree(gone)
        mark_freed(JOBS / tree.name)
        forget_files(JOBS / tree.name)


def mark_freed(folder: Path) -> None:
    """Record that a job's files were removed; on a full disk, once there is space again."""
    with contextlib.suppress(OSError):
        (folder / FREED).touch()


def forget_files(folder: Path) -> None:
    """Remove what was recorded of each of a job's files, several megabytes for a large project."""
    if (folder / FREED).exists():
        for name in RECORDS:
            (folder / name).unlink(missing_ok=True)


def name_full_disk() -> str:
    """Return that the disk is full, which a log may have had no room to say; "" if it is not."""
    disk = os.statvfs(HOME)
    full = disk.f_bavail * disk.f_frsize < FULL_BYTES or (disk.f_files and not disk.f_favail)
    return explain(OSError(errno.ENOSPC, "")) if full else ""


def explain(error: OSError) -> str:
    """Return an error's text; for a full disk, whether space or inodes ran out."""
    if error.errno != errno.ENOSPC:
        return str(error)
    what, disk, space = os.strerror(errno.ENOSPC), os.statvfs(HOME), find_space()
    if disk.f_files and not disk.f_favail:
        return f"{what}: the machine's disk has no inodes left for more files ({disk.f_files:,} are in use)"
    free_mb, disk_mb = space["disk_free_bytes"] // 10**6, space["disk_bytes"] // 10**6
    return f"{what}: {free_mb:,} MB of {disk_mb:,} MB are free on the machine's disk"
