"""Clusters that ended without `down`: when and why, if known, and their orphaned resources."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from infra.ec2.account import Account
from infra.ec2.machines import instances
from infra.ec2.machines.removal import remove_cluster
from infra.ec2.machines.resources import Resource, list_resources
from infra.ec2.tags import IDLE_TAG, LAUNCH_TAG, LEASE_TAG, parse_time, read_number, read_tags
from infra.errors import UsageError
from infra.ledger import costs, known_clusters
from infra.ledger.attempts import read_attempt, taken
from infra.model import Cluster

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

# A running `up` has a key pair but no machine yet; EC2 may not show new resources at once.
GRACE_S = 900
LATE_S = 90.0  # how long before its lease's end a machine may power off because of it
SPOT = "Server.SpotInstance"  # how EC2's reasons for ending a spot machine begin
ENDING = (instances.GONE, "shutting-down")


@dataclass(frozen=True)
class Ending:
    """When and why a cluster ended."""

    what: str
    """A sentence."""
    at: float | None
    """None if unknown."""
    reclaimed: bool = False
    """Whether AWS reclaimed a spot machine."""


@dataclass(frozen=True)
class Ended:
    """An ended cluster whose record or orphaned resources block its name."""

    account: Account
    name: str
    ending: Ending
    tokens: frozenset[str]
    """Of the launches that created what is left."""


def find_ended(account: Account, name: str, token: str = "") -> Ended | None:
    """Return the ended cluster that blocks this name in the region; None if it is free.

    `token` is that of a resumed `up`, whose own resources do not block it. Raises UsageError if a cluster of this name exists,
    if the resources belong to someone else, or if another `up` may be running.
    """
    machines = list(instances.find_instances(account, name))
    if any(is_other(one, token) and one["State"]["Name"] not in ENDING for one in machines):
        raise taken(name, account.region)
    known = recall_in(account, name)
    left = [thing for thing in list_resources(account, name) if thing.kind != "instance" and thing.token != token]
    if any(thing.keeps for thing in left):  # a group whose machine is just being replaced
        raise taken(name, account.region)
    if not left and (known is None or read_attempt(name)):
        return None
    refuse_other_owner(account, name, left)
    check_over(name, known, machines, left)
    ending = explain(account, name, known, machines)
    return Ended(account, name, ending, frozenset(thing.token for thing in left))


def has_ended(account: Account, name: str, token: str) -> bool:
    """Return whether the machines launched with this token have ended; False while there are none."""
    states = [one["State"]["Name"] for one in instances.find_instances(account, name) if not is_other(one, token)]
    return bool(states) and all(state in ENDING for state in states)


def recall_in(account: Account, name: str) -> Cluster | None:
    """Return a cluster's local record, if it was in this account's region."""
    known = known_clusters.recall(name)
    return known if known and (known.cloud, known.region) == (account.cloud, account.region) else None


def is_other(instance: "InstanceTypeDef", token: str) -> bool:
    """Return whether an instance was launched with another token."""
    return not token or read_tags(instance).get(LAUNCH_TAG) != token


def refuse_other_owner(account: Account, name: str, left: Iterable[Resource]) -> None:
    """Raise UsageError if any of these resources is not the caller's."""
    other = next((thing for thing in left if not account.identity.is_owner(thing.owner)), None)
    if other:
        raise UsageError(
            f"the name '{name}' is in use in {account.region}:"
            f" {other.kind} {other.key} belongs to {other.owner or 'an unknown owner'}",
            "choose another name",
        )


