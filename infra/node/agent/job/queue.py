"""The queue: jobs start in the order of their numbers, each when enough GPUs are free.

There is no scheduler that could die: each job's supervisor waits for itself. A supervisor holds its job's `queued` lock until
the job starts, so waiting for all earlier ones of these locks is waiting in the queue; the kernel drops a dead one's.
"""

from __future__ import annotations

import contextlib
import fcntl
import time

from ..records import JOBS, NOTEBOOK, is_supervised, numbers, read_json

POLL_S = 0.05


def wait_in_queue(number: int, wanted: int, slots: int) -> list[int]:
    """Return the GPUs that a job gets, once every earlier job has left the queue and `wanted` of `slots` are free.

    A notebook waits for nobody: a person does for it.
    """
    if is_notebook(number):
        return []
    for earlier in numbers():
        if earlier < number:
            with contextlib.suppress(FileNotFoundError), (JOBS / str(earlier) / "queued").open("rb") as queued:
                fcntl.flock(queued, fcntl.LOCK_SH)
    while True:
        # Only the head of the queue gets here, so what is free now is not taken by another meanwhile.
        free = sorted(set(range(slots)) - used_gpus(number))
        if len(free) >= wanted:
            return free[:wanted]
        time.sleep(POLL_S)


def used_gpus(number: int) -> set[int]:
    """Return the GPUs of the earlier jobs that still run."""
    return {gpu for earlier in numbers() if earlier < number for gpu in held_gpus(earlier)}


def held_gpus(number: int) -> list[int]:
    """Return the GPUs that a job has now: none unless it runs."""
    folder = JOBS / str(number)  # which may be gone by now: a job that is over can be removed
    gpus: list[int] = read_json(folder / "state.json", {}).get("gpus")
    return gpus if gpus and is_supervised(folder) else []


def count_ahead(number: int) -> int:
    """Return how many earlier jobs are not over yet; a notebook stands in nobody's way, nor anybody in its."""
    if is_notebook(number):
        return 0
    return sum(is_supervised(JOBS / str(each)) for each in numbers() if each < number and not is_notebook(each))


def is_notebook(number: int) -> bool:
    """Tell whether a job is a notebook."""
    return bool(read_json(JOBS / str(number) / "job.json", {}).get("command") == NOTEBOOK)
