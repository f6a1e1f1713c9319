"""Run one task of an array in its own copy of the project, and record how it ended."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from .. import trees
from ..book.tasks import fill_in, variables_of
from ..data.mounts import Mount, mount_all
from ..environment.uv import say
from ..identities import identify
from ..job import runner
from ..job.runner import finish, record_end, start
from ..processes import adopt_orphans
from ..records import Ending, reserve, work_of, write_runner
from ..room import explain
from ..tasks.trees import keep_log, lay_out, reduce, tasks_of


class Work(NamedTuple):
    """What all tasks of an array have in common."""

    folder: Path
    """The array's."""
    job: dict[str, Any]
    variables: dict[str, str]
    command: list[str]
    secrets: list[str]
    """Values that are masked in the logs."""
    mounts: tuple[Mount, ...]
    stalled: str
    """Reason to record if a task is ended because it stalled."""
    complete: bool = True
    """Whether the values of its secrets are known, so that further tasks can start."""


def folder_of_task(folder: Path, index: int) -> Path:
    """Return the folder of a task's records."""
    return folder / "tasks" / str(index)


def run_task(work: Work, task: dict[str, Any], gpus: list[int]) -> None:
    """Run a task until its end is recorded, in a process of its own; the caller has blocked `SIGNALS`."""
    os.setsid()  # signals for the dispatcher's group must not reach the task
    adopt_orphans()
    folder, started_s = folder_of_task(work.folder, task["index"]), time.monotonic()
    source, tree = work_of(work.folder), tasks_of(work.folder) / str(task["index"])
    for record in ("end.json", "runner.json"):
        reserve(folder / record)
    write_runner(folder, identify(os.getpid()))
    ready = make_ready(work, task, gpus, tree)._replace(folder=folder, started_s=started_s)
    sent: dict[str, Any] = {}
    mounted = {os.path.relpath(mount.target, source) for mount in work.mounts}
    try:
        trees.remove(tree)  # of an earlier attempt
        sent = lay_out(source, tree)
        Path(ready.variables["GPUJOB_OUTPUTS"]).mkdir(parents=True, exist_ok=True)
        mount_all(ready.mounts)
        process = start(ready)  # kept until the end: Python reaps a dropped child, losing its exit code
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        with contextlib.suppress(OSError), (folder / "log").open("ab") as log:
            say(log, f"cannot run {ready.command[0]}: {explain(error)}")
        record_end(folder, started_s, Ending(127 if missing else 126, reason="" if missing else explain(error)))
    else:
        write_runner(folder, identify(os.getpid()), identify(process.pid))
        if ready.pipe:
            os.close(ready.pipe[1])
        finish(ready, process.pid)
    keep_log(work.folder, task["index"])
    reduce(source, tree, sent, mounted)


def make_ready(work: Work, task: dict[str, Any], gpus: list[int], tree: Path) -> runner.Task:
    """Return a task as the runner of a job starts it."""
    values, workdir = task["values"], tree / work.job["workdir"]
    outputs = workdir / Path(work.variables["GPUJOB_OUTPUTS"]).name
    return runner.Task(
        folder=tree,
        command=fill_in(work.command, values),
        variables={
            **work.variables,
            **variables_of(values),
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
            "GPUJOB_TASK": str(task["index"]),
            "GPUJOB_TASKS": str(work.job["array"]["count"]),
            "GPUJOB_OUTPUTS": str(outputs),
        },
        workdir=workdir,
        started_s=0.0,
        time_limit_s=work.job["time_limit_s"],
        stalled=work.stalled,
        secrets=work.secrets,
        pipe=os.pipe() if work.secrets else None,
        mounts=tuple(
            mount._replace(target=tree / os.path.relpath(mount.target, work_of(work.folder))) for mount in work.mounts
        ),
    )
