"""Jobs on a cluster: reach its node, submit, follow."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any, BinaryIO, TypeVar

from fabric import Connection

from infra import state
from infra.base import redaction
from infra.errors import GoneError, LossError, NodeError, NotFoundError, UsageError
from infra.ledger import builds
from infra.model import Cluster, Job, Request
from infra.node import client
from infra.project.files import File, Project
from infra.results.folder import last_number, open_runs, start_results
from infra.run.source import Source, read_source
from infra.run.submissions import note_submission
from infra.run.upload import Upload, upload_project
from infra.ssh.connection import DroppedError, connect

RECONNECT_S = 600
FOUND_AGAIN_S = 10  # for a port that was just opened
ROUND_S = 10  # after which the cloud is asked whether the machine is still there
Progress = Callable[[int], None]
Approval = Callable[[Sequence[File]], None]
T = TypeVar("T")


@contextmanager
def reach(cluster: Cluster, patience_s: float = 0, rank: int = 0) -> Iterator[Connection]:
    """Yield a connection to a node, by default the one that jobs run on.

    If it cannot be had, the error tells why as far as the cloud knows.
    """
    keys = state.key_file(cluster.name), state.known_hosts_file(cluster.name)
    with ExitStack() as connections:
        try:
            connection = connections.enter_context(connect(cluster.nodes[rank], *keys, patience_s=patience_s))
        except DroppedError as error:
            # Imported here: it brings boto3, which takes a third of a second and is rarely needed.
            from infra.cluster.clusters import find_again

            again = find_again(cluster, error)
            connection = connections.enter_context(connect(again.nodes[rank], *keys, patience_s=FOUND_AGAIN_S))
        except NodeError as error:
            image = builds.find_closed(cluster, rank)
            if image is None:
                raise
            raise NodeError(
                f"'{cluster.name}' is being baked as '{image}', and boots with new host keys",
                f"gpujob bake {cluster.name} --as {image} goes on, and pins them",
            ) from error
        try:
            yield connection
        except NotFoundError as error:  # no such job: here are those that this cluster has
            error.hint = f"gpujob jobs --cluster {cluster.name}"
            raise
        except DroppedError as error:
            from infra.cluster.clusters import explain_silence

            raise explain_silence(cluster, error) from error


@contextmanager
def reach_meanwhile(cluster: Cluster) -> Iterator[Callable[[], Connection]]:
    """Yield what returns a connection to the node, made while the caller does something else; it raises what `reach` would.

    If the caller fails before it asks, nobody waits for the connection.
    """
    attempt: Future[Connection] = Future()
    done = threading.Event()

    def hold() -> None:
        try:
            with reach(cluster) as connection:
                attempt.set_result(connection)
                done.wait()
        except BaseException as error:
            if attempt.done():  # it broke as it was closed
                return
            attempt.set_exception(error)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    try:
        yield attempt.result
    finally:
        done.set()
        if attempt.done():
            holder.join()


def submit(
    connection: Connection, cluster: Cluster, project: Project, request: Request, approve: Approval, report: Progress
) -> client.Taken:
    """Upload the project and queue the job on the node; return its number, and what else the node says of it.

    `approve` sees the files that the node lacks, and raises an error to stop the upload; then nothing was queued.
    Raises UsageError if it asks for more GPUs than the node has.
    """
    if request.gpus is not None and request.gpus > cluster.gpu_count:
        raise UsageError(
            f"the job asks for {request.gpus} GPUs, '{cluster.name}' has {cluster.gpu_count}",
            f"--gpus {cluster.gpu_count}",
        )
    redaction.hide(
        [*request.secrets.values(), *(text for text in request.env.values() if len(text) >= redaction.SHORT)]
    )
    with open_runs(project.runs, "then rerun"):  # where no results can be written, no job is started
        after = last_number(project.runs, cluster.name)
    token, asked = uuid.uuid4().hex, False

    def attempt(upload: Upload) -> client.Taken:
        code = read_source(upload.project)
        source = describe_source(upload.project, code)
        header = {**make_header(cluster, upload.project, request), "token": token, "after": after, "source": source}

        def pack(stream: BinaryIO, missing: Sequence[str]) -> None:
            nonlocal asked
            files = upload.find(missing)
            if not asked:
                approve(files)
            asked = True
            upload.send(files, stream, report)

        try:
            taken = client.submit(connection, header, pack)
        except DroppedError:
            # The token makes it one job, whether or not the first attempt arrived.
            with reach(cluster, patience_s=60) as again:
                taken = client.submit(again, header, pack)
        if taken.job <= after:
            raise NodeError(
                f"the node calls this job {taken.job}, but numbers up to {after} are taken; their results were not touched",
                f"gpujob jobs --cluster {cluster.name}",
            )
        start_results(project.runs, cluster, queued(taken.job, request, source), code.records)
        return taken

    taken = upload_project(project, attempt)
    note_submission(cluster, taken.job, project.root)
    return taken


def make_header(cluster: Cluster, project: Project, request: Request) -> dict[str, Any]:
    """Return what the agent is told of a job, before the files that it lacks."""
    return {
        **asdict(with_settings(request, project)),
        "slots": cluster.gpu_count,
        "workdir": project.workdir,
        "folders": project.folders,
        "files": [vars(file) for file in project.files],  # asdict would copy every value of every file
    }


def describe_source(project: Project, code: Source) -> dict[str, Any]:
    """Return what a job's record says of the code that it runs."""
    return {
        "project": str(project.root),
        "files": len(project.files),
        "size_bytes": project.size_bytes,
        "snapshot": project.snapshot,
        **code.facts,
    }


