"""Clusters: list, find, terminate."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from infra import state
from infra.cluster import groups
from infra.cluster.clouds import find_local, open_all, open_cloud
from infra.cluster.regions import Skip, ask_or_skip, ask_regions
from infra.ec2.account import Account
from infra.ec2.machines import instances
from infra.ec2.machines.lease import is_over
from infra.ec2.machines.removal import find_remains
from infra.ec2.machines.resources import list_groups, list_resources
from infra.ec2.market.history import add_spot_prices
from infra.ec2.network.groups import update_address
from infra.errors import (
    CloudError,
    CredentialsError,
    GoneError,
    GpujobError,
    NodeError,
    StoppedError,
    UnreachableError,
    UsageError,
)
from infra.ledger import costs, endings, known_clusters
from infra.ledger.attempts import read_attempt, taken
from infra.ledger.endings import Ending
from infra.ledger.replaced import record_replaced
from infra.model import ENDING, GONE, UNKNOWN, Cluster
from infra.names import check_name

Report = Callable[[str], None]


def list_clusters(
    dry_run: bool, region: str | None = None, *, everywhere: bool = False, skip: Skip | None = None
) -> tuple[Cluster, ...]:
    """Return all clusters found by tags, and recorded ones that have ended, whose cost is recorded.

    With `everywhere`, in all enabled regions of the account. `skip` is called for each region that fails, unless all of a cloud
    do; without `skip` that is an error.
    """
    remembered = {(c.cloud, c.region, c.name): c for c in known_clusters.recall_all()}
    accounts = open_all(dry_run, {(c.cloud, c.region) for c in remembered.values()}, region, everywhere=everywhere)
    listed = ask_or_skip(find_priced, accounts, skip)
    found = {(c.cloud, c.region, c.name): c for clusters in listed.values() for c in clusters}
    for account, clusters in listed.items():
        record_lost(account, clusters)
    missing = [c for key, c in remembered.items() if key not in found and (not dry_run or c.is_local)]
    aws = next((account for account in accounts if not account.is_local), None)
    closed = {(account.cloud, account.region) for account in accounts if account not in listed}
    gone = [mark_missing(c, aws, asked=(c.cloud, c.region) not in closed) for c in missing]
    return tuple(sorted([*found.values(), *gone], key=lambda cluster: cluster.name))


def find_priced(account: Account) -> tuple[Cluster, ...]:
    """Return the clusters in a region with the prices of their spot machines."""
    return add_spot_prices(account, instances.find_clusters(account))


def record_lost(account: Account, found: Iterable[Cluster]) -> None:
    """Record the cost of machines that were lost, or stopped by others, since this computer saw them."""
    for cluster in found:
        known = known_clusters.recall(cluster.name)
        if known and (known.cloud, known.region) == (cluster.cloud, cluster.region):
            kept = costs.record_lost(known, cluster, account)
            states = {node.instance_id: node.state for node in cluster.nodes}
            if any(node.state != states[node.instance_id] for node in kept.nodes):
                known_clusters.remember(cluster)
            elif 0 < len(kept.nodes) < len(known.nodes):
                known_clusters.remember(kept)


def list_own(dry_run: bool, region: str | None = None, skip: Skip | None = None) -> list[str]:
    """Return the names of the caller's clusters: known on this computer, or with the caller's tag.

    `skip` is called for each region that fails; without it that is an error.
    """
    own = {cluster.name for cluster in known_clusters.recall_all() if cluster.is_local or not dry_run}
    for account, found in ask_or_skip(find_owners, open_all(dry_run, set(), region), skip).items():
        own |= {name for name, owner in found if account.identity.is_owner(owner)}
    return sorted(own)


def find_owners(account: Account) -> list[tuple[str, str]]:
    """Return name and owner of all clusters with a machine, or a group that keeps some."""
    clusters = [(cluster.name, cluster.owner) for cluster in instances.find_clusters(account)]
    return clusters + [(group.cluster, group.owner) for group in list_groups(account)[0]]


def find_living(name: str, accounts: Iterable[Account]) -> list[Cluster]:
    """Return the clusters of this name whose machines still exist."""
    return [cluster for account in accounts for cluster in instances.find_clusters(account, name)]


def mark_missing(cluster: Cluster, aws: Account | None, *, asked: bool = True) -> Cluster:
    """Return a recorded cluster that its cloud does not list, marked as ended or unknown."""
    gone = asked and (cluster.is_local or aws is None or owns(aws, cluster))
    if gone:
        costs.record_missed(cluster, aws if not cluster.is_local else None)
    nodes = tuple(replace(node, state=GONE if gone else UNKNOWN) for node in cluster.nodes)
    return replace(cluster, price_usd=0.0, disk_usd=0.0, nodes=nodes)


def owns(account: Account, cluster: Cluster) -> bool:
    """Return whether a cluster on AWS belongs to this account."""
    return f":{account.identity.account_id}:" in cluster.owner


def refresh(cluster: Cluster, rank: int) -> Cluster | None:
    """Open a cluster's port to this computer's new address; return the cluster, None if unchanged.

    The machine itself may also have a new address after a restart.
    """
    account = open_known(cluster)
    found = instances.find_clusters(account, cluster.name)
    opened = bool(found) and not cluster.is_local and update_address(account, cluster.name)
    if not found:
        return None
    updated = known_clusters.keep_ranks(found[0], cluster)
    node = updated.nodes[rank]
    if node.state in ENDING or not node.host or not (opened or node != cluster.nodes[rank]):
        return None
    record_lost(account, found)
    return known_clusters.remember(updated)


def find_again(cluster: Cluster, silence: NodeError, rank: int = 0) -> Cluster:
    """Return an unreachable cluster with its new address; raises GpujobError if nothing has changed."""
    try:
        updated = refresh(cluster, rank)
    except CloudError:
        updated = None  # the explanation includes it
    if updated is None:
        raise explain_silence(cluster, silence, rank) from silence
    return updated


def explain_silence(cluster: Cluster, error: NodeError, rank: int = 0) -> GpujobError:
    """Return why a node is unreachable, according to its cloud."""
    try:
        account = open_known(cluster)
        found = instances.find_clusters(account, cluster.name)
    except CloudError as obstacle:
        return explain_gone(cluster) if cluster.is_local else UnreachableError(error, obstacle)
    if not found or found[0].node.state == "shutting-down":
        return explain_gone(cluster, account)
    if len(cluster.nodes) > 1:
        record_lost(account, found)
        return explain_node(cluster, found[0], rank, error)
    if found[0].node.state in ("stopping", "stopped"):
        return StoppedError(f"the machine of '{cluster.name}' is {found[0].node.state}", f"gpujob start {cluster.name}")
    return NodeError(f"{error.what} (EC2 says it is {found[0].node.state})", error.hint)


def explain_node(cluster: Cluster, found: Cluster, rank: int, error: NodeError) -> GpujobError:
    """Return why one of several nodes is unreachable."""
    node = cluster.nodes[rank]
    state = next((one.state for one in found.nodes if one.instance_id == node.instance_id), GONE)
    if state in ENDING:
        return lost_node(cluster, rank)
    return NodeError(f"{error.what} (EC2 says it is {state})", error.hint)


def lost_node(cluster: Cluster, rank: int) -> GoneError:
    """Return that one of several nodes no longer exists."""
    what = f"node {rank} of '{cluster.name}' ({cluster.nodes[rank].instance_id}) no longer exists"
    error = GoneError(what, f"download what the other nodes have: gpujob fetch --cluster {cluster.name}")
    error.partial = True
    return error


def explain_gone(cluster: Cluster, account: Account | None = None) -> GoneError:
    """Record an ended cluster's cost; return when and why it ended (without an account, with its cloud)."""
    if account is not None:
        ending = endings.explain(account, cluster.name, cluster, list(instances.find_instances(account, cluster.name)))
    elif is_over(cluster, time.time()):
        ending = endings.lease_end(cluster.name, cluster.lease_until)
    else:
        ending = Ending(f"'{cluster.name}' no longer exists: its local cloud has stopped", None)
    costs.record_missed(cluster, account, ending.at)
    if cluster.sent and account is not None:
        what = f"'{cluster.name}' has no machine left: its job has ended, or its lease"
        return GoneError(what, f"gpujob jobs --cluster {cluster.name}")
    launch = f"gpujob up {cluster.name}" + " --dry-run" * cluster.is_local
    error = GoneError(ending.what, f"launch a new one: {launch}; or only clean up: gpujob down {cluster.name}")
    error.reclaimed = ending.reclaimed
    return error


