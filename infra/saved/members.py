"""A task of a sent array in its bucket, with its own attempts."""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from infra.errors import NotFoundError
from infra.model import Output, Task, TaskRecord
from infra.node.agent.bucket.layout import DONE
from infra.saved.jobs import SavedJob
from infra.saved.manifests import list_all
from infra.saved.sent import UNCLAIMED, SentState, Span

NAMED = re.compile(DONE + r"(\d{1,9})-(\d{1,15})-(\d{1,12})-(i-[0-9a-f]{8,17})")  # as `done_name` makes it


@dataclass(frozen=True)
class Done:
    """What the listing of a bucket says of a task that succeeded."""

    attempt: int
    started_at: float
    seconds: float
    machine: str


@dataclass(frozen=True)
class SavedTask:
    """A task of a sent array, as far as it has begun.

    Nothing is read of one that succeeded before it is needed.
    """

    task: Task
    look: Callable[[], tuple[SentState | None, SavedJob | None]]
    """Reads its state, None if no machine has claimed it, and its last attempt, None before that uploaded anything."""
    ended_at: float
    """When its end was written, by the bucket's clock; 0.0 before that, infinite if it never will be."""
    done: Done | None = None

    @cached_property
    def found(self) -> tuple[SentState | None, SavedJob | None]:
        """Its state and its last attempt."""
        return self.look()

    @property
    def state(self) -> SentState | None:
        """Its state; None if no machine has claimed it yet."""
        return self.found[0]

    @property
    def last(self) -> SavedJob | None:
        """Its last attempt; None before that has uploaded anything."""
        return self.found[1]

    @property
    def begun(self) -> bool:
        """Whether an attempt has uploaded anything."""
        return bool(self.done or self.last)

    @property
    def ended(self) -> bool:
        """Whether the task has ended."""
        return bool(self.done or (self.state and self.state.end))

    @property
    def complete(self) -> bool:
        """Whether the bucket has all that it wrote, if it has ended."""
        return bool(self.done or not (self.last and self.state and self.state.end) or self.state.end.complete)

    def interrupt(self) -> "SavedTask":
        """Return it as the end of its group leaves it: interrupted, if it has not ended."""
        if self.ended:
            return self
        state = (self.state or SentState(UNCLAIMED, None)).interrupt()
        last = self.last and self.last.interrupt()
        return replace(self, look=lambda: (state, last), ended_at=math.inf)

    @cached_property
    def record(self) -> TaskRecord:
        """What became of it."""
        index, values = self.task.index, self.task.values
        if self.done:
            ran = {"started_at": self.done.started_at, "seconds": self.done.seconds}
            return TaskRecord(
                index, values, "succeeded", 0, "", 0, **ran, attempts=self.done.attempt, machine=self.done.machine
            )
        job, attempts = self.last and self.last.job, self.state.claim.attempt if self.state else 0
        end = self.state and self.state.end
        return TaskRecord(
            index=index,
            values=values,
            state=job.state if job else end.state if end else "queued",
            exit_code=end.exit_code if end else None,
            reason=job.reason if job else end.reason if end else "",
            node=0 if self.last else None,
            started_at=job.started_at if job else None,
            seconds=job.seconds if job else None,
            attempts=attempts,
            machine=self.last.cluster.node.instance_id if self.last else "",
        )

    @property
    def spans(self) -> tuple[Span, ...]:
        """The work of all of its attempts; one that needed no second is not read for that."""
        record = self.record
        earlier = self.state.claim.earlier if record.attempts > 1 and self.state else ()
        if record.started_at is None or record.seconds is None:
            return earlier
        return (*earlier, Span(record.machine, record.started_at, record.seconds))

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What it wrote, and its log, once it has ended, named as on a node: 17/model, 17.log."""
        if not self.last or not self.ended:
            return ()
        with suppress(NotFoundError):
            found = list_all(self.last.manifest, self.last.job).outputs
            index = self.task.index
            inside = (each for each in found if not each.outside)
            below = (
                replace(each, path=f"{index}/{each.path}", same_as=each.same_as and f"{index}/{each.same_as}")
                for each in inside
            )
            return (*below, *self.log)
        return ()

    @property
    def log(self) -> tuple[Output, ...]:
        """Return its log as an output; none if its machine did not say what is in it."""
        end = self.state and self.state.end
        return (
            (Output(f"{self.task.index}.log", end.log_bytes, end.log_sha256, 0o644),) if end and end.log_sha256 else ()
        )

    def describe_end(self) -> str:
        """Return a line for the array's log: how the task ended."""
        record = self.record
        values = "".join(f" {name}={value}" for name, value in record.values.items())
        code = "" if record.exit_code in (None, 0) else f" (exit {record.exit_code})"
        after = "" if record.seconds is None else f" after {record.seconds:.0f} s"
        return f"task {record.index}{values}: {record.state}{code}{after}{record.reason and f': {record.reason}'}\n"
