"""Show how the tasks of an array ended, once it has been downloaded."""

from pathlib import Path

from cli.arrays.table import Table
from cli.options.context import cluster_flag
from cli.terminal import show
from infra.history.runs import read_run
from infra.history.tasks import read_tasks

SHOWN = 20


def show_results(folder: Path) -> None:
    """Print the first tasks in a results folder, and how to see them sorted."""
    run = read_run(folder)
    tasks = read_tasks(run) if run else []
    if not run or not tasks:
        return
    table = Table(tasks)
    table.show(range(min(len(tasks), SHOWN)))
    more = f"and {len(tasks) - SHOWN} more. " if len(tasks) > SHOWN else ""
    column = f" --sort {table.names[0]}" if table.names else ""
    show.say(f"{more}Sort them: gpujob tasks{cluster_flag(run.receipt.cluster)} {run.job.number}{column}")
