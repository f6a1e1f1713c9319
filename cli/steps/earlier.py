"""Find the job whose outputs another one starts from, on the machine or in the local results."""

from typing import TYPE_CHECKING

from cli.terminal import formats, show
from infra.errors import NotFoundError
from infra.history.earlier import LATEST, choose_run, collect_outputs
from infra.history.runs import list_runs
from infra.node import client
from infra.run.earlier import Earlier

if TYPE_CHECKING:
    from infra.model import Job
    from infra.project.files import Project
    from infra.ssh.connection import Connection

SHOWN = 5


def find_earlier(connection: "Connection", project: "Project", asked: str, nodes: int = 1) -> Earlier:
    """Return an earlier job by number, name or key, or the latest of the project.

    Each of several nodes starts from what the job wrote there, or all from what was downloaded. Raises NotFoundError or
    UsageError.
    """
    cluster, runs = connection.cluster, list_runs(project.runs)
    try:
        run = choose_run(runs, asked, cluster.name)
    except NotFoundError:
        job = find_on_node(connection, asked)  # submitted from another computer
        if job is None or job.nodes < nodes:
            raise
        return Earlier(f"{cluster.name}-{job.number}", job.number, job.over)
    if run.receipt.instance_id == connection.node.instance_id:
        job = find_on_node(connection, str(run.job.number))
        if job is not None and job.nodes >= nodes:
            return Earlier(run.key, job.number, job.over)
    earlier = collect_outputs(runs, run, project)
    if not run.job.fetched:
        show.say(
            f"warning: run {run.key} ({run.job.outcome}) was not downloaded completely; using what is here:"
            f" {formats.plural(len(earlier.files), 'file')}"
        )
    if earlier.kept:
        more = ", ..." if len(earlier.kept) > SHOWN else ""
        show.say(f"kept your versions, changed since run {run.key}: {', '.join(earlier.kept[:SHOWN])}{more}")
    return earlier


def find_on_node(connection: "Connection", asked: str) -> "Job | None":
    """Return the latest job of a machine with this number or name, or None."""
    jobs = client.list_jobs(connection)
    found = [job for job in jobs if asked in (str(job.number), job.name, f"{connection.cluster.name}-{job.number}")]
    return found[-1] if found and asked != LATEST else None
