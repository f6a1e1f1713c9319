"""Clusters there are: ls, down."""

import difflib
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.notices import billing
from cli.notices.asked import Scope, report_unasked, say_unasked, widen
from cli.notices.remains import make_chooser, show_rescued
from cli.options.context import name_to_end, runs_here
from cli.options.declared import (
    hidden_dry_run_option,
    if_exists_option,
    json_option,
    option,
    personal_region_option,
    region_option,
    typed_cluster_argument,
    typed_option,
    yes_option,
)
from cli.terminal import show
from cli.terminal.questions import confirm
from infra.errors import GpujobError, NotFoundError, UsageError
from infra.model import GONE, UNKNOWN

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.fetch.outputs import Fetched
    from infra.model import Cluster
    from infra.node.listing import AllLeft


@click.command()
@hidden_dry_run_option
@region_option
@option("--all-regions", is_flag=True, help="Ask every region that is switched on for the account.")
@json_option
def ls(dry_run: bool, region: str | None, all_regions: bool, as_json: bool) -> None:
    """List clusters, what they cost, and when they end.

    Exits with 1 if AWS could not be asked, unless only the local cloud was ever used on this computer.
    """
    from infra.cluster import clusters

    scope = Scope(dry_run, region, all_regions)
    found = clusters.list_clusters(dry_run, region, everywhere=all_regions, skip=say_unasked if all_regions else None)
    empty = f"no clusters {scope}; gpujob up launches one, gpujob up --dry-run tries it without AWS"
    droppable = ("owner", "market", "gpu", "up", "where", "USD/h")
    facts = [cluster.to_dict() for cluster in found]
    show.listing([cluster_row(cluster) for cluster in found], as_json, facts, empty, droppable)
    if not as_json and any(cluster.cloud == "local" for cluster in found):
        show.say("(the local cloud bills nothing: its machines would cost that on AWS)")
    if any(cluster.node.state == UNKNOWN for cluster in found):
        show.say("(unknown: launched in another AWS account than the one of these credentials)")
    report_unasked(scope, "gpujob ls")


def cluster_row(cluster: "Cluster") -> dict[str, str]:
    """Return a cluster as a row of a listing."""
    from infra.ec2.machines.lease import hourly_usd, is_over, spent_usd

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
        "owner": cluster.owner.rpartition("/")[2],
        "lease left": f"ended {show.clock(cluster.lease_until)}"
        if node.state == GONE and is_over(cluster, now)
        else left,
    }


@click.command()
@typed_cluster_argument
@typed_option("--all", "everything", is_flag=True, help="Every cluster that you launched.")
@typed_option(
    "--force", is_flag=True, help="Even if a job is running or its outputs are not downloaded: they are lost."
)
@if_exists_option
@hidden_dry_run_option
@personal_region_option
@yes_option
def down(name: str | None, everything: bool, if_exists: bool, region: str | None, **options: bool) -> None:
    """Download what is left, terminate the cluster.

    Ends once nothing of it is billed any more. NAME is by default the folder's.
    """
    if name and everything:
        raise UsageError(
            "a name and --all do not go together", f"gpujob down {shlex.quote(name)}, or: gpujob down --all"
        )
    scope = Scope(options["dry_run"], region)
    if everything:
        bring_all_down(scope, **options)
        return
    doomed = name_to_end(name, "gpujob down {name}")
    if not bring_down(doomed, region, **options):
        report_missing(doomed, scope, if_exists, named=name is not None)


def bring_all_down(scope: Scope, **options: bool) -> None:
    """Terminate every cluster of the caller that can be; raises GpujobError if one could not, once all were tried."""
    from infra.cluster import clusters

    refused: list[str] = []

    def skip(account: "Account", error: GpujobError) -> None:
        say_unasked(account, error)
        refused.append(f"whatever is in {account.region}")

    names = clusters.list_own(scope.dry_run, scope.region, skip)
    for name in names:
        try:
            bring_down(name, scope.region, **options)
        except GpujobError as error:
            refused.append(name)
            show.say(f"{name} was not terminated: {error.what}" + f"\n  next: {error.hint}" * bool(error.hint))
    if refused:
        raise GpujobError(f"not terminated: {', '.join(refused)}", "see the reason above for each; gpujob ls")
    if not names:
        show.say(f"nothing to do: you have no clusters {scope}")
    report_unasked(scope, "gpujob down --all")


