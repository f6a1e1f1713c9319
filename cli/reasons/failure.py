"""What is known about a job that failed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.model import Cluster, Job
from infra.project.files import Project


@dataclass(frozen=True)
class Failure:
    """A failed job."""

    cluster: Cluster
    job: Job
    log: str
    """Its last lines (from the node, not trusted)."""
    root: Path
    """The folder of its project on this computer."""
    read: Callable[[], Project]
    """Return its project; raises GpujobError. A large one takes a while, so only what needs it calls this."""
