"""The account: check, policy, cost, sweep."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli import show
from cli.options import (
    check_asked,
    confirm,
    dry_run_option,
    hidden_dry_run_option,
    json_option,
    note_unasked,
    option,
    region_option,
    runs_here,
    transfer_option,
    yes_option,
)
from infra.model import GONE, UNKNOWN

if TYPE_CHECKING:
    from infra.costs import Cost
    from infra.strays import Stray


@click.command()
@dry_run_option
@region_option
@json_option
def check(dry_run: bool, region: str | None, as_json: bool) -> None:
    """Check credentials, region, quotas and images.

    Each line that fails says how to mend it.
    """
    from cli.up import open_account
    from infra.checks import run_checks

    with show.progress() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        found = list(run_checks(lambda: open_account(dry_run, (region,) if region else ())))
    rows = [{"": "ok" if c.ok else "no", "what": c.what, "found": c.detail, "fix": c.fix} for c in found]
    show.listing(rows, as_json, [asdict(c) for c in found])
    sys.exit(0 if all(c.ok for c in found) else 1)


@click.command()
def policy() -> None:
    """Print the least that IAM must allow, as a policy to attach.

    \b
    gpujob policy > gpujob.json
    aws iam create-policy --policy-name gpujob --policy-document file://gpujob.json
    """  # noqa: D301  click reads the backspace
    from infra.ec2.policy import make_policy

    click.echo(json.dumps(make_policy(), indent=2))


@click.command()
@hidden_dry_run_option
@region_option
@option("--all-regions", is_flag=True, help="Ask every region that is switched on for the account.")
@transfer_option
@json_option
def cost(dry_run: bool, region: str | None, all_regions: bool, usd_per_gb: float, as_json: bool) -> None:
    """Add up what clusters cost, by day and cluster.

    Those that live are known by their tags, those given back from here by notes.
    The part in which jobs ran is added up from the receipts in this project's runs.
    """
    from infra import clusters, costs

    found = clusters.list_clusters(dry_run, region, everywhere=all_regions)
    rows = costs.add_up(found, runs_here(), usd_per_gb)
    empty = "nothing was spent, as far as this laptop and the tags know"
    show.listing([cost_row(row) for row in rows], as_json, [asdict(row) for row in rows], empty)
    if rows and not as_json:
        say_total(rows)
        if any(cluster.node.state not in (GONE, UNKNOWN) for cluster in found):
            show.say("what still lives is counted until now")
    if elsewhere := [cluster.name for cluster in found if cluster.node.state == UNKNOWN]:
        show.say(f"not counted: {', '.join(elsewhere)}, of another account than these credentials")
    note_unasked(dry_run, region, elsewhere=all_regions or any(cluster.cloud == "aws" for cluster in found))


def say_total(rows: "list[Cost]") -> None:
    """Say what rows add up to, as they show it, and which of them nobody saw end."""
    spent, rehearsed = (
        sum(round(row.usd, 4) + round(row.transfer_usd, 4) for row in rows if row.cloud == cloud)
        for cloud in ("aws", "local")
    )
    clouds = {row.cloud for row in rows}
    total = [f"{show.usd(spent)} on AWS"] * ("aws" in clouds)
    total += [f"rehearsals would have cost {show.usd(rehearsed)} on AWS"] * ("local" in clouds)
    show.say("; ".join(total))
    if missed := sorted({row.cluster for row in rows if row.missed}):
        show.say(
            f"ended by itself: {', '.join(missed)}; counted until the lease's end, or until it was missed if that was earlier"
        )


def cost_row(row: "Cost") -> dict[str, str]:
    """Return what a cluster cost on a day as a row of a listing."""
    return {
        "day": row.day,
        "cluster": row.cluster,
        "where": "local cloud" if row.cloud == "local" else "AWS",
        "hours": f"{row.hours:.2f}",
        "USD": f"{row.usd:.4f}",
        "of it in jobs": f"{row.jobs_usd:.4f}",
        "download USD": f"{row.transfer_usd:.4f}",
    }


@click.command()
@dry_run_option
@region_option
@option("--everyone", is_flag=True, help="What other people of the account left behind, too.")
@json_option
@yes_option
def sweep(dry_run: bool, region: str | None, everyone: bool, as_json: bool, yes: bool) -> None:
    """Find what interrupted lives left in any region, to remove it.

    Asks before it removes anything.
    """
    from infra import strays
    from infra.clouds import open_all

    with show.progress() as report:
        report("asking every region" if region is None else f"asking {region}")
        accounts = open_all(dry_run, set(), region, everywhere=region is None)
        found = strays.find_strays(accounts, everyone=everyone)
    if not found:
        check_asked(accounts, dry_run, region)
    show.listing(
        [stray_row(stray) for stray in found],
        as_json,
        empty=f"nothing to do: no stray in {show.plural(len(accounts), 'region')}",
        least=("rented by",),
    )
    note_unasked(dry_run, region, elsewhere=True)
    if not found or as_json:
        return
    total = sum(stray.month_usd for stray in found)
    local = all(stray.account.cloud == "local" for stray in found)
    confirm(f"Remove all of it? It costs {show.usd(total)} a month.", yes or local)
    with show.progress() as report:
        for stray in found:
            strays.remove(stray, report)
    show.say(f"{show.plural(len(found), 'stray')} removed: {show.usd(total)} a month less")


def stray_row(stray: "Stray") -> dict[str, str]:
    """Return a stray as a row of a listing."""
    return {
        "where": f"local {stray.account.region}" if stray.account.cloud == "local" else stray.account.region,
        "cluster": stray.cluster,
        "rented by": stray.owner.rpartition("/")[2],
        "what": ", ".join(stray.what),
        "why": stray.why,
        "USD a month": f"{stray.month_usd:.2f}",
    }
