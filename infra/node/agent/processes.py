"""Processes of a job, found and ended whatever session or group they moved to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from typing import Callable

from .identities import read_stat

GRACE_S = 10.0
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Make every orphan among this process's descendants its child, so that none can slip away."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def unblock_signals() -> None:
    """Give a new program the signals that a supervisor blocks for itself: builds wait for SIGCHLD."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def reap(ended: dict[int, int]) -> None:
    """Collect every child that has ended, adopted orphans too; `ended` gets the exit code by process id."""
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        while pid:
            ended[pid] = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            pid, status = os.waitpid(-1, os.WNOHANG)


def descendants(ancestor: int | None = None) -> list[int]:
    """Return the process id of every living descendant of a process, by default of this one."""
    parents = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            state, parent = read_stat(pid)[:2]
            if state != "Z":
                parents[pid] = int(parent)
    found: list[int] = []
    generation = [ancestor or os.getpid()]
    while generation:
        generation = [pid for pid, parent in parents.items() if parent in generation]
        found += generation
    return found


def family(leader: int) -> list[int]:
    """Return the living processes of the session that one leads, and their descendants."""
    found = set()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            stat = read_stat(pid)
            if stat[0] != "Z" and int(stat[3]) == leader:
                found.update([pid, *descendants(pid)])
    return sorted(found)


def is_child(pid: int) -> bool:
    """Tell whether a process, alive or not yet reaped, is a child of this one."""
    try:
        return int(read_stat(pid)[1]) == os.getpid()
    except OSError:
        return False


def end_descendants(
    ended: dict[int, int], first: int = signal.SIGTERM, find: Callable[[], list[int]] = descendants
) -> None:
    """End all descendants and whatever they start meanwhile: `first`, a grace period, SIGKILL until none is left.

    Those that belong to root, as after `sudo`, are ended by root where that needs no password; else they are left after a while.
    """
    start = time.monotonic()
    living = find()
    for pid in living:
        tell(pid, first)
    while living and time.monotonic() < start + 2 * GRACE_S:
        if time.monotonic() > start + GRACE_S:
            for pid in living:
                tell(pid, signal.SIGKILL)
        time.sleep(0.02)
        reap(ended)
        living = find()


def tell(pid: int, number: int) -> None:
    """Send a signal to a process, if it still exists."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        command = ["sudo", "-n", "kill", f"-{number:d}", str(pid)]
        with contextlib.suppress(OSError):
            subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
