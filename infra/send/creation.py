"""Send a job: bucket, key, security group, template, a group at 0, its end, and then machines.

Killed after any call, it leaves nothing that bills without an end: the group launches nothing before AWS has its end.
"""

import base64
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from infra import state
from infra.base.interrupts import hold_interrupts
from infra.base.money import format_usd
from infra.base.waiting import wait_until
from infra.cluster.groups import delete_unused, find_sent
from infra.ec2.account import Account
from infra.ec2.machines import fleet, instances, key_pairs
from infra.ec2.machines.lease import SHUTDOWN_S
from infra.ec2.machines.userdata import Sent, make_user_data
from infra.ec2.network import groups
from infra.ec2.scaling import schedule
from infra.ec2.scaling.activities import find_obstacles, read_activities
from infra.ec2.scaling.groups import Pools, create_group, find_groups, set_capacity
from infra.ec2.storage.objects import Store
from infra.ec2.tags import BUCKET_TAG, LAUNCH_TAG, SENT_TAG, USER_TAG, resource_name
from infra.errors import NodeError, UsageError
from infra.launch.creation import clear_ended, forget_predecessor, record_fleet, undo
from infra.launch.plans import Choice, Plan
from infra.ledger import known_clusters
from infra.ledger.attempts import Attempt, begin, hold_name, read_attempt, write_attempt
from infra.ledger.attempts import check_free as check_name_free
from infra.model import Cluster, Lease, format_gpu
from infra.node.packing import pack_boot
from infra.results.folder import start_results
from infra.run.origins import note_sent
from infra.run.submission import queued
from infra.send.bundle import Bundle, Sending, read_code, write_bundle
from infra.send.resumption import Begun, check_current, find_begun
from infra.send.secrets import make_tag, store_secrets

Report = Callable[[str], None]
END_S = 180  # of the last machine: what AWS needs for the scheduled action, and the machine to shut down


@dataclass(frozen=True)
class SentJob:
    """A job that has been sent."""

    name: str
    number: int
    prefix: str
    """Of its objects in the bucket."""
    cluster: Cluster | None
    """Its machines; None as long as there are none."""
    obstacles: tuple[str, ...]
    """Why there are none, in AWS's words."""
    ended: bool = False
    """Whether it had ended before this command, which an interrupted one has sent."""


def lengthen_most(lease: Lease, now: float, limit_usd: float | None = None) -> Lease:
    """Return a lease whose most covers all replacements and the time that AWS takes to end a group.

    It ends earlier if that is more than `limit_usd`. Raises UsageError if the money is too little.
    """
    seconds = lease.until - now
    hour_usd = lease.most_usd * 3600 / (seconds + SHUTDOWN_S)
    if limit_usd is not None:
        seconds = min(seconds, limit_usd / hour_usd * 3600 - END_S)
    if seconds <= 0:
        raise UsageError(
            f"{format_usd(limit_usd or 0)} does not pay for the time that AWS needs for the end", "--max-cost"
        )
    most_usd = hour_usd * (seconds + END_S) / 3600
    return replace(lease, until=now + seconds, most_usd=most_usd, warning_s=min(lease.warning_s, seconds / 10))


def send(planned: Plan, sending: Sending, report: Report) -> SentJob:
    """Send a job, and return once its first machine is there, or AWS has said why there is none.

    On any failure, including Ctrl-C, everything is removed again. After a crash, the same plan resumes it; nothing is removed
    then if a machine works on the job already. Raises UsageError if one may work on another job.
    """
    name, choice = planned.name, planned.first
    if not planned.request.instance_profile:
        raise UsageError(
            "the machines of a sent job need a role", "--instance-profile NAME; see: gpujob policy --machines"
        )
    with hold_name(name):
        check_current(planned)
        clear_ended(planned, report)
        attempt = planned.attempt or begin(choice.account, planned.request, planned.lease)
        prefix = f"{name}/{attempt.token}/"
        begun = find_begun(planned, attempt, sending, prefix) if planned.attempt else None
        if begun:
            return take_up(planned, sending, prefix, begun)
        try:
            bundle = create_resources(planned, attempt, sending, prefix, report)
            note_sent(name, bundle.number, sending.submission.project.home)
            found = wait_for_first(choice.account, planned, sending.store, prefix, report)
            keep_records(choice.account, found, sending, bundle)
        except BaseException as error:
            with hold_interrupts(partial(report, "still removing what was created, so that nothing is billed")):
                undo(choice.account, name, attempt, error, report)
            if read_attempt(name) is None:  # else something may be left, and is resumed
                delete_unused(choice.account, [(sending.store.bucket, prefix)])
            raise
    known_clusters.forget_attempt(name)
    return replace(found, number=bundle.number)


def take_up(planned: Plan, sending: Sending, prefix: str, begun: Begun) -> SentJob:
    """Return the job of an interrupted `send`; if it has ended, its record stays."""
    name, account, project = planned.name, planned.first.account, sending.submission.project
    found = SentJob(name, begun.number, prefix, remember(account, name), (), ended=not begun.kept)
    note_sent(name, begun.number, project.home)
    keep_records(account, found, sending, Bundle(begun.number, *read_code(sending, project), {}))
    if begun.kept:
        known_clusters.forget_attempt(name)
    return found


