"""The account: check, policy, cost, sweep."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.notices.asked import Scope, check_asked, report_unasked, say_unasked
from cli.options.context import here, runs_here
from cli.options.declared import (
    dry_run_option,
    hidden_dry_run_option,
    json_option,
    option,
    region_option,
    transfer_option,
    typed_option,
    yes_option,
)
from cli.terminal import show
from cli.terminal.questions import confirm
from infra.errors import GpujobError
from infra.model import GONE, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.checks.account import Check
    from infra.cluster.orphans import Orphan
    from infra.ec2.account import Account
    from infra.ledger.costs import Cost


@click.command()
@dry_run_option
@region_option
@click.option("--report", is_flag=True, help="Write what was found to a file for a bug report; no secrets.")
@json_option
def check(dry_run: bool, region: str | None, report: bool, as_json: bool) -> None:
    """Check credentials, region, quotas and images.

    Each line that fails says how to fix it.
    """
    from infra.checks.account import run_checks
    from infra.cluster import clouds

    with show.progress() as tell:
        tell("asking the local cloud" if dry_run else "asking AWS")
        found = list(run_checks(lambda: clouds.open_account(dry_run, (region,) if region else ())))
    rows = [{"": "ok" if c.ok else "no", "what": c.what, "found": c.detail, "fix": c.fix} for c in found]
    show.listing(rows, as_json, [asdict(c) for c in found])
    if report:
        report_bug(found, dry_run)
    sys.exit(0 if all(c.ok for c in found) else 1)


def report_bug(checks: "list[Check]", dry_run: bool) -> None:
    """Write the report, and say where."""
    from cli.terminal import log
    from infra.checks.report import write_report
    from infra.cluster.clusters import list_clusters
    from infra.ledger import known_clusters
    from infra.project.files import find_root

    try:
        clusters = list_clusters(dry_run)
    except GpujobError:  # the checks say why
        clusters = tuple(known_clusters.recall_all())
    path = write_report(find_root(here()), checks, clusters, log.find_last())
    show.say(
        f"Report: {path}\nIt holds no secrets and no values of settings. Read it, then attach it to your bug report."
    )


ANYBODYS = """\
With this policy a user can stop, image and terminate every machine that gpujob
launched in the account, whoever launched it, and launch any image. To limit
each user to their own machines and to images of known owners:
  gpujob policy --owner-only"""
OWN = """\
With this policy a user can change and terminate only what has their own id
(aws:userid) in the tag gpujob:owner-id, and launch images of Amazon, Canonical
and this account only. They still see every machine of the account.
A role needs a session name that stays the same (role_session_name in
~/.aws/config): otherwise nobody owns what an earlier session launched."""


@click.command()
@click.option("--owner-only", is_flag=True, help="Limit users to what they launched, and to images of known owners.")
def policy(owner_only: bool) -> None:
    """Print the IAM policy that gpujob needs.

    What the policy allows is explained on stderr.

    \b
    gpujob policy --owner-only > gpujob.json
    aws iam create-policy --policy-name gpujob --policy-document file://gpujob.json
    """  # noqa: D301  click reads the backspace
    from infra.ec2.policy import make_policy

    show.echo_json(make_policy(owner_only=owner_only))
    show.say(OWN if owner_only else ANYBODYS)


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
    from infra.cluster import clusters
    from infra.ledger import costs

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


def say_total(rows: "list[Cost]") -> None:
    """Say what rows add up to, as they show it, and which of them nobody saw end."""
    spent, tried = (
        sum(round(row.usd, 4) + round(row.transfer_usd, 4) for row in rows if row.cloud == cloud)
        for cloud in ("aws", "local")
    )
    clouds = {row.cloud for row in rows}
    total = [f"{show.usd(spent)} on AWS"] * ("aws" in clouds)
    total += [f"dry runs would have cost {show.usd(tried)} on AWS"] * ("local" in clouds)
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
@typed_option("--everyone", is_flag=True, help="Also what other people of the account left behind.")
@json_option
@yes_option
def sweep(dry_run: bool, region: str | None, everyone: bool, as_json: bool, yes: bool) -> None:
    """Find and delete orphaned resources in all regions.

    With --region only there. Asks before it deletes anything.
    """
    from infra.cluster import orphans
    from infra.cluster.clouds import open_all

    with show.progress() as report:
        report("asking every region" if region is None else f"asking {region}")
        accounts = open_all(dry_run, set(), region, everywhere=region is None)
        found, unasked = orphans.find_orphans(accounts, everyone=everyone)
    for account, error in unasked.items():
        say_unasked(account, error)
    scope = Scope(dry_run, region, everywhere=region is None)
    if not found:
        check_asked(scope, "gpujob sweep")
    show.listing(
        [orphan_row(orphan) for orphan in found],
        as_json,
        empty=f"nothing to do: nothing orphaned in {show.plural(len(accounts), 'region')}",
        droppable=("owner",),
    )
    if not found or as_json:
        check_asked(scope, "gpujob sweep")
        check_complete(unasked, {})
        return
    total = sum(orphan.month_usd for orphan in found)
    local = all(orphan.account.cloud == "local" for orphan in found)
    confirm(f"Delete all of it? It costs {show.usd(total)} a month.", yes or local)
    with show.progress() as report:
        failed = orphans.remove_all(found, report)
    for orphan, error in failed.items():
        show.say(f"{orphan.cluster} in {orphan.account.region} was not deleted: {error.what}")
    saved = total - sum(orphan.month_usd for orphan in failed)
    deleted = show.plural(len(found) - len(failed), "cluster")
    show.say(f"deleted what was left of {deleted}: {show.usd(saved)} a month less")
    check_asked(scope, "gpujob sweep")
    check_complete(unasked, failed)


def check_complete(unasked: "Mapping[Account, GpujobError]", failed: "Mapping[Orphan, GpujobError]") -> None:
    """Raise GpujobError if anything was left out, once all the rest is done."""
    left = [f"{orphan.cluster} in {orphan.account.region}" for orphan in failed]
    left += [f"whatever is in {account.region}" for account in unasked]
    if left:
        raise GpujobError(f"not deleted: {', '.join(left)}", "the reasons are above; to retry: gpujob sweep")


def orphan_row(orphan: "Orphan") -> dict[str, str]:
    """Return an orphan as a row of a listing."""
    return {
        "where": f"local {orphan.account.region}" if orphan.account.cloud == "local" else orphan.account.region,
        "cluster": orphan.cluster,
        "owner": orphan.owner.rpartition("/")[2],
        "what": ", ".join(orphan.what),
        "why": orphan.why,
        "USD a month": f"{orphan.month_usd:.2f}",
    }
