"""Forward what a node serves on its loopback: the notebook, TensorBoard, any port."""

import html
import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra import state
from infra.base.text import one_line
from infra.base.waiting import wait_until
from infra.cluster.connections import persist
from infra.errors import NodeError
from infra.model import NEVER_S, Job, Request
from infra.node import client
from infra.ssh.commands import ignore
from infra.ssh.connection import Connection, wait_for_drop
from infra.ssh.forward import LOOPBACK, Forward

ROUND_S, ANSWER_S, LINES = 60, 60, 6
LOG_BYTES = 1 << 16
JUMP = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={0}"><a href="{0}">gpujob</a>\n'
Report = Callable[[str], None]


def notebook_request(no_deps: bool, extras: tuple[str, ...], groups: tuple[str, ...]) -> Request:
    """Return the request for a notebook: without reserved GPUs, and never stalled."""
    return Request(
        client.NOTEBOOK,
        name="notebook",
        gpus=0,
        hang_after_s=NEVER_S,
        no_deps=no_deps,
        extras=extras,
        groups=groups,
    )


def wait_for_notebook(connection: Connection, number: int, report: Report) -> client.NotebookReply:
    """Return a notebook once it listens, reporting its log until then; raises NodeError if it ends first.

    There is no time limit: JupyterLab and the project's dependencies may have to be installed first.
    """
    reported = ""

    def look() -> client.NotebookReply | None:
        nonlocal reported
        page = client.find_page(connection)
        if page.job != number:
            raise explain_end(connection, number)
        said = (
            one_line(page.said.removeprefix("gpujob: "))
            if page.said.startswith("gpujob: ")
            else "waiting for JupyterLab"
        )
        if said != reported:
            report(said)
        reported = said
        return page if page.port else None

    while (found := wait_until(look, ROUND_S)) is None:
        continue
    return found


def explain_end(connection: Connection, number: int) -> NodeError:
    """Return the error for a notebook that ended before it was ready, with the end of its log."""
    error = NodeError(f"the notebook (job {number}) ended before it was ready", f"gpujob logs {number}")
    end = b""
    for chunk in client.read_log(connection, number, client.find_tail(connection, number, LINES)):
        end = (end + chunk)[-LOG_BYTES:]
    for line in end.splitlines()[-LINES:]:
        error.add_note(one_line(line, 200))
    return error


def hold_notebook(connection: Connection, page: client.NotebookReply, forward: Forward, warn: Report) -> Job:
    """Forward to the notebook until it ends, reconnecting if needed; return its ended job."""

    def hold(connection: Connection) -> Job:
        job = client.find_job(connection, page.job)
        forward.lead(connection, page.port)
        return job if job.over else client.follow_log(connection, page.job, job.log_bytes, ignore, None)

    return persist(connection, hold, warn, "the notebook may still be running")


def hold_board(
    connection: Connection,
    number: int | None,
    forward: Forward,
    ready: Callable[[], None],
    report: Report,
) -> None:
    """Run TensorBoard on the node and forward to it until interrupted; call `ready` when available.

    Raises NotFoundError if there is no such job, NodeError if TensorBoard cannot be installed or ends.
    """

    def hold(connection: Connection) -> None:
        for said in client.serve_board(connection, number):
            if isinstance(said, str):
                report(said.removeprefix("gpujob: "))
            else:
                forward.lead(connection, said)
                wait_for_answer(forward.port, "/", "")
                ready()

    if number is not None or client.list_jobs(connection):
        client.find_job(connection, number)
    persist(connection, hold, report, "TensorBoard restarts")


def hold_tunnel(connection: Connection, forward: Forward, there: int, warn: Report) -> None:
    """Forward to a port of a node until interrupted, reconnecting if needed."""

    def hold(connection: Connection) -> None:
        forward.lead(connection, there)
        wait_for_drop(connection)

    persist(connection, hold, warn, "the tunnel is closed until then")


def wait_for_answer(port: int, path: str, token: str) -> None:
    """Wait until a page responds on a local port; raises NodeError on timeout."""
    if not wait_until(lambda: answers(port, path, token), ANSWER_S):
        raise NodeError(f"no response from the page within {ANSWER_S} s", "rerun")


def answers(port: int, path: str, token: str) -> bool:
    """Return whether a page is served on a local port with this token."""
    asked = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_S)
    try:
        asked.request("GET", path, headers={"Authorization": f"token {token}"} if token else {})
        return asked.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


@contextmanager
def make_door(name: str, url: str) -> Iterator[Path]:
    """Yield a temporary private page that redirects a browser to a URL.

    The URL contains a token, and every user of this computer can read a browser's command line.
    """
    path = state.state_folder() / "doors" / f"{name}.html"
    state.write_private(path, JUMP.format(html.escape(url)))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
