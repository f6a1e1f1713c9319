"""Test a cluster's machines: verify."""

import click

from cli.options.context import find_cluster
from cli.options.declared import cluster_argument, json_option
from cli.terminal import progress, show
from infra.checks import verification
from infra.errors import NodeError


@click.command()
@cluster_argument
@json_option
def verify(name: str | None, as_json: bool) -> None:
    """Check that a cluster's machines work and perform well.

    Takes half a minute: driver, GPUs, torch, matrix multiplication, disks, network, also between the machines, clock,
    lease. GPUs in use by a job are skipped. Exits with 1 if a check failed.
    """
    cluster = find_cluster(name)
    with progress.steps() as report:
        rows = [row_facts(row) for row in verification.verify(cluster, report)]
    several = len(cluster.nodes) > 1
    shown = [{k: v for k, v in row.items() if several or k != "node"} for row in rows]
    show.listing(shown, as_json, rows)
    failed = [row["check"] for row in rows if row["status"] == "failed"]
    if failed:
        raise NodeError(f"failed: {', '.join(dict.fromkeys(failed))}", f"investigate: gpujob ssh {cluster.name}")


def row_facts(row: verification.Row) -> dict[str, str]:
    """Return a result as it is shown."""
    return {"node": row.node, "check": row.check, "status": row.verdict, "found": row.found}
