"""What an interrupted life left behind in any region, and what it costs as long as nobody takes it away."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from infra.base.parallel import try_parallel
from infra.ec2.account import Account
from infra.ec2.machines import instances
from infra.ec2.machines.lease import HOURS_A_MONTH, hourly_usd
from infra.ec2.machines.removal import remove_cluster
from infra.ec2.machines.resources import Thing, list_things
from infra.errors import GpujobError
from infra.ledger import costs, known_clusters
from infra.model import Cluster

# An `up` that is at work has a key pair and no machine yet; a machine whose lease is over may take a while to go.
GRACE_S = 900


@dataclass(frozen=True)
class Orphan:
    """What bears the tag of a cluster that has no machine any more, or one whose lease is over."""

    account: Account
    cluster: str
    owner: str
    what: tuple[str, ...]
    """Kind and id of each thing."""
    month_usd: float
    why: str


def find_orphans(
    accounts: Iterable[Account], *, everyone: bool = False
) -> tuple[list[Orphan], dict[Account, GpujobError]]:
    """Return the caller's orphans in these accounts' regions, dearest first; with `everyone` other people's too.

    Return also the regions that could not be asked, and why: an organisation may close some of those that are switched on.
    """
    found, refused = try_parallel(find_in, accounts)
    own = [one for orphans in found for one in orphans if everyone or one.account.identity.is_owner(one.owner)]
    return sorted(own, key=lambda orphan: (-orphan.month_usd, orphan.account.region, orphan.cluster)), refused


def find_in(account: Account) -> list[Orphan]:
    """Return the orphans of one region."""
    things: dict[str, list[Thing]] = {}
    for thing in list_things(account):
        things.setdefault(thing.cluster, []).append(thing)
    clusters = {cluster.name: cluster for cluster in instances.find_clusters(account)}
    now = time.time()
    return [
        Orphan(
            account,
            name,
            next((thing.owner for thing in found if thing.owner), ""),
            tuple(f"{thing.kind} {thing.key}" for thing in found),
            sum(thing.month_usd for thing in found) + compute_month_usd(clusters.get(name)),
            why,
        )
        for name, found in sorted(things.items())
        if (why := reason(clusters.get(name), max(thing.made_at for thing in found), now))
    ]


def compute_month_usd(cluster: Cluster | None) -> float:
    """Return what a cluster's machines cost a month beside their disks."""
    return 0.0 if cluster is None else (hourly_usd(cluster) - cluster.disk_usd) * HOURS_A_MONTH


def reason(cluster: Cluster | None, made_at: float, now: float) -> str:
    """Return why what bears a cluster's tag is an orphan; "" if it is none."""
    if cluster is None:
        return "no machine uses it" if now - made_at > GRACE_S else ""
    running = any(node.state in ("pending", "running") for node in cluster.nodes)
    # 0 is a lease that cannot be read, which is no proof that it is over.
    return "its lease is over" if running and 0 < cluster.lease_until < now - GRACE_S else ""


def remove_all(found: Iterable[Orphan], report: Callable[[str], None]) -> dict[Orphan, GpujobError]:
    """Take away each of these orphans that can be; return the others, and why they could not."""
    refused = {}
    for orphan in found:
        try:
            remove(orphan, report)
        except GpujobError as error:
            refused[orphan] = error
    return refused


def remove(orphan: Orphan, report: Callable[[str], None]) -> None:
    """Take away all that bears the orphan's tag in its region."""
    report(f"removing '{orphan.cluster}' from {orphan.account.region}")
    costs.record_end(instances.find_clusters(orphan.account, orphan.cluster))
    remove_cluster(orphan.account, orphan.cluster, report)
    known = known_clusters.recall(orphan.cluster)
    if known and (known.cloud, known.region) == (orphan.account.cloud, orphan.account.region):
        costs.record_missed(known)
        known_clusters.forget(orphan.cluster)