def locate(name: str, dry_run: bool, region: str | None = None) -> list[Account]:
    """Return the accounts that may have resources of this cluster: the recorded one, or all available.

    Raises UsageError for a cluster on AWS in a dry run, and CredentialsError if its location is unknown.
    """
    known, begun = known_clusters.recall(check_name(name, "gpujob ls")), read_attempt(name)
    lost = known is None and begun is None and state.cluster_folder(name).exists()
    if known is None:
        accounts = open_all(dry_run, {(begun.cloud, begun.region)} if begun else set(), region, everywhere=lost)
    elif known.is_local and find_local() is None:
        accounts = []  # the local cloud has stopped, and its machines with it
    elif not known.is_local and dry_run:
        raise UsageError(
            f"'{name}' is a cluster on AWS, but this is a dry run", "omit --dry-run and unset GPUJOB_DRY_RUN"
        )
    else:
        accounts = [open_known(known)]

    def has_any(account: Account) -> bool:
        return bool(find_remains(account, name) or instances.find_foreign(account, name))

    answers, refused = ask_regions(has_any, accounts)
    found = [account for account, has in answers.items() if has]
    if refused and not found:
        raise next(iter(refused.values()))
    if lost and not found and all(account.is_local for account in accounts):
        raise CredentialsError(
            f"cannot tell whether '{name}' is running: its record on this computer cannot be read, and AWS was not asked",
            f"log in to AWS, then: gpujob down {name}; if it was a dry run: rm -r '{state.cluster_folder(name)}'",
        )
    return found


