"""Current resource use of a node and its jobs."""

from dataclasses import dataclass

from infra.model.job import Job


@dataclass(frozen=True)
class GpuUse:
    """Current use of one GPU of a node."""

    index: int
    name: str
    percent: float
    memory_used_bytes: int
    memory_bytes: int
    temperature_c: float | None
    """None if the GPU does not report it."""


@dataclass(frozen=True)
class JobUse:
    """Current use of a job, and the last line it printed (from the node, not trusted)."""

    job: Job
    cpu_used: float
    """In processors."""
    memory_bytes: int
    last_line: str


@dataclass(frozen=True)
class NodeUse:
    """Current use of a node."""

    now: float
    """The time on its clock."""
    cpus: int
    cpu_used: float
    """In processors."""
    memory_bytes: int
    memory_used_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    gpus: tuple[GpuUse, ...]
    jobs: tuple[JobUse, ...]
    upload_fault: str = ""
    """Why it cannot upload to its bucket; "" if it can."""
