"""Submit a job: upload its project, queue its request on the node, create its results folder."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, BinaryIO

from infra.base import redaction
from infra.cluster.connections import reach
from infra.errors import NodeError, UsageError
from infra.model import Cluster, Job, Request
from infra.node import client
from infra.project.files import File, Project
from infra.results.folder import last_number, open_runs, start_results
from infra.run.earlier import Earlier, add_files
from infra.run.options import describe_options
from infra.run.origins import note_submission
from infra.run.source import Source, read_source
from infra.run.upload import Upload, upload_project
from infra.ssh.connection import Connection, DroppedError

Progress = Callable[[int], None]
Approval = Callable[[Sequence[File]], None]


def submit(
    connection: Connection,
    project: Project,
    request: Request,
    approve: Approval,
    report: Progress,
    earlier: Earlier | None = None,
) -> client.SubmitReply:
    """Upload the project and queue the job on the node; return the node's reply.

    `approve` gets the files to upload, and can raise an error to stop; then nothing is queued. Raises UsageError if the job
    requests more GPUs than the node has. It starts from the outputs of `earlier`.
    """
    cluster = connection.cluster
    check_gpus(cluster, request)
    redaction.hide(
        [*request.secrets.values(), *(text for text in request.env.values() if len(text) >= redaction.SHORT)]
    )
    with open_runs(project.runs, "then rerun"):  # no job is started if results cannot be written
        after = last_number(project.runs, cluster.name)
    token, asked = uuid.uuid4().hex, False

    def attempt(upload: Upload) -> client.SubmitReply:
        code = read_source(upload.project)
        source = {**describe_source(upload.project, code), **describe_request(request, project.workdir)}
        sent = add_files(upload, earlier)
        header = {**make_header(cluster, sent.project, request), "token": token, "after": after, "source": source}
        header["earlier"] = earlier and earlier.describe()

        def pack(stream: BinaryIO, missing: Sequence[str]) -> None:
            nonlocal asked
            files = sent.find(missing)
            if not asked:
                approve(files)
            asked = True
            sent.send(files, stream, report)

        try:
            taken = client.submit(connection, header, pack)
        except DroppedError:
            # With the token it is queued once, whether or not the first attempt arrived.
            with reach(cluster, patience_s=60) as again:
                taken = client.submit(again, header, pack)
        if taken.job <= after:
            raise NodeError(
                f"the node numbered this job {taken.job}, but numbers up to {after} are in use; their results were not changed",
                f"gpujob jobs --cluster {cluster.name}",
            )
        start_results(project.runs, cluster, queued(taken.job, request, source), code.records)
        return taken

    taken = upload_project(project, attempt)
    note_submission(cluster, taken.job, project.home)
    return taken


def check_gpus(cluster: Cluster, request: Request) -> None:
    """Raise UsageError if a job requests more GPUs than the node has."""
    if request.gpus is not None and request.gpus > cluster.gpu_count:
        raise UsageError(
            f"the job requests {request.gpus} GPUs, but '{cluster.name}' has {cluster.gpu_count}",
            f"--gpus {cluster.gpu_count}",
        )


def make_header(cluster: Cluster, project: Project, request: Request) -> dict[str, Any]:
    """Return a job's header for the agent, sent before the missing files."""
    return {
        **asdict(with_settings(request, project)),
        "slots": cluster.gpu_count,
        "workdir": project.workdir,
        "folders": project.folders,
        "files": [vars(file) for file in project.files],  # asdict would copy every value of every file
    }


def describe_source(project: Project, code: Source) -> dict[str, Any]:
    """Return what a job's record says about its code."""
    return {
        "project": str(project.home),
        "files": len(project.files),
        "size_bytes": project.size_bytes,
        "snapshot": project.snapshot,
        **code.facts,
    }


def describe_request(request: Request, workdir: str) -> dict[str, Any]:
    """Return what a job's record says about its options and its data sets."""
    data = [{"path": each.path, "source": each.source, "version": each.version} for each in request.data]
    return {"options": describe_options(request, workdir), "data": data}


def with_settings(request: Request, project: Project) -> Request:
    """Return a request with the project's settings of outputs."""
    outputs, exclude = (*project.outputs, *request.outputs), (*project.unwanted, *request.exclude)
    return replace(request, outputs=tuple(dict.fromkeys(outputs)), exclude=tuple(dict.fromkeys(exclude)))


def queued(number: int, request: Request, source: Mapping[str, Any]) -> Job:
    """Return a newly queued job."""
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
