"""Groups that have fewer machines than they keep: AWS has none free, or is just replacing one."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from infra.cluster.clouds import open_all
from infra.cluster.regions import ask_regions
from infra.ec2.account import Account
from infra.ec2.machines import instances
from infra.ec2.machines.removal import remove_cluster
from infra.ec2.machines.resources import list_groups
from infra.ec2.scaling.activities import find_obstacles, read_activities
from infra.ec2.scaling.groups import Group, find_groups
from infra.ec2.storage.buckets import name_bucket
from infra.ec2.storage.objects import Store
from infra.errors import GpujobError, PermissionsError
from infra.ledger import known_clusters
from infra.ledger.attempts import read_attempt
from infra.ledger.replaced import record_replaced
from infra.model import GONE, UNKNOWN, WAITING, Cluster, Node

R = TypeVar("R")
IN_SERVICE = "InService"


@dataclass(frozen=True)
class Wait:
    """A group with fewer machines than it keeps."""

    cluster: Cluster
    """As if it had one machine, which is `WAITING`."""
    missing: int
    refusals: tuple[str, ...]
    """Why AWS did not launch one, in its own words, newest first."""


def list_waiting(dry_run: bool, region: str | None = None, *, everywhere: bool = False) -> list[Wait]:
    """Return the groups with fewer machines than they keep, in the regions of `list_clusters`.

    None where the caller may not list groups.
    """
    answers = ask_all(find_waiting, dry_run, region, everywhere=everywhere)
    return [wait for found in answers for wait in found]


def record_ended(dry_run: bool, region: str | None = None, *, everywhere: bool = False) -> None:
    """Record the costs of the machines that groups have ended, in the regions of `list_clusters`."""
    ask_all(record_replaced, dry_run, region, everywhere=everywhere)


def ask_all(function: Callable[[Account], R], dry_run: bool, region: str | None, *, everywhere: bool) -> list[R]:
    """Return the answers of the regions that `list_clusters` asks, which says which could not be asked."""
    remembered = {(one.cloud, one.region) for one in known_clusters.recall_all()}
    answers, _ = ask_regions(function, open_all(dry_run, remembered, region, everywhere=everywhere))
    return [*answers.values()]


def find_waiting(account: Account) -> list[Wait]:
    """Return the groups of a region with fewer machines than they keep."""
    try:
        found = find_groups(account)
    except PermissionsError:  # `gpujob check` says so
        return []
    waits = [(one, one.capacity - sum(each.state == IN_SERVICE for each in one.members)) for one in found]
    return [
        Wait(make_waiting(account, one), missing, tuple(find_refusals(account, one)))
        for one, missing in waits
        if missing > 0 and not one.deleting
    ]


def find_refusals(account: Account, group: Group) -> list[str]:
    """Return why a group has launched no machine, in AWS's words, and whether it still tries."""
    refusals = find_obstacles(read_activities(account, group.name))
    halted = f"Launch is suspended, as after a day without a machine; to try again: gpujob extend {group.cluster} 1h"
    return [halted, *refusals] if group.halted else refusals


def make_waiting(account: Account, group: Group) -> Cluster:
    """Return a cluster whose group has no machine."""
    return Cluster(
        name=group.cluster,
        cloud=account.cloud,
        region=account.region,
        nodes=(Node("", WAITING, "", 22, "", "", group.market),),
        gpu=group.gpu,
        price_usd=0.0,
        lease_until=group.lease_until,
        launched_at=group.made_at,
        owner=group.owner,
        bucket=group.bucket,
        token=group.token if group.sent else "",
    )


def find_sent(account: Account, name: str) -> Cluster | None:
    """Return a sent job's cluster by its machines, or by its group without any; None for another."""
    kept = list_sent(account, name)
    if not kept:
        return None
    return next(iter(instances.find_clusters(account, name)), None) or make_waiting(account, kept[0])


def find_prefix(account: Account, name: str) -> str:
    """Return the prefix of the job that a group keeps machines for; "" for none, or if that is not known."""
    kept = next((one for one in list_sent(account, name) if one.capacity), None)
    return f"{name}/{kept.token}/" if kept else ""


def list_sent(account: Account, name: str) -> list[Group]:
    """Return the groups of a sent job of this name; none where the caller may not list groups."""
    try:
        return [one for one in find_groups(account, name) if one.sent and not one.deleting]
    except PermissionsError:
        return []


def adopt(name: str, *, dry_run: bool) -> Cluster | None:
    """Record a sent job's cluster that another computer launched, and return it; None if there is none.

    All that is known of it is in AWS, so any computer with the credentials can work with it. It may be in any region; None also
    if it is in none that this computer uses, and in several others.
    """
    try:
        found = find_everywhere(name, dry_run, everywhere=False) or find_everywhere(name, dry_run, everywhere=True)
    except GpujobError:
        return None
    return known_clusters.remember(found[0]) if len({place_of(one) for one in found}) == 1 else None


def find_everywhere(name: str, dry_run: bool, *, everywhere: bool) -> list[Cluster]:
    """Return the clusters of sent jobs of this name, in the regions that `open_all` opens."""
    answers, _ = ask_regions(lambda account: find_sent(account, name), open_all(dry_run, set(), everywhere=everywhere))
    return [one for one in answers.values() if one]


def remove_all(account: Account, name: str, report: Callable[[str], None], owner: str | None = None) -> bool:
    """Remove a cluster as `remove_cluster` does, and the objects of a sent job that no machine has begun."""
    unused = list_prefixes(account, name)
    found = remove_cluster(account, name, report, owner=owner)
    delete_unused(account, unused)
    return found


def list_prefixes(account: Account, name: str) -> list[tuple[str, str]]:
    """Return bucket and prefix of a cluster's sent jobs, by its group and by an interrupted `send`."""
    found = [(one.bucket, one.token) for one in list_groups(account, name)[0] if one.bucket]
    begun = read_attempt(name)
    if begun and begun.request and begun.request.sent and begun.region == account.region:
        found.append((name_bucket(account, begun.request.bucket), begun.token))
    return [(bucket, f"{name}/{token}/") for bucket, token in dict.fromkeys(found)]


def delete_unused(account: Account, prefixes: Iterable[tuple[str, str]]) -> None:
    """Delete the objects of sent jobs that no machine has begun; what cannot be deleted stays."""
    for bucket, prefix in prefixes:
        with suppress(GpujobError):
            Store(account, bucket).delete_unused(prefix)


def merge(clusters: Iterable[Cluster], waits: Iterable[Wait]) -> list[Cluster]:
    """Return the clusters with those that wait for their first or next machine, by name."""
    existing = {place_of(one): one for one in clusters}
    for wait in waits:
        known = existing.get(place_of(wait.cluster))
        if known is None or known.node.state in (GONE, UNKNOWN):
            existing[place_of(wait.cluster)] = wait.cluster
    return sorted(existing.values(), key=lambda one: one.name)


def place_of(cluster: Cluster) -> tuple[str, str, str]:
    """Return what tells a cluster from all others."""
    return cluster.cloud, cluster.region, cluster.name
