"""The values that pass between the parts; all frozen, a change returns a new one. Times are seconds since the epoch."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

CloudName = Literal["aws", "local"]
# What a node may answer (infra/base/decoding.py): a path that a file system takes, a hash, the code of a process that ended.
FileName = Annotated[str, re.compile(r"[^\0]{1,4096}")]
Sha256 = Annotated[str, re.compile("[0-9a-f]{64}|")]
ExitCode = Annotated[int, range(256)]
Market = Literal["on-demand", "spot"]


@dataclass(frozen=True)
class Gpu:
    """What was asked for: a GPU by AWS's own name for it, and how many in one machine."""

    name: str
    count: int = 1

    def __str__(self) -> str:
        return self.name if self.count == 1 else f"{self.name}:{self.count}"


@dataclass(frozen=True)
class LaunchRequest:
    """What `up` was asked for; markets and regions in the order in which they are tried."""

    gpu: Gpu | None = None
    gpu_memory_gb: float = 0
    """What one GPU must have at least, as it is sold: GB, of which an A10G has 24 where EC2 tells 22.35 GiB."""
    instance_types: tuple[str, ...] = ()
    markets: tuple[Market, ...] = ("on-demand",)
    regions: tuple[str, ...] = ()
    """None for the one that boto3 finds."""
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
    """Until when a cluster may live, and the most all its nodes with their disks and addresses can cost until then."""

    until: float
    most_usd: float
    idle_stop_s: float = 0
    """How long nothing may happen there before it ends; 0 for no such limit."""
    warning_s: float = 0
    """How long before the end jobs are told to finish."""


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
    gpu: str
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
    def gpu_count(self) -> int:
        """How many GPUs its node has; 1 where there is none, so that jobs without a GPU wait for one another, too."""
        count = self.gpu.partition(":")[2]  # of a tag, which anybody in the account may have written
        return max(int(count), 1) if count.isdecimal() and len(count) < 4 else 1

    @property
    def is_local(self) -> bool:
        """Whether it is on the local cloud of a dry run, which bills nothing."""
        return self.cloud == "local"

    @property
    def node(self) -> Node:
        """The node that jobs run on."""
        return self.nodes[0]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` returned."""
        return cls(**{**data, "nodes": tuple(Node(**node) for node in data["nodes"])})


JobState = Literal["queued", "running", "stalled", "succeeded", "failed", "cancelled", "interrupted"]
HANG_AFTER_S = 1800.0


@dataclass(frozen=True)
class Request:
    """What a person asks to run, and how."""

    command: tuple[str, ...]
    name: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    gpus: int | None = None
    """How many GPUs it gets to itself; None for all of the node's."""
    time_limit_s: float | None = None
    no_deps: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables whose values are kept out of every record and masked in the log."""
    hang_after_s: float = HANG_AFTER_S
    """How long it may neither print nor compute before it counts as stalled."""
    kill_stalled: bool = False
    outputs: tuple[str, ...] = ()
    """Paths on the node outside of the working tree, or of caches inside, that count as outputs, too."""
    exclude: tuple[str, ...] = ()
    """Patterns of what does not."""
    python: str | None = None
    """The interpreter on the node; None for the image's own, or what its dependencies are installed on."""


@dataclass(frozen=True)
class Job:
    """One run of one command on a cluster, as the agent tells it."""

    number: int
    name: str
    command: tuple[str, ...]
    state: JobState
    reason: str
    """What ended it, if it was neither itself nor a cancel."""
    gpus: tuple[int, ...]
    exit_code: ExitCode | None
    """128 + the signal's number where a signal ended the job; None while it runs or when nobody saw it end."""
    submitted_at: float
    started_at: float | None
    stalled_at: float | None
    """When it was found to stand still; None while it moves."""
    ended_at: float | None
    seconds: float | None
    """How long it ran, or has run, by a clock that never jumps; None if it never started or nobody saw it end."""
    log_bytes: int
    fetched: bool
    """Whether every output was brought home after the job ended."""
    python: str
    """The interpreter that `python` means for this job."""
    dependencies: str
    """What tells the environment of its dependencies from others; "" if there was nothing to install."""
    driver: str
    """The version of the NVIDIA driver it ran with; "" where there is none."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where the code came from: project folder, git commit, whether it was changed since, number of files and bytes."""

    @property
    def over(self) -> bool:
        """Whether it will never write again."""
        return self.state not in ("queued", "running", "stalled")

    @property
    def states(self) -> tuple[tuple[str, float], ...]:
        """The states it went through, each with its time; of an interrupted one nobody knows when it ended."""
        times = ("queued", self.submitted_at), ("running", self.started_at), ("stalled", self.stalled_at)
        return tuple((name, at) for name, at in (*times, (self.state, self.ended_at)) if at is not None)


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
    """What a job uses now, CPU in processors, and the last line it printed (from the node: not trusted)."""

    job: Job
    cpu_used: float
    memory_bytes: int
    last_line: str


@dataclass(frozen=True)
class NodeUse:
    """What a node uses now; CPU in processors."""

    now: float
    """What its clock shows."""
    cpus: int
    cpu_used: float
    memory_bytes: int
    memory_used_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    gpus: tuple[GpuUse, ...]
    jobs: tuple[JobUse, ...]


@dataclass(frozen=True)
class Output:
    """A file that a job created or changed; `path` comes from the node: not trusted."""

    path: FileName
    size_bytes: int
    sha256: Sha256
    mode: Annotated[int, range(0o10000)]
    link: FileName | None = None
    """Where it points, if it is a symbolic link; then there is no content to hash."""
    outside: bool = False
    """Whether it lies outside of the job's working tree, and was asked for; its path tells where."""
    same_as: str = ""
    """The path of another output that is the same file, of which this is a second name (a hard link)."""

    @property
    def pure(self) -> PurePosixPath:
        """The path as a path."""
        return PurePosixPath(self.path)

    @property
    def place(self) -> PurePosixPath:
        """Where it belongs below the folder of the job's results."""
        return PurePosixPath("outside" if self.outside else "files", self.path)

    @property
    def file(self) -> tuple[str, str, int, bool]:
        """What tells the file from any other, the same for all of its names; that a node says so is not enough."""
        return self.same_as or self.path, self.sha256, self.size_bytes, self.outside

    @property
    def content(self) -> str:
        """What it holds, to compare: the hash of a file, or where a link points."""
        return self.sha256 if self.link is None else f"-> {self.link}"
