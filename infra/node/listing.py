"""What the agent tells of a job's outputs, as it comes over the wire; no name in it is trusted."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

from infra.model import Job, Output

NAMED = 5
# One that the node cannot even open may be longer than its kernel takes.
NodePath = Annotated[str, re.compile(r"[^\0]{1,8192}")]


@dataclass(frozen=True, kw_only=True)
class JobReply(Job):
    """A job as the agent tells it, with the node's own time."""

    now: float


@dataclass(frozen=True)
class Held:
    """A cache that a job wrote in its working tree; it is downloaded only if somebody asks for it."""

    path: NodePath
    files: int
    size_bytes: int


@dataclass(frozen=True)
class Left:
    """Files that jobs wrote outside of their working trees, and nobody asked for."""

    path: NodePath
    """The file, or the folder around them, as `--output` takes it."""
    files: int
    size_bytes: int
    jobs: tuple[int, ...]
    """Those that may have written them."""
    minor: bool
    """Whether they lie in a temporary folder, or are few bytes in a hidden one."""


@dataclass(frozen=True)
class Outputs:
    """What a job created or changed, and what of that is not downloaded."""

    job: JobReply
    outputs: tuple[Output, ...]
    unreadable: tuple[NodePath, ...]
    """Paths that the agent may not read."""
    unsettled: tuple[NodePath, ...] = ()
    """Paths that are still being written."""
    missing: tuple[NodePath, ...] = ()
    """Paths that were asked for, of which there is nothing."""
    held: tuple[Held, ...] = ()
    excluded: tuple[Held, ...] = ()
    """What is not downloaded because somebody excluded it, the project's own settings maybe."""
    left: tuple[Left, ...] = ()
    left_complete: bool = True
    """Whether there was time to look everywhere."""


@dataclass(frozen=True)
class AllLeft:
    """What all jobs of a node left outside of their working trees."""

    left: tuple[Left, ...]
    complete: bool


def output_options(groups: Iterable[Held | Left]) -> str:
    """Return the options that ask for the first few groups; a name that would steer the terminal is left out."""
    named = [group.path for group in islice(groups, NAMED) if group.path.isprintable()]
    return " ".join(f"--output {shlex.quote(path)}" for path in named)
