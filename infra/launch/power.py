"""Extend the lease of a cluster, stop and start its machines."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from infra import state
from infra.base.parallel import map_parallel
from infra.base.waiting import wait_until
from infra.cluster import connections, quiet
from infra.cluster.clusters import explain_gone, open_known
from infra.ec2.account import Account
from infra.ec2.capacity.reservations import describe_time, find_reservation
from infra.ec2.machines import instances
from infra.ec2.machines.lease import WARNING_S, hours_on, most_until_usd, spent_usd
from infra.ec2.machines.userdata import make_user_data
from infra.ec2.market.history import add_spot_prices
from infra.ec2.network.groups import update_address
from infra.ec2.tags import GROUP_TAG, HOURS_TAG, LEASE_TAG, PRICE_TAG, SPENT_AT_TAG, SPENT_TAG, format_time, read_tags
from infra.errors import CapacityError, CloudError, GpujobError, LossError, NodeError, UsageError
from infra.launch.arming import ensure_lease, introduce, set_lease
from infra.launch.readiness import BOOT_S, find_host_keys
from infra.ledger import costs, known_clusters
from infra.ledger.drained import note_drained
from infra.model import Cluster, Job, Lease
from infra.node import client
from infra.node.listing import Left
from infra.ssh import keys
from infra.ssh.connection import connect

Report = Callable[[str], None]
STOP_LOSES = ("/scratch/", "/opt/dlami/nvme/")  # instance stores; other disks keep their data


def find(cluster: Cluster) -> tuple[Account, Cluster]:
    """Return a cluster by its current tags and prices, and its account; raises GoneError if it ended."""
    try:
        account = open_known(cluster)
    except CloudError as error:
        if not cluster.is_local:
            raise
        raise explain_gone(cluster) from error
    found = instances.find_clusters(account, cluster.name)
    if not found or found[0].node.state == "shutting-down":
        raise explain_gone(cluster, account)
    return account, add_spot_prices(account, found)[0]


def check_block(account: Account, cluster: Cluster, until: float, command: str) -> None:
    """Raise UsageError if a lease until then would outlast the Capacity Block that the machines are in.

    `command` is what to type instead, with {} for the minutes that are left.
    """
    if not cluster.block:
        return
    block = find_reservation(account, cluster.block)
    begun = max(cluster.lease_until, time.time()) if cluster.node.state == "running" else time.time()
    if until > block.latest_s:
        left = int((block.latest_s - begun) // 60)
        what = f"AWS ends the machines of {block} from {describe_time(block.latest_s)} on"
        raise UsageError(
            what, command.format(left) if left > 0 else f"download its outputs: gpujob down {cluster.name}"
        )


def extend(account: Account, cluster: Cluster, until: float) -> Cluster:
    """Move the end of the lease, in the tags and on every node; return the updated cluster.

    The tags first: a tag with a later end than the machine's costs nothing. Raises NodeError if a node does not confirm.
    """
    before = format_time(cluster.lease_until)
    ids = [node.instance_id for node in cluster.nodes]
    instances.tag(account, ids, {LEASE_TAG: format_time(until)})
    try:
        map_parallel(lambda rank: arm(cluster, rank, until), range(len(cluster.nodes)))
    except GpujobError:
        instances.tag(account, ids, {LEASE_TAG: before})
        raise
    extended = replace(cluster, lease_until=until)
    known_clusters.remember(extended)
    return extended


def arm(cluster: Cluster, rank: int, until: float) -> None:
    """Set the end of a node's lease; raises NodeError if it does not confirm."""
    with connections.reach(cluster, rank, patience_s=10) as connection:
        set_lease(connection, until)


def check_left(cluster: Cluster, left: Sequence[Left], force: str) -> None:
    """Raise LossError if jobs left files on disks that are erased when the machine stops."""
    lost = [each for each in left if each.path.startswith(STOP_LOSES) and each.jobs]
    if lost:
        fetch = f"gpujob fetch --cluster {cluster.name} {lost[0].jobs[0]} --output {shlex.quote(lost[0].path)}"
        raise LossError(
            f"stopping '{cluster.name}' would delete {lost[0].path!r}, which is not downloaded", f"{fetch}; {force}"
        )


def check_quiet(cluster: Cluster) -> list[Job]:
    """Return the jobs whose outputs are only on the cluster's disk.

    Raises LossError if a job is running, if stopping would delete outputs, or if that cannot be determined.
    """
    if cluster.sent:
        return []  # its outputs are in the bucket; `stop` says why its machines are not stopped
    force = f"stop it anyway: gpujob stop {cluster.name} --force"
    try:
        found = map_parallel(lambda rank: check_node(cluster, rank, force), cluster.ranks)
    except NodeError as error:
        raise LossError(f"cannot tell whether a job is running: {error.what}", force) from error
    return list({job.number: job for jobs in found for job in jobs}.values())


def check_node(cluster: Cluster, rank: int, force: str) -> list[Job]:
    """Return the jobs whose outputs are only on a node's disk; raises LossError as `check_quiet` does."""
    with connections.reach(cluster, rank) as connection:
        jobs = client.list_jobs(connection)
        quiet.check_quiet(cluster, jobs, force)
        listing = client.list_left(connection)
    check_left(cluster, listing.left, force)
    left = {job for each in listing.left if not each.minor for job in each.jobs}
    return [job for job in jobs if not job.fetched or job.number in left or not listing.complete]


