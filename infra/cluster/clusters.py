"""Clusters: list, find, reach, give back."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from infra import state
from infra.base.parallel import map_parallel, try_parallel
from infra.cluster.clouds import find_local, open_all, open_cloud
from infra.ec2.account import Account
from infra.ec2.machines import instances, network
from infra.ec2.machines.lease import is_over
from infra.ec2.machines.removal import find_remains, remove_cluster
from infra.errors import (
    CloudError,
    CredentialsError,
    GoneError,
    GpujobError,
    NodeError,
    StoppedError,
    UsageError,
)
from infra.ledger import costs, endings, known_clusters
from infra.ledger.attempts import read_attempt, taken
from infra.ledger.endings import Ending
from infra.model import GONE, UNKNOWN, Cluster
from infra.names import check_name

Report = Callable[[str], None]
Skip = Callable[[Account, GpujobError], None]


def list_clusters(
    dry_run: bool, region: str | None = None, *, everywhere: bool = False, skip: Skip | None = None
) -> tuple[Cluster, ...]:
    """Return every cluster that tags tell of, and those remembered that are gone, whose cost is noted.

    With `everywhere` in all regions that are switched on for the account, all asked at once. `skip` is told of each region
    that cannot be asked, unless that is all of them; without it that is an error.
    """
    remembered = {(c.cloud, c.region, c.name): c for c in known_clusters.recall_all()}
    accounts = open_all(dry_run, {(c.cloud, c.region) for c in remembered.values()}, region, everywhere=everywhere)
    listed, refused = ask_each(accounts, skip)
    found = {(c.cloud, c.region, c.name): c for c in listed}
    missing = [c for key, c in remembered.items() if key not in found and (not dry_run or c.is_local)]
    aws = next((account for account in accounts if account.cloud == "aws"), None)
    closed = {(account.cloud, account.region) for account in refused}
    gone = [mark_missing(c, aws, asked=(c.cloud, c.region) not in closed) for c in missing]
    return tuple(sorted([*found.values(), *gone], key=lambda cluster: cluster.name))


def list_own(dry_run: bool, region: str | None = None, skip: Skip | None = None) -> list[str]:
    """Return the names of the clusters that the caller launched: known on this laptop, or bearing the caller's own identity.

    `skip` is told of each region that cannot be asked; without it that is an error.
    """
    own = {cluster.name for cluster in known_clusters.recall_all() if cluster.is_local or not dry_run}
    for account in open_all(dry_run, set(), region):
        try:
            own |= {c.name for c in instances.find_clusters(account) if account.identity.is_owner(c.owner)}
        except CloudError as error:
            if skip is None:
                raise
            skip(account, error)
    return sorted(own)


def ask_each(accounts: Sequence[Account], skip: Skip | None) -> tuple[list[Cluster], Collection[Account]]:
    """Return the clusters of every region that can be asked, and the regions that cannot."""
    if skip is None:
        return [c for found in map_parallel(instances.find_clusters, accounts) for c in found], ()
    listed, refused = try_parallel(instances.find_clusters, accounts)
    for account, error in refused.items():
        skip(account, error)
    return [c for found in listed for c in found], refused.keys()


def find_living(name: str, accounts: Iterable[Account]) -> list[Cluster]:
    """Return the clusters of this name whose machines still exist."""
    return [cluster for account in accounts for cluster in instances.find_clusters(account, name)]


def mark_missing(cluster: Cluster, aws: Account | None, *, asked: bool = True) -> Cluster:
    """Return a remembered cluster that its cloud does not show: ended, of another account, or not `asked` for."""
    gone = asked and (cluster.is_local or aws is None or owns(aws, cluster))
    if gone:
        costs.record_missed(cluster)
    nodes = tuple(replace(node, state=GONE if gone else UNKNOWN) for node in cluster.nodes)
    return replace(cluster, price_usd=0.0, disk_usd=0.0, nodes=nodes)


def owns(account: Account, cluster: Cluster) -> bool:
    """Tell whether a cluster on AWS was rented in this account."""
    return f":{account.identity.account_id}:" in cluster.owner


def heal(cluster: Cluster) -> Cluster | None:
    """Return the cluster as it can be reached now, its port opened to this laptop's new address; None if nothing changed.

    The machine may have another address too, since it was started again.
    """
    account = open_known(cluster)
    found = instances.find_clusters(account, cluster.name)
    opened = bool(found) and not cluster.is_local and network.heal_address(account, cluster.name)
    if not found or not found[0].node.host or not (opened or found[0].node != cluster.node):
        return None
    known_clusters.remember(found[0])
    return found[0]


def find_again(cluster: Cluster, silence: NodeError) -> Cluster:
    """Return a cluster that did not answer as it can be reached now; raises the explanation if that changes nothing."""
    try:
        healed = heal(cluster)
    except CloudError:
        healed = None  # the explanation says it, too
    if healed is None:
        raise explain_silence(cluster, silence) from silence
    return healed


def explain_silence(cluster: Cluster, error: NodeError) -> GpujobError:
    """Return why a node cannot be reached, as far as its cloud can tell."""
    try:
        account = open_known(cluster)
        found = instances.find_clusters(account, cluster.name)
    except CloudError:
        return explain_gone(cluster) if cluster.is_local else error
    if not found or found[0].node.state == "shutting-down":
        return explain_gone(cluster, account)
    if found[0].node.state in ("stopping", "stopped"):
        return StoppedError(f"the machine of '{cluster.name}' is {found[0].node.state}", f"gpujob start {cluster.name}")
    return NodeError(f"{error.what} (EC2 says it is {found[0].node.state})", error.hint)


def explain_gone(cluster: Cluster, account: Account | None = None) -> GoneError:
    """Return the error that says when and why a cluster ended, and note its cost; without an account its cloud is gone too."""
    if account is not None:
        ending = endings.explain(account, cluster.name, cluster, list(instances.find_instances(account, cluster.name)))
    elif is_over(cluster, time.time()):
        ending = endings.lease_end(cluster.name, cluster.lease_until)
    else:
        ending = Ending(f"'{cluster.name}' is gone: the local cloud that it was in has ended", None)
    costs.record_missed(cluster, ending.at)
    launch = f"gpujob up {cluster.name}" + " --dry-run" * cluster.is_local
    return GoneError(
        ending.what, f"launch a new one: {launch}; or only remove what is left: gpujob down {cluster.name}"
    )


def locate(name: str, dry_run: bool, region: str | None = None) -> list[Account]:
    """Return the accounts where anything bears this cluster's tag: the one it is remembered in, else all that can be asked.

    Raises UsageError if a dry run meets a cluster on AWS, and CredentialsError if nobody can tell where it was, or is.
    """
    known, begun = known_clusters.recall(check_name(name, "gpujob ls")), read_attempt(name)
    lost = known is None and begun is None and state.cluster_folder(name).exists()
    if known is None:
        accounts = open_all(dry_run, {(begun.cloud, begun.region)} if begun else set(), region, everywhere=lost)
    elif known.is_local and find_local() is None:
        accounts = []  # the local cloud has ended, and its machines with it
    elif not known.is_local and dry_run:
        raise UsageError(
            f"'{name}' is a cluster on AWS, and this is a dry run", "leave out --dry-run and GPUJOB_DRY_RUN"
        )
    else:
        accounts = [open_known(known)]
    found = [account for account in accounts if find_remains(account, name) or instances.find_foreign(account, name)]
    if lost and not found and all(account.cloud == "local" for account in accounts):
        raise CredentialsError(
            f"nobody knows whether '{name}' lives: what this laptop wrote down of it cannot be read, and AWS was not asked",
            f"log in to AWS, then: gpujob down {name}; if it was a dry run: rm -r '{state.cluster_folder(name)}'",
        )
    return found


def find_elsewhere(account: Account, name: str) -> list[Account]:
    """Return the account of another region in which a cluster of this name is remembered, if anything of it is left there.

    Raises UsageError if that is on the other cloud: a dry run removes nothing on AWS.
    """
    known = known_clusters.recall(check_name(name))
    if known is None or (known.cloud, known.region) == (account.cloud, account.region):
        return []
    found = locate(name, dry_run=False)
    if found and known.cloud != account.cloud:
        raise taken(name, known.region)
    return found


def open_known(cluster: Cluster) -> Account:
    """Return the account that a remembered cluster lives in; raises CredentialsError if the credentials are of another."""
    account = open_cloud(cluster.cloud, cluster.region)
    if account.cloud == "aws" and not owns(account, cluster):
        raise CredentialsError(
            f"'{cluster.name}' was rented by {cluster.owner}; these credentials are of account {account.identity.account_id}",
            "choose the right one: AWS_PROFILE=..., then type it again",
        )
    return account


def remove(name: str, accounts: Collection[Account], report: Report) -> bool:
    """Remove all of this cluster in these accounts, and forget it; return whether there was anything.

    Raises GpujobError, once all the rest is removed, for machines that bear its tag and are not ours.
    """
    living, known = find_living(name, accounts), known_clusters.recall(name)
    costs.record_end(living)
    if known and not living:
        costs.record_missed(known)
    found = [remove_cluster(account, name, report) for account in accounts]
    known_here = known_clusters.forget(name)
    for account in accounts:
        refuse_foreign(account, name)
    return known_here or any(found)


def refuse_foreign(account: Account, name: str) -> None:
    """Raise GpujobError for machines that bear a cluster's tag though `up` did not launch them: they are not ours to end."""
    found = [instance["InstanceId"] for instance in instances.find_foreign(account, name)]
    if found:
        ids = " ".join(found)
        raise GpujobError(
            f"{ids} in {account.region} has the tags of '{name}', but gpujob did not launch it: left running",
            f"if it is yours: aws ec2 terminate-instances --region {account.region} --instance-ids {ids}",
        )
