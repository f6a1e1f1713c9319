"""Delete resources left by interrupted commands: sweep."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from cli.notices.asked import Scope, check_asked, say_unasked
from cli.options.declared import dry_run_option, json_option, region_option, typed_option, yes_option
from cli.terminal import clouds, formats, progress, show
from cli.terminal.questions import confirm
from infra.base.money import format_rate
from infra.cluster import orphans
from infra.cluster.clouds import open_all
from infra.errors import GpujobError

if TYPE_CHECKING:
    from infra.cluster.orphans import Orphan
    from infra.ec2.account import Account


@click.command()
@dry_run_option
@region_option
@typed_option("--everyone", is_flag=True, help="Include orphaned resources of other users of the account.")
@json_option
@yes_option
def sweep(dry_run: bool, region: str | None, everyone: bool, as_json: bool, yes: bool) -> None:
    """Find and delete orphaned resources in all regions.

    --region limits it to one region. Asks before deleting anything.
    """
    with progress.steps() as report:
        report("asking every region" if region is None else f"asking {region}")
        accounts = open_all(dry_run, set(), region, everywhere=region is None)
        found, unasked = orphans.find_orphans(accounts, everyone=everyone)
    for account, error in unasked.items():
        say_unasked(account, error)
    where = (
        f"in {formats.plural(len(accounts) - len(unasked), 'region')}"
        if unasked or not dry_run
        else "on the local cloud"
    )
    scope = Scope(dry_run, region, everywhere=region is None)
    if not found:
        check_asked(scope, "gpujob sweep")
    show.listing(
        [orphan_row(orphan) for orphan in found],
        as_json,
        [orphan_facts(orphan) for orphan in found],
        empty=f"nothing to do: no orphaned resources {where}",
        droppable=("owner",),
    )
    if not found or as_json:
        check_asked(scope, "gpujob sweep")
        check_complete(unasked, {})
        return
    total = sum(orphan.month_usd for orphan in found)
    local = clouds.are_local(orphan.account for orphan in found)
    confirm(f"Delete these resources? They cost {format_rate(total, 'month')}.", yes or local)
    with progress.steps() as report:
        failed = orphans.remove_all(found, report)
    for orphan, error in failed.items():
        show.say(f"{orphan.cluster} in {orphan.account.region} was not deleted: {error.what}")
    saved = total - sum(orphan.month_usd for orphan in failed)
    deleted = formats.plural(len(found) - len(failed), "cluster")
    show.say(f"deleted orphaned resources of {deleted}; saves {format_rate(saved, 'month')}")
    check_asked(scope, "gpujob sweep")
    check_complete(unasked, failed)


def check_complete(unasked: "Mapping[Account, GpujobError]", failed: "Mapping[Orphan, GpujobError]") -> None:
    """Raise GpujobError if anything was not deleted, or a region was not searched."""
    left = {
        "not deleted": [f"{orphan.cluster} in {orphan.account.region}" for orphan in failed],
        "not searched": [account.region for account in unasked],
    }
    if any(left.values()):
        what = "; ".join(f"{which}: {', '.join(names)}" for which, names in left.items() if names)
        raise GpujobError(what, "see the reasons above; to retry: gpujob sweep")


def orphan_facts(orphan: "Orphan") -> dict[str, object]:
    """Return an orphan for --json."""
    return {
        "cloud": orphan.account.cloud,
        "region": orphan.account.region,
        "cluster": orphan.cluster,
        "owner": orphan.owner,
        "resources": orphan.what,
        "why": orphan.why,
        "usd_per_month": orphan.month_usd,
    }


def orphan_row(orphan: "Orphan") -> dict[str, str]:
    """Return an orphan as a row of a listing."""
    return {
        "where": clouds.place(orphan.account),
        "cluster": orphan.cluster,
        "owner": orphan.owner.rpartition("/")[2],
        "what": ", ".join(orphan.what),
        "why": orphan.why,
        "cost": format_rate(orphan.month_usd, "month"),
    }
