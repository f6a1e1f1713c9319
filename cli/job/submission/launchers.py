"""How the processes of a job are started: one, one for each GPU, or some on each of several nodes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import click

from cli.arrays.options import is_array
from cli.options.context import launcher_here, script_here
from cli.options.declared import add_options, option
from cli.reasons.notebooks import NBCONVERT
from infra.errors import UsageError
from infra.model import MOST_NODES
from infra.node.agent.records import RAY

if TYPE_CHECKING:
    from infra.model import Request

Launcher = Literal["torchrun", "ray", "none"]


class LauncherOptions(TypedDict):
    """The options that say how a job's processes are started."""

    torchrun: bool
    nodes: int | None
    launcher: str | None
    nproc: int | None


launcher_options = add_options(
    option("--torchrun", is_flag=True, help="Run SCRIPT with torchrun, in one process for each GPU of the job."),
    option(
        "--nodes",
        type=click.IntRange(1, MOST_NODES),
        envvar=None,  # GPUJOB_NODES is for `up`, and in a job it says how many nodes there are
        metavar="COUNT",
        help="Run one job over this many nodes of the cluster.  [default: 1; for an array, all]",
    ),
    option(
        "--launcher",
        type=click.Choice(["torchrun", "ray", "none"]),
        help="What starts the processes: torchrun; ray, with the command on the first node; or none to run the command "
        "as it is, once on each node. "
        " [default: torchrun for Python on several nodes]",
    ),
    option(
        "--nproc",
        type=click.IntRange(1),
        metavar="COUNT",
        help="Processes that torchrun starts on each node  [default: the job's GPUs]",
    ),
)
"""Adds the options that say how a job's processes are started."""


def choose_launcher(command: Sequence[str], options: Any) -> Launcher:
    """Return what starts a job's processes; raises UsageError for options that exclude each other."""
    asked: Launcher | None = options["launcher"]
    if options["torchrun"] and asked in ("ray", "none"):
        raise UsageError(f"--torchrun cannot be used with --launcher {asked}", "use one of them")
    wanted = options["torchrun"] or asked == "torchrun"
    if wanted and not is_python(command):
        raise UsageError(
            "--torchrun needs a Python script or a module", f"{launcher_here()} --torchrun {script_here()}"
        )
    nodes = options["nodes"] or 1
    several = nodes > 1 and not is_array(options)  # each task of an array runs on one node
    if options["interactive"] and (nodes > 1 or is_array(options)):
        other = "an array" if is_array(options) else "--nodes"
        raise UsageError(f"--interactive cannot be used with {other}: a job has one terminal", "use one of them")
    if asked == "ray" and is_array(options):
        raise UsageError("--launcher ray cannot be used with an array: each task runs on one node", "use one of them")
    by_default: Launcher = "torchrun" if options["torchrun"] or (several and is_python(command)) else "none"
    chosen = asked or by_default
    if options["nproc"] and chosen != "torchrun":
        raise UsageError(
            "--nproc needs torchrun", f"{launcher_here()} --torchrun --nproc {options['nproc']} {script_here()}"
        )
    return chosen


def is_python(command: Sequence[str]) -> bool:
    """Return whether a command is a Python script or module, which torchrun needs."""
    return command[0] == "python" and tuple(command[: len(NBCONVERT)]) != NBCONVERT


def distribute(request: "Request", gpu_count: int, launcher: Launcher, nproc: int | None) -> "Request":
    """Return a request whose command starts a Python script or module in several processes on each node.

    On several nodes, torchrun learns from its variables which one it is on, and where the first one is.
    """
    if launcher == "none":
        return request
    if launcher == "ray":
        return replace(request, command=(*RAY, *request.command))
    all_gpus = min(gpu_count, 1) if request.array else gpu_count
    gpus = all_gpus if request.gpus is None else request.gpus
    where = "--standalone" if request.nodes == 1 or request.array else f"--nnodes={request.nodes}"
    words = ("torchrun", where, f"--nproc-per-node={nproc or max(gpus, 1)}", *request.command[1:])
    return replace(request, command=words)
