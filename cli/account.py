"""The account and the local cloud: check, local."""

import sys
from dataclasses import asdict

import click

from cli import show
from cli.options import dry_run_option, json_option, region_option


@click.command()
@dry_run_option
@region_option
@json_option
def check(dry_run: bool, region: str | None, as_json: bool) -> None:
    """Check credentials, region, quotas and images; each line that fails says how to mend it."""
    from cli.clusters import open_account
    from infra.checks import run_checks

    with show.progress() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        found = list(run_checks(lambda: open_account(dry_run, region)))
    rows = [{"": "ok" if c.ok else "no", "what": c.what, "found": c.detail, "fix": c.fix} for c in found]
    show.listing(rows, as_json, [asdict(c) for c in found])
    sys.exit(0 if all(c.ok for c in found) else 1)


@click.group()
def local() -> None:
    """Look at or end the local cloud that --dry-run uses."""


@local.command()
def stop() -> None:
    """End the local cloud with all its machines and every process on them."""
    from infra import clouds

    show.say("the local cloud has stopped" if clouds.stop_local() else "nothing to do: the local cloud does not run")


@local.command()
@json_option
def status(as_json: bool) -> None:
    """Tell whether the local cloud runs, and where its AWS endpoint is."""
    from infra import clouds

    account = clouds.find_local()
    row = {"state": "running" if account else "stopped", "endpoint": (account and account.endpoint_url) or ""}
    show.listing([row], as_json, row)
