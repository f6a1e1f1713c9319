"""Clusters: plan one, create it whole or not at all, find it, give it back."""

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from infra import state
from infra.clouds import find_local, open_all, open_cloud
from infra.ec2 import instances, launch, lease, network, offers
from infra.ec2.account import Account, aws_errors
from infra.ec2.removal import find_remains, remove_cluster
from infra.errors import (
    CapacityError,
    CloudError,
    CredentialsError,
    GoneError,
    GpujobError,
    NodeError,
    PermissionsError,
    QuotaError,
    UsageError,
)
from infra.interrupts import hold_interrupts
from infra.model import Cluster, Gpu, Image, Lease, Offer
from infra.names import check_name
from infra.node import client
from infra.ssh import keys
from infra.ssh.connection import connect, execute
from infra.waiting import wait_until

BOOT_S = 300
Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What `up` is about to rent."""

    name: str
    offer: Offer
    image: Image
    lease: Lease
    quota_vcpus: int | None
    owner: str


def plan(account: Account, name: str, gpu: Gpu, instance_type: str | None, max_hours: float) -> Plan:
    """Return what would be rented, and at what price; nothing billable is called.

    Raises UsageError where the name is taken, NotFoundError for an unknown GPU or type, QuotaError where AWS would refuse.
    """
    with aws_errors():
        owner = account.sts.get_caller_identity()["Arn"]
    check_free(account, check_name(name))
    offer = offers.find_offer(account, gpu, instance_type)
    quota = offers.find_quota(account, offer.instance_type)
    if quota is not None and quota < offer.vcpus:
        raise QuotaError(
            f"{offer.instance_type} has {offer.vcpus} vCPUs; the account's quota for its family in {account.region} is {quota}",
            offers.quota_command(account, offer.instance_type, offer.vcpus),
        )
    return Plan(name, offer, offers.find_image(account), lease.make_lease(offer, max_hours, time.time()), quota, owner)


def check_free(account: Account, name: str) -> None:
    """Raise UsageError if a cluster of this name lives here, or is remembered to live elsewhere and does."""
    known = state.recall(name)
    elsewhere = known and (known.cloud, known.region) != (account.cloud, account.region) and locate(name, dry_run=False)
    if elsewhere or instances.find_clusters(account, name):
        where = elsewhere[0].region if elsewhere else account.region
        raise UsageError(
            f"there is a cluster '{name}' already, in {where}",
            f"gpujob run train.py, or: gpujob down {name}, or another name",
        )


def create(account: Account, planned: Plan, report: Report) -> Cluster:
    """Rent what was planned and return it once a job could run there; on any failure, Ctrl-C too, all of it is gone again."""
    name, token = planned.name, uuid.uuid4().hex[:24]
    try:
        rent(account, planned, token, report)
        cluster = wait_for_address(account, name, token, report)
        state.remember(cluster)
        prepare(account, cluster, report)
    except BaseException as error:
        with hold_interrupts():
            undo(account, name, token, error, report)
        raise
    return cluster


def undo(account: Account, name: str, token: str, error: BaseException, report: Report) -> None:
    """Remove what a failed `create` left, also what shows up only after the call for it was broken off.

    The key pair is made first and removed last: unless it, or a machine, bears our token, nothing of this name is ours.
    """
    # AWS shows what it has just made a little late; after a plain refusal there is nothing to wait for.
    patience_s = 0 if isinstance(error, (CapacityError, PermissionsError, QuotaError)) else 5
    try:
        if not wait_until(lambda: is_ours(account, name, token), patience_s):
            return
        report("giving back what this call created")
        wait_until(lambda: instances.find_clusters(account, name), patience_s)
        remove_cluster(account, name, report)
    except GpujobError as failure:
        error.add_note(f"and giving it back failed: {failure.what}; it ends with its lease; type: gpujob down {name}")
        return
    state.forget(name)


def is_ours(account: Account, name: str, token: str) -> bool:
    """Tell whether what bears this cluster's name was made by the call with this token."""
    tags = [instances.tags_of(instance) for instance in instances.find_instances(account, name)]
    return network.find_key_token(account, name) == token or any(t.get(instances.LAUNCH_TAG) == token for t in tags)


def rent(account: Account, planned: Plan, token: str, report: Report) -> None:
    """Create key pair, security group and instance, each tagged by the call that creates it."""
    name, offer = planned.name, planned.offer
    tags = launch.make_tags(name, offer, planned.lease, planned.owner) | {instances.LAUNCH_TAG: token}
    report(f"renting {offer.instance_type} in {account.region}")
    vpc, subnets = network.find_subnets(account)
    private_key, public_key = keys.make_key()
    network.import_key(account, name, public_key, tags)
    state.forget(name)  # what is remembered was of a cluster that is no more, now that the name is ours
    state.write_private(state.key_file(name), private_key)
    group = network.open_to_caller(account, name, vpc, tags)
    request = launch.make_request(name, offer, planned.image, planned.lease, tags)
    places = {zone: subnets[zone] for zone in offer.zones if zone in subnets}
    launch.launch(account, request, places, group, token)


def wait_for_address(account: Account, name: str, token: str, report: Report) -> Cluster:
    """Return the cluster once its machine runs and has an address; raises CloudError if it ends first or takes too long."""
    report("waiting for the machine to start")
    hint = "gpujob up again, or another --gpu or --region"

    def look() -> Cluster | None:
        ended = instances.find_end(account, name, token)
        if ended:
            raise CloudError(f"the machine ended while it started: {ended}", hint)
        found = instances.find_clusters(account, name)
        return found[0] if found and found[0].node.state == "running" and found[0].node.host else None

    cluster = wait_until(look, BOOT_S)
    if cluster is None:
        raise CloudError(f"the machine did not start within {BOOT_S} s", hint)
    return cluster


