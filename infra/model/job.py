"""A job: what was asked to run, how it went, and what it wrote."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

# What a node may answer (infra/base/decoding.py): a path that a file system takes, a hash, the code of a process that ended.
FileName = Annotated[str, re.compile(r"[^\0]{1,4096}")]
Sha256 = Annotated[str, re.compile("[0-9a-f]{64}|")]
ExitCode = Annotated[int, range(256)]
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