def stop(account: Account, cluster: Cluster, report: Report, *, drained: bool = False) -> None:
    """Stop a cluster's machines, keeping their disks; raises CloudError for spot and grouped ones.

    `drained` says that everything its jobs wrote is downloaded.
    """
    if any(node.market == "spot" for node in cluster.nodes):
        raise CloudError(
            "spot machines cannot be stopped", f"download the outputs and terminate them: gpujob down {cluster.name}"
        )
    ids = [node.instance_id for node in cluster.nodes]
    if any(GROUP_TAG in read_tags(one) for one in instances.find_launched(account, cluster.name, ids)):
        raise CloudError(
            f"Auto Scaling keeps the machines of '{cluster.name}', and would replace stopped ones, whose disks it deletes",
            f"download the outputs and terminate them: gpujob down {cluster.name}",
        )
    now = time.time()
    # EC2's launch time is that of the last start, so the time before it must be recorded, like the cost.
    sums = spent_tags(cluster, now)
    report(f"stopping {', '.join(ids)}")
    with noted(account, cluster, ids, sums):
        instances.stop(account, ids)
    costs.record_days(cluster, now)
    found = wait_for(account, cluster, lambda one: all(node.state == "stopped" for node in one.nodes))
    known_clusters.remember(found)
    if drained:
        note_drained(found)


def spent_tags(cluster: Cluster, now: float) -> dict[str, str]:
    """Return the tags that record what a cluster has cost and how long it has run so far."""
    hours = f"{hours_on(cluster, now):.6f}"
    return {SPENT_TAG: f"{spent_usd(cluster, now):.6f}", SPENT_AT_TAG: format_time(now), HOURS_TAG: hours}


@contextmanager
def noted(account: Account, cluster: Cluster, ids: list[str], tags: dict[str, str]) -> Iterator[None]:
    """Tag instances before a call that changes their state, and restore the tags if it is refused."""
    before = {
        LEASE_TAG: format_time(cluster.lease_until),
        SPENT_TAG: f"{cluster.spent_usd:.6f}",
        SPENT_AT_TAG: format_time(cluster.spent_at),
        HOURS_TAG: f"{cluster.ran_hours:.6f}",
        PRICE_TAG: f"{cluster.node.price_usd:.6f}",
    }
    if ids:
        instances.tag(account, ids, tags)
    try:
        yield
    except GpujobError:
        if ids:
            instances.tag(account, ids, {name: before[name] for name in tags})
        raise


def start(account: Account, cluster: Cluster, hours: float, report: Report) -> Cluster:
    """Start a stopped cluster's machines with a new lease, open their port, and wait for logins."""
    if any(node.state not in ("stopped", "running") for node in cluster.nodes):
        raise CloudError(f"'{cluster.name}' is {cluster.node.state}", "wait a minute, then rerun")
    asleep = [node.instance_id for node in cluster.nodes if node.state == "stopped"]
    seconds = hours * 3600
    lease = Lease(time.time() + seconds, 0, cluster.idle_stop_s, min(WARNING_S, seconds / 10))
    # User data applies at every boot; it can be changed only while the machine is stopped.
    map_parallel(lambda one: instances.set_user_data(account, one, make_user_data(lease, cluster.user)), asleep)
    # EC2's launch time is that of the last start, so the previous cost must be recorded.
    now = time.time()
    spent = spent_tags(cluster, now)
    update_address(account, cluster.name)
    report(f"starting {', '.join(asleep)}")
    try:
        with noted(account, cluster, asleep, {LEASE_TAG: format_time(lease.until), **spent}):
            instances.start(account, asleep)
        costs.record_days(cluster, now)
    except CapacityError as error:
        error.hint = (
            f"its disk is kept; rerun later: gpujob start {cluster.name}; or terminate it: gpujob down {cluster.name}"
        )
        raise
    found = wait_for(account, cluster, lambda one: all(node.state == "running" and node.host for node in one.nodes))
    known_clusters.remember(found)
    report("waiting for a login")
    if not state.known_hosts_file(cluster.name).exists():
        pins = {node.instance_id: find_host_keys(account, node) for node in found.nodes}
        keys.pin(state.known_hosts_file(cluster.name), pins)
    map_parallel(lambda rank: arm_again(found, lease, rank), range(len(found.nodes)))
    return found


def arm_again(cluster: Cluster, lease: Lease, rank: int = 0) -> None:
    """Log in to a started node, which verifies its host key, and make sure that its new lease is armed.

    A node of several that was cleaned for an image no longer knows the others.
    """
    with connect(cluster, rank, patience_s=BOOT_S) as connection:
        ensure_lease(connection, lease)
        if len(cluster.nodes) > 1:
            introduce(connection)


def wait_for(account: Account, cluster: Cluster, ready: Callable[[Cluster], bool]) -> Cluster:
    """Return the cluster once it is ready; raises CloudError on timeout."""

    def look() -> Cluster | None:
        found = instances.find_clusters(account, cluster.name)
        return found[0] if found and ready(found[0]) else None

    found = wait_until(look, BOOT_S)
    if found is None:
        raise CloudError(f"the state of '{cluster.name}' did not change within {BOOT_S:g} s", "gpujob ls")
    return found


def most_usd(cluster: Cluster, until: float) -> float:
    """Return a cluster's maximum total cost since launch if it runs from now until a time."""
    return most_until_usd(cluster, time.time(), until)
