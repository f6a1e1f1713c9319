"""Find and end a job's processes, whatever session or group they moved to."""

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
    """Become the parent of orphaned descendants, so that none can escape."""
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def unblock_signals() -> None:
    """Unblock the signals that a supervisor blocks, in a new program: builds wait for SIGCHLD."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def fork(run: Callable[[], None]) -> int:
    """Call a function in a new process, and return its id; it exits with 0, or with 1 after a traceback."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
            os._exit(0)
        except BaseException:
            import traceback  # rarely needed, and it adds to the start-up time of every call

            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def reap(ended: dict[int, int]) -> None:
    """Reap every child that has ended, adopted ones included; `ended` gets exit codes by process id."""
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        while pid:
            ended[pid] = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            pid, status = os.waitpid(-1, os.WNOHANG)


def descendants(ancestor: int | None = None) -> list[int]:
    """Return the ids of a process's living descendants, by default of this one."""
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
    """Return the living processes of a session, and their descendants."""
    found = set()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            stat = read_stat(pid)
            if stat[0] != "Z" and int(stat[3]) == leader:
                found.update([pid, *descendants(pid)])
    return sorted(found)


def is_child(pid: int) -> bool:
    """Return whether a process, alive or a zombie, is a child of this one."""
    try:
        return int(read_stat(pid)[1]) == os.getpid()
    except OSError:
        return False


def end_descendants(
    ended: dict[int, int], first: int = signal.SIGTERM, find: Callable[[], list[int]] = descendants
) -> None:
    """End all descendants and what they start: `first`, a grace period, then SIGKILL until none is left.

    Processes owned by root, as after `sudo`, are ended with passwordless sudo, or given up on after a while.
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
    """Send a signal to a process if it still exists."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        command = ["sudo", "-n", "kill", f"-{number:d}", str(pid)]
        with contextlib.suppress(OSError):
            subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
