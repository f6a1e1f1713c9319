"""Orphaned resources in all regions, and their cost."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from infra.cluster import groups
from infra.cluster.regions import ask_regions
from infra.ec2.account import Account, is_same_owner, strip_session
from infra.ec2.machines import instances
from infra.ec2.machines.lease import HOURS_A_MONTH, hourly_usd
from infra.ec2.machines.resources import Resource, list_resources
from infra.ec2.storage.objects import Store
from infra.errors import GpujobError, NotFoundError
from infra.ledger import costs, known_clusters
from infra.ledger.replaced import record_replaced
from infra.model import Cluster
from infra.node.agent.bucket.layout import SENT

# A running `up` has a key pair but no machine yet; a machine takes a while to end after its lease.
GRACE_S = 900


@dataclass(frozen=True)
class Orphan:
    """The resources of a cluster that has no machine any more, or whose lease has ended."""

    account: Account
    cluster: str
    owner: str
    what: tuple[str, ...]
    """Kind and id of each resource."""
    month_usd: float
    why: str


def find_orphans(
    accounts: Sequence[Account], *, everyone: bool = False
) -> tuple[list[Orphan], dict[Account, GpujobError]]:
    """Return the caller's orphans in these accounts, most expensive first; with `everyone`, all users'.

    Also return the regions that failed, and why: an organisation may block some of the enabled ones.
    """
    found, refused = ask_regions(find_in, accounts)
    own = [one for orphans in found.values() for one in orphans if everyone or one.account.identity.is_owner(one.owner)]
    return sorted(own, key=lambda orphan: (-orphan.month_usd, orphan.account.region, orphan.cluster)), refused


def find_in(account: Account) -> list[Orphan]:
    """Return the orphans of one region."""
    things: dict[tuple[str, str], list[Resource]] = {}
    for thing in list_resources(account):
        things.setdefault((thing.cluster, strip_session(thing.owner)), []).append(thing)
    clusters = {cluster.name: cluster for cluster in instances.find_clusters(account)}
    now = time.time()
    return [
        Orphan(
            account,
            name,
            found[0].owner,
            tuple(f"{thing.kind} {thing.key}" for thing in found),
            sum(thing.month_usd for thing in found) + compute_month_usd(clusters.get(name)),
            why,
        )
        for (name, _), found in sorted(things.items())
        if (why := reason(clusters.get(name), found, now) or find_loss(account, found))
    ]


def compute_month_usd(cluster: Cluster | None) -> float:
    """Return the cost per month of a cluster's machines without their disks."""
    return 0.0 if cluster is None else (hourly_usd(cluster) - cluster.disk_usd) * HOURS_A_MONTH


def reason(cluster: Cluster | None, things: Sequence[Resource], now: float) -> str:
    """Return why a cluster's resources are orphaned; "" if they are not."""
    keeping = [thing for thing in things if thing.keeps]  # a group that waits for a machine
    if cluster is None and keeping:
        over = all(0 < thing.lease_until < now - GRACE_S for thing in keeping)
        return "its lease is over" if over else ""
    if cluster is None:
        return "no machine uses it" if now - max(thing.made_at for thing in things) > GRACE_S else ""
    running = any(node.state in ("pending", "running") for node in cluster.nodes)
    # 0 is an unreadable lease, which does not prove that it has ended.
    return "its lease is over" if running and 0 < cluster.lease_until < now - GRACE_S else ""


def find_loss(account: Account, things: Sequence[Resource]) -> str:
    """Return why the machines of a sent job can do nothing; "" if they may, or that is not known."""
    for group in (thing for thing in things if thing.keeps and thing.bucket):
        prefix = f"{group.cluster}/{group.token}/"
        try:
            keys = (one.key.removeprefix(prefix) for one in Store(account, group.bucket).list(prefix))
            if not any(key == SENT or key.startswith("tasks/") for key in keys):
                return f"its job is no longer in the bucket {group.bucket}"
        except NotFoundError:
            return f"there is no bucket {group.bucket} with its job"
        except GpujobError:  # no permission, or no answer
            return ""
    return ""


def remove_all(found: Iterable[Orphan], report: Callable[[str], None]) -> dict[Orphan, GpujobError]:
    """Delete these orphans; return those that failed, and why."""
    refused = {}
    for orphan in found:
        try:
            remove(orphan, report)
        except GpujobError as error:
            refused[orphan] = error
    return refused


def remove(orphan: Orphan, report: Callable[[str], None]) -> None:
    """Delete all resources of an orphan in its region."""
    report(f"deleting orphaned resources of '{orphan.cluster}' in {orphan.account.region}")
    record_replaced(orphan.account, orphan.cluster)
    living = instances.find_clusters(orphan.account, orphan.cluster)
    costs.record_end(orphan.account, [cluster for cluster in living if is_same_owner(cluster.owner, orphan.owner)])
    groups.remove_all(orphan.account, orphan.cluster, report, orphan.owner)
    known = known_clusters.recall(orphan.cluster)
    if known and not is_same_owner(known.owner, orphan.owner):
        return
    if known and (known.cloud, known.region) == (orphan.account.cloud, orphan.account.region):
        costs.record_missed(known, orphan.account)
        known_clusters.forget(orphan.cluster)
