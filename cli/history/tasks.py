"""List the tasks of an array with their results: tasks."""

import click

from cli.arrays.table import Table
from cli.options.context import cluster_flag, own_name, runs_here
from cli.options.declared import cluster_option, json_option, option
from cli.terminal import clouds, show
from infra.errors import NotFoundError, UsageError
from infra.history.runs import Run, find_run, list_runs
from infra.history.tasks import read_tasks

EXAMPLE = "gpujob run --grid lr=0.1,0.01 train.py --lr {lr}"


@click.command()
@click.argument("run", required=False)
@option("--sort", envvar=None, metavar="COLUMN", help="Sort by a column such as loss or lr; -loss reverses the order.")
@option("--csv", "as_csv", is_flag=True, help="Print CSV, with all metrics.")
@cluster_option
@json_option
def tasks(run: str | None, sort: str | None, as_csv: bool, cluster: str | None, as_json: bool) -> None:
    """List the tasks of an array with their values and last metrics.

    \b
    gpujob tasks 12 --sort loss
    gpujob tasks --csv > sweep.csv

    RUN is a number, a name such as CLUSTER-3, or a job name, and defaults to the latest array. Reads what was downloaded to
    runs/, so it works without a machine. Metrics are found as by gpujob runs. The cost of a task is its part of the job's, by
    its seconds.
    """  # noqa: D301  click reads the backspace
    if as_csv and as_json:
        raise UsageError("--csv cannot be used with --json", "use one of them")
    found = find_array(run, own_name(cluster))
    table = Table(read_tasks(found))
    order = table.sort(sort, f"gpujob tasks {found.job.number}")
    if as_json:
        show.echo_json(table.list_facts(order))
    elif as_csv:
        show.echo(table.write_csv(order).rstrip())
    else:
        table.show(order)
    if not found.job.over:
        flag = cluster_flag(found.receipt.cluster)
        show.say(f"job {found.job.number} was {found.job.state} then. Update: gpujob fetch{flag} {found.job.number}")
    if clouds.is_local(found.receipt.cloud) and not (as_json or as_csv):
        show.say("dry runs cost nothing; the cost is what AWS would have billed")


def find_array(asked: str | None, cluster: str) -> Run:
    """Return a run that is an array, by default the latest; raises NotFoundError or UsageError."""
    runs = list_runs(runs_here())
    arrays = [run for run in runs if run.job.tasks]
    if asked is None and not arrays:
        raise NotFoundError("no array among the runs of this project", EXAMPLE)
    found = find_run(runs, asked, cluster) if asked else arrays[-1]
    if not found.job.tasks:
        raise UsageError(f"run {found.key} has no tasks: it is not an array", f"gpujob receipt {found.job.number}")
    if not found.receipt.tasks:
        flag = cluster_flag(found.receipt.cluster)
        raise NotFoundError(
            f"nothing was downloaded of the tasks of run {found.key} yet", f"gpujob fetch{flag} {found.job.number}"
        )
    return found
