"""Launch requests, offers and leases."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Market = Literal["on-demand", "spot"]
NO_GPU = "none"
GPU = re.compile(r"([A-Za-z0-9][A-Za-z0-9 ._-]{0,39})(?::([1-9][0-9]?))?")


@dataclass(frozen=True)
class Gpu:
    """A GPU model by AWS's name, and how many of them a machine has."""

    name: str
    count: int = 1

    def __str__(self) -> str:
        return self.name if self.count == 1 else f"{self.name}:{self.count}"


def format_gpu(gpu: Gpu | None) -> str:
    """Return a machine's GPUs as written to tags and files: NAME, NAME:COUNT, or "none"."""
    return NO_GPU if gpu is None else str(gpu)


def parse_gpu(text: str) -> Gpu | None:
    """Return the GPUs that `format_gpu` wrote; None for "none" and invalid text, as in an edited tag."""
    found = GPU.fullmatch(text)
    return Gpu(found[1], int(found[2] or 1)) if found and text != NO_GPU else None


@dataclass(frozen=True)
class NetworkRequest:
    """Where in the network machines are launched, and from where they can be reached."""

    subnets: tuple[str, ...] = ()
    """None for those of the default VPC."""
    security_groups: tuple[str, ...] = ()
    """Existing ones, which are not changed; none for a new one."""
    private: bool = False
    """Whether the machines have only a private address."""
    proxy_jump: str = ""
    """The jump host, [user@]host[:port], that leads to a private address; "" for a VPN."""
    ssh_from: tuple[str, ...] = ()
    """The networks from which port 22 can be reached; none for this computer's address."""


@dataclass(frozen=True)
class LaunchRequest:
    """The requirements given to `up`."""

    gpu: Gpu | None = None
    gpu_memory_gb: float = 0
    """Minimum memory of one GPU as marketed, in GB: 24 for an A10G, for which EC2 reports 22.35 GiB."""
    instance_types: tuple[str, ...] = ()
    markets: tuple[Market, ...] = ("on-demand",)
    """In the order in which they are tried."""
    regions: tuple[str, ...] = ()
    """In the order in which they are tried; none for the one that boto3 finds."""
    zones: tuple[str, ...] = ()
    nodes: int = 1
    image: str = "dlami"
    disk_gib: int = 100
    max_hours: float = 12
    max_cost_usd: float | None = None
    idle_stop_s: float = 0
    setup: bool = True
    """Whether `up` runs the parts of the playbook that its image needs."""
    network: NetworkRequest = NetworkRequest()
    tags: tuple[tuple[str, str], ...] = ()
    """The user's own tags, for everything that is created."""
    instance_profile: str = ""
    """The name or ARN of the instance profile whose role the machines get; "" for none."""
    bucket: str = ""
    """The bucket that jobs are uploaded to while they run: its name, or "auto"; "" for none."""
    kms_key: str = ""
    """The key that encrypts the disks; "" for the account's default."""
    login_user: str = ""
    """"" for the image's own."""
    reservation: str = ""
    """The id of a capacity reservation or Capacity Block to launch into, which decides type and zone; "" for none."""
    sent: bool = False
    """Whether an Auto Scaling group keeps the machines, for a job that is sent."""


@dataclass(frozen=True)
class Offer:
    """An instance type in one market and region, with its price."""

    instance_type: str
    region: str
    market: Market
    prices: Mapping[str, float]
    """USD per hour for one machine, by zone; never empty."""
    gpu: Gpu | None
    gpu_memory_gib: float
    """Total of all its GPUs."""
    vcpus: int
    memory_gib: float
    nvme_gb: float
    network: str
    on_demand_usd: float = 0.0
    """What the same machine costs on demand, which is the most that a spot machine can cost."""
    network_gbps: float = 0.0
    """Gbit/s that its network interface always has; 0 if AWS does not say."""
    network_peak_gbps: float = 0.0
    """Gbit/s that it has for a while; 0 if AWS does not say."""

    @property
    def price_usd(self) -> float:
        """USD per hour for one machine in the cheapest zone."""
        return min(self.prices.values())

    @property
    def highest_usd(self) -> float:
        """USD per hour for one machine in the most expensive zone."""
        return max(self.prices.values())

    @property
    def most_usd(self) -> float:
        """USD per hour that one machine can cost at most, in any zone and however the spot price moves."""
        return max(self.highest_usd, self.on_demand_usd)


@dataclass(frozen=True)
class Lease:
    """When a cluster ends, and the most it can cost by then."""

    until: float
    most_usd: float
    """Cost of all nodes with their disks and addresses by then."""
    idle_stop_s: float = 0
    """Terminate it after this long idle; 0 for never."""
    warning_s: float = 0
    """How long before the end jobs are notified."""
