"""Bake an image of a node, without personal data.

Cleaning a node removes the keys for logging in. EC2 reboots it to create the image, and that boot, again a first one, restores
the cluster's key and generates new host keys, which are read from the console and pinned.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from infra import state
from infra.base.interrupts import hold_interrupts
from infra.base.waiting import wait_until
from infra.cluster.clusters import lost_node
from infra.cluster.connections import reach
from infra.ec2.account import Account
from infra.ec2.machines import instances, own_images
from infra.ec2.machines.lease import WARNING_S
from infra.ec2.machines.own_images import Baked
from infra.errors import CloudError, CredentialsError, GpujobError, NodeError, PermissionsError, UsageError
from infra.image.cleaning import clean, undo
from infra.launch import power
from infra.launch.power import arm_again
from infra.launch.readiness import BOOT_S, wait_for_first_boot
from infra.ledger import known_clusters
from infra.ledger.builds import Bake, bake_file, make_bake, note_image, read_bake, write_bake
from infra.model import Cluster, Lease, Node
from infra.node.packing import install_agent
from infra.ssh import keys
from infra.ssh.connection import connect

Report = Callable[[str], None]
REBOOT_S = 2 * BOOT_S
IMAGE_S = 3600.0
CLOSED = "a cleaned machine accepts no logins for 15 minutes, or until it has rebooted"


def find(known: Cluster, rank: int) -> tuple[Account, Cluster]:
    """Return a cluster's account, and the cluster with only this node of it, as EC2 sees it now.

    Raises GoneError if it no longer exists.
    """
    account, cluster = power.find(known)
    machine = known.nodes[rank].instance_id
    nodes = tuple(node for node in cluster.nodes if node.instance_id == machine)
    if not nodes:
        raise lost_node(known, rank)
    return account, replace(cluster, nodes=nodes)


def find_image(account: Account, name: str) -> Baked | None:
    """Return the image of a name in a region, created by any user; None if there is none."""
    return next((image for image in own_images.list_baked(account, name) if image.image_id), None)


def find_begun(account: Account, cluster: Cluster, name: str) -> Bake | None:
    """Return the interrupted bake whose image was already requested; None for a new one.

    Raises UsageError if the name is taken.
    """
    image, begun = find_image(account, name), read_bake(name)
    if image is None:
        return None
    own = account.identity.is_owner(image.owner) and image.instance_id == cluster.node.instance_id
    if begun is None or not own or begun.instance_id != image.instance_id:
        raise own_images.taken(account, name)
    return begun


def bake(account: Account, cluster: Cluster, name: str, report: Report) -> Baked:
    """Create an image of the node that `find` leaves in a cluster; return it once it is available.

    No job may be running, and all outputs must be downloaded. After a crash, the same call resumes. Raises UsageError, before any
    change, for a name in use.
    """
    begun = find_begun(account, cluster, name)
    if begun is None:
        begun = make(account, cluster, name, report)
    try:
        wait_for_return(account, cluster, begun, report)
        image = wait_for_image(account, name, report)
    except (KeyboardInterrupt, GpujobError) as error:
        node = f" --node {rank}" if (rank := find_rank(cluster.name, begun)) else ""
        error.add_note(f"EC2 is still creating the image; resume: gpujob bake {cluster.name}{node} --as {name}")
        raise
    note_image(name)
    bake_file(name).unlink(missing_ok=True)
    return image


def make(account: Account, cluster: Cluster, name: str, report: Report) -> Bake:
    """Clean the node and have EC2 create an image of it; if that fails, restore the node's keys."""
    node = cluster.node
    tags = own_images.make_tags(account, name, cluster.name, node)
    own_images.create(account, name, node, tags, dry_run=True)
    begun = make_bake(cluster)
    with explain_closed(name, node), reach(cluster) as connection:
        report(f"removing jobs, keys, histories and settings from {node.instance_id}")
        write_bake(name, begun)
        clean(connection)
        report("creating the image")
        with hold_interrupts(partial(report, "still creating the image, which cannot be interrupted")):
            try:
                own_images.create(account, name, node, tags)
            except GpujobError as error:
                if not is_made(account, cluster, name, error):
                    undo(connection)
                    raise
    return begun


@contextmanager
def explain_closed(name: str, node: Node) -> Iterator[None]:
    """Explain a failed login by an earlier bake that was interrupted before it requested the image."""
    earlier = read_bake(name)
    try:
        yield
    except NodeError as error:
        if earlier and earlier.instance_id == node.instance_id:
            error.add_note(CLOSED)
        raise


