"""Renting: a cluster comes up whole, or nothing of it stays."""

from collections.abc import Callable
from dataclasses import replace

from infra import state
from infra.base.interrupts import hold_interrupts
from infra.base.parallel import map_parallel, start
from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.machines import fleet, instances, network
from infra.ec2.machines.removal import remove_cluster
from infra.ec2.tags import LAUNCH_TAG, PRICE_TAG, RANK_TAG, read_tags
from infra.errors import (
    CapacityError,
    CloudError,
    GpujobError,
    NodeError,
    ParameterError,
    PermissionsError,
    QuotaError,
)
from infra.launch.plans import Choice, Plan
from infra.launch.readiness import SLOW, add_console, prepare
from infra.ledger import costs, known_clusters
from infra.ledger.attempts import Attempt, begin, check_free, hold_name, read_attempt, write_attempt
from infra.ledger.endings import clear, find_ended
from infra.model import Cluster, Market

Report = Callable[[str], None]
PLAIN_REFUSALS = (CapacityError, ParameterError, PermissionsError, QuotaError)


def create(planned: Plan, report: Report) -> Cluster:
    """Rent what was planned, in the first region that has it, and return it once a job could run there.

    On any failure, Ctrl-C too, all of it is gone again. After a crash the same plan goes on with what the crash left.
    """
    with hold_name(planned.name):
        clear_ended(planned, report)
        for choice in planned.choices:
            attempt = planned.attempt or begin(choice.account, planned.request, planned.lease)
            try:
                return create_in(choice, planned, attempt, report)
            except CapacityError as error:
                if choice is planned.choices[-1]:
                    raise
                report(f"{error.what}; trying the next region")
    raise AssertionError("a plan without choices")


def clear_ended(planned: Plan, report: Report) -> None:
    """Remove what clusters of this name left that ended by themselves, if it still is so."""
    token = planned.attempt.token if planned.attempt else ""
    for ended in planned.ended:
        again = find_ended(ended.account, planned.name, token)
        if again:
            clear(again, report)


def create_in(choice: Choice, planned: Plan, attempt: Attempt, report: Report) -> Cluster:
    """Rent in one region; all or nothing."""
    account, name = choice.account, planned.name
    try:
        launched = rent(choice, planned, attempt, report)
        cluster = wait_for_addresses(account, planned, launched, report)
        known_clusters.remember(cluster)
        prepare(account, cluster, planned.boot_s, planned.setup, report)
    except BaseException as error:
        with hold_interrupts():
            if isinstance(error, NodeError):
                add_console(account, name, error)
            undo(account, name, attempt.token, error, report)
        raise
    known_clusters.forget_attempt(name)
    return cluster


def forget_predecessor(account: Account, name: str) -> None:
    """Forget what is remembered under a name that is ours now: it is of a cluster that is no more, or of what a crash left."""
    known = known_clusters.recall(name)
    if known and not instances.find_clusters(account, name):
        costs.record_missed(known)
    known_clusters.forget_cluster(name)


def undo(account: Account, name: str, token: str, error: BaseException, report: Report) -> None:
    """Remove what a failed `create` left, also what shows up only after the call for it was broken off.

    The key pair is made first and removed last: unless it, or a machine, bears our token, nothing of this name is ours.
    """
    # AWS shows what it has just made a little late; after a plain refusal there is nothing to wait for.
    patience_s = 0 if isinstance(error, PLAIN_REFUSALS) else 5
    try:
        taken = wait_until(lambda: is_ours(account, name, token), patience_s)
        if taken:
            report("giving back what this call created")
            wait_until(lambda: instances.find_clusters(account, name), patience_s)
            remove_cluster(account, name, report, {token})
    except GpujobError as failure:
        error.add_note(f"and giving it back failed: {failure.what}; it ends with its lease; type: gpujob down {name}")
        return
    if isinstance(error, KeyboardInterrupt):
        error.add_note("all that it had rented is given back" if taken else "nothing was rented")
    # Where the name was somebody else's, so is what is remembered of it here: the key of a cluster that may live.
    begun = read_attempt(name)
    if begun and begun.token == token:
        (known_clusters.forget if taken else known_clusters.forget_attempt)(name)


