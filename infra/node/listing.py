"""The agent's listings of outputs, as received; no name in them is trusted."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated

from infra.errors import NodeError
from infra.model import Job, Output

NAMED = 5
MOST = 1_000_000  # outputs of a job: more do not fit into one response
# A path that the node cannot open may be longer than its kernel allows.
NodePath = Annotated[str, re.compile(r"[^\0]{1,8192}")]
Token = Annotated[str, re.compile("[0-9a-f]{0,32}")]


@dataclass(frozen=True, kw_only=True)
class JobReply(Job):
    """A job as reported by the agent, with the node's time."""

    now: float


@dataclass(frozen=True)
class Held:
    """A cache that a job wrote in its working tree, downloaded only on request."""

    path: NodePath
    files: int
    size_bytes: int


@dataclass(frozen=True)
class Left:
    """Files that jobs wrote outside their working trees and that were not requested."""

    path: NodePath
    """The file, or the folder around them, as a value for `--output`."""
    files: int
    size_bytes: int
    jobs: tuple[int, ...]
    """The jobs that may have written them."""
    minor: bool
    """Whether they are in a temporary folder, or small and in a hidden one."""


@dataclass(frozen=True)
class Gone:
    """An output that no longer exists."""

    path: NodePath
    outside: bool


@dataclass(frozen=True)
class Outputs:
    """The files that a job created or changed, and those not downloaded."""

    job: JobReply
    outputs: tuple[Output, ...]
    unreadable: tuple[NodePath, ...]
    """Paths that the agent cannot read."""
    unsettled: tuple[NodePath, ...] = ()
    """Paths that are still being written."""
    missing: tuple[NodePath, ...] = ()
    """Requested paths that do not exist."""
    held: tuple[Held, ...] = ()
    excluded: tuple[Held, ...] = ()
    """What is not downloaded because it is excluded, possibly by the project's settings."""
    left: tuple[Left, ...] = ()
    left_complete: bool = True
    """Whether the search finished in time."""
    token: Token = ""
    """Identifies this listing when the next one is asked for; "" if the agent does not keep it."""
    since: Token = ""
    """The earlier listing to which `outputs` and `gone` are the difference; "" if `outputs` are all."""
    gone: tuple[Gone, ...] = ()


def update(before: Outputs | None, told: Outputs) -> Outputs:
    """Return a whole listing from an earlier one and the changes since; the same outputs without any.

    Raises NodeError if it is the difference to another listing.
    """
    if not told.since:
        return told
    if before is None or told.since != before.token:
        raise NodeError("invalid response from the agent: changes to an unknown listing", "gpujob fetch")
    outputs = before.outputs
    if told.outputs or told.gone:
        found = {(output.outside, output.path): output for output in outputs}
        for gone in told.gone:
            found.pop((gone.outside, gone.path), None)
        found |= {(output.outside, output.path): output for output in told.outputs}
        outputs = tuple(found.values())
    if len(outputs) > MOST:
        raise NodeError(f"the job has more than {MOST:,} outputs", "gpujob fetch")
    return replace(told, outputs=outputs, since="", gone=())


@dataclass(frozen=True)
class AllLeft:
    """What all jobs of a node left outside their working trees."""

    left: tuple[Left, ...]
    complete: bool


def output_options(groups: Iterable[Held | Left]) -> str:
    """Return the options that request the first few groups, except names with control characters."""
    named = [group.path for group in islice(groups, NAMED) if group.path.isprintable()]
    return " ".join(f"--output {shlex.quote(path)}" for path in named)
