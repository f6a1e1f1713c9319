"""Web pages served by the machine: notebook, tensorboard."""

import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TypedDict, Unpack

import click
from click.core import ParameterSource

from cli.notices import billing
from cli.notices.jobs import describe_state
from cli.options.context import check_variable, find_cluster, here, runs_of
from cli.options.declared import (
    cluster_argument,
    cluster_option,
    extra_option,
    group_option,
    no_deps_option,
    option,
    typed_option,
    yes_option,
)
from cli.options.values import JobName, parse_job
from cli.reasons.explanations import explain_failure
from cli.steps.following import download
from cli.steps.reach import connect, find_job, reach
from cli.steps.submission import submit_job
from cli.terminal import progress, show
from infra.cluster.logins import check_rank
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

OTHERS = 20  # more ports to try if the default one is in use
FETCH_EVERY_S = 60
port_option = option("--port", type=click.IntRange(1, 65535), help="Local port  [default: the first free one]")
browser_option = option("--browser/--no-browser", default=True, help="Open the browser, or only print the address.")


class PackageOptions(TypedDict):
    """The options that say what is installed, named as the fields of Request."""

    no_deps: bool
    extras: tuple[str, ...]
    groups: tuple[str, ...]


@click.command()
@cluster_argument
@port_option
@browser_option
@typed_option("--stop", is_flag=True, help="Stop the notebook and download its outputs.")
@no_deps_option
@extra_option
@group_option
@yes_option
@click.pass_context
def notebook(
    context: click.Context,
    /,
    name: str | None,
    port: int | None,
    browser: bool,
    stop: bool,
    yes: bool,
    **options: Unpack[PackageOptions],
) -> None:
    """Run JupyterLab on the machine and open it in the browser.

    The notebook runs as a job that sees all GPUs without reserving them. Its files are downloaded to runs/ every minute
    and on Ctrl-C, which detaches: the notebook keeps running until --stop, and the machine does not count as idle. The next
    notebook continues with the files of the last.
    """
    if stop and context.get_parameter_source("name") is not ParameterSource.COMMANDLINE:
        check_variable(None, "gpujob notebook {name} --stop")
    _, connecting = reach(name)
    with connecting as connection:
        running = client.find_page(connection).job
        if stop:
            stop_notebook(connection, running)
        else:
            with listen(port, 8888) as forward:  # first: if the port is in use, no notebook is started
                number = running or start_notebook(connection, options, yes)
                open_notebook(connection, number, forward, browser)


def start_notebook(connection: "Connection", options: PackageOptions, yes: bool) -> int:
    """Upload the project and start a notebook; return its job number."""
    return submit_job(connection, read_project(here()), notebook_request(**options), yes)


def stop_notebook(connection: "Connection", number: int) -> None:
    """Stop the notebook, if one is running, and download its outputs."""
    cluster = connection.cluster
    if not number:
        show.say(f"nothing to do: no notebook is running on '{cluster.name}'")
        return
    client.cancel(connection, number)
    show.say(f"stopped the notebook (job {number})")
    with billing.reminding(cluster):
        download(connection, number, runs_of(cluster, number))


def open_notebook(connection: "Connection", number: int, forward: Forward, browser: bool) -> None:
    """Forward a port to the notebook and open it, until Ctrl-C or until the notebook ends."""
    cluster = connection.cluster
    with progress.steps() as report:
        try:
            page = wait_for_notebook(connection, number, report)
        except KeyboardInterrupt as error:
            error.add_note(f"the notebook is still starting. {next_commands(cluster)}")
            raise
    forward.lead(connection, page.port)
    with doorway(cluster) as door:
        wait_for_answer(forward.port, "/api/status", page.token)
        show_page(f"http://127.0.0.1:{forward.port}/lab?token={page.token}", door if browser else None)
        show.say(f"the notebook is job {number} on '{cluster.name}' (Ctrl-C detaches, it keeps running)")
        with fetch_meanwhile(connection, number, runs_of(cluster, number), Terms(FETCH_EVERY_S, show.say)):
            try:
                job = hold_notebook(connection, page, forward, show.say)
            except KeyboardInterrupt:
                job = None
    if job is None:
        leave_notebook(connection, number)
    else:
        show.say(f"notebook (job {number}) {describe_state(job)}")
        explain_failure(connection, job)
        download(connection, number, runs_of(cluster, number))


def leave_notebook(connection: "Connection", number: int) -> None:
    """Download the notebook's files so far, and print how to open it again."""
    cluster = connection.cluster
    show.say("\ndetached; downloading saved files...")
    try:
        home = fetch(connection, number, runs_of(cluster, number), lambda _: None, Wanted(settled=True))
    except (KeyboardInterrupt, GpujobError) as error:
        error.add_note(f"the notebook may still be running. {next_commands(cluster)}")
        raise
    show.say(f"saved files are in {home.folder}")
    show.say(f"the notebook keeps running. {next_commands(cluster)}")
    if cluster.idle_stop_s:
        show.say("while it runs, the machine is not idle: only the end of the lease terminates it")
    billing.remind(cluster)


def next_commands(cluster: "Cluster") -> str:
    """Return the commands that open and stop the notebook."""
    command = f"gpujob notebook {cluster.name}"
    return f"Open it: {command}   Stop it: {command} --stop"


def listen(port: int | None, usual: int) -> Forward:
    """Listen on `port`, or on the usual port or the first free one after it."""
    return Forward(port or usual, 0 if port else OTHERS)


@contextmanager
def doorway(cluster: "Cluster") -> Iterator[Callable[[str], bool]]:
    """Yield a function that opens a URL in the browser and returns whether it could.

    A browser's arguments are visible to all users of this computer, so it gets a file that redirects to the URL.
    """
    with ExitStack() as opened:
        yield lambda url: webbrowser.open(opened.enter_context(make_door(cluster.name, url)).as_uri())


def show_page(url: str, open_browser: Callable[[str], bool] | None) -> None:
    """Open a page, or print its address if there is no browser or `open_browser` is None."""
    if open_browser is None or not open_browser(url):
        show.echo(url, links=[url])
    else:
        show.say("opened in the browser (--no-browser prints the address)")


@click.command()
@click.argument("job", type=parse_job, required=False)
@port_option
@browser_option
@option("--node", type=click.IntRange(0), metavar="RANK", help="On this node of the cluster  [default: the first]")
@cluster_option
def tensorboard(job: JobName | None, port: int | None, browser: bool, node: int | None, cluster: str | None) -> None:
    """Open TensorBoard for a job, or for all jobs.

    TensorBoard runs on the machine until Ctrl-C and updates while jobs run.
    """
    found = find_cluster(cluster)
    check_rank(found, node)
    with connect(found, node) as connection, listen(port, 6006) as forward:
        show.say(f"starting TensorBoard on '{found.name}'...")

        def show_it() -> None:
            show_page(f"http://127.0.0.1:{forward.port}/", webbrowser.open if browser else None)
            show.say("Ctrl-C stops TensorBoard")

        with suppress(KeyboardInterrupt):
            number = None if job is None else find_job(connection, job).number
            hold_board(connection, number, forward, show_it, show.say)
