"""Unfinished launches, recorded before their first call so that they can be resumed after a crash."""

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
from infra.errors import TakenError, UsageError
from infra.model import CloudName, LaunchRequest, Lease
from infra.ssh import keys


@dataclass(frozen=True)
class Attempt:
    """One `up` or `send` in one region: what all its calls share."""

    token: str
    """The client token of all its calls, with which AWS creates nothing twice."""
    request: LaunchRequest | None
    """Its requirements; None if another version of gpujob recorded them in an unknown format."""
    cloud: CloudName
    region: str
    lease: Lease
    private_key: str
    public_key: str
    fleet: dict[str, Any] | None = None
    """The latest request for machines, recorded before it was sent; EC2 answers the same one the same way."""


def read_attempt(name: str) -> Attempt | None:
    """Return the interrupted `up` of this name on this computer, or None."""
    try:
        fields = json.loads(state.attempt_file(name).read_text(encoding="utf-8"))
        return Attempt(**{**fields, "request": read_request(fields["request"]), "lease": Lease(**fields["lease"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_request(written: Any) -> LaunchRequest | None:
    """Return a recorded request, with defaults for newer options; None if it cannot be read."""
    try:
        request: LaunchRequest = make(LaunchRequest, written)
    except ValueError:
        return None
    return request


def write_attempt(name: str, attempt: Attempt) -> None:
    """Record an `up` or `send` that starts."""
    state.write_private(state.attempt_file(name), json.dumps(asdict(attempt)))


def begin(account: Account, request: LaunchRequest, lease: Lease) -> Attempt:
    """Return a new attempt to launch in one region."""
    private_key, public_key = keys.make_key()
    token = uuid.uuid4().hex[:24]
    return Attempt(token, request, account.cloud, account.region, lease, private_key, public_key)


def find_attempt(account: Account, name: str, request: LaunchRequest) -> Attempt | None:
    """Return the interrupted launch to resume; raises UsageError if its options differ or are unknown."""
    found = read_attempt(name)
    if found is None or (found.cloud, found.lease.until < time.time()) != (account.cloud, False):
        return None
    if found.request != request:
        raise UsageError(
            f"an earlier launch of '{name}' {describe_other(found.request, request)} was interrupted in {found.region}",
            f"remove what it left: gpujob down {name}; then rerun",
        )
    return found


def describe_other(found: LaunchRequest | None, request: LaunchRequest) -> str:
    """Return how an interrupted launch differs from the one that was requested."""
    if found is None:
        return "by another version of gpujob"
    if found.sent != request.sent:
        return f"by gpujob {'send' if found.sent else 'up'}"
    return "with other options"


@contextmanager
def hold_name(name: str) -> Iterator[None]:
    """Lock the name against any other `up` on this computer; raises UsageError if one is running."""
    with try_lock(state.attempt_file(name).with_suffix(".lock")) as held:
        if not held:
            raise UsageError(f"another launch of '{name}' is running", "wait for it, or choose another name")
        yield


def check_free(account: Account, name: str, token: str = "") -> None:
    """Raise UsageError if another launch's cluster of this name exists in the account's region."""
    for instance in instances.find_instances(account, name):
        if instance["State"]["Name"] != instances.GONE and read_tags(instance).get(LAUNCH_TAG) != token:
            raise taken(name, account.region)


def taken(name: str, region: str) -> TakenError:
    """Return the error for a cluster name that is in use."""
    return TakenError(
        f"cluster '{name}' already exists in {region}",
        f"terminate it: gpujob down {name}; or launch another: gpujob up {name}-2",
    )
