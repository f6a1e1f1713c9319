"""What clusters cost: cost."""

from collections.abc import Sequence
from dataclasses import asdict

import click

from cli.notices.asked import Scope, report_unasked, say_unasked
from cli.options.context import runs_here
from cli.options.declared import hidden_dry_run_option, json_option, option, region_option, transfer_option
from cli.terminal import clouds, formats, show
from infra.cluster import clusters
from infra.ledger import costs
from infra.ledger.costs import Cost
from infra.model import GONE, UNKNOWN


@click.command()
@hidden_dry_run_option
@region_option
@option("--all-regions", is_flag=True, help="Ask every region that is switched on for the account.")
@transfer_option
@json_option
def cost(dry_run: bool, region: str | None, all_regions: bool, usd_per_gb: float, as_json: bool) -> None:
    """Add up what clusters cost, by day and cluster.

    Clusters that exist are known by their tags, those terminated from this computer by its own records; the part in
    which jobs ran comes from the receipts in this project's runs. Exits with 1 if AWS could not be asked, unless only
    the local cloud was ever used on this computer.
    """
    found = clusters.list_clusters(dry_run, region, everywhere=all_regions, skip=say_unasked if all_regions else None)
    rows = costs.add_up(found, runs_here(), usd_per_gb)
    scope = Scope(dry_run, region, all_regions)
    empty = f"nothing was spent {scope}, as far as this computer and the tags know"
    show.listing([cost_row(row) for row in rows], as_json, [asdict(row) for row in rows], empty)
    if rows and not as_json:
        say_total(rows)
        if any(cluster.node.state not in (GONE, UNKNOWN) for cluster in found):
            show.say("clusters that still exist are counted until now")
    if others := [cluster.name for cluster in found if cluster.node.state == UNKNOWN]:
        show.say(f"not counted: {', '.join(others)}, launched in another AWS account than the one of these credentials")
    report_unasked(scope, "gpujob cost")


def say_total(rows: Sequence[Cost]) -> None:
    """Say what the rows add up to, rounded as they are shown, and which clusters ended unseen."""
    tried = [row for row in rows if clouds.is_local(row.cloud)]
    spent = [row for row in rows if row not in tried]
    total = [f"{formats.usd(add_up(spent))} on AWS"] if spent else []
    total += [f"dry runs would have cost {formats.usd(add_up(tried))} on AWS"] if tried else []
    show.say("; ".join(total))
    if missed := sorted({row.cluster for row in rows if row.missed}):
        show.say(
            f"ended by itself: {', '.join(missed)}; counted until the lease's end, or until it was missed if that was earlier"
        )


def add_up(rows: Sequence[Cost]) -> float:
    """Return the sum of what rows show, in USD."""
    return sum(round(row.usd, 4) + round(row.transfer_usd, 4) for row in rows)


def cost_row(row: Cost) -> dict[str, str]:
    """Return what a cluster cost on a day as a row of a listing."""
    return {
        "day": row.day,
        "cluster": row.cluster,
        "where": "local cloud" if clouds.is_local(row.cloud) else "AWS",
        "hours": f"{row.hours:.2f}",
        "USD": f"{row.usd:.4f}",
        "of it in jobs": f"{row.jobs_usd:.4f}",
        "download USD": f"{row.transfer_usd:.4f}",
    }
