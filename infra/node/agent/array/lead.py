"""The desk of node 0: it hands out an array's tasks to all nodes and records how each ended."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..book.counts import BAD, RUNNING, cancelled_record, count_tasks
from ..book.tasks import CANCELS, Book
from ..environment.uv import say
from ..records import Ending, read_json

if TYPE_CHECKING:
    from ..muster.lead import Lead as Tie

PROGRESS_S = 30.0
NAMED = 50  # failures that the log names


class Lead:
    """The tasks of an array that are left, and those that are handed out."""

    rank = 0

    def __init__(self, folder: Path, settings: dict[str, Any], tie: Tie | None) -> None:
        """Continue from the record; `settings` are the array's own."""
        self.folder, self.tie = folder, tie
        self.book = Book(folder)
        self.at_once, self.retries = settings["at_once"] or len(self.book.tasks), settings["retries"]
        records = self.book.read()
        begun = {position for position, record in records.items() if record["state"] != "queued"}
        self.waiting = deque(position for position in range(len(self.book.tasks)) if position not in begun)
        self.out = {position: record["node"] for position, record in records.items() if record["state"] in RUNNING}
        """The node of each task that was handed out and has not ended."""
        self.wants: dict[int, int] = {}
        """How many more tasks other nodes have room for."""
        self.idle: set[int] = set()
        """The nodes that know that there is nothing to do."""
        self.unwanted: set[int] = set()
        self.cancelled = False
        self.named, self.said, self.said_s = 0, "", time.monotonic()

    @property
    def left(self) -> int:
        """How many tasks may still start."""
        return len(self.waiting)

    @property
    def soon(self) -> int:
        """How many tasks may start now."""
        return max(min(len(self.waiting), self.at_once - len(self.out)), 0)

    def is_over(self) -> bool:
        """Return whether every task has ended, or was cancelled."""
        return not self.waiting and not self.out

    def cancel(self) -> None:
        """Start no further tasks, and end those on other nodes."""
        self.waiting.clear()
        self.cancelled = True
        if self.tie:
            self.tie.broadcast(say="cancel")

    def cancel_some(self) -> None:
        """Act on requests to end single tasks."""
        with contextlib.suppress(OSError, ValueError):
            for name in os.listdir(self.folder / CANCELS):
                (self.folder / CANCELS / name).unlink()
                self.cancel_one(int(name))

    def cancel_one(self, position: int) -> None:
        """End a task where it runs, or do not start it."""
        if position in self.waiting:
            self.waiting.remove(position)
            self.report(position, {**self.book.find(position), **cancelled_record()})
        elif self.out.get(position) == 0:
            self.unwanted.add(position)
        elif position in self.out:
            self.tell(self.out[position], say="unwanted", position=position)

    def give_up(self, why: str) -> None:
        """Start no further tasks: those that are left count as interrupted."""
        if self.waiting:
            self.waiting.clear()
            self.log(why)

    def ask(self, places: int) -> int | None:
        """Return the position of a task for this node; None without one, or without a place for it."""
        return self.hand_out(0) if places and self.soon else None

    def hand_out(self, rank: int) -> int:
        """Return the position of the next task, which a node gets."""
        position = self.waiting.popleft()
        self.out[position] = rank
        return position

    def attend(self) -> None:
        """Act on what other nodes have said, and give them tasks; say in the log how far the array is."""
        self.cancel_some()
        if self.tie:
            while self.tie.inbox:
                self.hear(*self.tie.inbox.popleft())
            self.share()
        if time.monotonic() - self.said_s >= PROGRESS_S:
            self.said_s, before = time.monotonic(), self.said
            began_s = read_json(self.folder / "state.json", {}).get("dispatched_s")
            self.said = describe(count_tasks(self.folder, "", began_s))
            if self.said != before:
                self.log(self.said)

    def hear(self, rank: int, what: str, message: dict[str, Any]) -> None:
        """Act on a message of another node."""
        position = int(message.get("position", -1))
        if what == "want":
            self.wants[rank] = self.wants.get(rank, 0) + int(message["count"])
            self.idle.discard(rank)
        elif what == "ended" and self.out.get(position) == rank:
            self.report(position, {**self.book.find(position), **message["record"], "node": rank})
        elif what == "lost":
            self.lose(rank, str(message["reason"]))

    def share(self) -> None:
        """Give tasks to the nodes that have room, in turn; tell them when nothing is left."""
        ready = [rank for rank in sorted(self.wants) if self.wants[rank]]
        while ready and self.soon and self.tie:
            for rank in ready:
                if self.soon:
                    self.wants[rank] -= 1
                    self.give(rank)
            ready = [rank for rank in ready if self.wants[rank]]
        if not self.waiting:
            for rank in sorted(set(self.wants) - self.idle):
                self.tell(rank, say="none")
                self.idle.add(rank)
                self.wants[rank] = 0

    def give(self, rank: int) -> None:
        """Give the next task to another node."""
        position = self.hand_out(rank)
        attempts = self.book.find(position).get("attempts", 0) + 1
        record = {"node": rank, "started_at": time.time(), "started_s": time.monotonic(), "attempts": attempts}
        self.book.write(position, {**record, "state": "running"})
        self.tell(rank, say="start", position=position, attempts=attempts)

    def tell(self, rank: int, **message: Any) -> None:
        """Send a message to another node, unless it was lost."""
        channel = self.tie.channels.get(rank) if self.tie else None
        if channel:
            channel.send(**message)

    def lose(self, rank: int, why: str) -> None:
        """Note the loss of a node: what ran there was interrupted."""
        self.wants.pop(rank, None)
        lost = [position for position, node in self.out.items() if node == rank]
        self.log(f"{why}; {len(lost)} task{'s' * (len(lost) != 1)} ran there")
        for position in lost:
            record = self.book.find(position)
            seconds = time.monotonic() - record["started_s"]
            ended = {"state": "interrupted", "reason": why, "exit_code": None, "seconds": seconds}
            self.report(position, {**record, **ended, "ended_at": time.time()})

    def report(self, position: int, record: dict[str, Any]) -> None:
        """Record how a task ended; one that was interrupted is run again, if that is wanted."""
        self.out.pop(position, None)
        index = self.book.tasks[position]["index"]
        if record["state"] == "interrupted" and record["attempts"] <= self.retries and not self.cancelled:
            again = {name: record[name] for name in ("attempts", "node")}
            self.book.write(position, {**again, "state": "queued"})
            self.waiting.appendleft(position)
            for rank in self.idle:
                self.tell(rank, say="more")
            self.idle.clear()
            self.log(f"task {index} was interrupted ({record['reason']}); it runs again")
            return
        self.book.write(position, record)
        if record["state"] in BAD and self.named < NAMED:
            self.named += 1
            how = f"exit {record['exit_code']}" if record["exit_code"] is not None else record["reason"]
            self.log(f"task {index} {record['state']} ({how}): gpujob logs {self.folder.name}.{index}")

    def log(self, text: str) -> None:
        """Write a line to the array's log; a full disk only costs this."""
        with contextlib.suppress(OSError), (self.folder / "log").open("ab") as log:
            say(log, text)

    def conclude(self) -> Ending:
        """Return how the array ended: with the exit code of the first task that failed."""
        records, count = self.book.read(), len(self.book.tasks)
        failed = sorted(
            (record["ended_at"], position) for position, record in records.items() if record["state"] == "failed"
        )
        states = [records.get(position, {}).get("state", "queued") for position in range(count)]
        interrupted = [state for state in states if state in ("interrupted", "queued")]
        if self.cancelled:
            return Ending(143, cancelled=True)
        if failed:
            _, first = failed[0]
            reason = f"{len(failed)} of {count} tasks failed, task {self.book.tasks[first]['index']} first"
            return Ending(records[first]["exit_code"] or 1, reason=reason)
        if interrupted:
            return Ending(None, reason=f"{len(interrupted)} of {count} tasks were interrupted", interrupted=True)
        if "cancelled" in states:
            return Ending(143, reason=f"{states.count('cancelled')} of {count} tasks cancelled")
        return Ending(0)


def describe(counts: dict[str, Any]) -> str:
    """Return how far an array is: 37 done, 8 running, 1 failed, 54 left (about 12 min)."""
    parts = [f"{counts[name]} {name}" for name in ("done", "running", "failed", "left") if counts[name]]
    left_s = counts["left_s"]
    rest = f" (about {max(round(left_s / 60), 1)} min)" if left_s else ""
    return ", ".join(parts) + rest
