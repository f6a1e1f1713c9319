"""What the bucket says of a sent job: who works on it, or how it ended."""

import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated

from infra.base.decoding import decode, parse
from infra.ec2.account import Account
from infra.ec2.machines.lease import SHUTDOWN_S
from infra.ec2.scaling.groups import find_groups
from infra.ec2.storage.objects import Store
from infra.errors import NodeError, NotFoundError
from infra.model import UNFINISHED, ExitCode, Job, JobState, Sha256, Task
from infra.node.agent.bucket.layout import END, SENT, TASK

HINT = "gpujob bucket ls"
MOST_LETTERS = 1000
ENDED = "its machines ended before it did"
LOST = "waits for a machine in place of the last"


@dataclass(frozen=True)
class End:
    """How a task ended."""

    state: JobState
    exit_code: ExitCode | None
    reason: str
    attempt: int
    ended_at: float
    complete: bool = False
    """Whether the bucket has all that it wrote."""
    log_bytes: int = 0
    log_sha256: Sha256 = ""
    """Of the log of its last attempt; "" if that is not known."""


@dataclass(frozen=True)
class SentArray:
    """A sent array, as the laptop described it."""

    number: int
    command: tuple[str, ...]
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Span:
    """The work of an attempt: on which machine, from when on, and how long."""

    machine: Annotated[str, re.compile("i-[0-9a-f]{8,17}")]
    started_at: float
    seconds: float


@dataclass(frozen=True)
class Claim:
    """Which machine has the right to work on a task; "" for none."""

    machine: Annotated[str, re.compile("i-[0-9a-f]{8,17}|")]
    attempt: int
    beat: int
    why: str
    """Why the attempt before ended."""
    mark: Sha256
    """Identifies the state that it began with."""
    fruitless: int
    """How many attempts in a row have ended without saving anything new."""
    failures: int
    number: int
    """Of the job on the laptop; an attempt may have another one on its machine."""
    earlier: tuple[Span, ...] = ()
    """What earlier attempts worked, as far as they said that they had started."""


UNCLAIMED = Claim("", 0, 0, "", "", 0, 0, 0)


@dataclass(frozen=True)
class SentState:
    """The state of a task."""

    claim: Claim
    end: End | None
    lost: bool = False
    """Whether the machine that works on it has left the group."""

    def interrupt(self) -> "SentState":
        """Return the state of a task without an end, of which no machine will write one."""
        return replace(self, end=End("interrupted", None, ENDED, self.claim.attempt, time.time()))

    def correct(self, job: Job) -> Job:
        """Return a job with the state of its task: the end of an attempt need not be the task's.

        Its seconds, for which it pays, are those of all attempts.
        """
        seconds = None if job.seconds is None else job.seconds + sum(each.seconds for each in self.claim.earlier)
        job = replace(job, number=self.claim.number, seconds=seconds)
        if self.end:
            reason = self.end.reason[:MOST_LETTERS] or job.reason
            return replace(job, state=self.end.state, exit_code=self.end.exit_code, reason=reason)
        if self.lost:
            return replace(job, state="queued", reason=f"{LOST}, {self.claim.machine}")
        if job.state not in UNFINISHED:
            return replace(job, state="queued", exit_code=None, reason=self.claim.why[:MOST_LETTERS])
        return job


def read_array(store: Store, prefix: str) -> SentArray | None:
    """Return the array that was sent with a prefix; None for another job. Raises NodeError."""
    try:
        about = parse(store.get(f"{prefix}{SENT}"), HINT)
    except NotFoundError:
        return None
    try:
        array, request = about["array"], about["request"]
        if array is None:
            return None
        told = {"number": request["after"] + 1, "command": request["command"], "tasks": array["tasks"]}
    except (KeyError, TypeError) as error:
        raise NodeError(f"{prefix}{SENT} in the bucket is invalid", HINT) from error
    return decode(SentArray, told)


def read_number(store: Store, prefix: str) -> int | None:
    """Return the number of the job that was sent with a prefix; None without one. Raises NodeError."""
    try:
        about = parse(store.get(f"{prefix}{SENT}"), HINT)
    except NotFoundError:
        return None
    try:
        return int(about["request"]["after"]) + 1
    except (KeyError, TypeError, ValueError) as error:
        raise NodeError(f"{prefix}{SENT} in the bucket is invalid", HINT) from error


def read_sent(store: Store, prefix: str, task: int = TASK) -> SentState | None:
    """Return the state of a sent job's task; None for an ordinary job. Raises NodeError."""
    place = f"{prefix}tasks/{task}/"
    try:
        claim = decode(Claim, parse(store.get(f"{place}claim"), HINT))
    except NotFoundError:
        return None
    with suppress(NotFoundError):
        return SentState(claim, decode(End, parse(store.get(f"{place}{END}"), HINT)))
    return SentState(claim, None)


def find_members(account: Account, prefix: str) -> tuple[str, ...] | None:
    """Return the machines of the group that is kept for the job with this prefix; None without one.

    Raises CloudError, and PermissionsError without the permission to list groups.
    """
    cluster, token, *_ = prefix.split("/")
    found = [one for one in find_groups(account, cluster) if one.token == token and not one.deleting]
    earliest = time.time() - SHUTDOWN_S
    kept = [one for one in found if one.capacity and (not one.lease_until or one.lease_until > earliest)]
    return tuple(each.instance_id for each in kept[0].members) if kept else None
