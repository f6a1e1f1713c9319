"""List clusters: ls."""

import time
from functools import partial
from typing import TYPE_CHECKING

import click

from cli.facts.clusters import cluster_facts, describe_cluster
from cli.notices import billing
from cli.notices.asked import Scope, list_clusters, list_waiting, report_unasked
from cli.options.declared import hidden_dry_run_option, json_option, option, region_option
from cli.terminal import clouds, formats, show
from infra.base.money import format_rate, format_usd
from infra.cluster import groups
from infra.ec2.machines.lease import hourly_usd, is_over, spent_usd
from infra.model import GONE, UNKNOWN, WAITING, format_gpu

if TYPE_CHECKING:
    from infra.cluster.groups import Wait
    from infra.model import Cluster


@click.command()
@hidden_dry_run_option
@region_option
@option("--all-regions", is_flag=True, help="Search all regions that are enabled for the account.")
@json_option
def ls(dry_run: bool, region: str | None, all_regions: bool, as_json: bool) -> None:
    """List clusters, their cost and when they end.

    Exits with 1 if AWS could not be reached, unless this computer has only ever used
    the local cloud.
    """
    scope = Scope(dry_run, region, all_regions)
    listed, refusal = list_clusters(scope)
    waiting = [] if refusal else list_waiting(scope)
    found = groups.merge(listed, waiting)
    empty = f"no clusters {scope}. Launch one: gpujob up   Try it without AWS: gpujob up --dry-run"
    droppable = ("owner", "market", "gpu", "up", "where", "price")
    refusals = {groups.place_of(wait.cluster): list(wait.refusals) for wait in waiting}
    facts = [
        {**cluster_facts(cluster, time.time()), "refusals": refusals.get(groups.place_of(cluster), [])}
        for cluster in found
    ]
    show.listing([cluster_row(cluster) for cluster in found], as_json, facts, empty, droppable)
    for wait in () if as_json else waiting:
        show.say(describe_wait(wait))
    if not as_json and any(cluster.is_local for cluster in found):
        show.say("(the local cloud is free; prices are what its machines would cost on AWS)")
    billing.explain_at_most(found)
    if not refusal and any(cluster.node.state == UNKNOWN for cluster in found):
        show.say("(unknown: launched in an AWS account other than that of the current credentials)")
    report_unasked(scope, "gpujob ls", refusal)


def describe_wait(wait: "Wait") -> str:
    """Return what a group waits for, and AWS's own words if it refused a machine."""
    waits = f"{wait.cluster.name} waits for {formats.plural(wait.missing, 'machine')}"
    return f"{waits}; AWS says: {wait.refusals[0]}" if wait.refusals else waits


def cluster_row(cluster: "Cluster") -> dict[str, str]:
    """Return a cluster as a row of a listing."""
    node, now = cluster.node, time.time()
    missing, on = node.state in (GONE, UNKNOWN), node.state in ("pending", "running")
    at_most = partial(formats.at_most, unsure=cluster.is_at_most)
    left = formats.duration(max(cluster.lease_until - now, 0)) if on or node.state == WAITING else ""
    if node.state == GONE and is_over(cluster, now):
        left = f"ended {formats.clock(cluster.lease_until)}"
    if node.state == UNKNOWN and cluster.lease_until > now:
        left = f"at most {formats.duration(cluster.lease_until - now)}"
    return {
        "name": cluster.name,
        "state": describe_cluster(cluster),
        "machine": node.instance_type if len(cluster.nodes) == 1 else f"{len(cluster.nodes)} x {node.instance_type}",
        "gpu": format_gpu(cluster.gpu),
        "market": node.market,
        "where": clouds.place(cluster),
        "up": formats.duration(now - cluster.launched_at) if on else "",
        "price": at_most(format_rate(cluster.price_usd if node.state == UNKNOWN else hourly_usd(cluster))),
        "spent": "" if missing else at_most(format_usd(spent_usd(cluster, now))),
        "owner": cluster.owner.rpartition("/")[2],
        "lease left": left,
    }
