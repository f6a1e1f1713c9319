"""A cluster and its nodes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from infra.model.launch import Gpu, Market, format_gpu, parse_gpu

CloudName = Literal["aws", "local"]
GONE = "gone"
ENDING = (GONE, "shutting-down", "terminated")
LOGIN_USER = "ubuntu"
WAITING = "waiting"  # of a group that has no machine at the moment
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
    """USD per hour for this machine; for a spot machine the most it can be, the on-demand price."""
    image_id: str = ""
    address: str = ""
    """Its private address, at which the other nodes reach it; "" if an earlier version recorded it."""
    stopped_at: float = 0.0
    """When EC2 stopped it; 0 if it is not stopped, or EC2 does not say."""
    spot_prices: tuple[tuple[float, float], ...] = field(default=(), compare=False)
    """A spot machine's prices in USD per hour, each after the time from which it applies; empty if unknown."""

    @property
    def now_usd(self) -> float:
        """USD per hour at the latest known price; without one, at most."""
        return self.spot_prices[-1][1] if self.spot_prices else self.price_usd

    def usd_between(self, start: float, end: float) -> float:
        """Return the machine's cost between two times in USD; at most, where its price is not known."""
        total, moment, price_usd = 0.0, start, self.price_usd
        for since, next_usd in self.spot_prices:
            if since >= end:
                break
            total += max(since - moment, 0) * price_usd
            moment, price_usd = max(since, moment), next_usd
        return (total + max(end - moment, 0) * price_usd) / 3600


@dataclass(frozen=True)
class Cluster:
    """One or more nodes with one name, as described by their tags."""

    name: str
    cloud: CloudName
    region: str
    nodes: tuple[Node, ...]
    gpu: Gpu | None
    price_usd: float
    """USD per hour for the whole cluster; at most, for spot machines."""
    lease_until: float
    launched_at: float
    owner: str
    disk_usd: float = 0.0
    """USD per hour for all its disks, billed as long as they exist, stopped or not."""
    spent_usd: float = 0.0
    """Its total cost when it was last stopped or started."""
    ran_hours: float = 0.0
    """How long it ran before its most recent start."""
    spent_at: float = 0.0
    """When `spent_usd` was recorded; 0 if it was never stopped."""
    idle_stop_s: float = 0.0
    """Terminate it after this long without a job or login; 0 for never."""
    private: bool = False
    """Whether its machines have only a private address."""
    proxy_jump: str = ""
    """The jump host, [user@]host[:port], that leads to its machines; "" without one."""
    user: str = LOGIN_USER
    """The login user."""
    bucket: str = ""
    """The bucket that its jobs are uploaded to while they run; "" for none."""
    reservation: str = ""
    """The capacity reservation that its machines are in, which bills with or without them; "" for none."""
    block: str = ""
    """The Capacity Block that its machines are in, which is paid in advance and ends them; "" for none."""
    token: str = ""
    """Identifies the sent job that its machines work on, whose state is in the bucket; "" for an ordinary cluster."""

    @property
    def sent(self) -> bool:
        """Whether its machines work on a sent job."""
        return bool(self.token)

    @property
    def is_local(self) -> bool:
        """Whether it is on the local cloud of a dry run, which bills nothing."""
        return self.cloud == "local"

    @property
    def is_at_most(self) -> bool:
        """Whether its cost is known as an upper bound only, because the price of a spot machine is not known."""
        spot = [node for node in self.nodes if node.market == "spot" and node.state not in (GONE, WAITING)]
        return any(not node.spot_prices or node.spot_prices[0][0] > self.launched_at for node in spot)

    @property
    def gpu_count(self) -> int:
        """Number of GPUs of its node; 1 without a GPU, so that jobs queue there too."""
        return self.gpu.count if self.gpu else 1

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks of the nodes that still exist; of all, if none is known to."""
        found = tuple(rank for rank, node in enumerate(self.nodes) if node.state not in ENDING)
        return found or tuple(range(len(self.nodes)))

    @property
    def together(self) -> int:
        """How many nodes exist from the first on; a job over several nodes runs on so many at most."""
        return next((count for count in range(len(self.nodes)) if count not in self.ranks), len(self.nodes))

    @property
    def node(self) -> Node:
        """The node that jobs run on: the first that still exists."""
        return self.nodes[self.ranks[0]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-compatible values."""
        return {**asdict(self), "gpu": format_gpu(self.gpu)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Create it from what `to_dict` returned, without spot prices, which have changed since."""
        nodes = tuple(Node(**{**node, "spot_prices": ()}) for node in data["nodes"])
        return cls(**{**data, "nodes": nodes, "gpu": parse_gpu(data["gpu"])})
