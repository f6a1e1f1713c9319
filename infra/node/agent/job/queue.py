"""The queue: jobs start in the order of their numbers, each when enough GPUs are free.

There is no scheduler that could crash: each job's supervisor waits for itself. It holds its job's `queued` lock until the
job starts, so queueing means waiting for the locks of all earlier jobs; the kernel releases those of dead processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import time

from ..records import JOBS, NOTEBOOK, is_supervised, numbers, read_json

POLL_S = 0.05


def wait_in_queue(number: int, wanted: int, slots: int) -> list[int]:
    """Wait for all earlier jobs to leave the queue and for enough free GPUs; return the GPUs.

    A notebook does not queue, because a person is waiting for it.
    """
    if is_notebook(number):
        return []
    for earlier in numbers():
        if earlier < number:
            with contextlib.suppress(FileNotFoundError), (JOBS / str(earlier) / "queued").open("rb") as queued:
                fcntl.flock(queued, fcntl.LOCK_SH)
    while True:
        # Only the head of the queue gets here, so free GPUs cannot be taken by another job.
        free = sorted(set(range(slots)) - used_gpus(number))
        if len(free) >= wanted:
            return free[:wanted]
        time.sleep(POLL_S)


def used_gpus(number: int) -> set[int]:
    """Return the GPUs in use by earlier jobs."""
    return {gpu for earlier in numbers() if earlier < number for gpu in held_gpus(earlier)}


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
