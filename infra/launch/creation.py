"""Launch a cluster completely, or leave nothing behind."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from infra import state
from infra.base.interrupts import hold_interrupts
from infra.base.parallel import call_parallel, map_parallel, start
from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.capacity import search
from infra.ec2.capacity.requests import find_pools, make_request
from infra.ec2.capacity.reservations import check_free, find_reservation, market_of, name_reservation
from infra.ec2.machines import fleet, instances, key_pairs
from infra.ec2.machines.removal import remove_cluster
from infra.ec2.network import groups
from infra.ec2.storage.buckets import name_bucket
from infra.ec2.storage.roles import ready_uploads
from infra.ec2.tags import BUCKET_TAG, LAUNCH_TAG, PRICE_TAG, RANK_TAG, USER_TAG, read_tags
from infra.errors import (
    CapacityError,
    CloudError,
    GpujobError,
    NodeError,
    ParameterError,
    PermissionsError,
    QuotaError,
    SubscriptionError,
)
from infra.launch.plans import Choice, Plan
from infra.launch.readiness import SLOW, Limits, add_console, prepare
from infra.ledger import costs, known_clusters
from infra.ledger.attempts import Attempt, begin, hold_name, read_attempt, write_attempt
from infra.ledger.attempts import check_free as check_name_free
from infra.ledger.endings import clear, clock, find_ended
from infra.model import Cluster

Report = Callable[[str], None]
# EC2 says no more of a key that it may not use: https://github.com/aws/karpenter-provider-aws/issues/1407
UNUSABLE_KEY = re.compile(r"Client\.(InternalError|InvalidKMSKey)")
KEY_HINT = (
    "if its disk has a KMS key of yours (--kms-key, or the default for EBS), check that you may use it: gpujob policy"
)
PLAIN_REFUSALS = (CapacityError, ParameterError, PermissionsError, QuotaError)


def create(planned: Plan, report: Report) -> Cluster:
    """Launch a plan in the first region with capacity, and return the cluster once it is ready for jobs.

    On any failure, including Ctrl-C, everything is removed again. After a crash, the same plan resumes the launch.
    """
    with hold_name(planned.name):
        clear_ended(planned, report)
        for choice in planned.choices:
            resumed = planned.attempt and planned.attempt.region == choice.account.region
            attempt = planned.attempt if resumed else begin(choice.account, planned.request, planned.lease)
            assert attempt is not None  # noqa: S101  for the type checker
            try:
                return create_in(choice, planned, attempt, report)
            except CapacityError as error:
                if choice is planned.choices[-1]:
                    raise
                report(f"{error.what}; trying the next region")
    raise AssertionError("a plan without choices")


def clear_ended(planned: Plan, report: Report) -> None:
    """Remove the orphaned resources of ended clusters of this name, after checking again."""
    token = planned.attempt.token if planned.attempt else ""
    for ended in planned.ended:
        again = find_ended(ended.account, planned.name, token)
        if again:
            clear(again, report)


def create_in(choice: Choice, planned: Plan, attempt: Attempt, report: Report) -> Cluster:
    """Launch in one region; all or nothing."""
    account, name = choice.account, planned.name
    if planned.attempt != attempt:  # before anything is created
        ready(choice, planned)
    try:
        launched = create_resources(choice, planned, attempt, report)
        cluster = add_prices(planned, wait_for_addresses(account, planned, launched, report))
        known_clusters.remember(cluster)
        tagged = start(lambda: tag_nodes(account, cluster))
        prepare(account, cluster, attempt.lease, Limits(planned.boot_s, planned.setup), report)
        tagged.result()
    except BaseException as error:
        with hold_interrupts(partial(report, "still removing what was created, so that nothing is billed")):
            if isinstance(error, NodeError):
                add_console(account, name, error)
            undo(account, name, attempt, error, report)
        raise
    known_clusters.forget_attempt(name)
    return cluster


def ready(choice: Choice, planned: Plan) -> None:
    """Ready the reservation and the bucket of a launch; raises GpujobError for unusable ones."""
    account, request = choice.account, planned.request
    if choice.reservation:
        check_free(find_reservation(account, choice.reservation.reservation_id), request.nodes)
    if request.bucket:
        ready_uploads(account, request.instance_profile, request.bucket)


def forget_predecessor(account: Account, name: str) -> None:
    """Delete the previous records of a name that now belongs to this launch."""
    known = known_clusters.recall(name)
    if known and not instances.find_clusters(account, name):
        costs.record_missed(known, account)
    known_clusters.forget_cluster(name)


def undo(account: Account, name: str, attempt: Attempt, error: BaseException, report: Report) -> None:
    """Remove what a failed `create` left, including resources that become visible only later.

    The key pair is created first and removed last: unless it or a machine has our token, nothing of this name is ours.
    """
    token = attempt.token
    # New resources become visible with a delay; after a plain refusal there are none to wait for.
    patience_s = 0 if isinstance(error, PLAIN_REFUSALS) else 5
    try:
        taken = wait_until(lambda: is_ours(account, name, token), patience_s)
        if taken:
            report("removing what this launch created")
            costs.record_end(account, wait_until(lambda: instances.find_clusters(account, name), patience_s) or ())
            remove_cluster(account, name, report, {token})
    except GpujobError as failure:
        error.add_note(
            f"cleaning up failed: {failure.what}; what was launched continues until its lease ends"
            f"{clock(attempt.lease.until)}; then rerun to resume, or remove it: gpujob down {name}"
        )
        return
    if isinstance(error, KeyboardInterrupt):
        error.add_note("everything it launched was removed" if taken else "nothing was launched")
    # If the name belongs to another launch, so does its record: it has the key of a cluster that may exist.
    begun = read_attempt(name)
    if begun and begun.token == token:
        (known_clusters.forget if taken else known_clusters.forget_attempt)(name)


def is_ours(account: Account, name: str, token: str) -> bool:
    """Return whether the resources of this name were created by the launch with this token."""
    tags = [read_tags(instance) for instance in instances.find_instances(account, name)]
    return key_pairs.find_key_token(account, name) == token or any(t.get(LAUNCH_TAG) == token for t in tags)


def create_resources(choice: Choice, planned: Plan, attempt: Attempt, report: Report) -> list[str]:
    """Create key pair, security group, launch template and instances, each tagged on creation.

    Return the ids of the instances.
    """
    account, name, token = choice.account, planned.name, attempt.token
    report(f"launching {' or '.join(dict.fromkeys(o.instance_type for o in choice.offers))} in {account.region}")
    tags = fleet.make_tags(name, choice.offers, planned.request, attempt.lease, choice.gib_month_usd, account.identity)
    tags |= {LAUNCH_TAG: token, USER_TAG: planned.request.login_user or choice.image.user}
    if planned.request.bucket:
        tags[BUCKET_TAG] = name_bucket(account, planned.request.bucket)
    write_attempt(name, attempt)
    call_parallel(
        lambda: key_pairs.import_key(account, name, attempt.public_key, tags),
        lambda: check_name_free(account, name, token),  # while the question was asked, another may have taken the name
    )
    forget_predecessor(account, name)
    state.write_private(state.key_file(name), attempt.private_key)
    opened = start(lambda: None)
    used = [group.group_id for group in choice.groups]
    if not used:
        used = [groups.create_group(account, name, choice.vpc, tags)]
        lasting = [groups.make_rule(network, groups.LASTING) for network in choice.sources]
        rules = lasting or [groups.make_rule(planned.address)]
        opened = start(lambda: groups.open_group(account, used[0], rules, planned.request.nodes))
    launched = find_begun(account, planned, attempt) or launch(choice, planned, attempt, used, tags, report)
    opened.result()
    return launched


def find_begun(account: Account, planned: Plan, attempt: Attempt) -> list[str]:
    """Return the instances that a resumed launch had created before it was interrupted, if all exist."""
    if planned.attempt != attempt:
        return []
    running = [
        one["InstanceId"]
        for one in instances.find_instances(account, planned.name)
        if instances.is_launch(one, attempt.token)
    ]
    if len(running) >= planned.request.nodes:
        return running
    # EC2 may not show them yet.
    return search.repeat(account, attempt.fleet) if attempt.fleet else []


def launch(
    choice: Choice, planned: Plan, attempt: Attempt, used: list[str], tags: dict[str, str], report: Report
) -> list[str]:
    """Launch the nodes in the first market with capacity; return the ids of the instances."""
    account, name, request = choice.account, planned.name, planned.request
    markets = [market for market in request.markets if choice.of_market(market)]
    for market in markets:
        data = fleet.make_template(choice.image, attempt.lease, request, used, tags, market)
        data = name_reservation(data, choice.reservation) if choice.reservation else data
        template = fleet.create_template(account, name, data, tags, market)
        wanted = make_request(template, market_of(choice.reservation, market), request.nodes, tags)
        pools = find_pools(choice.of_market(market), choice.subnets)
        try:
            return search.find(account, wanted, pools, partial(record_fleet, name, attempt), report)
        except (CapacityError, QuotaError, SubscriptionError) as error:
            if market == markets[-1]:
                raise
            report(f"{error.what}; trying {markets[-1]}")
    raise AssertionError("a choice without offers")


def record_fleet(name: str, attempt: Attempt, request: dict[str, Any]) -> None:
    """Record a request for machines before it is sent, so that a resumed launch can repeat it."""
    write_attempt(name, replace(attempt, fleet=request))


def wait_for_addresses(account: Account, planned: Plan, launched: list[str], report: Report) -> Cluster:
    """Return the cluster once its nodes run and have addresses; raises CloudError if that fails."""
    name = planned.name
    report(
        "waiting for the machine to start" if len(launched) == 1 else f"waiting for {len(launched)} machines to start"
    )
    hint = "rerun, or try another --gpu or --region"

    def look() -> Cluster | None:
        found = instances.find_launched(account, name, launched)
        ended = instances.find_end(found)
        if ended:
            raise CloudError(
                f"a machine ended while starting: {ended}", KEY_HINT if UNUSABLE_KEY.search(ended) else hint
            )
        clusters = instances.group_clusters(account, found)
        ready = [node for cluster in clusters for node in cluster.nodes if node.state == "running" and node.host]
        return replace(clusters[0], nodes=tuple(ready)) if len(ready) == len(launched) else None

    cluster = wait_until(look, planned.boot_s)
    if cluster is None:
        raise CloudError(f"the machine did not start within {planned.boot_s:g} s", SLOW)
    return cluster


def add_prices(planned: Plan, cluster: Cluster) -> Cluster:
    """Return a cluster with the price of each node, now known."""
    prices = {
        # A spot machine has no price of its own: it changes, up to the on-demand price.
        (offer.instance_type, offer.market, zone): offer.most_usd if offer.market == "spot" else price
        for choice in planned.choices
        for offer in choice.offers
        for zone, price in offer.prices.items()
    }
    nodes = tuple(
        replace(node, price_usd=prices.get((node.instance_type, node.market, node.zone), node.price_usd))
        for node in cluster.nodes
    )

    return replace(cluster, nodes=nodes, price_usd=sum(node.price_usd for node in nodes))


def tag_nodes(account: Account, cluster: Cluster) -> None:
    """Tag each node with its rank and its price."""

    def put(rank: int) -> None:
        node = cluster.nodes[rank]
        instances.tag(account, [node.instance_id], {RANK_TAG: str(rank), PRICE_TAG: f"{node.price_usd:.6f}"})

    map_parallel(put, range(len(cluster.nodes)))
