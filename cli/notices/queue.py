"""Report what a queued job waits for, and how to run it alongside instead."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.notices.jobs import describe_job
from cli.options.context import cluster_flag
from cli.terminal import show
from cli.terminal.formats import plural
from infra.node.client import NOTEBOOK

if TYPE_CHECKING:
    from infra.model import Cluster, Job

SHOWN = 3


def show_queue(cluster: "Cluster", jobs: "Sequence[Job]", number: int, gpus: int | None = None) -> None:
    """Report what this job waits for, if it is queued; `gpus` is how many it reserves, if known."""
    job = next((job for job in jobs if job.number == number), None)
    ahead = find_ahead(jobs, number)
    if job is None or job.state != "queued" or not ahead or fits(cluster, ahead, gpus):
        return
    name = f" ({job.name})" if job.name else ""
    show.say(f"job {number}{name} is queued behind {name_jobs(ahead)}. Ctrl-C leaves it queued.")
    if all(each.state != "queued" for each in ahead):
        flag = cluster_flag(cluster.name)
        fewer = 1 if cluster.gpu_count > 1 else 0
        without = "" if fewer else ", without a GPU"
        show.say(
            f"  Run it alongside{without}: gpujob cancel{flag} {number}, then:"
            f" gpujob run{flag} --gpus {fewer} {typed(job)}"
        )


def find_ahead(jobs: "Sequence[Job]", number: int) -> "list[Job]":
    """Return the jobs that a job may wait for: those queued before it, and those with GPUs."""
    earlier = [job for job in jobs if job.number < number and not job.over and job.command != NOTEBOOK]
    return [job for job in earlier if job.state == "queued" or job.gpus]


def fits(cluster: "Cluster", ahead: "Sequence[Job]", gpus: int | None) -> bool:
    """Return whether a job is about to start: enough GPUs are free, and no job is queued before it."""
    free = cluster.gpu_count - sum(len(job.gpus) for job in ahead)
    wanted = cluster.gpu_count if gpus is None else gpus
    return wanted <= free and all(job.state != "queued" for job in ahead)


def name_jobs(jobs: "Sequence[Job]") -> str:
    """Return jobs as text, the first few with what they run."""
    named = ", ".join(map(describe_job, jobs[:SHOWN]))
    more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
    return f"{plural(len(jobs), 'job')}: {named}{more}" if len(jobs) > 1 else named


def typed(job: "Job") -> str:
    """Return a job's command as the arguments of run."""
    runner, *rest = job.command
    plain = rest and (runner, rest[0][-3:]) in (("python", ".py"), ("bash", ".sh"))
    return shlex.join(rest if plain else ["--", *job.command])