def find_elsewhere(account: Account, name: str) -> list[Account]:
    """Return the account of another region with resources of a recorded cluster of this name, if any.

    Raises UsageError if it is on the other cloud: a dry run removes nothing on AWS.
    """
    known = known_clusters.recall(check_name(name))
    if known is None or (known.cloud, known.region) == (account.cloud, account.region):
        return []
    found = locate(name, dry_run=False)
    if found and known.cloud != account.cloud:
        raise taken(name, known.region)
    return found


def open_known(cluster: Cluster) -> Account:
    """Return a recorded cluster's account; raises CredentialsError for other credentials."""
    account = open_cloud(cluster.cloud, cluster.region)
    if not account.is_local and not owns(account, cluster):
        raise CredentialsError(
            f"'{cluster.name}' belongs to {cluster.owner}; the current credentials are for account {account.identity.account_id}",
            "set AWS_PROFILE to a profile of the owner's account, then rerun",
        )
    return account


def remove(name: str, accounts: Collection[Account], report: Report) -> bool:
    """Terminate this cluster in these accounts, and delete its records; return whether it existed.

    Raises GpujobError, after removing everything else, for machines with its tag that gpujob did not launch.
    """
    known, living = known_clusters.recall(name), {one: instances.find_clusters(one, name) for one in accounts}
    for account, existing in living.items():
        record_replaced(account, name)
        costs.record_end(account, existing)
        record_lost(account, existing)
    if known and not any(living.values()):
        costs.record_missed(known, next(iter(accounts), None))
    found = [groups.remove_all(account, name, report) for account in accounts]
    known_here = known_clusters.forget(name)
    for account in accounts:
        refuse_foreign(account, name)
    return known_here or any(found)


def find_reserved(name: str, accounts: Collection[Account]) -> list[Cluster]:
    """Return the clusters of this name in a capacity reservation, which is billed without them too."""
    known = known_clusters.recall(name)
    return [one for one in ([known] if known else find_living(name, accounts)) if one.reservation]


def find_other_owners(name: str, account: Account) -> list[str]:
    """Return the owners, other than the caller, of what a region has of a cluster of this name."""
    owners = {thing.owner for thing in list_resources(account, name)}
    return sorted(owner or "an unknown owner" for owner in owners if not account.identity.is_owner(owner))


def refuse_foreign(account: Account, name: str) -> None:
    """Raise GpujobError for machines with a cluster's tag that `up` did not launch."""
    found = [instance["InstanceId"] for instance in instances.find_foreign(account, name)]
    if found:
        ids = " ".join(found)
        raise GpujobError(
            f"{ids} in {account.region} has the tags of '{name}', but gpujob did not launch it; it was not terminated",
            f"if it is yours, terminate it: aws ec2 terminate-instances --region {account.region} --instance-ids {ids}",
        )
