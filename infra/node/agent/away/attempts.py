"""One attempt: run the task as a job of this machine, upload what it writes, and say how it ended."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Any, NamedTuple

from .. import trees
from ..bucket.layout import attempt_prefix
from ..bucket.rounds import Rounds
from ..job.recovery import list_jobs
from ..node.guard import lease_end
from ..records import PREEMPTED, AgentError, is_supervised, record_of
from ..requests.cancelling import cancel
from .claims import FAULTS, Claim
from .extension import apply_lease
from .progress import take_over
from .settings import FOLDER, Place, Sent
from .submission import find_submitted, submit_attempt

TERMINATED = 128 + signal.SIGTERM


class Outcome(NamedTuple):
    """How an attempt ended."""

    kind: str
    """lost, preempted, interrupted, cancelled, failed, succeeded or lease."""
    job: dict[str, Any]
    uploaded: bool
    """Whether all that it wrote is in the bucket."""


def run_attempt(place: Place, sent: Sent, claim: Claim) -> Outcome:
    """Run an attempt to its end; raises AgentError if it cannot be started, and one of FAULTS."""
    folder = FOLDER / f"task-{claim.task}"
    claim.thread.start()
    number = find_submitted(place, claim.task, claim.attempt)
    if number is None:
        take_over(place, claim.task, claim.attempt, folder)
        number = submit_attempt(place, sent, claim.task, claim.attempt, folder)
        trees.remove(folder)
    prefix = attempt_prefix(place.prefix, claim.task, claim.attempt)
    rounds = Rounds(place.bucket, prefix, str(number), {"cluster": place.about})
    noticed = watch(place, sent, claim, rounds)
    if claim.lost:
        with contextlib.suppress(AgentError):
            cancel(str(number))
        return Outcome("lost", record_of(number), uploaded=False)
    uploaded = upload_last(claim, rounds, urgent=noticed)
    (job,) = list_jobs(str(number))
    return Outcome(find_kind(place, sent, claim, job, noticed=noticed), job, uploaded)


def find_kind(place: Place, sent: Sent, claim: Claim, job: dict[str, Any], *, noticed: bool) -> str:
    """Return how an attempt ended; the signal of a notice is no success and no failure.

    Nor is the end of a process by a SIGTERM that was not requested: a machine that shuts down ends all of them so.
    """
    if claim.lost:
        return "lost"
    if claim.stopped:
        return "cancelled"
    if noticed:
        return "preempted"
    if job["state"] == "succeeded":
        return "succeeded"
    with contextlib.suppress(*FAULTS):
        apply_lease(place)  # it may have been extended since the job was warned
    if lease_end() - time.time() <= sent.warning_s:
        return "lease"
    ended = job["state"] in ("interrupted", "cancelled") or (job["exit_code"] == TERMINATED and not job["reason"])
    return "interrupted" if ended else "failed"


def watch(place: Place, sent: Sent, claim: Claim, rounds: Rounds) -> bool:
    """Upload until the job ends; return whether AWS has announced that it takes the machine."""
    times, folder = sent.times, rounds.folder
    upload_at = time.monotonic() + min(times.upload_s, times.renew_s)
    renewed_lease_at, leave_at = time.monotonic(), float("inf")
    while is_supervised(folder) and not claim.lost:
        now = time.monotonic()
        if claim.stopped:
            cancel(folder.name)
            continue
        if (folder / PREEMPTED).exists() and leave_at == float("inf"):
            leave_at = now + times.notice_s
        if now >= leave_at:
            break
        if now >= renewed_lease_at:
            with contextlib.suppress(*FAULTS):
                apply_lease(place)
            renewed_lease_at = now + times.renew_s
        if now >= upload_at:
            with contextlib.suppress(*FAULTS):
                rounds.upload(final=False)
            upload_at = time.monotonic() + times.upload_s
        time.sleep(times.poll_s)
    return (folder / PREEMPTED).exists()


def upload_last(claim: Claim, rounds: Rounds, urgent: bool) -> bool:
    """Upload all that is left; return whether it was possible.

    Without a hurry, it is tried until it is possible or the claim is lost.
    """
    pause_s = 1.0
    while not claim.lost:
        try:
            return rounds.upload(final=True)
        except FAULTS:
            if urgent:
                return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 60.0)
    return False
