"""Clusters that ended without `down`: when and why, as far as anybody can tell, and what they left behind."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from infra.ec2.account import Account
from infra.ec2.machines import instances
from infra.ec2.machines.removal import remove_cluster
from infra.ec2.machines.resources import Thing, list_things
from infra.ec2.tags import IDLE_TAG, LAUNCH_TAG, LEASE_TAG, parse_time, read_number, read_tags
from infra.errors import UsageError
from infra.ledger import costs, known_clusters
from infra.ledger.attempts import read_attempt, taken
from infra.model import Cluster

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

# An `up` that is at work has a key pair and no machine yet; EC2 may not show what it has just made.
GRACE_S = 900
LATE_S = 90.0  # how long before its lease's end a machine may be told that it is over
ENDING = (instances.GONE, "shutting-down")


@dataclass(frozen=True)
class Ending:
    """When and why a cluster ended."""

    what: str
    """One sentence."""
    at: float | None
    """None where nobody can tell."""


@dataclass(frozen=True)
class Ended:
    """A cluster that is no more, of which a record or some things are left that are in the way of another of its name."""

    account: Account
    name: str
    ending: Ending
    tokens: frozenset[str]
    """Of the calls that made what is left."""


def find_ended(account: Account, name: str, token: str = "") -> Ended | None:
    """Return the cluster of this name that ended here and is in the way of a new one; None if the name is free.

    `token` is that of an `up` that was broken off and goes on, whose own things are not in the way. Raises UsageError if
    a cluster of this name lives, if what is left is somebody else's, and if another `up` may be at work.
    """
    machines = list(instances.find_instances(account, name))
    if any(is_other(one, token) and one["State"]["Name"] not in ENDING for one in machines):
        raise taken(name, account.region)
    known = recall_in(account, name)
    left = [thing for thing in list_things(account, name) if thing.kind != "instance" and thing.token != token]
    if not left and (known is None or read_attempt(name)):
        return None
    refuse_strangers(account, name, left)
    check_over(name, known, machines, left)
    ending = explain(account, name, known, machines)
    return Ended(account, name, ending, frozenset(thing.token for thing in left))


def has_died(account: Account, name: str, token: str) -> bool:
    """Tell whether the machines that the call with this token launched have ended; False while there are none."""
    states = [one["State"]["Name"] for one in instances.find_instances(account, name) if not is_other(one, token)]
    return bool(states) and all(state in ENDING for state in states)


def recall_in(account: Account, name: str) -> Cluster | None:
    """Return what is remembered of a cluster, if it was in this account's region."""
    known = known_clusters.recall(name)
    return known if known and (known.cloud, known.region) == (account.cloud, account.region) else None


def is_other(instance: "InstanceTypeDef", token: str) -> bool:
    """Tell whether another call than the one with this token launched an instance."""
    return not token or read_tags(instance).get(LAUNCH_TAG) != token


def refuse_strangers(account: Account, name: str, left: Iterable[Thing]) -> None:
    """Raise UsageError if any of these things is not the caller's."""
    other = next((thing for thing in left if not account.identity.is_owner(thing.owner)), None)
    if other:
        raise UsageError(
            f"the name '{name}' is taken in {account.region}: {other.kind} {other.key} is of {other.owner or 'nobody we know'}",
            "choose another name",
        )


def check_over(name: str, known: Cluster | None, machines: "Sequence[InstanceTypeDef]", left: Iterable[Thing]) -> None:
    """Raise UsageError if an `up` may still be at work with a key pair of this name.

    It is not if this laptop saw the cluster whole, or began that very `up` and lost it, or if the key pair is old.
    """
    begun = read_attempt(name)
    if known and not known.is_local and not machines and time.time() - known.launched_at < GRACE_S:
        raise UsageError(f"EC2 does not show the machine of '{name}' yet", "wait a minute, then rerun; or: gpujob ls")
    seen = {node.instance_id for node in known.nodes} if known and begun is None else set()
    over = {read_tags(one).get(LAUNCH_TAG, "") for one in machines if one["InstanceId"] in seen}
    over |= {begun.token} if begun else set()
    for key in (thing for thing in left if thing.kind == "key pair" and thing.token not in over):
        age_s = time.time() - key.made_at if key.made_at else 0.0
        if age_s < GRACE_S:
            raise UsageError(
                f"another gpujob up of '{name}' began {age_s / 60:.0f} min ago, and may be at work",
                f"wait for it, choose another name, or, if it was broken off: gpujob down {name}",
            )


def explain(account: Account, name: str, known: Cluster | None, machines: "Iterable[InstanceTypeDef]") -> Ending:
    """Return when and why a cluster ended, by what EC2 still shows of its machines, and by what is remembered of it."""
    found = [one for one in machines if one["State"]["Name"] in ENDING]
    own = {node.instance_id for node in known.nodes} if known else set()
    last = max(found, key=lambda one: (one["InstanceId"] in own, one["LaunchTime"]), default=None)
    tags = read_tags(last or {})
    lease_until = parse_time(tags.get(LEASE_TAG, "")) or (known.lease_until if known else 0.0)
    at = instances.read_end_time(account, last) if last else None
    if last is None:
        is_over = 0 < lease_until <= time.time()
        return lease_end(name, lease_until) if is_over else Ending(f"'{name}' is gone: EC2 no longer shows it", None)
    code = last.get("StateReason", {}).get("Code", "")
    if code == "Client.InstanceInitiatedShutdown":
        if 0 < lease_until <= (at or time.time()) + LATE_S:
            return lease_end(name, lease_until)
        idle_s, up_s = read_number(tags, IDLE_TAG), (at or time.time()) - last["LaunchTime"].timestamp()
        idle = 0 < idle_s <= up_s
        why = f"idle for {idle_s / 60:g} min, or shut down by hand" if idle else "it powered itself off"
        return Ending(f"'{name}' ended itself{clock(at)} ({why})", at)
    return Ending(f"'{name}' ended{clock(at)} ({reason(last)})", at)


def lease_end(name: str, until: float) -> Ending:
    """Return the ending of a cluster whose lease was over."""
    return Ending(f"'{name}' ended itself{clock(until)} (end of its lease)", until)


def reason(instance: "InstanceTypeDef") -> str:
    """Return why EC2 ended an instance, or who did."""
    why = instance.get("StateReason", {})
    code, message = why.get("Code", ""), why.get("Message", "")
    if code.startswith("Server.SpotInstance"):
        return "AWS reclaimed the spot machine"
    if code == "Client.UserInitiatedShutdown":
        return "terminated from outside, as in the EC2 console"
    return " ".join(message.split())[:160] or "EC2 does not say why"


def clock(at: float | None) -> str:
    """Return a time of day in this laptop's zone as the end of a phrase, with its date if it was not today."""
    if at is None:
        return ""
    moment, now = datetime.fromtimestamp(at, UTC).astimezone(), datetime.now(UTC).astimezone()
    near = moment.date() == now.date() or abs(now - moment) < timedelta(hours=6)
    return f" at {moment:%H:%M}" if near else f" at {moment:%Y-%m-%d %H:%M}"


def clear(ended: Ended, report: Callable[[str], None]) -> None:
    """Remove what an ended cluster left, note what it cost, and forget it; nothing that another call made is touched."""
    if ended.tokens:
        report(f"removing what '{ended.name}' left in {ended.account.region}")
        remove_cluster(ended.account, ended.name, report, ended.tokens)
    known = recall_in(ended.account, ended.name)
    if known:
        costs.record_missed(known, ended.ending.at)
        known_clusters.forget_cluster(ended.name)
