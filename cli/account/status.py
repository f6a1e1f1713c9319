"""The status page of `gpujob` without a command: what runs, its cost, what ended, what to do next."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cli.facts.clusters import describe_cluster
from cli.options.context import SCRIPTS, is_dry_run
from cli.terminal import clouds, formats, show
from infra import names, state
from infra.base.money import format_rate, format_usd
from infra.cluster.clouds import used_only_local
from infra.cluster.overview import Overview, look
from infra.ec2.account import default_region
from infra.ec2.machines.lease import hourly_usd, spent_usd
from infra.ledger import recent
from infra.ledger.choice import is_of_send
from infra.model import GONE, UNKNOWN, WAITING, Cluster, format_gpu
from infra.project.files import find_here, find_root
from infra.project.rules import RUNS

LIMIT_S = 4
RECENT_S = 7 * 86_400
MOST = 5


def show_status() -> None:
    """Print the status page."""
    here, dry_run = find_here(), is_dry_run()
    folder = find_root(here) if here else None
    overview = look(dry_run, LIMIT_S)
    clusters = [
        one for one in overview.clusters if one.node.state != GONE or one.sent
    ]  # whose results are in the bucket
    ended = recent.list_recent(folder / RUNS, time.time() - RECENT_S, MOST) if folder else []
    if clusters:
        show.listing([cluster_row(cluster) for cluster in clusters], False, droppable=("machine", "where"))
    say_scope(overview, clusters, dry_run)
    for name in state.list_attempts():
        command = "send" if is_of_send(name) else "up"
        show.say(
            f"The launch of '{name}' is not finished. Rerun its gpujob {command}, or: gpujob down {name}", err=False
        )
    if ended:
        show.say("\nEnded in the last 7 days:", err=False)
        show.listing([ended_row(one) for one in ended], False, droppable=("cost",))
    show.say("\nNext:", err=False)
    show.facts(suggest(clusters, overview, ended, folder), err=False)


def cluster_row(cluster: Cluster) -> dict[str, str]:
    """Return a cluster as a row of the page."""
    node, now = cluster.node, time.time()
    at_most = partial(formats.at_most, unsure=cluster.is_at_most)
    unknown, on = node.state == UNKNOWN, node.state in ("pending", "running")
    ends = formats.soon(cluster.lease_until) if on else f"{formats.soon(cluster.lease_until)} at the latest"
    count = f"{len(cluster.nodes)} x " if len(cluster.nodes) > 1 else ""
    return {
        "cluster": cluster.name,
        "state": describe_cluster(cluster),
        "machine": f"{count}{node.instance_type} {format_gpu(cluster.gpu)}".strip(),
        "where": clouds.place(cluster),
        "price": at_most(format_rate(cluster.price_usd if unknown else hourly_usd(cluster))),
        "spent": "" if unknown or node.state == GONE else at_most(format_usd(spent_usd(cluster, now))),
        "ends": ends if on or node.state in (UNKNOWN, WAITING) else "",
    }


def ended_row(one: recent.Ended) -> dict[str, str]:
    """Return a job or a cluster that ended as a row of the page."""
    here = find_here()
    results = show.Linked(one.folder, find_root(here) / one.folder) if one.folder and here else one.folder
    cost = "dry run" if clouds.is_local(one.cloud) else format_usd(one.usd)
    return {"what": one.what, "state": one.state, "ended": formats.clock(one.at), "cost": cost, "results": results}


def say_scope(overview: Overview, clusters: Sequence[Cluster], dry_run: bool) -> None:
    """Print where nothing is running, the total price, and whether AWS was asked."""
    running = [cluster for cluster in clusters if cluster.node.state not in (UNKNOWN, GONE)]
    asked = not dry_run and not overview.unasked
    where = f"on AWS in {default_region() or 'any region known to this computer'}" if asked else "on the local cloud"
    if not running:
        show.say(f"Nothing is running {where}.", err=False)
    billed = [cluster for cluster in running if not cluster.is_local]
    if len(billed) > 1:
        show.say(f"Total on AWS: {format_rate(sum(map(hourly_usd, billed)))}", err=False)
    if any(cluster.is_local for cluster in running):
        show.say("The local cloud is free; prices are what its machines would cost on AWS.", err=False)
    if overview.unasked:
        show.say(f"Could not ask AWS: {overview.unasked}. Cannot tell whether anything is running there.", err=False)
    elif dry_run:
        show.say("AWS was not asked: GPUJOB_DRY_RUN is set.", err=False)
    else:
        show.say("Other regions were not searched: gpujob ls --all-regions", err=False)


def suggest(
    clusters: Sequence[Cluster], overview: Overview, ended: Sequence[recent.Ended], folder: Path | None
) -> dict[str, str]:
    """Return commands to type next, each with what it does."""
    own = names.name_for(folder) if folder else ""
    steps = {}
    for cluster in [cluster for cluster in clusters if cluster.node.state == GONE][:2]:
        flag = "" if cluster.name == own else f" --cluster {cluster.name}"
        steps[f"gpujob jobs{flag}"] = f"show how the job of {cluster.name} ended"
        steps[f"gpujob down {cluster.name}"] = "download its outputs and remove its resources"
    running = [cluster for cluster in clusters if cluster.node.state in ("running", WAITING)]
    for cluster in sorted(running, key=lambda cluster: cluster.name != own)[:2]:
        flag = "" if cluster.name == own else f" --cluster {cluster.name}"
        if cluster.node.state == WAITING:
            steps["gpujob ls"] = f"show why {cluster.name} waits for a machine"
        elif cluster.sent:
            steps[f"gpujob logs{flag}"] = f"show what the job of {cluster.name} has printed"
        elif folder and (script := find_script(folder)):
            steps[f"gpujob run{flag} {script}"] = f"run {script} on {cluster.name}, download what it writes"
        steps[f"gpujob jobs{flag}"] = f"list the jobs of {cluster.name}"
        steps[f"gpujob down {cluster.name}"] = "download remaining outputs and terminate it"
    stopped = next((cluster.name for cluster in clusters if cluster.node.state == "stopped"), "")
    if stopped:
        steps[f"gpujob start {stopped}"] = f"start {stopped} again"
    if not running:
        steps["gpujob up --dry-run"] = "try it on the local cloud, without an AWS account"
        if not overview.unasked:
            steps["gpujob up"] = "launch a machine on AWS, after showing its price"
    if overview.unasked and not used_only_local():
        steps["aws sso login"] = "log in to AWS (or: aws configure), then: gpujob ls --all-regions"
    if ended:
        steps["gpujob cost"] = "show costs by day and cluster"
    elif not clusters and not (folder and find_script(folder)):
        steps["gpujob init demo"] = "create a starter project in demo/"
    steps["gpujob --help"] = "list all commands"
    return steps


def find_script(folder: Path) -> str:
    """Return a script of the project to suggest; "" if there is none."""
    return next((name for name in SCRIPTS if (folder / name).is_file()), "")
