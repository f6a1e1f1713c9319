"""The queue: jobs start in the order of their numbers, each when enough GPUs are free.

There is no scheduler that could crash: each job waits for itself. It holds its `queued` lock until it starts, so queueing
means waiting for the locks of all earlier jobs; the kernel releases those of dead processes. Behind others a supervisor
becomes util-linux's `flock`, which takes a hundredth of the memory, and becomes a supervisor again when its turn may have come.
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

from ..records import JOBS, NOTEBOOK, is_supervised, numbers, read_json

POLL_S = 0.05


def wait_in_queue(number: int, wanted: int, slots: int) -> list[int]:
    """Wait for all earlier jobs to leave the queue and for enough free GPUs; return the GPUs.

    While it waits behind others, this process may start anew, with what it inherited and nothing else. A notebook does not
    queue, because a person is waiting for it.
    """
    if is_notebook(number):
        return []
    for earlier in reversed(numbers()):
        if earlier < number and is_locked(JOBS / str(earlier) / "queued"):
            wait_behind(JOBS / str(earlier) / "queued")
    # Only the head of the queue gets here, so free GPUs cannot be taken by another job.
    held = find_held(number)
    while True:
        free = sorted(set(range(slots)).difference(*held.values()))
        if len(free) >= wanted:
            return free[:wanted]
        time.sleep(POLL_S)
        held = {earlier: gpus for earlier, gpus in held.items() if is_supervised(JOBS / str(earlier))}


def wait_behind(queued: Path) -> None:
    """Wait until a job leaves the queue; where possible as a small program, which then starts the agent again."""
    flock = shutil.which("flock")
    if flock and can_replace(flock):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the caller has unblocked it; who cancels a job records its end
        agent = [sys.executable, "-I", "-S", *sys.argv]
        os.execv(flock, [flock, "--shared", "--no-fork", str(queued), *agent])  # noqa: S606
    with contextlib.suppress(FileNotFoundError), queued.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def can_replace(flock: str) -> bool:
    """Return whether a program is a `flock` that becomes the command that it runs, as util-linux's since 2.34."""
    words = [flock, "--shared", "--no-fork", "--nonblock", os.devnull, "true"]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def is_locked(path: Path) -> bool:
    """Return whether a process holds a lock exclusively."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def find_held(number: int) -> dict[int, list[int]]:
    """Return the GPUs in use by each earlier job."""
    held = ((earlier, held_gpus(earlier)) for earlier in numbers() if earlier < number)
    return {earlier: gpus for earlier, gpus in held if gpus}


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
    return sum(is_supervised(JOBS / str(each)) for each in numbers() if each < number and not is_notebook(each))


def is_notebook(number: int) -> bool:
    """Return whether a job is a notebook."""
    return bool(read_json(JOBS / str(number) / "job.json", {}).get("command") == NOTEBOOK)
