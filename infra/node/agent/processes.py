"""Processes of a job, found and ended whatever session or group they moved to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

GRACE_S = 10.0
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Make every orphan among this process's descendants its child, so that none can slip away."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(ended: dict[int, int]) -> None:
    """Collect every child that has ended, adopted orphans too; `ended` gets the exit code by process id."""
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        while pid:
            ended[pid] = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            pid, status = os.waitpid(-1, os.WNOHANG)


def descendants() -> list[int]:
    """Return the process id of every living descendant of this process."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state, parent = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(name)] = int(parent)
    found: list[int] = []
    generation = [os.getpid()]
    while generation:
        generation = [pid for pid, parent in parents.items() if parent in generation]
        found += generation
    return found


def end_descendants(ended: dict[int, int]) -> None:
    """End all descendants and whatever they start meanwhile: SIGTERM, a grace period, SIGKILL until none is left.

    Those that belong to root, as after `sudo`, are ended by root where that needs no password; else they are left after a while.
    """
    start = time.monotonic()
    living = descendants()
    for pid in living:
        tell(pid, signal.SIGTERM)
    while living and time.monotonic() < start + 2 * GRACE_S:
        if time.monotonic() > start + GRACE_S:
            for pid in living:
                tell(pid, signal.SIGKILL)
        time.sleep(0.02)
        reap(ended)
        living = descendants()


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
