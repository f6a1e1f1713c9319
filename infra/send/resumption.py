"""Resume a `send` that was killed: once a machine may be at work, what it reads is not replaced."""

from dataclasses import dataclass
from itertools import chain

from infra.ec2.scaling.groups import find_groups
from infra.errors import UsageError
from infra.launch.plans import Plan
from infra.ledger.attempts import Attempt, read_attempt
from infra.saved.sent import read_number
from infra.send.bundle import Sending, is_same


@dataclass(frozen=True)
class Begun:
    """A job on which a machine has begun to work."""

    number: int
    kept: bool
    """Whether its group still keeps machines; else the job has ended."""


def check_current(planned: Plan) -> None:
    """Raise UsageError if the launch to resume has ended since the plan was made."""
    if planned.attempt and read_attempt(planned.name) != planned.attempt:
        raise UsageError(f"another launch of '{planned.name}' has just ended", "rerun")


def find_begun(planned: Plan, attempt: Attempt, sending: Sending, prefix: str) -> Begun | None:
    """Return the job of an interrupted `send` that a machine works on; None if there is none yet.

    Raises UsageError if a machine may work on another job than the one to send.
    """
    groups = find_groups(planned.first.account, planned.name)
    kept = any(one.capacity for one in groups if one.token == attempt.token)
    store = sending.store
    booted = any(True for _ in chain(store.list(f"{prefix}boots/"), store.list(f"{prefix}tasks/")))
    if not (attempt.fleet or kept or booted):
        return None
    if not is_same(sending, prefix):
        raise UsageError(
            f"an earlier send of '{planned.name}' was interrupted; a machine may be running its job, and this one differs",
            f"see that job: gpujob jobs --cluster {planned.name}; or remove it: gpujob down {planned.name}; then rerun",
        )
    return Begun(read_number(store, prefix) or 0, kept) if booted else None
