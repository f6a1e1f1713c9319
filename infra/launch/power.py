"""A cluster that stays: its lease moved, its machines stopped and started with their disks."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from infra import state
from infra.base.parallel import map_parallel
from infra.base.waiting import wait_until
from infra.cluster import connections, quiet
from infra.cluster.clusters import explain_gone, open_known
from infra.ec2.account import Account
from infra.ec2.machines import instances, network
from infra.ec2.machines.lease import WARNING_S, hourly_usd, spent_usd
from infra.ec2.machines.userdata import format_until, make_user_data
from infra.ec2.tags import LEASE_TAG, SPENT_TAG, format_time
from infra.errors import CloudError, GpujobError, LossError, NodeError
from infra.launch.readiness import BOOT_S, find_host_keys
from infra.ledger import known_clusters
from infra.model import Cluster, Lease
from infra.node import client
from infra.node.listing import Left
from infra.ssh import keys
from infra.ssh.commands import execute
from infra.ssh.connection import connect

Report = Callable[[str], None]
STOP_LOSES = ("/scratch/", "/opt/dlami/nvme/")  # disks of the machine itself; every other one keeps what it holds


def find(cluster: Cluster) -> tuple[Account, Cluster]:
    """Return a remembered cluster as its tags tell of it now, and its account; raises GoneError if it is no more."""
    try:
        account = open_known(cluster)
    except CloudError as error:
        if not cluster.is_local:
            raise
        raise explain_gone(cluster) from error
    found = instances.find_clusters(account, cluster.name)
    if not found or found[0].node.state == "shutting-down":
        raise explain_gone(cluster, account)
    return account, found[0]


def extend(account: Account, cluster: Cluster, until: float) -> Cluster:
    """Move the end of the lease to a later time, in the tags and on every node; return the cluster so.

    The tag first: one that promises more than the machine does costs nothing. Raises NodeError if a node does not take it.
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
    """Let a node end its lease at a time; raises NodeError if it does not say that it will."""
    with connections.reach(cluster, rank, patience_s=10) as connection:
        execute(connection, ["sudo", "gpujob-lease", format_until(until)])
        deadline = time.monotonic() + 10
        while read_lease(execute(connection, ["sudo", "gpujob-lease"]).stdout) != int(until):
            if time.monotonic() > deadline:
                raise NodeError(
                    f"{cluster.nodes[rank].instance_id} does not move its lease", f"gpujob ssh {cluster.name}"
                )
            time.sleep(0.1)


def read_lease(said: bytes) -> int:
    """Return the end of the lease that a node tells; 0 if it makes no sense."""
    word = said.strip()
    return int(word) if word.isdigit() and len(word) < 16 else 0


def check_left(cluster: Cluster, left: Sequence[Left], force: str) -> None:
    """Raise LossError if jobs left files on disks that lose them when the machine stops."""
    lost = [each for each in left if each.path.startswith(STOP_LOSES) and each.jobs]
    if lost:
        fetch = f"gpujob fetch --cluster {cluster.name} {lost[0].jobs[0]} --output {shlex.quote(lost[0].path)}"
        raise LossError(
            f"stopping {cluster.name} loses {lost[0].path!r}, which was not downloaded", f"{fetch}; {force}"
        )


def check_quiet(cluster: Cluster) -> None:
    """Raise LossError if a job runs on the cluster, or nobody can tell."""
    force = f"stop it anyway: gpujob stop {cluster.name} --force"
    try:
        with connections.reach(cluster) as connection:
            quiet.check_quiet(cluster, client.list_jobs(connection), force)
            check_left(cluster, client.list_left(connection).left, force)
    except NodeError as error:
        raise LossError(f"nobody can tell whether a job runs: {error.what}", force) from error


def stop(account: Account, cluster: Cluster, report: Report) -> None:
    """Stop a cluster's machines; their disks stay. Raises CloudError for spot machines, which cannot be stopped."""
    if any(node.market == "spot" for node in cluster.nodes):
        raise CloudError(
            "spot machines cannot be stopped", f"download what is left and terminate them: gpujob down {cluster.name}"
        )
    ids = [node.instance_id for node in cluster.nodes]
    instances.tag(account, ids, {SPENT_TAG: f"{spent_usd(cluster, time.time()):.6f}"})
    report(f"stopping {', '.join(ids)}")
    instances.stop(account, ids)
    found = wait_for(account, cluster, lambda one: all(node.state == "stopped" for node in one.nodes))
    known_clusters.remember(found)


def start(account: Account, cluster: Cluster, hours: float, report: Report) -> Cluster:
    """Start a stopped cluster's machines under a new lease, open their port to this laptop, and see that they answer."""
    if any(node.state not in ("stopped", "running") for node in cluster.nodes):
        raise CloudError(f"'{cluster.name}' is {cluster.node.state}", "wait a minute, then type it again")
    asleep = [node.instance_id for node in cluster.nodes if node.state == "stopped"]
    seconds = hours * 3600
    lease = Lease(time.time() + seconds, 0, cluster.idle_stop_s, min(WARNING_S, seconds / 10))
    # What user data says holds at every boot; it can be changed only while the machine is stopped.
    map_parallel(lambda one: instances.set_user_data(account, one, make_user_data(lease)), asleep)
    # EC2 counts a machine's time from its last start, so that what was spent before must be written down.
    spent = {SPENT_TAG: f"{spent_usd(cluster, time.time()):.6f}"}
    instances.tag(account, asleep, {LEASE_TAG: format_time(lease.until), **spent})
    network.heal_address(account, cluster.name)
    report(f"starting {', '.join(asleep)}")
    instances.start(account, asleep)
    found = wait_for(account, cluster, lambda one: all(node.state == "running" and node.host for node in one.nodes))
    known_clusters.remember(found)
    report("waiting for a login")
    if not state.known_hosts_file(cluster.name).exists():
        pins = {node.instance_id: find_host_keys(account, node) for node in found.nodes}
        keys.pin(state.known_hosts_file(cluster.name), pins)
    map_parallel(lambda rank: arm_again(found, rank), range(len(found.nodes)))
    return found


def arm_again(cluster: Cluster, rank: int = 0) -> None:
    """Log in to a node that was started, which proves its host key, and see that its lease is armed."""
    with connect(cluster, rank, patience_s=BOOT_S) as connection:
        told = read_lease(execute(connection, ["sudo", "gpujob-lease"]).stdout)
    if told < int(cluster.lease_until):
        arm(cluster, rank, cluster.lease_until)


def wait_for(account: Account, cluster: Cluster, ready: Callable[[Cluster], bool]) -> Cluster:
    """Return the cluster once it is as it should be; raises CloudError if it does not get so."""

    def look() -> Cluster | None:
        found = instances.find_clusters(account, cluster.name)
        return found[0] if found and ready(found[0]) else None

    found = wait_until(look, BOOT_S)
    if found is None:
        raise CloudError(f"'{cluster.name}' did not change its state within {BOOT_S:g} s", "gpujob ls")
    return found


def most_running_usd(cluster: Cluster, until: float) -> float:
    """Return the most that a stopped cluster will have cost when it runs from now to a time."""
    on = replace(cluster, nodes=tuple(replace(node, state="running") for node in cluster.nodes))
    return spent_usd(cluster, time.time()) + max(until - time.time(), 0) / 3600 * hourly_usd(on)


def most_usd(cluster: Cluster, until: float) -> float:
    """Return the most that a cluster will have cost, from its first hour on, when its lease ends at a time."""
    return spent_usd(cluster, time.time()) + max(until - time.time(), 0) / 3600 * hourly_usd(cluster)
