"""Jobs on a cluster: reach its node, submit, follow."""

import errno
import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, TypeVar

from fabric import Connection

from infra import bakes, state
from infra.errors import GoneError, LossError, NodeError, NotFoundError, UsageError
from infra.git import read_changes, read_commit
from infra.model import Cluster, Job, Request
from infra.node import client
from infra.project import File, Project
from infra.ssh import carry
from infra.ssh.carry import FETCH, local_errors
from infra.ssh.connection import DroppedError, connect

RECONNECT_S = 600
FOUND_AGAIN_S = 10  # for a port that was just opened
ROUND_S = 10  # after which the cloud is asked whether the machine is still there
CHANGES = "changes.patch"
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
            from infra.clusters import find_again

            again = find_again(cluster, error)
            connection = connections.enter_context(connect(again.nodes[rank], *keys, patience_s=FOUND_AGAIN_S))
        except NodeError as error:
            image = bakes.find_closed(cluster, rank)
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
            from infra.clusters import explain_silence

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
) -> tuple[int, int]:
    """Carry the project to the node and queue the job there; return its number and how many jobs are ahead of it.

    `approve` sees the files that would cross the wire, and raises what it likes to stop that; then nothing was queued.
    Raises UsageError if it asks for more GPUs than the node has.
    """
    if request.gpus is not None and request.gpus > cluster.gpu_count:
        raise UsageError(
            f"the job asks for {request.gpus} GPUs, '{cluster.name}' has {cluster.gpu_count}",
            f"--gpus {cluster.gpu_count}",
        )
    make_runs(project.runs, "then type it again")
    changes = read_changes(project.root)
    header = {
        **asdict(request),
        "token": uuid.uuid4().hex,
        "slots": cluster.gpu_count,
        "workdir": project.workdir,
        "folders": project.folders,
        "files": [vars(file) for file in project.files],  # asdict would copy every value of every file
        "after": last_number(project.runs, cluster.name),
        "source": {
            "project": str(project.root),
            "files": len(project.files),
            "size_bytes": project.size_bytes,
            "snapshot": project.snapshot,
            **read_commit(project.root),
            "changes_sha256": hashlib.sha256(changes).hexdigest() if changes else "",
        },
    }
    by_hash = {file.sha256: file for file in project.files}

    def pack(stream: BinaryIO, missing: Sequence[str]) -> None:
        files = [by_hash[sha256] for sha256 in missing if sha256 in by_hash]
        approve(files)
        carry.pack(project.root, files, stream, report)

    try:
        number, ahead = client.submit(connection, header, pack)
    except DroppedError:
        # The token makes it one job, whether or not the first attempt arrived.
        with reach(cluster, patience_s=60) as again:
            number, ahead = client.submit(again, header, pack)
    if changes:
        folder = make_run_folder(project.runs, cluster.name, number)
        (folder / CHANGES).write_bytes(changes)
    return number, ahead


def make_run_folder(runs: Path, cluster: str, number: int) -> Path:
    """Return the folder that a job's outputs come home to, made if need be; git and we never carry it out again."""
    folder = runs / f"{cluster}-{number}"
    make_runs(runs)
    with local_errors(folder):
        folder.mkdir(exist_ok=True)
    return folder


def make_runs(runs: Path, then: str = FETCH) -> None:
    """Make the folder that all outputs come home to, if need be; raises ProjectError if nothing could be written there."""
    with local_errors(runs, then):
        runs.mkdir(parents=True, exist_ok=True)
        if not (runs / ".gitignore").exists():
            (runs / ".gitignore").write_text("*\n")
        if not os.access(runs, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def last_number(runs: Path, cluster: str) -> int:
    """Return the highest job number that this project has outputs of, so that a new cluster of that name overwrites none."""
    numbers = (folder.name.removeprefix(f"{cluster}-") for folder in runs.glob(f"{cluster}-*"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


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
