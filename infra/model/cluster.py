"""A cluster and its nodes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from infra.model.launch import Gpu, Market, format_gpu, parse_gpu

CloudName = Literal["aws", "local"]
GONE = "gone"
UNKNOWN = "unknown"  # of another account than the one that was asked


@dataclass(frozen=True)
class Node:
    """One machine of a cluster, and where its SSH server answers."""

    instance_id: str
    state: str
    """EC2's own word: pending, running, shutting-down, terminated, stopping, stopped; or `GONE`, `UNKNOWN`."""
    host: str
    port: int
    instance_type: str
    zone: str
    market: Market = "on-demand"
    price_usd: float = 0.0
    """USD per hour of this machine."""
    image_id: str = ""


@dataclass(frozen=True)
class Cluster:
    """One or more nodes under one name, as their tags tell."""

    name: str
    cloud: CloudName
    region: str
    nodes: tuple[Node, ...]
    gpu: Gpu | None
    price_usd: float
    """USD per hour of the whole cluster."""
    lease_until: float
    launched_at: float
    owner: str
    disk_usd: float = 0.0
    """USD per hour of all its disks, which are billed as long as they exist, stopped or not."""
    spent_usd: float = 0.0
    """What it had cost when it was started last."""
    idle_stop_s: float = 0.0
    """After how long without a job or a login it ends; 0 for never."""

    @property
    def is_local(self) -> bool:
        """Whether it is on the local cloud of a dry run, which bills nothing."""
        return self.cloud == "local"

    @property
    def gpu_count(self) -> int:
        """How many GPUs its node has; 1 where there is none, so that jobs without a GPU wait for one another, too."""
        return self.gpu.count if self.gpu else 1

    @property
    def node(self) -> Node:
        """The node that jobs run on."""
        return self.nodes[0]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {**asdict(self), "gpu": format_gpu(self.gpu)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` returned."""
        nodes = tuple(Node(**node) for node in data["nodes"])
        return cls(**{**data, "nodes": nodes, "gpu": parse_gpu(data["gpu"])})
