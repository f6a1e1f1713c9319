"""Values passed between the parts, all frozen; times are seconds since the epoch."""

from infra.model.arrays import MOST_TASKS, Array, Counts, Task, TaskRecord
from infra.model.cluster import ENDING, GONE, LOGIN_USER, UNKNOWN, WAITING, CloudName, Cluster, Node
from infra.model.dependencies import Dependencies
from infra.model.job import (
    HANG_AFTER_S,
    MOST_NODES,
    NEVER_S,
    UNFINISHED,
    DataSet,
    ExitCode,
    FileName,
    Job,
    JobState,
    Output,
    Request,
    Sha256,
    Terminal,
)
from infra.model.launch import Gpu, LaunchRequest, Lease, Market, NetworkRequest, Offer, format_gpu, parse_gpu
from infra.model.use import GpuUse, JobUse, NodeUse

__all__ = [
    "ENDING",
    "GONE",
    "HANG_AFTER_S",
    "LOGIN_USER",
    "MOST_NODES",
    "MOST_TASKS",
    "NEVER_S",
    "UNFINISHED",
    "UNKNOWN",
    "WAITING",
    "Array",
    "CloudName",
    "Cluster",
    "Counts",
    "DataSet",
    "Dependencies",
    "ExitCode",
    "FileName",
    "Gpu",
    "GpuUse",
    "Job",
    "JobState",
    "JobUse",
    "LaunchRequest",
    "Lease",
    "Market",
    "NetworkRequest",
    "Node",
    "NodeUse",
    "Offer",
    "Output",
    "Request",
    "Sha256",
    "Task",
    "TaskRecord",
    "Terminal",
    "format_gpu",
    "parse_gpu",
]
