"""Values passed between the parts, all frozen; times are seconds since the epoch."""

from infra.model.cluster import GONE, UNKNOWN, CloudName, Cluster, Node
from infra.model.job import (
    HANG_AFTER_S,
    UNFINISHED,
    DataSet,
    ExitCode,
    FileName,
    Job,
    JobState,
    Output,
    Request,
    Sha256,
)
from infra.model.launch import Gpu, LaunchRequest, Lease, Market, Offer, format_gpu, parse_gpu
from infra.model.use import GpuUse, JobUse, NodeUse

__all__ = [
    "GONE",
    "HANG_AFTER_S",
    "UNFINISHED",
    "UNKNOWN",
    "CloudName",
    "Cluster",
    "DataSet",
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
    "Node",
    "NodeUse",
    "Offer",
    "Output",
    "Request",
    "Sha256",
    "format_gpu",
    "parse_gpu",
]
