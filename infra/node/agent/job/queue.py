"""The queue: jobs start in the order of their numbers, each when enough GPUs are free.

There is no scheduler that could crash: each job waits on its own. It holds its `queued` lock until it starts, so queueing
means waiting for the locks of all earlier jobs; the kernel releases those of dead processes. A supervisor that has to wait
becomes util-linux's `flock`, which takes a hundredth of the memory, and becomes a supervisor again when its turn may have
come. A job that waits for data or for another job's outputs does not hold the lock, so later jobs pass.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

from ..records import JOBS, NOTEBOOK, is_supervised, list_unfinished, numbers, read_json

POLL_S = 0.1


def wait_in_queue(number: int, wanted: int, slots: int, take: Callable[[list[int]], None]) -> None:
    """Wait for all earlier jobs to leave the queue and for enough free GPUs; record them with `take`.

    While it waits behind others, this process may be replaced, keeping only what it inherited. A notebook does not queue,
    because a user is waiting for it.
    """
    if is_notebook(number):
        take([])
        return
    for earlier in reversed(numbers()):
        if earlier < number and is_locked(JOBS / str(earlier) / "queued"):
            wait_behind(JOBS / str(earlier) / "queued")
    wait_for_gpus(number, wanted, slots, take)


def wait_for_gpus(number: int, wanted: int, slots: int, take: Callable[[list[int]], None]) -> None:
    """Wait until enough GPUs are free, and record them with `take`."""
    # From here on only jobs on the list are looked at; an older version of the agent does not write it.
    others = {other for other in numbers() if held_gpus(other)}
    while not choose_gpus(number, wanted, slots, others, take):
        time.sleep(POLL_S)


def choose_gpus(number: int, wanted: int, slots: int, others: set[int], take: Callable[[list[int]], None]) -> bool:
    """Take free GPUs if there are enough, and return whether; a list names the jobs that hold some.

    `others` are checked as well. Not only the head of the queue chooses, but also jobs that let later ones pass, hence a lock.
    """
    return take_gpus(number, range(wanted, wanted + 1), slots, others - {number}, take)


def take_gpus(number: int, wanted: range, slots: int, others: set[int], take: Callable[[list[int]], None]) -> bool:
    """Take as many of the free GPUs as wanted, and return whether there are enough; see `choose_gpus`.

    An array that holds some already is one of the `others`.
    """
    with (JOBS / ".gpus").open("a+") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        book.seek(0)
        listed = {*others, *({*map(int, book.read().split())} - {number})}
        held = {other: gpus for other, gpus in ((other, held_gpus(other)) for other in listed) if gpus}
        free = sorted(set(range(slots)).difference(*held.values()))
        if len(free) < wanted[0]:
            return False
        take(free[: wanted[-1]])
        book.truncate(0)
        book.write(" ".join(map(str, {**held, number: []})))
        return True


def wait_behind(queued: Path) -> None:
    """Wait until a job leaves the queue, if possible as a small program that then restarts the agent."""
    flock = shutil.which("flock")
    if flock and can_rewind() and can_replace(flock):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # unblocked by the caller; a cancel itself records the end
        agent = [sys.executable, "-I", "-S", *sys.argv]
        os.execv(flock, [flock, "--shared", "--no-fork", str(queued), *agent])  # noqa: S606
    with contextlib.suppress(FileNotFoundError), queued.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def can_rewind() -> bool:
    """Return whether standard input, which has the secrets, can be read again."""
    try:
        os.lseek(0, 0, os.SEEK_SET)
    except OSError:
        return False
    return True


def can_replace(flock: str) -> bool:
    """Return whether a program is a `flock` that replaces itself by its command (util-linux 2.34)."""
    words = [flock, "--shared", "--no-fork", "--nonblock", os.devnull, "true"]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def forget_waiting(own: int) -> None:
    """Close the lock that `flock` left open when it became this process; `own` is the job's own."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) != own and os.readlink(f"/proc/self/fd/{name}").endswith("/queued"):
                os.close(int(name))


def is_locked(path: Path) -> bool:
    """Return whether a process holds a lock exclusively."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def held_gpus(number: int) -> list[int]:
    """Return the GPUs a job uses now: none unless it is running."""
    folder = JOBS / str(number)  # may be gone: finished jobs can be removed
    if not is_supervised(folder):
        return []
    gpus: list[int] = read_json(folder / "state.json", {}).get("gpus", [])
    return gpus


def count_ahead(number: int) -> int:
    """Return how many earlier jobs are unfinished; notebooks neither block nor wait."""
    if is_notebook(number):
        return 0
    ahead = (each for each in list_unfinished() if each < number)
    return sum(is_supervised(JOBS / str(each)) for each in ahead if not is_notebook(each))


def is_notebook(number: int) -> bool:
    """Return whether a job is a notebook."""
    return bool(read_json(JOBS / str(number) / "job.json", {}).get("command") == NOTEBOOK)
