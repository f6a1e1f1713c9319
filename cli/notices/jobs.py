"""Describe a job: its state, its row in a listing."""

import shlex
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from cli.options.context import cluster_flag
from cli.terminal.formats import clock, duration, memory
from cli.terminal.show import Linked
from infra.base.text import printable
from infra.errors import UsageError

if TYPE_CHECKING:
    from infra.model import Cluster, Counts, Job, TaskRecord
    from infra.node.client import JobNumber

TITLE = 40  # characters
KILLED = 137  # the exit code of a process that SIGKILL has ended
SMALL_BYTES = 1 << 30


def describe_state(job: "Job") -> str:
    """Return how a job ended, as the end of a sentence: failed (exit 1) after 2 min."""
    after = f" after {duration(job.seconds)}" if job.seconds is not None else ""
    code = "" if job.exit_code in (None, 0) else f" (exit {job.exit_code})"
    reason = f": {printable(job.reason)}" if job.reason else ""
    if job.outcome == "preempted":
        reason = ": AWS reclaimed the spot machine" + f"; {reason[2:]}" * (job.nodes > 1 and bool(reason))
    elif (job.state, job.exit_code, job.reason) == ("failed", KILLED, ""):
        return f"was killed (SIGKILL, exit {KILLED}){after}{explain_kill(job)}"
    return f"{job.outcome}{code}{after}{reason}"


def explain_kill(job: "Job") -> str:
    """Return why a job probably got SIGKILL, and what to do about it."""
    peak = job.peak_memory_bytes
    used = f"its largest process used up to {memory(peak)} of memory" if peak else ""
    if peak and peak < SMALL_BYTES:
        return f"; {used}"
    return f": usually out of memory{used and f'; {used}'}\n  Try a smaller batch, or a machine with more RAM."


def describe_job(job: "Job") -> str:
    """Return a job with what it runs and since when: job 2 (train.py, running 8 min)."""
    since = f" {duration(job.seconds)}" if job.seconds is not None and not job.over else ""
    return f"job {job.number} ({printable(job.name or title(job.command))}, {job.outcome}{since})"


def title(command: Sequence[str]) -> str:
    """Return the part of a command that says what it does: its script or module, otherwise its program."""
    if command and command[-1].endswith(".ipynb"):
        return PurePath(command[-1]).name[:TITLE]
    words = [word for word in command[1:] if not word.startswith("-")]
    runs_script = PurePath(command[0]).name in ("python", "python3", "bash", "sh") and words
    return PurePath(words[0] if runs_script else command[0]).name[:TITLE] if command else ""


def describe_tasks(tasks: "Counts") -> str:
    """Return how far an array is: 37 done, 8 running, 1 failed, 54 left (about 12 min)."""
    named = ("done", "running", "failed", "cancelled", "left")
    counts = ", ".join(f"{getattr(tasks, name)} {name}" for name in named if getattr(tasks, name))
    return counts + (f" (about {duration(tasks.left_s)})" if tasks.left_s else "")


def job_row(job: "Job", home: Path) -> dict[str, str]:
    """Return a job as a row of a listing; its number leads to its results, if they are at `home`."""
    number = str(job.number)
    return {
        "job": Linked(number, home) if home.is_dir() else number,
        "name": job.name,
        "state": job.outcome + (f": {describe_tasks(job.tasks)}" if job.tasks else ""),
        "exit": "" if job.exit_code is None else str(job.exit_code),
        "started": clock(job.started_at) if job.started_at else "",
        "duration": "" if job.seconds is None else duration(job.seconds),
        "downloaded": "yes" if job.fetched else "no",
        "command": shlex.join(job.command),
    }


def choose_task(tasks: "Sequence[TaskRecord]", index: int, job: "Job", cluster: str) -> "TaskRecord":
    """Return the task of an array with this index; raises UsageError without it, or for another job."""
    found = next((task for task in tasks if task.index == index), None)
    if found is None:
        what = f"job {job.number} has no task {index}" if job.tasks else f"job {job.number} is not an array"
        raise UsageError(what, f"gpujob logs{cluster_flag(cluster)} {job.number}")
    return found


def next_commands(cluster: "Cluster", number: "JobNumber", interactive: bool = False) -> str:
    """Return a message that a job continues, with commands to follow, fetch and stop it."""
    where = cluster_flag(cluster.name)
    words = {
        "Attach" if interactive else "Follow": "attach" if interactive else "logs -f",
        "Download": "fetch",
        "Stop": "cancel",
    }
    commands = [f"  {what + ':':<10} gpujob {word}{where} {number}" for what, word in words.items()]
    return "\n".join([f"job {number} keeps running on {cluster.name}.", *commands])
