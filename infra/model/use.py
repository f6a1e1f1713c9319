"""What a node and its jobs use now."""

from dataclasses import dataclass

from infra.model.job import Job


@dataclass(frozen=True)
class GpuUse:
    """What one GPU of a node is doing."""

    index: int
    name: str
    percent: float
    memory_used_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class JobUse:
    """What a job uses now, and the last line it printed (from the node: not trusted)."""

    job: Job
    cpu_used: float
    """In processors."""
    memory_bytes: int
    last_line: str


@dataclass(frozen=True)
class NodeUse:
    """What a node uses now."""

    now: float
    """What its clock shows."""
    cpus: int
    cpu_used: float
    """In processors."""
    memory_bytes: int
    memory_used_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    gpus: tuple[GpuUse, ...]
    jobs: tuple[JobUse, ...]
