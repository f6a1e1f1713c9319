"""Whether a machine works: verify."""

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
    """Measure whether a cluster's machines work as they should.

    It takes half a minute: driver, GPUs, torch, a matrix product, disks, network, clock, lease.

    Exits with 1 if anything failed. While a job has GPUs they are not tried.
    """
    cluster = find_cluster(name)
    with progress.steps() as report:
        rows = [asdict(row) for row in verification.verify(cluster, report)]
    several = len(cluster.nodes) > 1
    show.listing([row if several else {k: v for k, v in row.items() if k != "node"} for row in rows], as_json, rows)
    failed = [row["check"] for row in rows if row["verdict"] == "failed"]
    if failed:
        raise NodeError(f"failed: {', '.join(dict.fromkeys(failed))}", f"gpujob ssh {cluster.name}, to look at it")
