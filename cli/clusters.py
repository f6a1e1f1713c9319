"""Machines: up, ls, ssh, down."""

import time
from typing import TYPE_CHECKING

import click

from cli import show
from cli.options import (
    SplitCommand,
    cluster_argument,
    confirm,
    dry_run_option,
    find_cluster,
    here,
    hidden_dry_run_option,
    json_option,
    option,
    parse_gpu,
    parse_hours,
    region_option,
    yes_option,
)
from infra.errors import UsageError
from infra.model import Gpu

if TYPE_CHECKING:
    from infra.clusters import Plan
    from infra.ec2.account import Account
    from infra.model import Cluster


@click.command()
@cluster_argument
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
@region_option
@option("--max-hours", type=parse_hours, default="12", show_default=True, metavar="HOURS",
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
    from infra import clusters, names
    from infra.project import find_root

    name = names.name_for(find_root(here())) if name is None else name
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
@region_option
@json_option
def ls(dry_run: bool, region: str | None, as_json: bool) -> None:
    """List clusters, what they cost, and when they end."""
    from infra import clusters

    found = clusters.list_clusters(dry_run, region)
    empty = "no clusters; gpujob up rents a machine, gpujob up --dry-run rehearses it"
    show.listing([cluster_row(cluster) for cluster in found], as_json, [cluster.to_dict() for cluster in found], empty)
    note_unasked(dry_run, region)


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
        "rented by": cluster.owner.rpartition("/")[2],
        "lease left": "" if gone else show.duration(max(cluster.lease_until - time.time(), 0)),
    }


@click.command(cls=SplitCommand)
@cluster_argument
@click.pass_context
def ssh(context: click.Context, name: str | None) -> None:
    """Log in to a cluster's machine, or run a command there: gpujob ssh NAME -- nvidia-smi."""
    from infra.ssh.login import log_in

    log_in(find_cluster(name), context.meta["words"] or ())


@click.command()
@cluster_argument
@option("--all", "everything", is_flag=True, help="Every cluster that you rented.")
@option("--force", is_flag=True, help="Even if a job runs or its outputs are not home.")
@hidden_dry_run_option
@region_option
@yes_option
@click.pass_context
def down(context: click.Context, /, name: str | None, everything: bool, region: str | None, **options: bool) -> None:
    """Fetch what is left, end the machine, and see that nothing billable remains."""
    from infra import clusters

    typed = context.get_parameter_source("name") == click.core.ParameterSource.COMMANDLINE
    if typed and everything:
        raise UsageError("a name and --all do not go together", f"gpujob down {name}, or: gpujob down --all")
    found = clusters.list_own(options["dry_run"], region) if everything else [choose(name)]
    for each in found:
        bring_down(each, region, **options)
    if not found:
        show.say("nothing to do: you have no clusters")
        note_unasked(options["dry_run"], region)


def choose(name: str | None) -> str:
    """Return the name given, else that of the folder's cluster or the only one there is."""
    from infra import names
    from infra.errors import NotFoundError
    from infra.project import find_root

    root = find_root(here())
    try:
        return names.find(name, root).name
    except NotFoundError:
        return names.name_for(root) if name is None else name


def bring_down(name: str, region: str | None, *, force: bool, dry_run: bool, yes: bool) -> None:
    """Bring home what one cluster still holds, then remove it."""
    from infra import clusters
    from infra.project import find_root
    from infra.rescue import rescue
    from infra.rules import RUNS

    with show.progress() as report:
        report(f"looking for '{name}'")
        accounts = clusters.locate(name, dry_run, region)
    owners = {cluster.owner for cluster in clusters.find_living(name, accounts)}
    whose = f", rented by {', '.join(sorted(owners))}," if owners else ""
    confirm(f"Terminate '{name}'{whose} on AWS?", yes or all(account.cloud == "local" for account in accounts))
    with show.progress() as report:
        if not force:
            for home in rescue(name, accounts, find_root(here()) / RUNS, report):
                show.homecoming(home)
        found = clusters.remove(name, accounts, report)
    if found:
        show.say(f"'{name}' is gone; nothing billable remains")
    else:
        show.say(f"nothing to do: there is no cluster '{name}'")
        note_unasked(dry_run, region)


def note_unasked(dry_run: bool, region: str | None) -> None:
    """Say so if AWS was not looked at, for want of credentials or of a region."""
    from infra.ec2.account import default_region, has_credentials

    if not dry_run and not has_credentials():
        show.say("(AWS was not asked: no credentials found)")
    elif not dry_run and not (region or default_region()):
        show.say("(AWS was not asked: no region is set; give --region)")
