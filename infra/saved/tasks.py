"""A sent array in its bucket: its tasks, each with its own attempts, read together like one job."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from infra.base.parallel import map_parallel
from infra.ec2.storage.objects import Store
from infra.model import Cluster, Counts, Job, JobState, Output, TaskRecord
from infra.node.listing import JobReply, Outputs
from infra.node.tasks import Portion
from infra.saved.jobs import SavedJob
from infra.saved.members import SavedTask
from infra.saved.sent import SentArray, Span

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 32  # requests
BAD = ("failed", "interrupted")


@dataclass(frozen=True)
class SavedArray:
    """A sent array; reads like a node."""

    store: Store
    root: str
    """The prefix of its objects: CLUSTER/TOKEN/."""
    about: SentArray
    members: tuple[SavedTask, ...]

    rank = 0
    first = None

    @property
    def prefix(self) -> str:
        """What changes if its log does: nothing, as that is one for all attempts."""
        return self.root

    @property
    def parts(self) -> "tuple[SavedArray, ...]":
        """Itself: its tasks are not spread over the nodes of a cluster."""
        return (self,)

    @cached_property
    def begun(self) -> SavedJob | None:
        """The last attempt of the task that started first; None before any has uploaded anything."""
        members = [each for each in self.members if each.begun]
        members.sort(key=lambda each: math.inf if each.record.started_at is None else each.record.started_at)
        return next((each.last for each in members if each.last), None)

    @property
    def cluster(self) -> Cluster:
        """The machine of its first task."""
        assert self.begun  # noqa: S101  else it is not opened
        return self.begun.cluster

    @property
    def tasks(self) -> tuple[TaskRecord, ...]:
        """What became of each task."""
        return tuple(each.record for each in self.members)

    @property
    def was_sent(self) -> bool:
        """Whether it was sent: always."""
        return True

    def interrupt(self) -> "SavedArray":
        """Return it as the end of its group leaves it: the tasks that have not ended are interrupted."""
        return replace(self, members=tuple(each.interrupt() for each in self.members))

    @property
    def ended(self) -> bool:
        """Whether all of its tasks have ended."""
        return all(each.ended for each in self.members)

    @property
    def complete(self) -> bool:
        """Whether the bucket has all that its ended tasks wrote."""
        return all(each.complete for each in self.members)

    @cached_property
    def job(self) -> Job:
        """The array as one job, with all GPUs of its machines; its seconds are those of their work."""
        records = self.tasks
        assert self.begun  # noqa: S101  else it is not opened
        first, gpus = self.begun.job, self.cluster.gpu.count if self.cluster.gpu else 0
        spans = [*itertools.chain(*(each.spans for each in self.members))]
        begun = [record.started_at for record in records if record.started_at is not None]
        starts = [*begun, *(span.started_at for span in spans)]
        decisive = self.find_decisive()
        return replace(
            first,
            number=self.about.number,
            command=self.about.command,
            state=decisive.state if decisive else ("succeeded" if self.ended else self.find_activity()),
            exit_code=decisive.exit_code if decisive else 0 if self.ended else None,
            reason=f"task {decisive.index}: {decisive.reason}" if decisive and decisive.reason else "",
            gpus=tuple(range(gpus)),
            started_at=min(starts, default=None),
            ended_at=max((each.started_at + each.seconds for each in spans), default=None) if self.ended else None,
            stalled_at=None,
            seconds=add_times(spans) if starts else None,
            log_bytes=len(self.text),
            tasks=count(records),
        )

    @property
    def current(self) -> Job:
        """The array as it was read."""
        return self.job

    def find_decisive(self) -> TaskRecord | None:
        """Return the task that decides how the array ended, the first that failed; None without any."""
        if not self.ended:
            return None
        ended = sorted(self.members, key=lambda each: each.ended_at)
        for state in ("failed", "interrupted", "cancelled"):
            found = next((each.record for each in ended if each.record.state == state), None)
            if found:
                return found
        return None

    def find_activity(self) -> JobState:
        """Return the state of an array that has not ended."""
        return "running" if any(record.state in ("running", "stalled") for record in self.tasks) else "queued"

    @cached_property
    def text(self) -> bytes:
        """Its log: a line for each task that has ended, in order."""
        ended = sorted((each for each in self.members if each.ended), key=lambda each: (each.ended_at, each.task.index))
        return "".join(each.describe_end() for each in ended).encode()

    def read_log(self, offset: int) -> Iterator[bytes]:
        """Yield the log from an offset on."""
        yield self.text[offset:]

    @cached_property
    def places(self) -> "Mapping[Output, tuple[SavedTask, Output | None]]":
        """Where each output comes from: its task, and the output there; None for its log."""
        found: dict[Output, tuple[SavedTask, Output | None]] = {}
        for member, outputs in zip(self.members, call_each(lambda each: each.outputs, self.members), strict=True):
            skip = len(f"{member.task.index}/")
            for each in outputs:
                is_log = each in member.log
                own = replace(each, path=each.path[skip:], same_as=each.same_as[skip:])
                found[each] = member, None if is_log else own
        return found

    def list_outputs(self, *_: object) -> tuple[Job, Outputs]:
        """Return the array and the outputs of the tasks that have ended."""
        told = JobReply(**vars(self.job), now=time.time())
        return self.job, Outputs(told, tuple(self.places), unreadable=())

    def receive(self, wanted: Mapping[Output, int], take: Callable[[Output, Iterator[bytes]], None]) -> None:
        """Pass the last so many bytes of these outputs to `take`."""
        asked: dict[int, list[Output]] = {}
        for output in wanted:
            asked.setdefault(self.places[output][0].task.index, []).append(output)
        for outputs in asked.values():
            member = self.places[outputs[0]][0]
            assert member.last  # noqa: S101  else it has no outputs
            own = {self.places[each][1]: each for each in outputs}
            log = own.pop(None, None)
            member.last.receive(
                {mine: wanted[each] for mine, each in own.items() if mine},
                lambda mine, content, own=own: take(own[mine], content),  # type: ignore[misc]
            )
            if log:
                take(log, member.last.read_log(log.size_bytes - wanted[log]))

    def mark_fetched(self) -> None:
        """Do nothing: the bucket keeps it until it is removed."""

    def find_portion(self, *_: object) -> Portion:
        """Return all tasks: each machine's are in the bucket."""
        return Portion(self.rank, self.job, self.tasks, asked=0)

    def find_task(self, index: int) -> SavedJob | None:
        """Return the last attempt of a task; None if there is none."""
        return next((each.last for each in self.members if each.task.index == index), None)


def add_times(spans: Iterable[Span]) -> float:
    """Return for how many seconds machines worked on tasks; those that share one share its time."""
    machines: dict[str, list[tuple[float, float]]] = {}
    for each in spans:
        machines.setdefault(each.machine, []).append((each.started_at, each.started_at + each.seconds))
    total = 0.0
    for times in machines.values():
        until = -math.inf
        for start, end in sorted(times):
            total += max(0.0, end - max(start, until))
            until = max(until, end)
    return total


def count(records: Sequence[TaskRecord]) -> Counts:
    """Return how many tasks are in which state."""
    found = Counter[str](record.state for record in records)
    return Counts(
        done=found["succeeded"],
        running=found["running"] + found["stalled"],
        failed=sum(found[state] for state in BAD),
        cancelled=found["cancelled"],
        left=found["queued"],
    )


def call_each(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call a function that waits for the bucket on all items; return the results in order."""
    found: list[R] = []
    for start in range(0, len(items), AT_ONCE):
        found += map_parallel(function, items[start : start + AT_ONCE])
    return found
