"""Machines: up, ls, ssh, down."""

import time
from typing import TYPE_CHECKING

import click

from cli import show
from cli.options import (
    SplitCommand,
    confirm,
    dry_run_option,
    here,
    hidden_dry_run_option,
    json_option,
    option,
    parse_gpu,
    yes_option,
)
from infra.errors import UsageError
from infra.model import Gpu

if TYPE_CHECKING:
    from infra.clusters import Plan
    from infra.ec2.account import Account
    from infra.model import Cluster


@click.command()
@click.argument("name", required=False)
@dry_run_option
@option(
    "--gpu",
    type=parse_gpu,
    default="T4",
    show_default=True,
    metavar="NAME[:COUNT]",
    help="GPU by AWS's name, and how many.",
)
@option("--instance-type", metavar="TYPE", help="Rent exactly this type of machine instead.")
@option("--region", metavar="REGION", help="AWS region; else as boto3 finds it.")
@option("--max-hours", type=click.FloatRange(0, 24 * 30, min_open=True), default=12.0, show_default=True,
        help="The lease: the machine powers itself off and is terminated after this long.")  # fmt: skip
@yes_option
def up(
    name: str | None,
    dry_run: bool,
    gpu: Gpu,
    instance_type: str | None,
    region: str | None,
    max_hours: float,
    yes: bool,
) -> None:
    """Rent a machine and wait until a job can run on it.

    NAME is by default the folder's. The machine ends itself when its lease does, whatever happens to this laptop.
    """
    from infra import clusters
    from infra.project import find_root

    name = name or clusters.name_for(find_root(here()))
    with show.progress() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        account = open_account(dry_run, region)
        plan = clusters.plan(account, name, gpu, instance_type, max_hours)
    show_plan(account, plan)
    confirm(f"Rent it for at most {show.usd(plan.lease.most_usd)}?", yes or dry_run)
    started = time.monotonic()
    with show.progress() as report:
        cluster = clusters.create(account, plan, report)
    show.say(f"'{cluster.name}' is up after {show.duration(time.monotonic() - started)}; next: gpujob run train.py")


def open_account(dry_run: bool, region: str | None) -> "Account":
    """Return the account to rent from."""
    from infra import clouds
    from infra.ec2.account import open_aws

    return clouds.start_local(region) if dry_run else open_aws(region)


def show_plan(account: "Account", plan: "Plan") -> None:
    """Show what is about to be rented, before anything is spent."""
    offer = plan.offer
    gpu = f"{offer.gpu.count} x {offer.gpu.name} ({offer.gpu_memory_gib:.0f} GiB), " if offer.gpu else ""
    quota = (
        "" if plan.quota_vcpus is None else f"{offer.vcpus} of the {plan.quota_vcpus} vCPUs that the account may run"
    )
    if account.cloud == "local":
        show.say("a rehearsal on the local cloud: nothing is billed, the prices are examples")
    show.facts(
        {
            "cluster": plan.name,
            "machine": f"{offer.instance_type}: {gpu}{offer.vcpus} vCPUs, {offer.memory_gib:.0f} GiB",
            "price": f"{offer.price_usd:.3f} USD an hour, {offer.market}, {account.region}",
            "lease": f"until {show.clock(plan.lease.until)}; then it powers itself off",
            "at most": f"{show.usd(plan.lease.most_usd)}, disk and address included",
            "quota": quota or "none known for this family",
            "image": plan.image.name,
        }
    )


@click.command()
@hidden_dry_run_option
@json_option
def ls(dry_run: bool, as_json: bool) -> None:
    """List clusters, what they cost, and when they end."""
    from infra import clusters

    found = clusters.list_clusters(dry_run)
    empty = "no clusters; gpujob up rents a machine, gpujob up --dry-run rehearses it"
    show.listing([cluster_row(cluster) for cluster in found], as_json, [cluster.to_dict() for cluster in found], empty)
    note_unasked(dry_run)


def cluster_row(cluster: "Cluster") -> dict[str, str]:
    """Return a cluster as a row of a listing."""
    gone = cluster.node.state == "gone"
    lasted = time.time() - cluster.launched_at
    return {
        "name": cluster.name,
        "state": cluster.node.state,
        "machine": cluster.node.instance_type,
        "gpu": cluster.gpu,
        "where": "local cloud" if cluster.cloud == "local" else cluster.region,
        "up": "" if gone else show.duration(lasted),
        "USD/h": f"{cluster.price_usd:.3f}",
        "USD so far": "" if gone else f"{lasted / 3600 * cluster.price_usd:.2f}",
        "lease left": "" if gone else show.duration(max(cluster.lease_until - time.time(), 0)),
    }


@click.command(cls=SplitCommand)
@click.argument("name", required=False)
@click.pass_context
def ssh(context: click.Context, name: str | None) -> None:
    """Log in to a cluster's machine, or run a command there: gpujob ssh NAME -- nvidia-smi."""
    from infra import clusters
    from infra.project import find_root
    from infra.ssh.login import log_in

    log_in(clusters.find(name, find_root(here())), context.meta["words"] or ())


@click.command()
@click.argument("name", required=False)
@option("--all", "everything", is_flag=True, help="Every cluster there is.")
@option("--force", is_flag=True, help="Even if a job runs or its outputs are not home.")
@hidden_dry_run_option
@yes_option
def down(name: str | None, everything: bool, force: bool, dry_run: bool, yes: bool) -> None:
    """Fetch what is left, end the machine, and see that nothing billable remains."""
    from infra import clusters

    if name and everything:
        raise UsageError("a name and --all do not go together", f"gpujob down {name}, or: gpujob down --all")
    names = [c.name for c in clusters.list_clusters(dry_run)] if everything else [choose(name)]
    for each in names:
        bring_down(each, force=force, dry_run=dry_run, yes=yes)
    if not names:
        show.say("nothing to do: there are no clusters")


def choose(name: str | None) -> str:
    """Return the name given, else that of the folder's cluster or the only one there is."""
    from infra import clusters
    from infra.errors import NotFoundError
    from infra.project import find_root

    root = find_root(here())
    try:
        return clusters.find(name, root).name
    except NotFoundError:
        return name or clusters.name_for(root)


def bring_down(name: str, *, force: bool, dry_run: bool, yes: bool) -> None:
    """Bring home what one cluster still holds, then remove it."""
    from infra import clusters, state
    from infra.project import RUNS, find_root
    from infra.rescue import rescue

    with show.progress() as report:
        report(f"looking for '{name}'")
        accounts = clusters.locate(name, dry_run)
    confirm(f"Terminate '{name}' on AWS?", yes or all(account.cloud == "local" for account in accounts))
    with show.progress() as report:
        known = state.recall(name)
        if known and not force:
            for home in rescue(known, find_root(here()) / RUNS, report):
                show.homecoming(home)
        found = clusters.remove(name, accounts, report)
    if found:
        show.say(f"'{name}' is gone; nothing billable remains")
    else:
        show.say(f"nothing to do: there is no cluster '{name}'")
        note_unasked(dry_run)


def note_unasked(dry_run: bool) -> None:
    """Say so if AWS was not looked at for want of credentials."""
    from infra.ec2.account import has_credentials

    if not dry_run and not has_credentials():
        show.say("(AWS was not asked: no credentials found)")