def with_settings(request: Request, project: Project) -> Request:
    """Return a request with what the project's own settings say of its outputs."""
    outputs, exclude = (*project.outputs, *request.outputs), (*project.unwanted, *request.exclude)
    return replace(request, outputs=tuple(dict.fromkeys(outputs)), exclude=tuple(dict.fromkeys(exclude)))


def queued(number: int, request: Request, source: Mapping[str, Any]) -> Job:
    """Return a job as it is known before the node has been asked about it."""
    return Job(
        number=number,
        name=request.name,
        command=request.command,
        state="queued",
        reason="",
        gpus=(),
        exit_code=None,
        submitted_at=time.time(),
        started_at=None,
        stalled_at=None,
        ended_at=None,
        seconds=None,
        log_bytes=0,
        fetched=False,
        python=request.python or "",
        dependencies="",
        driver="",
        source=source,
    )


def follow(
    cluster: Cluster,
    connection: Connection,
    number: int,
    write: Callable[[bytes], None],
    warn: Callable[[str], None],
    offset: int = 0,
) -> Job:
    """Hand the job's log to `write` from a byte on until the job is over; return the job as it ended.

    When the connection drops, a new one takes up at the next byte; NodeError once that has failed for `RECONNECT_S`.
    """

    def read(connection: Connection) -> Job:
        nonlocal offset
        for chunk in client.read_log(connection, number, offset, follow=True):
            write(chunk)
            offset += len(chunk)
        return client.find_job(connection, number)

    return persist(cluster, connection, read, warn, "the job may go on")


def persist(
    cluster: Cluster,
    connection: Connection,
    act: Callable[[Connection], T],
    warn: Callable[[str], None],
    meanwhile: str,
    rank: int = 0,
) -> T:
    """Return what `act` returns, called again with a new connection whenever one drops, and say what may hold `meanwhile`.

    Raises NodeError once no connection could be had for `RECONNECT_S`.
    """
    with ExitStack() as connections:
        while True:
            try:
                return act(connection)
            except DroppedError as error:
                warn(f"{error.what}; {meanwhile}; connecting again")
                connection = connections.enter_context(reconnect(cluster, rank))


@contextmanager
def reconnect(cluster: Cluster, rank: int = 0) -> Iterator[Connection]:
    """Yield a new connection, tried for `RECONNECT_S`; raises GoneError as soon as the cloud says that the machine is no more."""
    deadline = time.monotonic() + RECONNECT_S
    with ExitStack() as connections:
        while True:
            try:
                connection = connections.enter_context(reach(cluster, ROUND_S, rank))
                break
            except GoneError:
                raise
            except NodeError:
                if time.monotonic() > deadline:
                    raise
        yield connection


def check_quiet(cluster: Cluster, jobs: Sequence[Job], force: str) -> None:
    """Raise LossError, which says how to `force` it, else how to end the job, if one of these jobs is not over."""
    running = next((job for job in jobs if not job.over), None)
    if running is None:
        return
    where = f"--cluster {cluster.name}"
    who, wait = f"job {running.number}", f"wait for it: gpujob logs {where} -f {running.number}"
    if running.command == client.NOTEBOOK:
        who, wait = f"the notebook, {who},", f"end it and download what it saved: gpujob notebook {cluster.name} --stop"
    end = force or f"kill it: gpujob cancel {where} {running.number}"
    raise LossError(f"{who} of '{cluster.name}' is still running", f"{wait}; {end}")


def print_log(connection: Connection, number: int, write: Callable[[bytes], None], offset: int = 0) -> None:
    """Hand the log as it is now to `write`, from a byte on."""
    for chunk in client.read_log(connection, number, offset, follow=False):
        write(chunk)
