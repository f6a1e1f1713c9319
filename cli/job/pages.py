"""Pages of the machine in this laptop's browser: notebook, tensorboard."""

import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from cli.notices import billing
from cli.notices.jobs import describe_state
from cli.options.context import check_variable, here, runs_of
from cli.options.declared import cluster_argument, cluster_option, option, typed_option, yes_option
from cli.steps.following import download
from cli.steps.reach import reach
from cli.steps.submission import submit_job
from cli.terminal import progress, show
from infra.errors import GpujobError
from infra.fetch.autofetch import Terms, fetch_meanwhile
from infra.fetch.outputs import Wanted, fetch
from infra.node import client
from infra.project.files import read_project
from infra.run.pages import (
    hold_board,
    hold_notebook,
    make_door,
    notebook_request,
    wait_for_answer,
    wait_for_notebook,
)
from infra.ssh.forward import Forward

if TYPE_CHECKING:
    from infra.model import Cluster
    from infra.ssh.connection import Connection

OTHERS = 20  # ports that are tried when the usual one is taken and none was asked for
FETCH_EVERY_S = 60
port_option = option("--port", type=click.IntRange(1, 65535), help="Port of this laptop; else the first that is free.")
browser_option = option("--browser/--no-browser", default=True, help="Open the browser, or print the address alone.")


@click.command()
@cluster_argument
@port_option
@browser_option
@typed_option("--stop", is_flag=True, help="End the notebook and download what it wrote.")
@option("--no-deps", is_flag=True, help="Do not install what the project depends on.")
@yes_option
@click.pass_context
def notebook(
    context: click.Context, /, name: str | None, port: int | None, browser: bool, stop: bool, no_deps: bool, yes: bool
) -> None:
    """Open JupyterLab on the machine, with the project in it.

    It shows in this laptop's browser, and runs there as a job that takes no GPU for itself and sees them all.
    What it writes is downloaded to runs/ every minute and on Ctrl-C, which only ends the forwarding: the notebook goes on
    until --stop, and keeps the machine from being idle. The next notebook goes on with the files of the last.
    """
    if stop and context.get_parameter_source("name") is not ParameterSource.COMMANDLINE:
        check_variable(None, "gpujob notebook {name} --stop")
    _, connecting = reach(name)
    with connecting as connection:
        running = client.find_page(connection).job
        if stop:
            stop_notebook(connection, running)
        else:
            with listen(port, 8888) as forward:  # first, for a port that is taken is no reason to start one
                number = running or start_notebook(connection, no_deps, yes)
                open_notebook(connection, number, forward, browser)


def start_notebook(connection: "Connection", no_deps: bool, yes: bool) -> int:
    """Upload the project and start a notebook on it; return the job's number."""
    return submit_job(connection, read_project(here()), notebook_request(no_deps), yes)


def stop_notebook(connection: "Connection", number: int) -> None:
    """End the notebook, if there is one, and download what it wrote."""
    cluster = connection.cluster
    if not number:
        show.say(f"nothing to do: no notebook runs on '{cluster.name}'")
        return
    client.cancel(connection, number)
    show.say(f"the notebook, job {number}, has ended")
    with billing.reminding(cluster):
        download(connection, number, runs_of(cluster, number))


def open_notebook(connection: "Connection", number: int, forward: Forward, browser: bool) -> None:
    """Forward a port to the notebook and show it, until Ctrl-C or until the notebook is over."""
    cluster = connection.cluster
    with progress.steps() as report:
        try:
            page = wait_for_notebook(connection, number, report)
        except KeyboardInterrupt as error:
            error.add_note(
                f"the notebook starts all the same: gpujob notebook {cluster.name}, or to end it, with --stop"
            )
            raise
    forward.lead(connection, page.port)
    with doorway(cluster) as door:
        wait_for_answer(forward.port, "/api/status", page.token)
        show_page(f"http://127.0.0.1:{forward.port}/lab?token={page.token}", door if browser else None)
        show.say(f"the notebook is job {number} on '{cluster.name}'; Ctrl-C detaches, and it keeps running")
        with fetch_meanwhile(connection, number, runs_of(cluster, number), Terms(FETCH_EVERY_S), show.say):
            try:
                job = hold_notebook(connection, page, forward, show.say)
            except KeyboardInterrupt:
                job = None
    if job is None:
        leave_notebook(connection, number)
    else:
        show.say(f"the notebook, job {number}, {describe_state(job)}")
        download(connection, number, runs_of(cluster, number))


def leave_notebook(connection: "Connection", number: int) -> None:
    """Download what the notebook has written so far, and say how to open it again."""
    cluster = connection.cluster
    show.say("\nDetached. Downloading saved files...")
    try:
        home = fetch(connection, number, runs_of(cluster, number), lambda _: None, Wanted(settled=True))
    except (KeyboardInterrupt, GpujobError) as error:
        error.add_note(f"the notebook may go on: gpujob notebook {cluster.name}, or to end it, with --stop")
        raise
    show.say(f"what it has saved so far is in {home.folder}")
    command = f"gpujob notebook {cluster.name}"
    show.say(f"the notebook keeps running. Open it: {command}   End it: {command} --stop")
    if cluster.idle_stop_s:
        show.say("until it ends the machine is not idle, so --idle-stop does not terminate it; its lease does")
    billing.remind(cluster)


def listen(port: int | None, usual: int) -> Forward:
    """Listen on the port asked for, else on the usual one or the first free one after it."""
    return Forward(port or usual, 0 if port else OTHERS)


@contextmanager
def doorway(cluster: "Cluster") -> Iterator[Callable[[str], bool]]:
    """Yield a function that opens a URL in the browser and returns whether there is one.

    Everybody on this computer can read what a browser is started with, so it gets a file that leads on to the URL.
    """
    with ExitStack() as opened:
        yield lambda url: webbrowser.open(opened.enter_context(make_door(cluster.name, url)).as_uri())


def show_page(url: str, open_browser: Callable[[str], bool] | None) -> None:
    """Open a page, or print its address where there is no browser or none is wanted."""
    if open_browser is None or not open_browser(url):
        show.say("the page, for as long as this runs:")
        show.echo(f"  {url}")
    else:
        show.say("opened in the browser; --no-browser prints the address")


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@port_option
@browser_option
@cluster_option
def tensorboard(job: int | None, port: int | None, browser: bool, cluster: str | None) -> None:
    """Show the curves of JOB, or of all jobs, in the browser.

    They are TensorBoard's, and grow while a job runs. TensorBoard runs on the machine, on the jobs' own folders, until Ctrl-C.
    """
    found, connecting = reach(cluster)
    with connecting as connection, listen(port, 6006) as forward:
        show.say(f"starting TensorBoard on '{found.name}' ...")

        def show_it() -> None:
            show_page(f"http://127.0.0.1:{forward.port}/", webbrowser.open if browser else None)
            show.say("Ctrl-C ends it")

        with suppress(KeyboardInterrupt):
            hold_board(connection, job, forward, show_it, show.say)
