"""Where the tasks of an array run on this node: how many at a time, and on which of its GPUs."""

from __future__ import annotations

import os
from typing import Any, Callable, NamedTuple

from ..job.queue import held_gpus, take_gpus
from ..records import numbers


class Needs(NamedTuple):
    """What the tasks of an array need."""

    number: int
    slots: int
    """GPUs of this node."""
    gpus: int
    """GPUs of each task."""
    share: int
    """How many tasks share a GPU; without GPUs, how many run on the node."""


def needs_of(number: int, job: dict[str, Any]) -> Needs:
    """Return what the tasks of an array need."""
    gpus = count_task_gpus(job)
    share = job["array"]["share"] or (1 if gpus else len(os.sched_getaffinity(0)))
    return Needs(number, job["slots"], gpus, share)


def count_task_gpus(job: dict[str, Any]) -> int:
    """Return how many GPUs each task of an array gets: one by default, if there are any."""
    return int(min(job["slots"], 1) if job["gpus"] is None else job["gpus"])


class Places:
    """The GPUs that an array holds on this node, and how many tasks run on each."""

    def __init__(self, needs: Needs, held: list[int], record: Callable[[list[int]], None]) -> None:
        """Continue with the GPUs that are held; each change of them is passed to `record`."""
        self.needs, self.record = needs, record
        self.used = dict.fromkeys(held, 0)
        self.tasks = 0
        self.ever = set(held)
        """All GPUs that the array has held here."""
        self.others = {other for other in numbers() if other != needs.number and held_gpus(other)}

    def find(self) -> list[int] | None:
        """Return GPUs for one more task, those with the fewest tasks first; None if there is no place."""
        needs = self.needs
        if not needs.gpus:
            return [] if self.tasks < needs.share else None
        free = sorted((tasks, gpu) for gpu, tasks in self.used.items() if tasks < needs.share)
        return sorted(gpu for _, gpu in free[: needs.gpus]) if len(free) >= needs.gpus else None

    def count(self) -> int:
        """Return how many more tasks there is a place for."""
        trial = Places.__new__(Places)
        trial.needs, trial.used, trial.tasks = self.needs, dict(self.used), self.tasks
        while (gpus := trial.find()) is not None:
            trial.take(gpus)
        return trial.tasks - self.tasks

    def take(self, gpus: list[int]) -> None:
        """Note that a task runs on these GPUs."""
        self.tasks += 1
        for gpu in gpus:
            self.used[gpu] = self.used.get(gpu, 0) + 1

    def leave(self, gpus: list[int]) -> None:
        """Note that a task on these GPUs has ended."""
        self.tasks -= 1
        for gpu in gpus:
            self.used[gpu] -= 1

    def grow(self, tasks: int) -> None:
        """Take free GPUs for this many more tasks, as far as they need them."""
        needs = self.needs
        places = sum(needs.share - used for used in self.used.values())
        wanted = -(-max(tasks * needs.gpus - places, 0) // needs.share)
        wanted = min(wanted, needs.slots - len(self.used))
        if wanted > 0:

            def add(gpus: list[int]) -> None:
                self.used.update(dict.fromkeys(gpus, 0))
                self.ever.update(gpus)
                self.record(sorted(self.used))

            take_gpus(needs.number, range(1, wanted + 1), needs.slots, {*self.others, needs.number}, add)

    def shrink(self) -> None:
        """Give back the GPUs on which no task runs."""
        idle = [gpu for gpu, tasks in self.used.items() if not tasks]
        for gpu in idle:
            del self.used[gpu]
        if idle:
            self.record(sorted(self.used))