def prepare(account: Account, cluster: Cluster, report: Report) -> None:
    """Pin the host key, log in, put the agent there, and see the GPU work."""
    node = cluster.node
    report("waiting for its host key on the console")
    found = wait_until(lambda: keys.read_host_keys(instances.read_console(account, node.instance_id)), BOOT_S)
    if not found:
        raise NodeError(f"{node.instance_id} wrote no host key to its console within {BOOT_S} s", "gpujob up again")
    keys.pin(state.known_hosts_file(cluster.name), node.host, node.port, found)
    report(f"waiting for a login at {node.host}:{node.port}")
    with connect(
        node, state.key_file(cluster.name), state.known_hosts_file(cluster.name), patience_s=BOOT_S
    ) as connection:
        report("waiting for its first boot to finish")
        execute(connection, ["sh", "-c", "! command -v cloud-init > /dev/null || cloud-init status --wait"])
        client.install_agent(connection)
        machine = client.probe(connection)
        if account.cloud == "aws" and cluster.gpu != "none":
            report("waiting for its GPU to multiply two matrices")
            if not machine["multiplied"]:
                raise NodeError(
                    f"the GPU does not work (nvidia-smi lists {machine['gpus'] or 'none'})", "gpujob up again"
                )


def list_clusters(dry_run: bool, region: str | None = None) -> tuple[Cluster, ...]:
    """Return every cluster that tags tell of, and those remembered whose cloud is gone, their node's state "gone"."""
    remembered = {(c.cloud, c.region, c.name): c for c in state.recall_all()}
    accounts = open_all(dry_run, {(c.cloud, c.region) for c in remembered.values()}, region)
    found = {(c.cloud, c.region, c.name): c for account in accounts for c in instances.find_clusters(account)}
    gone = [mark_gone(c) for key, c in remembered.items() if key not in found and (not dry_run or c.cloud == "local")]
    return tuple(sorted([*found.values(), *gone], key=lambda cluster: cluster.name))


def list_own(dry_run: bool, region: str | None = None) -> list[str]:
    """Return the names of the clusters that the caller rented: known on this laptop, or bearing the caller's own identity."""
    own = {cluster.name for cluster in state.recall_all() if cluster.cloud == "local" or not dry_run}
    for account in open_all(dry_run, set(), region):
        with aws_errors():
            caller = account.sts.get_caller_identity()["Arn"]
        own |= {cluster.name for cluster in instances.find_clusters(account) if cluster.owner == caller}
    return sorted(own)


def find_living(name: str, accounts: Iterable[Account]) -> list[Cluster]:
    """Return the clusters of this name whose machines still exist."""
    return [cluster for account in accounts for cluster in instances.find_clusters(account, name)]


def mark_gone(cluster: Cluster) -> Cluster:
    """Return the cluster as one whose machines are no more."""
    return replace(cluster, price_usd=0.0, nodes=tuple(replace(node, state="gone") for node in cluster.nodes))


def explain_silence(cluster: Cluster, error: NodeError) -> GpujobError:
    """Return why a node cannot be reached, as far as its cloud can tell."""
    down = f"gpujob down {cluster.name}"
    try:
        found = instances.find_clusters(open_known(cluster), cluster.name)
    except CloudError as silence:
        if cluster.cloud == "aws":
            return error
        return GoneError(f"the cluster '{cluster.name}' is gone: {silence.what}", down)
    if not found or found[0].node.state == "shutting-down":
        return GoneError(f"the cluster '{cluster.name}' is gone: its machine was terminated", down)
    return NodeError(f"{error.what} (EC2 says it is {found[0].node.state})", error.hint)


def locate(name: str, dry_run: bool, region: str | None = None) -> list[Account]:
    """Return the accounts where anything bears this cluster's tag: the one it is remembered in, else all that can be asked.

    Raises UsageError if a rehearsal meets a cluster on AWS.
    """
    known = state.recall(check_name(name))
    if known is None:
        accounts = open_all(dry_run, set(), region)
    elif known.cloud == "local" and find_local() is None:
        accounts = []  # the local cloud has ended, and its machines with it
    elif known.cloud == "aws" and dry_run:
        raise UsageError(
            f"'{name}' is a cluster on AWS, and this is a rehearsal", "leave out --dry-run and GPUJOB_DRY_RUN"
        )
    else:
        accounts = [open_known(known)]
    return [account for account in accounts if find_remains(account, name)]


def open_known(cluster: Cluster) -> Account:
    """Return the account that a remembered cluster lives in; raises CredentialsError if the credentials are of another."""
    account = open_cloud(cluster.cloud, cluster.region)
    if account.cloud == "aws":
        with aws_errors():
            own = account.sts.get_caller_identity()["Account"]
        if f":{own}:" not in cluster.owner:
            raise CredentialsError(
                f"'{cluster.name}' was rented by {cluster.owner}; these credentials are of account {own}",
                "choose the right one: AWS_PROFILE=..., then type it again",
            )
    return account


def remove(name: str, accounts: Iterable[Account], report: Report) -> bool:
    """Give back all that bears this cluster's tag in these accounts, and forget it; return whether there was anything."""
    found = [remove_cluster(account, name, report) for account in accounts]
    return state.forget(name) or any(found)
