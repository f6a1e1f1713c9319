"""Check the prerequisites: check."""

import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from cli.options.context import here
from cli.options.declared import dry_run_option, json_option, option, region_option
from cli.options.sources import read_chosen
from cli.terminal import log, progress, show
from infra.checks.account import run_checks
from infra.checks.model import Check
from infra.checks.report import write_report
from infra.cluster import clouds
from infra.cluster.clusters import list_clusters
from infra.errors import GpujobError
from infra.ledger import known_clusters
from infra.project.files import find_root


@click.command()
@dry_run_option
@region_option
@option("--report", is_flag=True, help="Write a file to attach to a bug report; it contains no secrets.")
@json_option
@click.pass_context
def check(context: click.Context, /, dry_run: bool, region: str | None, report: bool, as_json: bool) -> None:
    """Check credentials, region, quotas and images.

    Also what variables and gpujob.toml name for `up`: subnets, security groups, an instance profile, a KMS key, a
    capacity reservation. Each failed check says how to fix it.
    """
    request = read_chosen(context)
    with progress.steps() as step:
        step("asking the local cloud" if dry_run else "asking AWS")
        found = list(run_checks(lambda: clouds.open_account(dry_run, (region,) if region else ()), request))
    rows = [{"": "ok" if c.ok else "no", "what": c.what, "found": c.detail, "fix": show.complete(c.fix)} for c in found]
    show.listing(rows, as_json, [asdict(c) for c in found])
    if report:
        report_bug(found, dry_run)
    sys.exit(0 if all(c.ok for c in found) else 1)


def report_bug(checks: Sequence[Check], dry_run: bool) -> None:
    """Write a file for a bug report and print its path."""
    try:
        clusters = list_clusters(dry_run)
    except GpujobError:  # the checks say why
        clusters = tuple(known_clusters.recall_all())
    path = write_report(find_root(here()), checks, clusters, log.find_last())
    show.say(
        f"wrote {path}\nIt contains no secrets and no values of settings. Review it, then attach it to your bug report."
    )
