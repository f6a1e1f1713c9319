"""The queue: jobs start in the order of their numbers, each when enough GPUs are free.

There is no scheduler that could crash: each job's supervisor waits for itself. It holds its job's `queued` lock until the
job starts, so queueing means waiting for the locks of all earlier jobs; the kernel releases those of dead processes. A job
that waits for data or for another job's outputs does not hold it, so later jobs pass.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from typing import Callable

from ..records import JOBS, NOTEBOOK, is_supervised, numbers, read_json

POLL_S = 0.05


def wait_in_queue(number: int, wanted: int, slots: int, take: Callable[[list[int]], None]) -> None:
    """Wait for all earlier jobs to leave the queue and for enough free GPUs; record them with `take`.

    A notebook does not queue, because a person is waiting for it.
    """
    if is_notebook(number):
        take([])
        return
    for earlier in numbers():
        if earlier < number:
            with contextlib.suppress(FileNotFoundError), (JOBS / str(earlier) / "queued").open("rb") as queued:
                fcntl.flock(queued, fcntl.LOCK_SH)
    while True:
        # Besides the head of the queue, jobs get here that were out of it when a later one passed.
        with (JOBS / ".gpus").open("ab") as choosing:
            fcntl.flock(choosing, fcntl.LOCK_EX)
            free = sorted(set(range(slots)) - used_gpus(number))
            if len(free) >= wanted:
                take(free[:wanted])
                return
        time.sleep(POLL_S)


def used_gpus(number: int) -> set[int]:
    """Return the GPUs in use by other jobs."""
    return {gpu for other in numbers() if other != number for gpu in held_gpus(other)}


def held_gpus(number: int) -> list[int]:
    """Return the GPUs a job uses now: none unless it is running."""
    folder = JOBS / str(number)  # may be gone: finished jobs can be removed
    gpus: list[int] = read_json(folder / "state.json", {}).get("gpus")
    return gpus if gpus and is_supervised(folder) else []


def count_ahead(number: int) -> int:
    """Return how many earlier jobs are unfinished; notebooks neither block nor wait."""
    if is_notebook(number):
        return 0
    return sum(is_supervised(JOBS / str(each)) for each in numbers() if each < number and not is_notebook(each))


def is_notebook(number: int) -> bool:
    """Return whether a job is a notebook."""
    return bool(read_json(JOBS / str(number) / "job.json", {}).get("command") == NOTEBOOK)
