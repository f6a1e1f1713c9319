"""Costs of clusters: cost."""

from collections.abc import Sequence
from dataclasses import asdict

import click

from cli.notices import billing
from cli.notices.asked import Scope, list_clusters, record_ended, report_unasked
from cli.options.context import runs_here
from cli.options.declared import hidden_dry_run_option, json_option, option, region_option, transfer_option
from cli.options.sources import read_chosen
from cli.terminal import clouds, formats, show
from cli.uploads.stored import describe_usage, open_named
from infra.base.money import format_usd
from infra.errors import GpujobError
from infra.ledger import costs
from infra.ledger.costs import Cost
from infra.model import GONE, UNKNOWN


@click.command()
@hidden_dry_run_option
@region_option
@option("--all-regions", is_flag=True, help="Search all regions that are enabled for the account.")
@transfer_option
@json_option
def cost(dry_run: bool, region: str | None, all_regions: bool, usd_per_gb: float, as_json: bool) -> None:
    """Show costs by day and cluster.

    Existing clusters are found by their tags, terminated ones in this computer's records; costs of jobs come from the
    receipts in this project's runs/. Exits with 1 if AWS could not be reached, unless this computer has only ever used the
    local cloud.
    """
    scope = Scope(dry_run, region, all_regions)
    found, refusal = list_clusters(scope)
    if not refusal:
        record_ended(scope)
    rows = costs.add_up(found, runs_here(), usd_per_gb)
    empty = f"no costs found {scope} or in this computer's records"
    show.listing([cost_row(row) for row in rows], as_json, [asdict(row) for row in rows], empty)
    if rows and not as_json:
        say_total(rows)
        if any(cluster.node.state not in (GONE, UNKNOWN) for cluster in found):
            show.say("existing clusters are counted until now")
    if others := [cluster.name for cluster in found if cluster.node.state == UNKNOWN]:
        why = (
            "AWS was not asked" if refusal else "launched in an AWS account other than that of the current credentials"
        )
        show.say(f"not counted: {', '.join(others)}, {why}")
    if not as_json:
        say_stored(dry_run, region)
    report_unasked(scope, "gpujob cost", refusal)


def say_stored(dry_run: bool, region: str | None) -> None:
    """Say what the bucket that gpujob.toml or a variable sets stores, and what that costs each month."""
    asked = read_chosen(click.get_current_context()).bucket
    if not asked:
        return
    from infra.cluster.clouds import open_account
    from infra.saved.usage import measure

    try:
        store = open_named(open_account(dry_run, (region,) if region else ()), asked)
        show.say(describe_usage(store, measure(store)))
    except GpujobError as error:
        show.say(f"what the bucket {asked} stores is not counted: {error.what}")


def say_total(rows: Sequence[Cost]) -> None:
    """Print the sum of the rounded rows, and which clusters ended by themselves."""
    tried = [row for row in rows if clouds.is_local(row.cloud)]
    spent = [row for row in rows if row not in tried]
    total = [f"{format_usd(add_up(spent))} on AWS"] if spent else []
    total += [f"dry runs would have cost {format_usd(add_up(tried))} on AWS"] if tried else []
    show.say("; ".join(total))
    if any(row.at_most for row in rows):
        show.say(billing.AT_MOST)
    if missed := sorted({row.cluster for row in rows if row.missed}):
        show.say(f"ended by themselves: {', '.join(missed)}; counted until the lease ended or they were found missing")


def add_up(rows: Sequence[Cost]) -> float:
    """Return the sum of the rows as rounded in the table, in USD."""
    return sum(round(row.usd, 4) + round(row.transfer_usd, 4) for row in rows)


def cost_row(row: Cost) -> dict[str, str]:
    """Return a cluster's cost on a day as a row of a listing."""
    return {
        "day": row.day,
        "cluster": row.cluster,
        "where": "local cloud" if clouds.is_local(row.cloud) else "AWS",
        "hours": f"{row.hours:.2f}",
        "cost": formats.at_most(f"${row.usd:.4f}", row.at_most),
        "in jobs": f"${row.jobs_usd:.4f}",
        "download": f"${row.transfer_usd:.4f}",
    }
