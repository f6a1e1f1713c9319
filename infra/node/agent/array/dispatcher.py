"""Run the tasks of an array on this node: start as many as fit, and note how each ended.

A `Desk` says which tasks are to run here. Each task has a runner, a process of its own that records how it ended, so a new
dispatcher continues with the tasks of one that was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..book.counts import RUNNING
from ..book.tasks import Book
from ..identities import identify, lives
from ..job.runner import CANCEL, SIGNALS
from ..job.watch import Watch
from ..processes import GRACE_S, descendants, family, fork, reap, tell
from ..records import PREEMPTED, read_json, read_runner, work_of, write_json
from ..tasks.trees import keep_log, reduce, tasks_of
from .places import Places
from .task import Work, folder_of_task, run_task

if TYPE_CHECKING:
    from ..muster import AnyTie

TICK_S = 0.5
FORKED_S = 5.0  # after which a runner that was being forked, when its dispatcher was killed, is on record
KILLED = "its runner was killed"


class Desk(Protocol):
    """Says which tasks run on this node, and hears how they ended."""

    book: Book
    unwanted: set[int]
    """The tasks that run here and are to be ended, by position."""

    @property
    def tie(self) -> AnyTie | None:
        """The connections to the other nodes of the array."""

    @property
    def rank(self) -> int:
        """Which node this is."""

    @property
    def soon(self) -> int:
        """How many tasks may start here now, if there are places for them."""

    @property
    def left(self) -> int:
        """How many tasks may still start here, now or later."""

    def attend(self) -> None:
        """Act on what other nodes have said."""

    def ask(self, places: int) -> int | None:
        """Return the position of the next task for this node, which has this many places; None for none yet."""

    def report(self, position: int, record: dict[str, Any]) -> None:
        """Note how a task ended."""

    def cancel(self) -> None:
        """Start no further tasks."""

    def is_over(self) -> bool:
        """Return whether no task is left that could run here."""


class Held:
    """The array's place in the queue."""

    def __init__(self, descriptor: int | None) -> None:
        """Hold the lock that an open descriptor stands for."""
        self.descriptor = descriptor

    def release(self) -> None:
        """Let later jobs pass."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        self.descriptor = None


class Running(NamedTuple):
    """A task that runs on this node."""

    runner: Any
    """Its runner's process, by number, start and boot."""
    gpus: list[int]
    watch: Watch
    record: dict[str, Any]
    kill_at_s: float = 0.0
    """When what is left of it is killed, if its runner has died; 0 otherwise."""