def check_over(
    name: str, known: Cluster | None, machines: "Sequence[InstanceTypeDef]", left: Iterable[Resource]
) -> None:
    """Raise UsageError if an `up` may still be running with a key pair of this name.

    None is if this computer has seen the complete cluster, or that `up` crashed on this computer, or the key pair is old. A group
    of a sent job that keeps no machine has ended.
    """
    begun = read_attempt(name)
    if known and not (known.is_local or known.sent or machines) and time.time() - known.launched_at < GRACE_S:
        raise UsageError(f"EC2 does not show the machine of '{name}' yet", "wait a minute, then rerun; or: gpujob ls")
    seen = {node.instance_id for node in known.nodes} if known and begun is None else set()
    over = {read_tags(one).get(LAUNCH_TAG, "") for one in machines if one["InstanceId"] in seen}
    over |= {begun.token} if begun else {known.token} if known and known.sent else set()
    for key in (thing for thing in left if thing.kind == "key pair" and thing.token not in over):
        age_s = time.time() - key.made_at if key.made_at else 0.0
        if age_s < GRACE_S:
            raise UsageError(
                f"another launch of '{name}' started {age_s / 60:.0f} min ago and may still be running",
                f"wait for it, choose another name, or, if it was interrupted: gpujob down {name}",
            )


def explain(account: Account, name: str, known: Cluster | None, machines: "Iterable[InstanceTypeDef]") -> Ending:
    """Return when and why a cluster ended, from EC2's view of its machines and its local record."""
    found = [one for one in machines if one["State"]["Name"] in ENDING]
    own = {node.instance_id for node in known.nodes} if known else set()
    last = max(found, key=lambda one: (one["InstanceId"] in own, one["LaunchTime"]), default=None)
    tags = read_tags(last or {})
    lease_until = parse_time(tags.get(LEASE_TAG, "")) or (known.lease_until if known else 0.0)
    at = instances.read_end_time(account, last) if last else None
    if last is None:
        is_over = 0 < lease_until <= time.time()
        return lease_end(name, lease_until) if is_over else Ending(f"'{name}' no longer exists in EC2", None)
    code = last.get("StateReason", {}).get("Code", "")
    if code == "Client.InstanceInitiatedShutdown":
        if 0 < lease_until <= (at or time.time()) + LATE_S:
            return lease_end(name, lease_until)
        idle_s, up_s = read_number(tags, IDLE_TAG), (at or time.time()) - last["LaunchTime"].timestamp()
        idle = 0 < idle_s <= up_s
        why = f"idle for {idle_s / 60:g} min, or shut down by hand" if idle else "it powered itself off"
        return Ending(f"'{name}' ended itself{clock(at)} ({why})", at)
    return Ending(f"'{name}' ended{clock(at)} ({reason(last)})", at, code.startswith(SPOT))


def lease_end(name: str, until: float) -> Ending:
    """Return the ending of a cluster whose lease had ended."""
    return Ending(f"'{name}' ended itself{clock(until)} (end of its lease)", until)


def reason(instance: "InstanceTypeDef") -> str:
    """Return why EC2 ended an instance, or who did."""
    why = instance.get("StateReason", {})
    code, message = why.get("Code", ""), why.get("Message", "")
    if code.startswith(SPOT):
        return "AWS reclaimed the spot machine"
    if code == "Client.UserInitiatedShutdown":
        return "terminated outside gpujob, for example in the EC2 console"
    return " ".join(message.split())[:160] or "EC2 does not say why"


def clock(at: float | None) -> str:
    """Return a local time of day, with the date if not today, to append to a phrase."""
    if at is None:
        return ""
    moment, now = datetime.fromtimestamp(at, UTC).astimezone(), datetime.now(UTC).astimezone()
    near = moment.date() == now.date() or abs(now - moment) < timedelta(hours=6)
    return f" at {moment:%H:%M}" if near else f" at {moment:%Y-%m-%d %H:%M}"


def clear(ended: Ended, report: Callable[[str], None]) -> None:
    """Remove an ended cluster's orphaned resources, record its cost, and forget it."""
    if ended.tokens:
        report(f"removing orphaned resources of '{ended.name}' in {ended.account.region}")
        remove_cluster(ended.account, ended.name, report, ended.tokens)
    known = recall_in(ended.account, ended.name)
    if known:
        costs.record_missed(known, ended.account, ended.ending.at)
        known_clusters.forget_cluster(ended.name)
