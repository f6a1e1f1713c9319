"""An array: one job that runs its command many times, once for each of its tasks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

MOST_TASKS = 10_000
ExitCode = Annotated[int, range(256)]
TaskState = Literal["queued", "running", "stalled", "succeeded", "failed", "cancelled", "interrupted"]
UNFINISHED = ("queued", "running", "stalled")
"""The states of a task that has not ended."""
Text = Annotated[str, re.compile(r"(?s).{0,1000}")]


@dataclass(frozen=True)
class Task:
    """One run of an array's command."""

    index: Annotated[int, range(10**9)]
    values: Mapping[str, str] = field(default_factory=dict)
    """What a grid sets for it, by name."""


@dataclass(frozen=True)
class Array:
    """The tasks of a job, and how they are run."""

    tasks: tuple[Task, ...]
    at_once: int | None = None
    """How many may run at the same time, on all nodes together; None for as many as fit."""
    share: int | None = None
    """How many run on each GPU at the same time, without GPUs on each node; None for 1, without GPUs one per core."""
    retries: int = 0
    """How often a task is run again after its machine or its runner was lost."""
    count: int | None = None
    """How many tasks there are with those of an earlier job that succeeded, if these are the rest of it."""

    @property
    def grid(self) -> Mapping[str, tuple[str, ...]]:
        """The values of each name that a grid sets, each once, in the order of the tasks."""
        found: dict[str, dict[str, None]] = {}
        for task in self.tasks:
            for name, value in task.values.items():
                found.setdefault(name, {})[value] = None
        return {name: tuple(values) for name, values in found.items()}


@dataclass(frozen=True)
class Counts:
    """How many tasks of an array are in which state."""

    done: int = 0
    running: int = 0
    failed: int = 0
    """Of those that have ended, the ones that failed or were interrupted."""
    cancelled: int = 0
    left: int = 0
    """Tasks that have not started yet."""
    left_s: float | None = None
    """How long the rest will take, as far as it can be estimated."""


@dataclass(frozen=True)
class TaskRecord:
    """What became of a task, as reported by the agent."""

    index: Annotated[int, range(10**9)]
    values: Mapping[str, Text]
    state: TaskState
    exit_code: ExitCode | None
    reason: Text
    node: Annotated[int, range(64)] | None
    """The rank of the node that ran it last; None if it never started."""
    started_at: float | None
    seconds: float | None
    """Run time so far or in total; None if it never started."""
    attempts: int
    """How often it was started."""
    machine: str = ""
    """The instance id of that node; "" if it never started."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state not in UNFINISHED
