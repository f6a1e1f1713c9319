"""Submit a job: upload its project, queue its request on the node, create its results folder."""

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO

from infra.base import redaction
from infra.cluster.connections import reach
from infra.errors import NodeError, UsageError
from infra.model import Cluster, Counts, Dependencies, Job, Request
from infra.node import client
from infra.node.agent.records import RAY
from infra.project.filelist import list_files
from infra.project.files import File, Project
from infra.results.folder import last_number, open_runs, start_results
from infra.run.earlier import Earlier, add_files
from infra.run.nodes.parts import check_nodes, describe_group, submit_parts
from infra.run.options import describe_options
from infra.run.origins import note_submission
from infra.run.source import Source, read_source
from infra.run.upload import Upload, upload_project
from infra.saved.machines import describe_machine
from infra.ssh.connection import Connection, DroppedError

ACCOUNT = re.compile(r"arn:[\w-]+:\w+::(\d{12}):")
Progress = Callable[[int], None]
Approval = Callable[[Sequence[File]], None]


@dataclass(frozen=True)
class Submission:
    """A job to submit: project, request, dependencies, and the run whose outputs it starts from."""

    project: Project
    request: Request
    dependencies: Dependencies | None = None
    earlier: Earlier | None = None


def submit(connection: Connection, submission: Submission, approve: Approval, report: Progress) -> client.SubmitReply:
    """Upload the project and queue the job on the node; return the node's reply.

    `approve` gets the files to upload, and can raise an error to stop; then nothing is queued. Raises UsageError if the job
    requests more GPUs than the node has. It starts from the outputs of `earlier`.
    """
    cluster, project, request = connection.cluster, submission.project, submission.request
    check_gpus(cluster, request)
    check_nodes(cluster, request.nodes)
    group = describe_group(cluster, request.nodes, served=list(request.command[:2]) == RAY)
    hide_values(request)
    with open_runs(project.runs, "then rerun"):  # no job is started if results cannot be written
        after = last_number(project.runs, cluster.name)
    asked = False

    def attempt(upload: Upload) -> client.SubmitReply:
        code = read_source(upload.project)
        source = {**describe_source(upload.project, code), **describe_request(submission)}
        sent = add_files(upload, submission.earlier)
        header = make_header(cluster.gpu_count, replace(submission, project=sent.project))
        header.update(token=uuid.uuid4().hex, after=after, source=source, **group)
        header["bucket"] = describe_bucket(cluster, header["token"])
        header["earlier"] = submission.earlier.describe() if submission.earlier else None
        listed = list_files(sent.project.root, sent.project.files)

        def pack(stream: BinaryIO, missing: Sequence[str]) -> None:
            nonlocal asked
            files = sent.find(missing)
            if not asked:
                approve(files)
            asked = True
            sent.send(files, stream, report)

        taken = send(connection, header, listed, pack)
        check_number(cluster, taken.job, after)
        if request.nodes > 1:  # if a file changes now, another job starts over: all nodes are to run the same code
            size_bytes = sent.project.size_bytes
            submit_parts(connection, header, taken, size_bytes, lambda to, part: send(to, part, listed, pack))
        listed.remember()
        start_results(project.runs, cluster, queued(taken.job, request, source), code.records, connection.rank)
        return taken

    taken = upload_project(project, attempt)
    note_submission(cluster, taken.job, project.home)
    return taken


def send(
    connection: Connection, header: Mapping[str, Any], listed: client.Listed, pack: client.Pack
) -> client.SubmitReply:
    """Submit a job to a node, if need be over a new connection: with its token it is queued once."""
    try:
        return client.submit(connection, header, listed, pack)
    except DroppedError:
        with reach(connection.cluster, connection.rank, patience_s=60) as again:
            return client.submit(again, header, listed, pack)


def hide_values(request: Request) -> None:
    """Keep the values of a job's variables out of the log."""
    long = (text for text in request.env.values() if len(text) >= redaction.SHORT)
    redaction.hide([*request.secrets.values(), *long])


def check_number(cluster: Cluster, number: int, after: int) -> None:
    """Raise NodeError if the node gave a job the number of another one."""
    if number <= after:
        raise NodeError(
            f"the node numbered this job {number}, but numbers up to {after} are in use; their results were not changed",
            f"gpujob jobs --cluster {cluster.name}",
        )


def check_gpus(cluster: Cluster, request: Request) -> None:
    """Raise UsageError if a job requests more GPUs than the node has."""
    if request.gpus is not None and request.gpus > cluster.gpu_count:
        raise UsageError(
            f"the job requests {request.gpus} GPUs, but '{cluster.name}' has {cluster.gpu_count}",
            f"--gpus {cluster.gpu_count}",
        )


def make_header(gpus: int, submission: Submission) -> dict[str, Any]:
    """Return a job's header for the agent of a machine with so many GPUs, sent before the missing files."""
    project, request = submission.project, with_settings(submission.request, submission.project)
    return {
        **asdict(request),
        **describe_dependencies(submission.dependencies),
        "slots": gpus,
        "workdir": project.workdir,
        "folders": project.folders,
    }


def describe_dependencies(dependencies: Dependencies | None) -> dict[str, Any]:
    """Return the fields that describe a job's dependencies; credentials are a field of their own."""
    if dependencies is None:
        return {"dependencies": None, "credentials": {}}
    plan = asdict(dependencies)
    return {"credentials": plan.pop("secrets"), "dependencies": plan}


def describe_bucket(cluster: Cluster, token: str) -> dict[str, Any] | None:
    """Return where the machine uploads a job, in its owner's account; None without a bucket."""
    account = ACCOUNT.match(cluster.owner)
    if not cluster.bucket or not account:
        return None
    about = {"name": cluster.bucket, "region": cluster.region, "owner": account[1]}
    return {"bucket": about, "prefix": f"{cluster.name}/{token}/", "cluster": describe_machine(cluster)}


def describe_source(project: Project, code: Source) -> dict[str, Any]:
    """Return the description of a job's code for its record."""
    return {
        "project": str(project.home),
        "files": len(project.files),
        "size_bytes": project.size_bytes,
        "snapshot": project.snapshot,
        **code.facts,
    }


def describe_request(submission: Submission) -> dict[str, Any]:
    """Return a job's options, data sets and manifest for its record."""
    request, dependencies = submission.request, submission.dependencies
    data = [{"path": each.path, "source": each.source, "version": each.version} for each in request.data]
    options = describe_options(request, submission.project.workdir)
    return {"options": options, "data": data, "manifest": dependencies.manifest if dependencies else ""}


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
        nodes=request.nodes,
        tasks=Counts(left=len(request.array.tasks)) if request.array else None,
        python=request.python or "",
        dependencies="",
        driver="",
        source=source,
    )
