"""List the runs of a project: runs."""

import shlex
from collections.abc import Sequence
from typing import Any

import click

from cli.arrays.table import Table
from cli.facts.sorting import Line, choose_names, sort_lines
from cli.facts.times import instant
from cli.history.page import render_page
from cli.options.context import runs_here, script_here
from cli.options.declared import json_option, option
from cli.terminal import clouds, formats, show
from infra.base.money import format_usd
from infra.history.metrics import last_metrics, read_metrics
from infra.history.notes import Note, read_notes
from infra.history.pagefile import write_page
from infra.history.runs import Run, list_runs
from infra.history.tasks import read_tasks
from infra.model.launch import NO_GPU

DRY_RUNS = "dry runs cost nothing; the cost is what AWS would have billed"


@click.command()
@option(
    "--sort", envvar=None, metavar="COLUMN", help="Sort by a column such as started or loss; -loss reverses the order."
)
@option("--html", is_flag=True, help="Write a page with all runs and their curves: runs/index.html.")
@json_option
def runs(sort: str | None, html: bool, as_json: bool) -> None:
    """List all runs of this project with their last metrics.

    Reads the receipts in runs/, so it works without a machine. Metrics come from metrics.csv, metrics.jsonl, history.json or
    a similar file among a run's outputs, otherwise from its log: the last "loss 0.333", "loss=0.333" or "loss: 0.333" of each
    name. Notes and leaderboard scores are those of python -m jobs.board, kept in runs/notes.csv.
    """
    found, notes = list_runs(runs_here()), read_notes(runs_here())
    curves = [read_metrics(run) for run in found]
    metrics = [*map(last_metrics, curves)]
    names = choose_names(metrics, (*FIXED, *NOTED))
    several = len({run.receipt.cluster for run in found}) > 1
    lines = [make_line(run, last, names, several) for run, last in zip(found, metrics, strict=True)]
    lines = add_notes(lines, [notes.get(run.key, Note()) for run in found])
    known = [*(lines[0].shown if lines else FIXED)]
    order = sort_lines(lines, sort, known, "gpujob runs", "started") if sort else range(len(lines))
    remark = DRY_RUNS if any(clouds.is_local(run.receipt.cloud) for run in found) else ""
    if html:
        rows = [lines[at].shown for at in order]
        arrays = {run.folder.name: Table(tasks) for run in found if (tasks := read_tasks(run))}
        content = render_page(runs_here().parent.name, rows, [curves[at] for at in order], arrays, remark)
        page = write_page(runs_here(), content)
        show.say(f"wrote {page}", links=[page])
    data = [tell_all(found[at], metrics[at], notes.get(found[at].key, Note())) for at in order] if as_json else None
    droppable = (*reversed(names[2:]), "started", "duration", *names[1:2], "name", "note", "cost")
    empty = f"no runs yet. Run one: gpujob run {script_here()}"
    show.listing([lines[at].shown for at in order], as_json, data, empty, droppable)
    if remark and not as_json:
        show.say(remark)


def make_line(run: Run, last: dict[str, float], names: Sequence[str], several: bool) -> Line:
    """Return a run as a line of the listing."""
    job, usd = run.job, run.receipt.usd
    shown = {
        "run": show.Linked(run.key if several else str(job.number), run.folder),
        "name": job.name,
        "command": shlex.join(job.command),
        "started": formats.clock(job.started_at or job.submitted_at),
        "duration": "" if job.seconds is None else formats.duration(job.seconds),
        "exit": job.state if job.exit_code is None else str(job.exit_code),
        "cost": "" if usd is None else format_usd(usd),
        **{name: f"{last[name]:.4g}" if name in last else "" for name in names},
    }
    values = {
        **shown,
        "run": (run.receipt.cluster, job.number),
        "started": job.started_at or job.submitted_at,
        "duration": job.seconds,
        "exit": job.exit_code,
        "cost": usd,
        **{name: last.get(name) for name in names},
    }
    return Line(shown, values)


FIXED = ("run", "name", "command", "started", "duration", "exit", "cost")
NOTED = ("leaderboard", "note")


def add_notes(lines: Sequence[Line], notes: Sequence[Note]) -> list[Line]:
    """Return lines with the columns of scores and notes, each if there are any."""
    columns: dict[str, list[Any]] = {
        "leaderboard": [note.leaderboard for note in notes],
        "note": [n.text for n in notes],
    }
    kept = {name: values for name, values in columns.items() if any(value not in (None, "") for value in values)}
    added = [{name: values[at] for name, values in kept.items()} for at in range(len(lines))]
    return [
        Line({**line.shown, **{name: format_note(value) for name, value in more.items()}}, {**line.values, **more})
        for line, more in zip(lines, added, strict=True)
    ]


def format_note(value: str | float | None) -> str:
    """Return a note or a score as text."""
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


def tell_all(run: Run, last: dict[str, float], note: Note) -> dict[str, Any]:
    """Return a run for --json."""
    job, receipt = run.job, run.receipt
    return {
        "run": run.key,
        "cluster": receipt.cluster,
        "number": job.number,
        "name": job.name,
        "command": job.command,
        "state": job.outcome,
        "exit_code": job.exit_code,
        "submitted_at": instant(job.submitted_at),
        "started_at": instant(job.started_at),
        "seconds": job.seconds,
        "usd": receipt.usd,
        "cloud": receipt.cloud,
        "gpu": None if receipt.gpu == NO_GPU else receipt.gpu,
        "commit": job.source.get("commit", ""),
        "folder": str(run.folder),
        "metrics": last,
        "note": note.text,
        "leaderboard": note.leaderboard,
    }
