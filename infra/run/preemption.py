"""Jobs of a spot machine that AWS has reclaimed: their end is recorded on this computer."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from infra.errors import ProjectError
from infra.model import Cluster, Job
from infra.results.folder import open_results, write_receipt
from infra.results.receipts import is_results, load_receipt


def mark_preempted(cluster: Cluster, runs: Path) -> list[int]:
    """Record in `runs` that the cluster's unfinished jobs were preempted; return their numbers."""
    marked = []
    for job in list_unfinished(cluster, runs):
        with suppress(ProjectError), open_results(runs, cluster, job) as results:
            ended = replace(job, state="interrupted", preempted=True)
            write_receipt(results, replace(results.receipt, job=ended, states=ended.states))
            marked.append(job.number)
    return sorted(marked)


def note_lost(cluster: Cluster, runs: Path, job: Job) -> None:
    """Record in `runs` how a job over several nodes ended, as another node says after the first was lost."""
    with suppress(ProjectError), open_results(runs, cluster, job) as results:
        if not results.receipt.job.over:
            write_receipt(results, replace(results.receipt, job=job, states=job.states))


def list_unfinished(cluster: Cluster, runs: Path) -> Iterator[Job]:
    """Yield the jobs of these machines that had not ended when their receipt in `runs` was written."""
    machines = {node.instance_id for node in cluster.nodes}
    for folder in filter(is_results, runs.glob(f"{cluster.name}-*")):
        receipt = load_receipt(folder)
        if receipt and receipt.instance_id in machines and not receipt.job.over:
            yield receipt.job