def keep_records(account: Account, found: SentJob, sending: Sending, bundle: Bundle) -> None:
    """Create the folder of the results, with the record of uncommitted changes, as `run` does."""
    cluster, submission = found.cluster or record_waiting(account, found.name), sending.submission
    if cluster:
        with suppress(NodeError):  # an interrupted `send` has created it
            job = queued(bundle.number, submission.request, bundle.source)
            start_results(submission.project.runs, cluster, job, bundle.code.records)


def create_resources(planned: Plan, attempt: Attempt, sending: Sending, prefix: str, report: Report) -> Bundle:
    """Create everything that a sent job consists of, its machines last; return what its bucket has."""
    choice, name = planned.first, planned.name
    account = choice.account
    tags = make_tags(planned, choice, attempt, sending)
    write_attempt(name, attempt)
    key_pairs.import_key(account, name, attempt.public_key, tags)
    check_name_free(account, name, attempt.token)
    forget_predecessor(account, name)
    state.write_private(state.key_file(name), attempt.private_key)
    report("writing the job to the bucket")
    secrets = sending.submission.request.secrets
    if secrets or planned.attempt:
        store_secrets(account, prefix, secrets, tags)
    bundle = write_bundle(sending, prefix)
    used = [group.group_id for group in choice.groups]
    if not used:
        used = [groups.create_group(account, name, choice.vpc, tags)]
        lasting = [groups.make_rule(network, groups.LASTING) for network in choice.sources]
        groups.open_group(account, used[0], lasting or [groups.make_rule(planned.address)], 1)
    template = create_template(planned, attempt, used, tags, make_settings(sending, planned, bundle, prefix))
    market = planned.request.markets[0]
    offers = choice.of_market(market)
    types = tuple(dict.fromkeys(offer.instance_type for offer in offers))
    zones = {zone for offer in offers for zone in offer.prices}  # those of --zone, and with one of the types
    pools = Pools(template, types, tuple(one.subnet_id for one in choice.subnets if one.zone in zones), market)
    report(f"launching {' or '.join(types)} in {account.region}")
    group = create_group(account, name, pools, tags)
    if planned.attempt and any(one.capacity for one in find_groups(account, name)):
        return bundle  # its end may have been extended since the interrupted command
    schedule.arm_end(account, group, attempt.lease.until)
    record_fleet(name, attempt, {"AutoScalingGroupName": group, "DesiredCapacity": planned.request.nodes})
    set_capacity(account, group, planned.request.nodes)
    return bundle


def make_tags(planned: Plan, choice: Choice, attempt: Attempt, sending: Sending) -> dict[str, str]:
    """Return the tags of everything that is created."""
    account = choice.account
    tags = fleet.make_tags(
        planned.name, choice.offers, planned.request, attempt.lease, choice.gib_month_usd, account.identity
    )
    own = {LAUNCH_TAG: attempt.token, BUCKET_TAG: sending.store.bucket, SENT_TAG: "yes"}
    own |= make_tag(sending.submission.request.secrets)
    return {**tags, **own, USER_TAG: planned.request.login_user or choice.image.user}


def make_settings(sending: Sending, planned: Plan, bundle: Bundle, prefix: str) -> dict[str, Any]:
    """Return what a machine starts from."""
    account, offers = planned.first.account, planned.first.offers
    bucket = {"name": sending.store.bucket, "region": account.region, "owner": account.identity.account_id}
    machine = {
        "gpu": format_gpu(offers[0].gpu),
        "price_usd": max(offer.most_usd for offer in offers),
        "launched_at": time.time(),
        "owner": planned.owner,
    }
    return {
        "bucket": {**bucket, **({"endpoint": account.endpoint_url} if account.endpoint_url else {})},
        "prefix": prefix,
        "group": resource_name(planned.name),
        "agent": dict(bundle.agent),
        "machine": machine,
    }


def create_template(
    planned: Plan, attempt: Attempt, used: list[str], tags: Mapping[str, str], settings: Mapping[str, Any]
) -> str:
    """Create the launch template of the group's machines; return its id. The group chooses the market."""
    choice, request = planned.first, planned.request
    data = fleet.make_template(choice.image, attempt.lease, request, used, tags, "on-demand")
    user = request.login_user or choice.image.user
    text = make_user_data(attempt.lease, user, Sent(pack_boot(), settings))
    data["UserData"] = base64.b64encode(text.encode()).decode()
    return fleet.create_template(choice.account, planned.name, data, tags, "on-demand")


def remember(account: Account, name: str) -> Cluster | None:
    """Record a sent job's machines, and return them; None if there are none just now."""
    cluster = next(iter(instances.find_clusters(account, name)), None)
    return known_clusters.remember(cluster) if cluster else None


def record_waiting(account: Account, name: str) -> Cluster | None:
    """Return a sent job's cluster that has no machine just now, recorded so that every command finds it."""
    found = find_sent(account, name)
    return known_clusters.recall(name) or (known_clusters.remember(found) if found else None)


def wait_for_first(account: Account, planned: Plan, store: Store, prefix: str, report: Report) -> SentJob:
    """Wait until a machine has said in the bucket that it is there, or AWS why there is none."""
    name = planned.name
    report("waiting for the first machine to say that it is there")

    def look() -> SentJob | None:
        if any(True for _ in store.list(f"{prefix}boots/")):
            return SentJob(name, 0, prefix, remember(account, name), ())
        obstacles = tuple(find_obstacles(read_activities(account, resource_name(name))))
        return SentJob(name, 0, prefix, None, obstacles) if obstacles else None

    return wait_until(look, planned.boot_s) or SentJob(name, 0, prefix, None, ())