def is_made(account: Account, cluster: Cluster, name: str, error: GpujobError) -> bool:
    """Return whether EC2 creates the image though its response was lost; raises the error if unknown."""
    if isinstance(error, CredentialsError | PermissionsError):
        return False
    try:
        image = wait_until(lambda: find_image(account, name), 5)
    except GpujobError:
        error.add_note(CLOSED)
        raise error from None
    return image is not None and image.instance_id == cluster.node.instance_id


def wait_for_return(account: Account, cluster: Cluster, begun: Bake, report: Report) -> None:
    """Pin the rebooted node's new host keys, log in, and check that its lease is armed; raises NodeError."""
    report(f"waiting for {begun.instance_id} to reboot")
    pins = keys.read_pins(state.known_hosts_file(cluster.name))
    if pins.get(begun.instance_id) == begun.host_keys:
        found = wait_until(lambda: new_host_keys(account, begun), REBOOT_S)
        if not found:
            raise NodeError(f"no new host key on the console of {begun.instance_id} within {REBOOT_S:g} s")
        keys.pin(state.known_hosts_file(cluster.name), {**pins, begun.instance_id: found})
    found_again = wait_until(lambda: find_running(account, begun, cluster.name), REBOOT_S)
    if found_again is None:
        raise NodeError(f"{begun.instance_id} is not running after {REBOOT_S:g} s", f"gpujob start {cluster.name}")
    found_again = known_clusters.remember(found_again)
    rank = find_rank(cluster.name, begun)
    with connect(found_again, rank, patience_s=REBOOT_S) as connection:
        wait_for_first_boot(connection, REBOOT_S)
        install_agent(connection)
    lease = Lease(found_again.lease_until, 0, found_again.idle_stop_s, WARNING_S)
    arm_again(found_again, lease, rank)


def find_rank(name: str, begun: Bake) -> int:
    """Return which node of a recorded cluster is baked."""
    known = known_clusters.recall(name)
    machines = [node.instance_id for node in known.nodes] if known else []
    return machines.index(begun.instance_id) if begun.instance_id in machines else 0


def new_host_keys(account: Account, begun: Bake) -> tuple[str, ...] | None:
    """Return the host keys on the node's console once they have changed."""
    found = keys.read_host_keys(instances.read_console(account, begun.instance_id))
    return found if found and not set(found) & set(begun.host_keys) else None


def find_running(account: Account, begun: Bake, name: str) -> Cluster | None:
    """Return the cluster once the baked node is running and has an address."""
    found = instances.find_clusters(account, name)
    nodes = [node for one in found for node in one.nodes if node.instance_id == begun.instance_id]
    return found[0] if nodes and nodes[0].state == "running" and nodes[0].host else None


def wait_for_image(account: Account, name: str, report: Report) -> Baked:
    """Return the image once it is available; raises CloudError if it fails or takes more than an hour."""
    deadline, reported = time.monotonic() + IMAGE_S, ""
    while time.monotonic() < deadline:
        image = wait_until(lambda: find_image(account, name), 60)
        if image is None or image.state in ("failed", "error", "invalid"):
            raise CloudError(f"EC2 could not create the image '{name}'", f"gpujob images rm {name}, then rerun")
        if image.state == "available":
            return image
        line = f"waiting for the image {image.image_id}: {image.percent}%"
        if line != reported:
            report(line)
            reported = line
        time.sleep(2)
    raise CloudError(f"the image '{name}' is not available after {IMAGE_S / 60:g} minutes", "gpujob images")


def remove(account: Account, name: str, report: Report) -> float:
    """Delete the caller's image of a name with its snapshots; return what it cost per month, in USD.

    Raises UsageError if it belongs to another user.
    """
    found = own_images.list_baked(account, name)
    own = [image for image in found if account.identity.is_owner(image.owner)]
    if found and not own:
        raise UsageError(f"image '{name}' belongs to {found[0].owner}; only they can delete it")
    for image in own:
        report(f"deleting {image.image_id or 'the snapshots'} of '{name}' from {account.region}")
        own_images.remove(account, image)
    left = wait_until(
        lambda: not any(account.identity.is_owner(one.owner) for one in own_images.list_baked(account, name)), 60
    )
    if not left:
        raise CloudError(f"AWS still shows '{name}' in {account.region}", f"gpujob images rm {name}")
    return sum(image.month_usd for image in own)
