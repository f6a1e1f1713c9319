"""What is known about a job that failed."""

from dataclasses import dataclass

from infra.model import Cluster, Job
from infra.project.files import Project


@dataclass(frozen=True)
class Failure:
    """A failed job."""

    cluster: Cluster
    project: Project
    job: Job
    log: str
    """Its last lines (from the node, not trusted)."""