def is_ours(account: Account, name: str, token: str) -> bool:
    """Tell whether what bears this cluster's name was made by the call with this token."""
    tags = [read_tags(instance) for instance in instances.find_instances(account, name)]
    return network.find_key_token(account, name) == token or any(t.get(LAUNCH_TAG) == token for t in tags)


def rent(choice: Choice, planned: Plan, attempt: Attempt, report: Report) -> list[str]:
    """Create key pair, security group, launch template and instances, each tagged by the call that creates it.

    Return the ids of the instances.
    """
    account, name, token = choice.account, planned.name, attempt.token
    report(f"renting {' or '.join(dict.fromkeys(o.instance_type for o in choice.offers))} in {account.region}")
    check_free(account, name, token)
    tags = fleet.make_tags(name, choice.offers, planned.request, attempt.lease, choice.gib_month_usd, account.identity)
    tags |= {LAUNCH_TAG: token}
    write_attempt(name, attempt)
    network.import_key(account, name, attempt.public_key, tags)
    forget_predecessor(account, name)
    state.write_private(state.key_file(name), attempt.private_key)
    group = network.create_group(account, name, choice.vpc, tags)
    opened = start(lambda: network.open_group(account, group, planned.address, planned.request.nodes))
    launched = launch(choice, planned, attempt, group, tags, report)
    opened()
    return launched


def launch(
    choice: Choice, planned: Plan, attempt: Attempt, group: str, tags: dict[str, str], report: Report
) -> list[str]:
    """Rent the nodes on the first market that has them; return the ids of the instances."""
    markets = [market for market in planned.request.markets if choice.of_market(market)]
    for market in markets:
        try:
            return launch_on(choice, planned, attempt, market, group, tags)
        except CapacityError as error:
            if market == markets[-1]:
                raise
            report(f"{error.what}; trying {markets[-1]}")
    raise AssertionError("a choice without offers")


def launch_on(
    choice: Choice, planned: Plan, attempt: Attempt, market: Market, group: str, tags: dict[str, str]
) -> list[str]:
    """Rent the nodes on one market; return the ids of the instances."""
    account, name, request = choice.account, planned.name, planned.request
    places = fleet.find_places(choice.of_market(market), choice.subnets)
    data = fleet.make_template(choice.image, attempt.lease, request.disk_gib, group, tags, market)
    template = fleet.create_template(account, name, data, tags, market)
    fleet_request = fleet.make_request(template, places, market, request.nodes, tags)
    return fleet.launch(account, name, fleet_request, request.nodes, attempt.token)


def wait_for_addresses(account: Account, planned: Plan, launched: list[str], report: Report) -> Cluster:
    """Return the cluster once its nodes run and have addresses; raises CloudError if one ends first or it takes too long."""
    name = planned.name
    report(
        "waiting for the machine to start" if len(launched) == 1 else f"waiting for {len(launched)} machines to start"
    )
    hint = "gpujob up again, or another --gpu or --region"

    def look() -> Cluster | None:
        found = instances.find_launched(account, name, launched)
        ended = instances.find_end(found)
        if ended:
            raise CloudError(f"a machine ended while it started: {ended}", hint)
        clusters = instances.group_clusters(account, found)
        ready = [node for cluster in clusters for node in cluster.nodes if node.state == "running" and node.host]
        return replace(clusters[0], nodes=tuple(ready)) if len(ready) == len(launched) else None

    cluster = wait_until(look, planned.boot_s)
    if cluster is None:
        raise CloudError(f"the machine did not start within {planned.boot_s:g} s", SLOW)
    return tag_nodes(account, planned, cluster)


def tag_nodes(account: Account, planned: Plan, cluster: Cluster) -> Cluster:
    """Tag each node with its rank and what it costs, now that its type, zone and market are known; return the cluster so."""
    prices = {
        (offer.instance_type, offer.market, zone): price
        for choice in planned.choices
        for offer in choice.offers
        for zone, price in offer.prices.items()
    }
    nodes = tuple(
        replace(node, price_usd=prices.get((node.instance_type, node.market, node.zone), node.price_usd))
        for node in cluster.nodes
    )

    def put(rank: int) -> None:
        tags = {RANK_TAG: str(rank), PRICE_TAG: f"{nodes[rank].price_usd:.6f}"}
        instances.tag(account, [nodes[rank].instance_id], tags)

    map_parallel(put, range(len(nodes)))
    return replace(cluster, nodes=nodes, price_usd=sum(node.price_usd for node in nodes))
