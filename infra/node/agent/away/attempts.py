"""One attempt: run the task as a job of this machine, upload what it writes, and say how it ended."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from .. import trees
from ..bucket.layout import attempt_prefix
from ..bucket.process import WARNED
from ..bucket.rounds import Rounds
from ..job.recovery import list_jobs, recover
from ..node.guard import lease_end, warn
from ..records import PREEMPTED, AgentError, folder_of, is_supervised, record_of
from ..requests.cancelling import cancel
from .claims import FAULTS, Claim
from .extension import apply_lease
from .progress import take_over
from .settings import FOLDER, Place, Sent
from .submission import find_submitted, submit_attempt

TERMINATED = 128 + signal.SIGTERM
INFINITE = float("inf")


class Outcome(NamedTuple):
    """How an attempt ended."""

    kind: str
    """lost, preempted, interrupted, cancelled, failed, succeeded or lease."""
    job: dict[str, Any]
    uploaded: bool
    """Whether all that it wrote is in the bucket."""


class Uploads:
    """The uploads of an attempt, which begin once the bucket answers: the job does not wait for it."""

    def __init__(self, place: Place, claim: Claim, number: int) -> None:
        """Start without having asked the bucket for anything."""
        self.place, self.claim, self.number = place, claim, number
        self.rounds: Rounds | None = None

    def upload(self, *, final: bool, wait: bool) -> bool:
        """Upload what is new; return whether the bucket has all of an ended job. Raises one of FAULTS."""
        if self.rounds is None:
            prefix = attempt_prefix(self.place.prefix, self.claim.task, self.claim.attempt)
            self.rounds = Rounds(self.place.bucket, prefix, str(self.number), {"cluster": self.place.about})
        return self.rounds.upload(final=final, wait=wait)

    def settle(self) -> None:
        """Name large files once they have arrived. Raises one of FAULTS."""
        if self.rounds:
            self.rounds.settle()


def run_attempt(place: Place, sent: Sent, claim: Claim) -> Outcome:
    """Run an attempt to its end; raises AgentError if it cannot be started, and one of FAULTS."""
    folder = FOLDER / f"task-{claim.task}"
    claim.thread.start()
    number = find_submitted(place, claim.task, claim.attempt)
    if number is None:
        take_over(place, claim.task, claim.attempt, folder)
        number = submit_attempt(place, sent, claim.task, claim.attempt, folder)
        trees.remove(folder)
    uploads = Uploads(place, claim, number)
    while True:
        urgent = watch(place, sent, claim, uploads)
        if claim.lost:
            with contextlib.suppress(AgentError):
                cancel(str(number))
            return Outcome("lost", record_of(number), uploaded=False)
        uploaded = upload_last(claim, uploads, urgent=urgent)
        (job,) = list_jobs(str(number))
        kind = find_kind(place, sent, claim, job)
        if kind:
            return Outcome(kind, job, uploaded)


def find_kind(place: Place, sent: Sent, claim: Claim, job: dict[str, Any]) -> str:
    """Return how an attempt ended; "" if its job still runs, and may.

    An exit by the signal that a notice, or the end of the lease, sends is no success and no failure: a job that saves on it may
    well exit with 0. Nor is the end of a process by a SIGTERM that was not requested: a machine that shuts down ends all so.
    """
    folder = folder_of(str(job["number"]))
    if claim.lost:
        return "lost"
    if claim.stopped:
        return "cancelled"
    if (folder / PREEMPTED).exists():
        return "preempted"
    warned = was_warned(folder, job, sent.warning_s)
    if job["state"] == "succeeded" and not warned:
        return "succeeded"
    with contextlib.suppress(*FAULTS):
        apply_lease(place)  # it may have been extended since the job was warned
    if lease_end() - time.time() <= sent.warning_s:
        return "lease"
    if is_supervised(folder):
        return "interrupted" if claim.leaving else ""
    ended = job["state"] in ("interrupted", "cancelled") or (job["exit_code"] == TERMINATED and not job["reason"])
    return "interrupted" if ended or warned else "failed"


def was_warned(folder: Path, job: dict[str, Any], warning_s: float) -> bool:
    """Return whether a job may have ended because it was warned of the lease's end, and soon after."""
    try:
        warned_at = (folder / WARNED).stat().st_mtime
    except FileNotFoundError:
        return False
    return (job["ended_at"] or time.time()) - warned_at <= 2 * warning_s


def watch(place: Place, sent: Sent, claim: Claim, uploads: Uploads) -> bool:
    """Upload until the job ends, or its machine is about to; return whether the last upload is urgent.

    A job without a supervisor gets another one, so that its end is seen.
    """
    times, folder = sent.times, folder_of(str(uploads.number))
    pause_s = min(times.first_s, times.upload_s)
    upload_at = time.monotonic() + pause_s
    renew_at, leave_at, lease_at = time.monotonic(), INFINITE, INFINITE
    while is_minded(folder) and not claim.lost:
        now = time.monotonic()
        if claim.stopped:
            cancel(folder.name)
            continue
        if claim.leaving and leave_at > now + times.stop_s:
            warn({uploads.number}, "this machine shuts down")
            leave_at = now + times.stop_s
        if (folder / PREEMPTED).exists() and leave_at == INFINITE:
            leave_at = now + times.notice_s
        if now >= renew_at:
            lease_at = now + follow_lease(place, folder) - times.last_s
            renew_at = now + min(times.renew_s, max(lease_at - now, times.poll_s))
        if now >= min(leave_at, lease_at):
            return True
        due = now >= upload_at
        with contextlib.suppress(*FAULTS):
            uploads.upload(final=False, wait=False) if due else uploads.settle()
        if due:
            pause_s = min(2 * pause_s, times.upload_s)
            upload_at = time.monotonic() + pause_s
        time.sleep(times.poll_s)
    return (folder / PREEMPTED).exists() or (folder / WARNED).exists()


def is_minded(folder: Path) -> bool:
    """Return whether a job has not ended; one without supervisor and runner gets a supervisor."""
    if not is_supervised(folder):
        recover(folder)
    return is_supervised(folder)


def follow_lease(place: Place, folder: Path) -> float:
    """Return how many seconds the lease lasts by the bucket; see that the job has a supervisor."""
    recover(folder)
    with contextlib.suppress(*FAULTS):
        apply_lease(place)
    return lease_end() - time.time()


def upload_last(claim: Claim, uploads: Uploads, *, urgent: bool) -> bool:
    """Upload all that is left; return whether it was possible.

    Without a hurry, it is tried until it is possible or the claim is lost. In a hurry, small files come first. If the job
    still writes, what is not complete stays as it was in the bucket.
    """
    pause_s = claim.times.pause_s
    while not claim.lost:
        final = not is_supervised(folder_of(str(uploads.number)))
        try:
            if urgent:
                uploads.upload(final=False, wait=False)
            return uploads.upload(final=final, wait=True)
        except FAULTS:
            if urgent:
                return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 60.0)
    return False
