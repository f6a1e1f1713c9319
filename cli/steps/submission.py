"""Submit a job: upload the project, start or queue the job."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cli.arrays.describing import describe_array
from cli.notices import billing
from cli.notices.queue import show_queue
from cli.notices.space import show_largest_folders, warn_of_space
from cli.notices.withheld import show_absent_arguments, show_withheld
from cli.options.context import cluster_flag
from cli.steps.data import send_data
from cli.steps.earlier import find_earlier
from cli.terminal import formats, progress, show
from cli.terminal.questions import confirm
from infra.dependencies.names import find_imports
from infra.dependencies.search import LOOKED_FOR, find_dependencies
from infra.errors import NodeError
from infra.node import client
from infra.run import submission

if TYPE_CHECKING:
    from infra.model import Cluster, Dependencies, Request
    from infra.project.files import File, Project
    from infra.ssh.connection import Connection

MOST_NAMED = 8
ASK_ABOVE_BYTES = 200_000_000
PYTHON = ("python", "python3", "torchrun", "accelerate", "deepspeed", "gpujob")


def submit_job(connection: "Connection", project: "Project", request: "Request", yes: bool) -> int:
    """Submit a job and report what was uploaded and what was not; return its number."""
    cluster = connection.cluster
    dependencies = None if request.no_deps else find_dependencies(project, request)
    show_withheld(project)
    earlier = find_earlier(connection, project, request.start_from, request.nodes) if request.start_from else None
    data = request.data or send_data(connection, project, range(1, request.nodes))
    request = replace(request, data=data, start_from=earlier.key if earlier else "")
    show_absent_arguments(project, request)
    with progress.transfer("uploading") as sent, unsure_whether_started(cluster):
        job = submission.Submission(project, request, dependencies, earlier)
        taken = submission.submit(connection, job, partial(approve, yes=yes), sent)
    sizes = f"{formats.plural(len(project.files), 'file')}, {formats.size(project.size_bytes)}"
    what = f"{shlex.join(request.command)} ({sizes}; {formats.size(sent.total)} uploaded)"
    show.say(f"job {taken.job} on '{cluster.name}': {what}")
    if request.array:
        show.say(describe_array(request.array))
    if not request.no_deps:
        show_dependencies(dependencies, project, request)
    if taken.ahead:
        with suppress(NodeError):  # the job is accepted, whatever happens to the connection
            show_queue(cluster, client.list_jobs(connection), taken.job, request.gpus)
    warn_of_space(cluster.name, taken)
    return taken.job


def show_dependencies(dependencies: "Dependencies | None", project: "Project", request: "Request") -> None:
    """Report which manifest was read; for a job in Python, also that there is none, and what it imports."""
    if dependencies is not None:
        show.say(f"dependencies: {dependencies.manifest}")
        for note in dependencies.notes:
            show.say(f"  {note}")
    elif request.command[0] in PYTHON:
        show.say(f"no dependencies found (looked for {LOOKED_FOR})")
        script, packages = find_imports(project, request)
        if packages:
            named = ", ".join(packages[:MOST_NAMED]) + ", ..." * (len(packages) > MOST_NAMED)
            show.say(f"  {script} imports {named}: list what the image does not have in requirements.txt")


@contextmanager
def unsure_whether_started(cluster: "Cluster") -> Iterator[None]:
    """If the upload is interrupted, say that the job may have been accepted anyway."""
    try:
        yield
    except KeyboardInterrupt:
        show.say(
            f"\ninterrupted during the upload. Check whether the job was accepted: gpujob jobs{cluster_flag(cluster.name)}"
        )
        billing.remind(cluster)
        sys.exit(130)


def approve(files: "Sequence[File]", yes: bool) -> None:
    """Confirm a large upload, often a data folder by mistake; raises GpujobError if declined."""
    total = sum(file.size_bytes for file in files)
    if total > ASK_ABOVE_BYTES and not yes:
        show_largest_folders(files)
        confirm(f"Upload {formats.size(total)}? (to exclude a folder, add it to .gitignore)", yes)
