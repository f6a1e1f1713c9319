"""Compare two runs: diff."""

import shlex
from pathlib import Path

import click

from cli.options.context import own_name, runs_here
from cli.options.declared import cluster_option, json_option
from cli.terminal import formats, show
from infra.base.money import format_usd
from infra.errors import ProjectError
from infra.history.metrics import last_metrics, read_metrics
from infra.history.runs import Run, find_run, list_runs
from infra.history.sources import compare_code


@click.command()
@click.argument("before")
@click.argument("after")
@cluster_option
@json_option
def diff(before: str, after: str, cluster: str | None, as_json: bool) -> None:
    """Compare two runs: command, code, dependencies, metrics.

    \b
    gpujob diff 3 4
    gpujob diff 3 other-1

    BEFORE and AFTER are numbers, names such as CLUSTER-3, or job names. The code is compared from the commits in this
    repository and the runs' own changes.patch.
    """  # noqa: D301  click reads the backspace
    runs, name = list_runs(runs_here()), own_name(cluster)
    first, second = (find_run(runs, asked, name) for asked in (before, after))
    old, new = describe(first), describe(second)
    rows = [
        {"": what, first.key: old.get(what, ""), second.key: new.get(what, "")}
        for what in dict.fromkeys((*old, *new))
        if old.get(what) != new.get(what)
    ]
    code, why = find_changes(runs_here().parent, first, second)
    if as_json:
        facts = {first.key: old, second.key: new}
        show.echo_json(
            {
                "runs": facts,
                "differs": [row[""] for row in rows],
                "code": code,
                "code_unknown": why,
            }
        )
        return
    show.listing(rows, False, empty="command, dependencies and metrics are the same")
    if why:
        show.say(f"cannot compare the code: {why}")
    elif code:
        show.echo(f"\n{code}".rstrip("\n"))
    else:
        show.say("the code is the same")


def describe(run: Run) -> dict[str, str]:
    """Return the facts about a run that are compared besides its code."""
    job, receipt = run.job, run.receipt
    return {
        "command": shlex.join(job.command),
        "state": job.state if job.exit_code is None else f"{job.state} (exit {job.exit_code})",
        "duration": "" if job.seconds is None else formats.duration(job.seconds),
        "cost": "" if receipt.usd is None else format_usd(receipt.usd),
        "machine": receipt.instance_type,
        "commit": str(job.source.get("commit", ""))[:12],
        "dependencies": job.dependencies,
        **{f"data {path}": version[:12] for path, version in job.data.items()},
        "python": job.python,
        **{name: f"{value:.4g}" for name, value in last_metrics(read_metrics(run)).items()},
    }


def find_changes(root: Path, before: Run, after: Run) -> tuple[str, str]:
    """Return the difference of the code, or why it is unknown."""
    snapshots = [run.job.source.get("snapshot") for run in (before, after)]
    if snapshots[0] and snapshots[0] == snapshots[1]:
        return "", ""
    try:
        return compare_code(root, before, after).decode(errors="replace"), ""
    except ProjectError as error:
        return "", error.what