def report_missing(name: str, scope: Scope, if_exists: bool, named: bool) -> None:
    """Say that there is nothing of this name if that is fine; raises NotFoundError, with what may have been meant, if not."""
    from infra.cluster import clusters
    from infra.ledger import choice

    report_unasked(scope, f"gpujob down {name}")
    what = f"no cluster '{name}' {scope}" + describe_end(name)
    if if_exists:
        show.say(f"nothing to do: {what}")
        return
    others = dict.fromkeys(choice.list_known(), "launch not finished")
    others |= {one.name: billing.standing(one) for one in clusters.list_clusters(scope.dry_run, scope.region)}
    near = difflib.get_close_matches(name, others, 3) if named else list(others)
    if not near:
        raise NotFoundError(what, widen("gpujob ls", scope))
    offered = ", ".join(f"{one} ({others[one]})" for one in near)
    question = f"Did you mean {offered}?" if named else f"There are: {offered}"
    raise NotFoundError(f"{what}. {question}", ", or: ".join(f"gpujob down {one}" for one in near))


def describe_end(name: str) -> str:
    """Return when the last cluster of this name ended that this computer knows of; "" if there was none."""
    from infra.ledger.costs import read_ended

    ends = [note["ended_at"] for note in read_ended().values() if note["cluster"] == name]
    return f"; the last one ended at {show.clock(max(ends))}" if ends else ""


def bring_down(name: str, region: str | None, *, force: bool, dry_run: bool, yes: bool) -> bool:
    """Download what one cluster still holds, then remove it; return whether there was anything of it."""
    from infra.cluster import clusters

    accounts = find_accounts(name, region, dry_run)
    owners = {cluster.owner for cluster in clusters.find_living(name, accounts)}
    whose = f", launched by {', '.join(sorted(owners))}," if owners else ""
    confirm(f"Terminate '{name}'{whose} on AWS?", yes or all(account.cloud == "local" for account in accounts))
    if not force:
        drain_outputs(name, accounts, f"terminate it anyway: gpujob down {name} --force", yes=yes)
    return terminate(name, accounts)


def find_accounts(name: str, region: str | None = None, dry_run: bool = False) -> "list[Account]":
    """Return where a cluster of this name may be."""
    from infra.cluster import clusters

    with show.progress() as report:
        report(f"looking for '{name}'")
        return clusters.locate(name, dry_run, region)


def terminate(name: str, accounts: "Sequence[Account]") -> bool:
    """Remove one cluster, whatever it holds; return whether there was anything of it."""
    from infra.cluster import clusters

    with show.progress() as report:
        found = clusters.remove(name, accounts, report)
    if found:
        show.say(f"terminated {name}; nothing of it is billed any more")
    return found


def drain_outputs(
    name: str,
    accounts: "Sequence[Account]",
    force: str = "",
    *,
    yes: bool = False,
    keeps_home: bool = False,
    told: int = 0,
) -> None:
    """Download what one cluster still holds; then say what came, also if not all did: lines would break into the spinner.

    With `keeps_home` what lies in the home of its user is not lost. What job number `told` left elsewhere was said before.
    """
    from infra.fetch.drain import Terms, rescue

    homes: list[Fetched | AllLeft] = []
    terms = Terms(force, make_chooser(yes, may_ask=False), keeps_home)
    try:
        with show.progress() as report:
            homes.extend(rescue(name, accounts, runs_here(), report, terms))
    except KeyboardInterrupt as error:
        error.add_note(f"{name} is still running; outputs are still on it")
        raise
    finally:
        for home in homes:
            show_rescued(home, name, told)
