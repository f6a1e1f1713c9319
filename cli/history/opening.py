"""Open a run's report: open."""

import os
import sys
import webbrowser
from pathlib import Path

import click

from cli.options.context import own_name, runs_here, script_here
from cli.options.declared import cluster_option, option
from cli.terminal import show
from infra.errors import NotFoundError
from infra.history.reports import find_report
from infra.history.runs import find_run, list_runs


@click.command()
@click.argument("run", required=False)
@option("--browser/--no-browser", default=True, help="Open it, or only print its path.")
@cluster_option
def open(run: str | None, browser: bool, cluster: str | None) -> None:  # noqa: A001  named as the command
    """Open a run's report in the browser.

    The report is the output called report.html or index.html; a run without one opens as a folder. RUN is a number, a name
    such as CLUSTER-3, or a job name, and defaults to the latest run. Without a display, the path is printed.
    """
    runs = list_runs(runs_here())
    if not runs:
        raise NotFoundError("no runs in this project", f"gpujob run {script_here()}")
    found = find_run(runs, run, own_name(cluster)) if run else runs[-1]
    path = find_report(found) or found.folder
    if not browser or not has_display() or not open_path(path):
        show.echo(str(path))
        return
    show.say(f"opened {path}")


def has_display() -> bool:
    """Return whether windows can be shown; without them, a browser would take over the terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_path(path: Path) -> bool:
    """Open a page or a folder as the desktop does; return whether it could."""
    return webbrowser.open(path.as_uri())
