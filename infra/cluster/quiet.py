"""Refuse to end a cluster while a job is running, unless forced."""

from collections.abc import Sequence

from infra.errors import LossError
from infra.model import Cluster, Job
from infra.node import client


def check_quiet(cluster: Cluster, jobs: Sequence[Job], force: str) -> None:
    """Raise LossError if one of these jobs has not ended, with hints how to end it or `force` this."""
    running = next((job for job in jobs if not job.over), None)
    if running is None:
        return
    where = f"--cluster {cluster.name}"
    who, wait = f"job {running.number}", f"wait for it: gpujob logs {where} -f {running.number}"
    if running.command == client.NOTEBOOK:
        who, wait = (
            f"the notebook, {who},",
            f"stop it and download what it saved: gpujob notebook {cluster.name} --stop",
        )
    end = force or f"kill it: gpujob cancel {where} {running.number}"
    raise LossError(f"{who} of '{cluster.name}' is still running", f"{wait}; {end}")
