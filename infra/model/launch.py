"""What can be launched, and what was asked for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Market = Literal["on-demand", "spot"]
NO_GPU = "none"
GPU = re.compile(r"([A-Za-z0-9][A-Za-z0-9 ._-]{0,39})(?::([1-9][0-9]?))?")


@dataclass(frozen=True)
class Gpu:
    """A GPU by AWS's own name for it, and how many of them one machine has."""

    name: str
    count: int = 1

    def __str__(self) -> str:
        return self.name if self.count == 1 else f"{self.name}:{self.count}"


def format_gpu(gpu: Gpu | None) -> str:
    """Return a machine's GPUs as tags and files hold them: NAME, NAME:COUNT, or "none"."""
    return NO_GPU if gpu is None else str(gpu)


def parse_gpu(text: str) -> Gpu | None:
    """Return the GPUs that `format_gpu` wrote; None for "none", and for what it would not write: anybody can write a tag."""
    found = GPU.fullmatch(text)
    return Gpu(found[1], int(found[2] or 1)) if found and text != NO_GPU else None


@dataclass(frozen=True)
class LaunchRequest:
    """What `up` was asked for."""

    gpu: Gpu | None = None
    gpu_memory_gb: float = 0
    """What one GPU must have at least, as it is sold: GB, of which an A10G has 24 where EC2 tells 22.35 GiB."""
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
    """Whether `up` runs what of the playbook its image needs."""


@dataclass(frozen=True)
class Offer:
    """An instance type on one market in one region, with its price."""

    instance_type: str
    region: str
    market: Market
    prices: Mapping[str, float]
    """USD per hour of one machine, by zone; never empty."""
    gpu: Gpu | None
    gpu_memory_gib: float
    """Of all its GPUs together."""
    vcpus: int
    memory_gib: float
    nvme_gb: float
    network: str

    @property
    def price_usd(self) -> float:
        """USD per hour of one machine in the cheapest zone."""
        return min(self.prices.values())

    @property
    def highest_usd(self) -> float:
        """USD per hour of one machine in the dearest zone."""
        return max(self.prices.values())


@dataclass(frozen=True)
class Lease:
    """Until when a cluster may live, and the most it can cost until then."""

    until: float
    most_usd: float
    """What all nodes with their disks and addresses cost until then."""
    idle_stop_s: float = 0
    """How long nothing may happen there before it ends; 0 for no such limit."""
    warning_s: float = 0
    """How long before the end jobs are told to finish."""
