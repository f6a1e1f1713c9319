"""The options of `run` that make a job an array, and the array that they describe."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import click

from cli.arrays.gridfiles import read_grid
from cli.arrays.grids import Factor, combine, list_names, parse_axis
from cli.arrays.indices import Indices, parse_indices
from cli.arrays.placeholders import check_placeholders, check_shell, find_names
from cli.options.context import launcher_here
from cli.options.declared import add_options, option, typed_option
from cli.terminal import formats, show
from infra.errors import UsageError
from infra.model import Array, Cluster, Request, Task
from infra.node.agent.book.tasks import variable_of

MOST_SHARE, MOST_RETRIES = 64, 100


class ArrayOptions(TypedDict):
    """The options that say which tasks a job has."""

    array: str | None
    grid: tuple[str, ...]
    grid_file: Path | None
    share: int | None
    retries: int


array_options = add_options(
    typed_option(
        "--array",
        metavar="INDICES[%COUNT]",
        help="Run SCRIPT once for each index: 0-99, or 1,3,7-9; %8 runs at most 8 at a time. "
        "The index is in GPUJOB_TASK.",
    ),
    typed_option(
        "--grid",
        multiple=True,
        metavar="NAME=VALUES",
        help="Run SCRIPT once for each combination of values, as in lr=0.1,0.01; {lr} in its arguments is "
        "replaced. Repeatable.",
    ),
    typed_option(
        "--grid-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Read the grid from a .csv file, a task in each row, or from a .toml file with lists of values.",
    ),
    option(
        "--share",
        type=click.IntRange(1, MOST_SHARE),
        metavar="COUNT",
        help="Tasks of an array that run on each GPU at the same time  "
        "[default: 1; on a machine without GPUs, one for each core]",
    ),
    option(
        "--retries",
        type=click.IntRange(0, MOST_RETRIES),
        default=0,
        metavar="COUNT",
        help="Run a task of an array again, this often, after its machine was lost  [default: 0]",
    ),
)
"""Adds the options that say which tasks a job has; which ones is typed, as the script is."""


def make_array(options: ArrayOptions, command: Sequence[str]) -> Array | None:
    """Return the tasks of a job; None without any. Raises UsageError; warns of unused names."""
    if not is_array(options):
        check_single(options)
        return None
    indices = Indices(()) if options["array"] is None else parse_indices(options["array"])
    factors = [*(read_grid(options["grid_file"]) if options["grid_file"] else ()), *map(parse_axis, options["grid"])]
    tasks = choose_tasks(indices, factors)
    check_command(command, factors, tasks)
    return Array(tasks, indices.at_once, options["share"], options["retries"])


def check_single(options: ArrayOptions) -> None:
    """Raise UsageError for options that only an array has; a setting in gpujob.toml is for arrays only."""
    context = click.get_current_context(silent=True)
    for name in ("share", "retries"):
        typed = context and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if typed and options[name]:
            raise UsageError(f"--{name} is for the tasks of an array", "add --array or --grid")


def choose_tasks(indices: Indices, factors: Sequence[Factor]) -> tuple[Task, ...]:
    """Return the tasks of an array; with a grid, the indices choose among its combinations."""
    if not factors:
        if not indices.chosen:
            raise UsageError("--array has only a limit", "gpujob run --array 0-99%8 ...")
        return tuple(map(Task, indices.chosen))
    grid = combine(factors)
    beyond = next((index for index in indices.chosen if index >= len(grid)), None)
    if beyond is not None:
        raise UsageError(
            f"--array {beyond}: the grid has {formats.plural(len(grid), 'combination')}, numbered from 0",
            f"{launcher_here()} --array 0-{len(grid) - 1} ...",
        )
    return tuple(Task(index, grid[index]) for index in indices.chosen or range(len(grid)))


def check_command(command: Sequence[str], factors: Sequence[Factor], tasks: Sequence[Task]) -> None:
    """Raise UsageError if values cannot stand in a command; warn about names that it does not use."""
    names = list_names(factors)
    if not names:
        return
    for name in check_placeholders(command, names):
        show.say(f"warning: {{{name}}} is passed as it is; the grid has no such name")
    check_shell(command, [task.values for task in tasks])
    unused = [name for name in names if name not in find_names(command)]
    if unused:
        named, variables = ", ".join(f"{{{name}}}" for name in unused), ", ".join(map(variable_of, unused))
        show.say(f"note: no argument has {named}; the script has to read {variables}")


def is_array(options: ArrayOptions) -> bool:
    """Return whether the options make a job an array."""
    return bool(options["grid"] or options["grid_file"] or options["array"] is not None)


def spread(request: Request, cluster: Cluster) -> Request:
    """Return a request whose tasks are spread over all nodes of a cluster that there are tasks for."""
    return replace(request, nodes=max(1, min(cluster.together, len(request.array.tasks)))) if request.array else request
