"""Claims: a machine's right to a task, an object that only its last writer can replace.

A machine renews its claim; if another has taken it, S3 refuses that, and the attempt is over. A machine takes the
claim of another that has not changed for a while. S3 says how old it was when this machine first read it, and this machine's
monotonic clock measures the time since then: no clocks of two machines are compared.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from typing import Any, Callable, Dict, Mapping

from ..aws.credentials import NoCredentialsError
from ..aws.wire import ChangedError, S3Error, TakenError
from .settings import Place, Sent, Times

FAULTS = (OSError, http.client.HTTPException, NoCredentialsError, S3Error, ChangedError)
RELEASED = ""
LEFT = "its machine was shut down"
Follow = Callable[[int, Mapping[str, Any]], Dict[str, Any]]
"""Returns what a claim says, from the task and the claim of the attempt before; that is empty for the first."""


class Claim:
    """A claim that this machine holds; a thread renews it."""

    def __init__(self, place: Place, task: int, content: dict[str, Any], etag: str, times: Times) -> None:
        """Start with a claim that was just written."""
        self.place, self.task, self.content, self.etag, self.times = place, task, content, etag, times
        self.lost = self.stopped = self.leaving = False
        """Whether another machine has it, the job is to stop, or this machine shuts down."""
        self.over = threading.Event()
        self.writing = threading.Lock()
        self.thread = threading.Thread(target=self.keep, daemon=True)

    @property
    def attempt(self) -> int:
        """The number of this machine's attempt."""
        return int(self.content["attempt"])

    def keep(self) -> None:
        """Renew the claim until it is lost or let go, and look whether the job is to stop.

        It is lost, too, if the task has ended: a machine may have lost its claim between its last look and writing the end.
        """
        while not (self.lost or self.over.wait(self.times.renew_s)):
            with contextlib.suppress(*FAULTS):
                self.renew()
                self.stopped = self.stopped or self.place.exists("stop")
                self.lost = self.lost or self.place.exists("tasks", self.task, "end.json")

    def renew(self, **changes: Any) -> bool:
        """Write the claim again, and return whether it is still ours; raises one of FAULTS without an answer."""
        with self.writing:
            if self.lost:
                return False
            try:
                self.write(changes)
            except TakenError:
                self.lost = not self.is_ours()
                if not self.lost:
                    self.write(changes)
            return not self.lost

    def write(self, changes: Mapping[str, Any]) -> None:
        """Write the next version of the claim; raises TakenError if the bucket has another one than ours."""
        content = {**self.content, **changes, "beat": self.content["beat"] + 1}
        self.etag = self.place.write(content, "tasks", self.task, "claim", match=self.etag)
        self.content = content

    def is_ours(self) -> bool:
        """Return whether the claim in the bucket is this machine's; a renewal without an answer may be."""
        found, etag = self.place.read("tasks", self.task, "claim")
        if (found.get("machine"), found.get("attempt")) != (self.place.machine, self.attempt):
            return False
        self.content, self.etag = found, etag
        return True

    def release(self, why: str, **changes: Any) -> None:
        """Let another machine, or another attempt of this one, have the task at once."""
        self.close()
        self.renew(machine=RELEASED, why=why, **changes)

    def close(self) -> None:
        """Stop renewing the claim."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()


class Watch:
    """How long each claim has been unchanged."""

    def __init__(self, stale_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without having seen any."""
        self.stale_s, self.clock = stale_s, clock
        self.seen: dict[int, tuple[str, float, bool]] = {}
        """Of each task the ETag, since when it is this one, and whether it has changed before our eyes."""

    def is_stale(self, task: int, etag: str, age_s: float) -> bool:
        """Return whether a claim has been the same for so long that its machine must be gone."""
        before, since, _ = self.seen.get(task, ("", 0.0, False))
        if before != etag:
            since = self.clock() - age_s
            self.seen[task] = (etag, since, bool(before))
        return self.clock() - since >= self.stale_s

    def is_alive(self, task: int) -> bool:
        """Return whether a claim was renewed while this machine watched, and has not been still for long."""
        _, since, moved = self.seen.get(task, ("", 0.0, False))
        return moved and self.clock() - since < self.stale_s

    def forget(self, task: int) -> None:
        """Forget a claim that this machine has changed itself."""
        self.seen.pop(task, None)


class Desk:
    """The tasks as this machine sees them; its places take them from here, each in a thread."""

    def __init__(self, place: Place, sent: Sent, follow: Follow) -> None:
        """Start without knowing anything of any task."""
        self.place, self.sent, self.follow = place, sent, follow
        self.watching = Watch(sent.times.stale_s)
        self.ended: set[int] = set()
        self.held: dict[int, Claim] = {}
        self.closed = self.leaving = False
        """Whether AWS takes this machine, so that it begins no further task, and whether it is being shut down."""
        self.lock = threading.Lock()

    def choose(self) -> tuple[Claim | None, bool]:
        """Claim a task, or return whether one may become free: its machine has not been seen at work."""
        pending = False
        with self.lock:
            for task in self.sent.values:
                if task in self.held or self.has_ended(task):
                    continue
                claim = take_claim(self.place, task, self.watching, self.sent.times, self.follow)
                if claim:
                    self.held[task] = claim
                    claim.leaving = self.leaving
                    return claim, True
                pending = pending or not self.watching.is_alive(task)
        return None, pending

    def has_ended(self, task: int) -> bool:
        """Return whether a task has ended; it is asked for until it has."""
        if task not in self.ended and self.place.exists("tasks", task, "end.json"):
            self.ended.add(task)
        return task in self.ended

    def put_back(self, task: int) -> None:
        """Say that no place of this machine works on a task any more."""
        with self.lock:
            self.held.pop(task, None)

    def leave(self) -> None:
        """Begin no further task, and end those that run: this machine is being shut down."""
        self.closed = self.leaving = True
        for claim in list(self.held.values()):
            claim.leaving = True

    def release(self) -> None:
        """Let other machines have what this one still works on."""
        for claim in list(self.held.values()):
            with contextlib.suppress(*FAULTS):
                claim.release(LEFT)


def take_claim(place: Place, task: int, watch: Watch, times: Times, follow: Follow) -> Claim | None:
    """Claim a task if it is free; None if it is another's.

    This machine's own claim, from before its agent or the machine itself was restarted, is continued.
    """
    before, etag, age_s = place.read_aged("tasks", task, "claim")
    if etag and before["machine"] == place.machine:
        claim = Claim(place, task, before, etag, times)
        return claim if claim.renew() else None
    if etag and before["machine"] != RELEASED and not watch.is_stale(task, etag, age_s):
        return None
    told = follow(task, {**before, "renewed_at": time.time() - age_s})
    content = {"attempt": 1, "machine": place.machine, "beat": 0, **told}
    try:
        etag = place.write(content, "tasks", task, "claim", absent=not etag, match=etag)
    except TakenError:
        return None
    finally:
        watch.forget(task)
    return Claim(place, task, content, etag, times)
