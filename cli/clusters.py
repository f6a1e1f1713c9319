"""Machines that are rented: ls, down."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli import show
from cli.options import (
    cluster_argument,
    confirm,
    hidden_dry_run_option,
    json_option,
    note_unasked,
    option,
    own_name,
    region_option,
    runs_here,
    yes_option,
)
from cli.remains import make_chooser, show_rescued
from infra.errors import NotFoundError, UsageError
from infra.model import GONE, UNKNOWN

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.fetch import Fetched
    from infra.model import Cluster
    from infra.node.listing import AllLeft


@click.command()
@hidden_dry_run_option
@region_option
@option("--all-regions", is_flag=True, help="Ask every region that is switched on for the account.")
@json_option
def ls(dry_run: bool, region: str | None, all_regions: bool, as_json: bool) -> None:
    """List clusters, what they cost, and when they end."""
    from infra import clusters

    found = clusters.list_clusters(dry_run, region, everywhere=all_regions)
    empty = "no clusters; gpujob up rents a machine, gpujob up --dry-run rehearses it"
    least = ("rented by", "market", "gpu", "up", "where", "USD/h")
    facts = [cluster.to_dict() for cluster in found]
    show.listing([cluster_row(cluster) for cluster in found], as_json, facts, empty, least)
    if not as_json and any(cluster.cloud == "local" for cluster in found):
        show.say("(the local cloud bills nothing: its machines would cost that on AWS)")
    if any(cluster.node.state == UNKNOWN for cluster in found):
        show.say("(unknown is what was rented in another account than that of these credentials)")
    note_unasked(dry_run, region, elsewhere=all_regions or any(cluster.cloud == "aws" for cluster in found))


def cluster_row(cluster: "Cluster") -> dict[str, str]:
    """Return a cluster as a row of a listing."""
    from infra.ec2.lease import hourly_usd, is_over, spent_usd

    node, now = cluster.node, time.time()
    missing, on = node.state in (GONE, UNKNOWN), node.state in ("pending", "running")
    left = show.duration(max(cluster.lease_until - now, 0)) if on else ""
    return {
        "name": cluster.name,
        "state": node.state,
        "machine": node.instance_type if len(cluster.nodes) == 1 else f"{len(cluster.nodes)} x {node.instance_type}",
        "gpu": cluster.gpu,
        "market": node.market,
        "where": f"local {cluster.region}" if cluster.cloud == "local" else cluster.region,
        "up": show.duration(now - cluster.launched_at) if on else "",
        "USD/h": f"{hourly_usd(cluster):.3f}",
        "USD so far": "" if missing else f"{spent_usd(cluster, now):.2f}",
        "rented by": cluster.owner.rpartition("/")[2],
        "lease left": f"ended {show.clock(cluster.lease_until)}"
        if node.state == GONE and is_over(cluster, now)
        else left,
    }


@click.command()
@cluster_argument
@option("--all", "everything", is_flag=True, help="Every cluster that you rented.")
@option("--force", is_flag=True, help="Even if a job runs or its outputs are not home.")
@hidden_dry_run_option
@region_option
@yes_option
@click.pass_context
def down(context: click.Context, /, name: str | None, everything: bool, region: str | None, **options: bool) -> None:
    """Fetch what is left, give the machine back.

    Ends once nothing billable remains. NAME is by default the folder's.
    """
    from infra import clusters, names

    typed = context.get_parameter_source("name") == click.core.ParameterSource.COMMANDLINE
    if typed and everything:
        raise UsageError("a name and --all do not go together", f"gpujob down {name}, or: gpujob down --all")
    found = clusters.list_own(options["dry_run"], region) if everything else [own_name(name)]
    ended = [bring_down(each, region, **options) for each in found]
    if any(ended):
        return
    note_unasked(options["dry_run"], region)
    nothing = "you have no clusters" if everything else f"there is no cluster '{found[0]}'"
    others = [] if name or everything else names.list_known()
    if others:
        raise NotFoundError(
            f"{nothing}; there are: {', '.join(others)}", ", or: ".join(f"gpujob down {other}" for other in others)
        )
    show.say(f"nothing to do: {nothing}")


def bring_down(name: str, region: str | None, *, force: bool, dry_run: bool, yes: bool) -> bool:
    """Bring home what one cluster still holds, then remove it; return whether there was anything of it."""
    from infra import clusters

    with show.progress() as report:
        report(f"looking for '{name}'")
        accounts = clusters.locate(name, dry_run, region)
    owners = {cluster.owner for cluster in clusters.find_living(name, accounts)}
    whose = f", rented by {', '.join(sorted(owners))}," if owners else ""
    confirm(f"Terminate '{name}'{whose} on AWS?", yes or all(account.cloud == "local" for account in accounts))
    if not force:
        rescue_outputs(name, accounts, f"gpujob down {name} --force terminates it anyway", yes=yes)
    with show.progress() as report:
        found = clusters.remove(name, accounts, report)
    if found:
        show.say(f"'{name}' is gone; nothing billable remains")
    return found


def rescue_outputs(
    name: str, accounts: "Sequence[Account]", force: str = "", *, yes: bool = False, keeps_home: bool = False
) -> None:
    """Download what one cluster still holds; then say what came, also if not all did: lines would break into the spinner.

    With `keeps_home` what lies in the home of its user is not lost.
    """
    from infra.rescue import Terms, rescue

    homes: list[Fetched | AllLeft] = []
    terms = Terms(force, make_chooser(yes, may_ask=False), keeps_home)
    try:
        with show.progress() as report:
            homes.extend(rescue(name, accounts, runs_here(), report, terms))
    except KeyboardInterrupt as error:
        error.add_note(f"'{name}' lives, with all that is not home yet")
        raise
    finally:
        for home in homes:
            show_rescued(home, name)
