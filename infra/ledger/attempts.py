"""An `up` that is not through yet: written down before its first call, so that the same words take it up after a crash."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from infra import state
from infra.base.decoding import make
from infra.base.locks import try_lock
from infra.ec2.account import Account
from infra.ec2.machines import instances
from infra.ec2.tags import LAUNCH_TAG, read_tags
from infra.errors import UsageError
from infra.model import CloudName, LaunchRequest, Lease
from infra.ssh import keys


@dataclass(frozen=True)
class Attempt:
    """One `up` in one region: what all its calls have in common."""

    token: str
    """The client token of all its calls: AWS makes nothing twice for it."""
    request: LaunchRequest | None
    """What it was asked for; None where another version of this program wrote that down, and it cannot be read."""
    cloud: CloudName
    region: str
    lease: Lease
    private_key: str
    public_key: str


def read_attempt(name: str) -> Attempt | None:
    """Return the `up` of this name that was broken off on this laptop, or None."""
    try:
        fields = json.loads(state.attempt_file(name).read_text(encoding="utf-8"))
        return Attempt(**{**fields, "request": read_request(fields["request"]), "lease": Lease(**fields["lease"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_request(written: Any) -> LaunchRequest | None:
    """Return a request as it was written down, with defaults for options that are newer; None if it cannot be read."""
    try:
        request: LaunchRequest = make(LaunchRequest, written)
    except ValueError:
        return None
    return request


def write_attempt(name: str, attempt: Attempt) -> None:
    """Write down an `up` that begins."""
    state.write_private(state.attempt_file(name), json.dumps(asdict(attempt)))


def begin(account: Account, request: LaunchRequest, lease: Lease) -> Attempt:
    """Return a new attempt at renting in one region."""
    private_key, public_key = keys.make_key()
    token = uuid.uuid4().hex[:24]
    return Attempt(token, request, account.cloud, account.region, lease, private_key, public_key)


def find_attempt(account: Account, name: str, request: LaunchRequest) -> Attempt | None:
    """Return the interrupted `up` that the same command resumes; raises UsageError if its options were others, or are unknown."""
    found = read_attempt(name)
    if found is None or (found.cloud, found.lease.until < time.time()) != (account.cloud, False):
        return None
    if found.request != request:
        whose = "with other options" if found.request else "by another version of gpujob"
        raise UsageError(
            f"an earlier gpujob up of '{name}', {whose}, was interrupted in {found.region}",
            f"gpujob down {name}, then rerun",
        )
    return found


@contextmanager
def hold_name(name: str) -> Iterator[None]:
    """Keep every other `up` of this name on this laptop out; raises UsageError if one is at work."""
    with try_lock(state.attempt_file(name).with_suffix(".lock")) as held:
        if not held:
            raise UsageError(f"another gpujob up of '{name}' is at work", "wait, or another name")
        yield


def check_free(account: Account, name: str, token: str = "") -> None:
    """Raise UsageError if a cluster of this name lives here that this `up` did not begin."""
    for instance in instances.find_instances(account, name):
        if instance["State"]["Name"] != instances.GONE and read_tags(instance).get(LAUNCH_TAG) != token:
            raise taken(name, account.region)


def taken(name: str, region: str) -> UsageError:
    """Return the error for a name that a cluster has."""
    return UsageError(
        f"there is a cluster '{name}' already, in {region}",
        f"gpujob run --cluster {name} train.py, or: gpujob down {name}, or another name",
    )
