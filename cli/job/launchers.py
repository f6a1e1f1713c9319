"""How the processes of a job are started: one, one for each GPU, or some on each of several nodes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click

from cli.options.context import script_here
from cli.options.declared import option
from cli.reasons.notebooks import NBCONVERT
from infra.errors import UsageError
from infra.model import MOST_NODES

if TYPE_CHECKING:
    from infra.model import Request

Launcher = Literal["torchrun", "none"]


def launcher_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a job's processes are started."""
    for add in reversed(
        (
            option(
                "--torchrun", is_flag=True, help="Run SCRIPT with torchrun, in one process for each GPU of the job."
            ),
            option(
                "--nodes",
                type=click.IntRange(1, MOST_NODES),
                default=1,
                envvar=None,  # GPUJOB_NODES is for `up`, and in a job it says how many nodes there are
                metavar="COUNT",
                help="Run one job over this many nodes of the cluster.  [default: 1]",
            ),
            option(
                "--launcher",
                type=click.Choice(["torchrun", "none"]),
                help="What starts the processes: torchrun, or none to run the command as it is, once on each node. "
                " [default: torchrun for Python on several nodes]",
            ),
            option(
                "--nproc",
                type=click.IntRange(1),
                metavar="COUNT",
                help="Processes that torchrun starts on each node  [default: the job's GPUs]",
            ),
        )
    ):
        command = add(command)
    return command


def choose_launcher(command: Sequence[str], options: Any) -> Launcher:
    """Return what starts a job's processes; raises UsageError for options that exclude each other."""
    asked: Launcher | None = options["launcher"]
    if options["torchrun"] and asked == "none":
        raise UsageError("--torchrun cannot be used with --launcher none", "use one of them")
    wanted = options["torchrun"] or asked == "torchrun"
    if wanted and not is_python(command):
        raise UsageError("--torchrun needs a Python script or a module", f"gpujob run --torchrun {script_here()}")
    if options["nodes"] > 1 and options["interactive"]:
        raise UsageError("--interactive cannot be used with --nodes: a job has one terminal", "use one of them")
    chosen: Launcher = (
        "torchrun" if wanted or (asked is None and options["nodes"] > 1 and is_python(command)) else "none"
    )
    if options["nproc"] and chosen == "none":
        raise UsageError("--nproc needs torchrun", f"gpujob run --torchrun --nproc {options['nproc']} {script_here()}")
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
    gpus = gpu_count if request.gpus is None else request.gpus
    where = "--standalone" if request.nodes == 1 else f"--nnodes={request.nodes}"
    words = ("torchrun", where, f"--nproc-per-node={nproc or max(gpus, 1)}", *request.command[1:])
    return replace(request, command=words)