class Dispatcher:
    """The tasks of an array that run on this node."""

    def __init__(self, work: Work, desk: Desk, places: Places, held: Held) -> None:
        """Continue with the tasks that are on record as running on this node."""
        self.work, self.book, self.desk, self.places, self.held = work, desk.book, desk, places, held
        self.running: dict[int, Running] = {}
        self.adopted_s = time.monotonic()
        for position, record in self.book.read().items():
            if record["state"] in RUNNING and record["node"] == desk.rank:
                self.adopt(position, record)

    def run(self) -> None:
        """Run tasks until none is left and all have ended."""
        cancelled = False
        while self.running or not self.desk.is_over():
            self.desk.attend()
            if not cancelled and not (self.work.folder / PREEMPTED).exists():  # AWS takes this machine
                self.start_some()
            caught = signal.sigtimedwait(SIGNALS, TICK_S)
            if caught and caught.si_signo == CANCEL:
                cancelled = True
                self.desk.cancel()
                self.end_all()
            reap({})
            self.look()

    def start_some(self) -> None:
        """Start tasks while there are places; with none left, leave the queue and give up idle GPUs."""
        self.places.grow(self.desk.soon)
        while (position := self.desk.ask(self.places.count())) is not None:
            self.start(position)
        if not self.desk.soon:  # from now on it needs no more GPUs than it holds
            self.held.release()
        if not self.desk.left:
            self.places.shrink()

    def start(self, position: int) -> None:
        """Start a task on this node."""
        task, gpus = self.book.tasks[position], self.places.find() or []
        folder = folder_of_task(self.work.folder, task["index"])
        earlier = self.book.find(position)
        record = {
            "state": "running",
            "node": self.desk.rank,
            "started_at": time.time(),
            "started_s": time.monotonic(),
            "attempts": earlier.get("attempts", 0) + 1,
        }
        self.book.write(position, record)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("end.json", "runner.json"):  # of an earlier attempt
            with contextlib.suppress(FileNotFoundError):
                (folder / name).unlink()
        write_json(folder / "state.json", {"gpus": gpus})
        self.places.take(gpus)
        pid = self.fork(task, gpus)
        watch = Watch(folder, self.work.job, self.work.secrets if self.work.complete else None)
        self.running[position] = Running(identify(pid), gpus, watch, record)

    def fork(self, task: dict[str, Any], gpus: list[int]) -> int:
        """Fork the runner of a task; return its process."""
        tie = self.desk.tie
        if tie:
            tie.stop()  # a thread does not survive in the new process

        def run() -> None:
            self.held.release()
            if tie:
                tie.close()
            run_task(self.work, task, gpus)

        pid = fork(run)
        if tie:
            tie.start()
        return pid

    def adopt(self, position: int, record: dict[str, Any]) -> None:
        """Continue with a task that an earlier dispatcher started."""
        folder = folder_of_task(self.work.folder, self.book.tasks[position]["index"])
        gpus = read_json(folder / "state.json", {}).get("gpus", [])
        watch = Watch(folder, self.work.job, None)
        self.places.take(gpus)
        self.running[position] = Running(read_runner(folder)[0], gpus, watch, record)

    def look(self) -> None:
        """Watch the tasks that run, and note which have ended."""
        for position, running in list(self.running.items()):
            if running.runner is None and time.monotonic() - self.adopted_s < FORKED_S:
                self.running[position] = running._replace(runner=read_runner(running.watch.folder)[0])
            elif lives(running.runner):
                if position in self.desk.unwanted:
                    tell(running.runner[0], CANCEL)
                    self.desk.unwanted.remove(position)
                self.watch(position, running)
            elif self.has_ended(position, running):
                del self.running[position]
                self.places.leave(running.gpus)
                self.desk.report(position, self.conclude(position, running))

    def watch(self, position: int, running: Running) -> None:
        """Look whether a task is stalled."""
        watch, before = running.watch, running.watch.stalled
        watch.look_if_due(descendants, running.runner[0])
        if watch.stalled != before:
            self.book.write(position, {**running.record, "state": "stalled" if watch.stalled else "running"})

    def has_ended(self, position: int, running: Running) -> bool:
        """Return whether nothing is left of a task whose runner has died; end what is left."""
        _, main = read_runner(running.watch.folder)
        left = family(main[0]) if main and not read_json(running.watch.folder / "end.json") else []
        now = time.monotonic()
        for pid in left:
            if not running.kill_at_s or now > running.kill_at_s:
                tell(pid, signal.SIGKILL if running.kill_at_s else signal.SIGTERM)
        if left and not running.kill_at_s:
            self.running[position] = running._replace(kill_at_s=now + GRACE_S)
        return not left

    def conclude(self, position: int, running: Running) -> dict[str, Any]:
        """Return the record of a task that has ended."""
        index, folder = self.book.tasks[position]["index"], running.watch.folder
        end = read_json(folder / "end.json", {})
        if not end:
            keep_log(self.work.folder, index)
            reduce(work_of(self.work.folder), tasks_of(self.work.folder) / str(index), {})
            end = {"interrupted": True, "reason": KILLED, "exit_code": None, "cancelled": False}
        seconds = end.get("seconds", time.monotonic() - running.record["started_s"])
        kept = {name: end[name] for name in ("exit_code", "reason")}
        return {**running.record, **kept, "state": name_state(end), "seconds": seconds, "ended_at": time.time()}

    def end_all(self) -> None:
        """End all tasks that run here."""
        for running in self.running.values():
            if lives(running.runner):
                tell(running.runner[0], CANCEL)


def name_state(end: dict[str, Any]) -> str:
    """Return the state of a task that has ended."""
    if end["cancelled"]:
        return "cancelled"
    if end.get("interrupted"):
        return "interrupted"
    return "succeeded" if end["exit_code"] == 0 and not end["reason"] else "failed"
