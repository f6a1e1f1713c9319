"""A cluster and its nodes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from infra.model.launch import Gpu, Market, format_gpu, parse_gpu

CloudName = Literal["aws", "local"]
GONE = "gone"
LOGIN_USER = "ubuntu"
UNKNOWN = "unknown"  # in an account other than the current one


@dataclass(frozen=True)
class Node:
    """One machine of a cluster, and where its SSH server answers."""

    instance_id: str
    state: str
    """As EC2 names it: pending, running, shutting-down, terminated, stopping, stopped; or `GONE`, `UNKNOWN`."""
    host: str
    port: int
    instance_type: str
    zone: str
    market: Market = "on-demand"
    price_usd: float = 0.0
    """USD per hour for this machine."""
    image_id: str = ""


@dataclass(frozen=True)
class Cluster:
    """One or more nodes with one name, as described by their tags."""

    name: str
    cloud: CloudName
    region: str
    nodes: tuple[Node, ...]
    gpu: Gpu | None
    price_usd: float
    """USD per hour for the whole cluster."""
    lease_until: float
    launched_at: float
    owner: str
    disk_usd: float = 0.0
    """USD per hour for all its disks, billed as long as they exist, stopped or not."""
    spent_usd: float = 0.0
    """Its total cost at its most recent start."""
    ran_hours: float = 0.0
    """How long it ran before its most recent start."""
    idle_stop_s: float = 0.0
    """Terminate it after this long without a job or login; 0 for never."""
    private: bool = False
    """Whether its machines have only a private address."""
    proxy_jump: str = ""
    """The jump host, [user@]host[:port], that leads to its machines; "" without one."""
    user: str = LOGIN_USER
    """The login user."""

    @property
    def is_local(self) -> bool:
        """Whether it is on the local cloud of a dry run, which bills nothing."""
        return self.cloud == "local"

    @property
    def gpu_count(self) -> int:
        """Number of GPUs of its node; 1 without a GPU, so that jobs queue there too."""
        return self.gpu.count if self.gpu else 1

    @property
    def node(self) -> Node:
        """The node that jobs run on."""
        return self.nodes[0]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-compatible values."""
        return {**asdict(self), "gpu": format_gpu(self.gpu)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Create it from what `to_dict` returned."""
        nodes = tuple(Node(**node) for node in data["nodes"])
        return cls(**{**data, "nodes": nodes, "gpu": parse_gpu(data["gpu"])})
