"""A job: the request, its state and its outputs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from infra.model.arrays import Array, Counts

# Valid in a node's response (infra/base/decoding.py): a file system path, a hash, the exit code of a process.
FileName = Annotated[str, re.compile(r"[^\0]{1,4096}")]
Sha256 = Annotated[str, re.compile("[0-9a-f]{64}|")]
ExitCode = Annotated[int, range(256)]
JobState = Literal["queued", "running", "stalled", "succeeded", "failed", "cancelled", "interrupted"]
UNFINISHED = ("queued", "running", "stalled")
"""The states of a job that has not ended."""
HANG_AFTER_S = 1800.0
MOST_NODES = 64


NEVER_S = 1e9
"""More seconds than any job runs."""


@dataclass(frozen=True)
class Terminal:
    """The terminal that a job gets."""

    columns: int
    rows: int
    kind: str
    """The value of TERM."""


@dataclass(frozen=True)
class DataSet:
    """One version of files that a job sees, read-only, at a path of its project."""

    path: str
    source: str
    """Where they come from, as shown and recorded."""
    version: str
    """Identifies their names and contents; "" if it is not known until the node has fetched them."""
    address: str = ""
    """Where the node fetches them itself: https://... or s3://...; "" for those that this computer sends."""
    sha256: str = ""
    """Of a file that the node fetches by https."""


@dataclass(frozen=True)
class Request:
    """What to run, and how."""

    command: tuple[str, ...]
    name: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    gpus: int | None = None
    """Number of GPUs reserved for it; None for all of the node's."""
    time_limit_s: float | None = None
    no_deps: bool = False
    extras: tuple[str, ...] = ()
    """Extras of the project to install besides its dependencies."""
    groups: tuple[str, ...] = ()
    """Dependency groups of the project to install besides its dependencies."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables whose values are never recorded and are masked in the log."""
    hang_after_s: float = HANG_AFTER_S
    """Seconds without output or CPU/GPU activity after which it counts as stalled."""
    kill_stalled: bool = False
    outputs: tuple[str, ...] = ()
    """Further paths on the node that count as outputs: outside the working tree, or caches inside it."""
    exclude: tuple[str, ...] = ()
    """Patterns of files that do not count as outputs."""
    python: str | None = None
    """The interpreter on the node; None for the image's, or the one its dependencies are installed for."""
    terminal: Terminal | None = None
    """The terminal that it reads from and writes to; None for an empty input and a plain log."""
    data: tuple[DataSet, ...] = ()
    start_from: str = ""
    """The earlier job whose outputs it starts from, as CLUSTER-NUMBER."""
    nodes: int = 1
    """Over how many of the cluster's nodes it runs, once on each; of an array, over how many its tasks are spread."""
    array: Array | None = None
    """Its tasks; `gpus` are then those of each task, None for one if there are any."""


@dataclass(frozen=True)
class Job:
    """One run of one command on a cluster, as reported by the agent."""

    number: int
    name: str
    command: tuple[str, ...]
    state: JobState
    reason: str
    """Why it ended, unless it exited by itself or was cancelled."""
    gpus: tuple[int, ...]
    exit_code: ExitCode | None
    """128 + the signal's number if a signal ended the job; None while it runs or if the code is unknown."""
    submitted_at: float
    started_at: float | None
    stalled_at: float | None
    """When it was found to be stalled; None while it is active."""
    ended_at: float | None
    seconds: float | None
    """Run time so far or in total, by a monotonic clock; None if it never started or its end is unknown."""
    log_bytes: int
    fetched: bool
    """Whether every output was downloaded after the job ended."""
    python: str
    """The interpreter that `python` resolves to for this job."""
    dependencies: str
    """Identifies the environment with its dependencies; "" if there was nothing to install."""
    driver: str
    """The version of the NVIDIA driver it ran with; "" without one."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Origin of the code: project folder, git commit, whether it was modified, number of files and bytes."""
    peak_memory_bytes: int | None = None
    """The most memory that any one of its processes used; None if unknown."""
    data: Mapping[str, Annotated[str, re.compile("[0-9a-f]{64}|")]] = field(default_factory=dict)
    """The version of each data set that it used, by path; "" until it is known."""
    preempted: bool = False
    """Whether AWS reclaimed its spot machine while it was running."""
    nodes: Annotated[int, range(1, MOST_NODES + 1)] = 1
    """Over how many nodes it runs."""
    exit_codes: tuple[ExitCode | None, ...] = ()
    """Of a job over several nodes that has ended, the exit code on each; None if it is unknown."""
    failed_node: Annotated[int, range(MOST_NODES)] = 0
    """Of a job over several nodes, the one that failed first."""
    tasks: Counts | None = None
    """Of an array, how many of its tasks are in which state."""

    @property
    def outcome(self) -> str:
        """Its state as shown: `preempted` if it did not finish because AWS reclaimed the machine."""
        return "preempted" if self.preempted and self.state in ("failed", "interrupted") else self.state

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state not in UNFINISHED

    @property
    def states(self) -> tuple[tuple[str, float], ...]:
        """The states it went through with their times; the end of an interrupted job is unknown."""
        times = ("queued", self.submitted_at), ("running", self.started_at), ("stalled", self.stalled_at)
        return tuple((name, at) for name, at in (*times, (self.state, self.ended_at)) if at is not None)


@dataclass(frozen=True)
class Output:
    """A file that a job created or changed; `path` comes from the node and is not trusted."""

    path: FileName
    size_bytes: int
    sha256: Sha256
    mode: Annotated[int, range(0o10000)]
    link: FileName | None = None
    """The target of a symbolic link, which has no content to hash."""
    outside: bool = False
    """Whether it is a requested path outside the job's working tree."""
    same_as: str = ""
    """The path of another output to which this is a hard link."""

    def __hash__(self) -> int:
        """Return a cheap hash: fetching 10,000 outputs needs it 100,000 times."""
        return hash(self.path)

    @property
    def place(self) -> str:
        """Its path in the folder of the job's results, for messages."""
        return f"{'outside' if self.outside else 'files'}/{self.path}"

    @property
    def file(self) -> tuple[str, str, int, bool]:
        """Identity of the file, the same for all of its hard links; a node's claim alone is not enough."""
        return self.same_as or self.path, self.sha256, self.size_bytes, self.outside

    @property
    def content(self) -> str:
        """Its content for comparison: the hash of a file, or the target of a link."""
        return self.sha256 if self.link is None else f"-> {self.link}"
