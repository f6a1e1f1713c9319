"""The desk of another node: it asks node 0 for tasks while they fit, and says how they ended."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..book.counts import cancelled_record
from ..book.tasks import Book
from ..job.runner import CANCEL
from ..records import Ending

if TYPE_CHECKING:
    from ..muster.member import Member as Tie

MANY = 1 << 20  # tasks, while it is not known how many are left


class Member:
    """The tasks that node 0 has given to this node."""

    def __init__(self, folder: Path, tie: Tie) -> None:
        """Follow node 0, over its connection."""
        self.book, self.tie, self.rank = Book(folder), tie, tie.group.rank
        self.given: deque[int] = deque()
        self.unwanted: set[int] = set()
        self.attempts: dict[int, int] = {}
        self.asked = 0
        self.idle = self.cancelled = False

    @property
    def left(self) -> int:
        """How many tasks may still start here, as far as this node knows."""
        return len(self.given) if self.idle or self.cancelled else MANY

    @property
    def soon(self) -> int:
        """How many tasks may start here now."""
        return self.left

    def is_over(self) -> bool:
        """Return whether node 0 has said that the array is over, or was lost."""
        return self.tie.verdict is not None and not self.given

    def cancel(self) -> None:
        """Start no further tasks."""
        self.given.clear()
        self.cancelled = True

    def ask(self, places: int) -> int | None:
        """Return the position of a task that node 0 gave; ask for as many as there are places for."""
        if self.given:
            return self.given.popleft() if places else None
        if places > self.asked and not (self.idle or self.cancelled):
            self.tie.send(say="want", count=places - self.asked)
            self.asked = places
        return None

    def attend(self) -> None:
        """Act on what node 0 has said."""
        while self.tie.inbox:
            _, what, message = self.tie.inbox.popleft()
            if what == "start" and not self.cancelled:
                self.asked = max(self.asked - 1, 0)
                self.given.append(int(message["position"]))
            elif what == "none":
                self.idle, self.asked = True, 0
            elif what == "more":
                self.idle = False
            elif what == "cancel":
                os.kill(os.getpid(), CANCEL)
            elif what == "unwanted":
                self.cancel_one(int(message["position"]))

    def cancel_one(self, position: int) -> None:
        """End a task that runs here, or do not start it."""
        if position in self.given:
            self.given.remove(position)
            self.report(position, cancelled_record())
        else:
            self.unwanted.add(position)

    def report(self, position: int, record: dict[str, Any]) -> None:
        """Record how a task ended, and tell node 0."""
        self.book.write(position, record)
        told = ("state", "exit_code", "reason", "started_at", "seconds", "ended_at")
        known = {name: record[name] for name in told if name in record}
        self.tie.send(say="ended", position=position, record=known)

    def conclude(self) -> Ending:
        """Return how the array ended, as node 0 says."""
        return self.tie.verdict or Ending(None, interrupted=True)
