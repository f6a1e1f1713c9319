"""Test a cluster's machines: verify."""

from dataclasses import asdict

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

    Takes half a minute: driver, GPUs, torch, matrix multiplication, disks, network, clock, lease. GPUs in use by a job
    are skipped. Exits with 1 if a check failed.
    """
    cluster = find_cluster(name)
    with progress.steps() as report:
        rows = [asdict(row) for row in verification.verify(cluster, report)]
    several = len(cluster.nodes) > 1
    shown = [{"status" if k == "verdict" else k: v for k, v in row.items() if several or k != "node"} for row in rows]
    show.listing(shown, as_json, rows)
    failed = [row["check"] for row in rows if row["verdict"] == "failed"]
    if failed:
        raise NodeError(f"failed: {', '.join(dict.fromkeys(failed))}", f"investigate: gpujob ssh {cluster.name}")
