"""What a node serves on its loopback, shown on this laptop: the notebook, TensorBoard, any port."""

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
from infra.model import Job, Request
from infra.node import client
from infra.ssh.connection import Connection, wait_for_drop
from infra.ssh.forward import LOOPBACK, Forward

NEVER_S = 1e9  # somebody who thinks before a notebook is not stalled
ROUND_S, ANSWER_S, LINES = 60, 60, 6
LOG_BYTES = 1 << 16
JUMP = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={0}"><a href="{0}">gpujob</a>\n'
Report = Callable[[str], None]


def notebook_request(no_deps: bool) -> Request:
    """Return the job that is a notebook: it takes no GPU for itself, and may stand still."""
    return Request(client.NOTEBOOK, name="notebook", gpus=0, hang_after_s=NEVER_S, no_deps=no_deps)


def wait_for_notebook(connection: Connection, number: int, report: Report) -> client.NotebookReply:
    """Return a notebook's page once it listens, telling what its log says until then; raises NodeError if it ends before.

    That takes as long as it takes: it, and what the project depends on, may have to be installed first.
    """
    told = ""

    def look() -> client.NotebookReply | None:
        nonlocal told
        page = client.find_page(connection)
        if page.job != number:
            raise explain_end(connection, number)
        said = (
            one_line(page.said.removeprefix("gpujob: "))
            if page.said.startswith("gpujob: ")
            else "waiting for JupyterLab"
        )
        if said != told:
            report(said)
        told = said
        return page if page.port else None

    while (found := wait_until(look, ROUND_S)) is None:
        continue
    return found


def explain_end(connection: Connection, number: int) -> NodeError:
    """Return that a notebook ended before it answered, with the last lines of its log."""
    error = NodeError(f"the notebook, job {number}, ended before it answered", f"gpujob logs {number}")
    end = b""
    for chunk in client.read_log(connection, number, client.find_tail(connection, number, LINES), follow=False):
        end = (end + chunk)[-LOG_BYTES:]
    for line in end.splitlines()[-LINES:]:
        error.add_note(one_line(line, 200))
    return error


def hold_notebook(connection: Connection, page: client.NotebookReply, forward: Forward, warn: Report) -> Job:
    """Lead to the notebook until it is over, by a new connection whenever one drops; return its job as it ended."""

    def hold(connection: Connection) -> Job:
        job = client.find_job(connection, page.job)
        forward.lead(connection, page.port)
        for _ in client.read_log(connection, page.job, job.log_bytes, follow=not job.over):
            pass
        return client.find_job(connection, page.job)

    return persist(connection, hold, warn, "the notebook may go on")


def hold_board(
    connection: Connection,
    number: int | None,
    forward: Forward,
    ready: Callable[[], None],
    report: Report,
) -> None:
    """Run TensorBoard on the node and lead to it until the caller is interrupted; `ready` is called whenever it answers.

    Raises NotFoundError if there is no such job, NodeError if TensorBoard cannot be had or ends.
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
    persist(connection, hold, report, "TensorBoard starts again")


def hold_tunnel(connection: Connection, forward: Forward, there: int, warn: Report) -> None:
    """Lead to a port of a node until the caller is interrupted, by a new connection whenever one drops."""

    def hold(connection: Connection) -> None:
        forward.lead(connection, there)
        wait_for_drop(connection)

    persist(connection, hold, warn, "the tunnel is closed meanwhile")


def wait_for_answer(port: int, path: str, token: str) -> None:
    """Return once a page answers on a port of this laptop; raises NodeError if it does not."""
    if not wait_until(lambda: answers(port, path, token), ANSWER_S):
        raise NodeError(f"the page does not answer within {ANSWER_S} s", "type it again")


def answers(port: int, path: str, token: str) -> bool:
    """Tell whether a page is served on a port of this laptop, to whoever has the token."""
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
    """Yield a page that leads a browser to a URL, readable by its owner alone, there as long as it is used.

    The URL holds a token, and what a browser is started with can be read by everybody on this laptop.
    """
    path = state.state_folder() / "doors" / f"{name}.html"
    state.write_private(path, JUMP.format(html.escape(url)))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
