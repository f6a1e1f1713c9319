"""What jobs take of a node's disk: how much is left, and removing jobs that are over."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fabric import Connection

from infra.errors import LossError, NotFoundError
from infra.model import Cluster, Job
from infra.node import client
from infra.node.listing import Left

SHORT_BYTES, SHORT_SHARE = 10e9, 0.1


@dataclass(frozen=True)
class Removal:
    """What was removed, what was kept because it is not downloaded, and how much of the disk that freed."""

    removed: tuple[int, ...]
    kept: tuple[int, ...]
    freed_bytes: int


def is_short(disk_bytes: int, free_bytes: int) -> bool:
    """Return whether a disk is nearly full: less than a tenth of it is free, and less than 10 GB."""
    return free_bytes < min(SHORT_BYTES, SHORT_SHARE * disk_bytes)


def remove_jobs(connection: Connection, cluster: Cluster, numbers: Sequence[int], force: bool) -> Removal:
    """Remove these jobs, with all their files, from the node; without numbers all that are over.

    Raises LossError, with nothing removed, for one that is not over, or unless forced not downloaded, what it left outside of its
    working folder included, and NotFoundError for one that does not exist. Without numbers, what is not downloaded is kept.
    """
    jobs = {job.number: job for job in client.list_jobs(connection)}
    left = {} if force else find_left(connection)
    for number in numbers:
        check_removable(cluster, jobs.get(number), number, force)
        if number in left:
            raise make_loss(cluster, number, left[number])
    over = [job for job in jobs.values() if job.over]
    chosen = tuple(numbers) or tuple(job.number for job in over if force or (job.fetched and job.number not in left))
    kept = () if numbers else tuple(job.number for job in over if job.number not in chosen)
    freed_bytes = client.remove_jobs(connection, chosen, force) if chosen else 0
    return Removal(chosen, kept, freed_bytes)


def find_left(connection: Connection) -> dict[int, Left]:
    """Return by job what it may have left outside of its working folder: once the job is removed, nobody knows whose that is."""
    return {job: each for each in client.list_left(connection).left if not each.minor for job in each.jobs}


def make_loss(cluster: Cluster, number: int, left: Left) -> LossError:
    """Return that a job left something outside of its working folder, and how to download it."""
    asked = f" --output {shlex.quote(left.path)}" if left.path.isprintable() else ""
    return LossError(
        f"job {number} left {left.path!r} outside of its working folder, which is not downloaded",
        f"gpujob fetch --cluster {cluster.name} {number}{asked}; or give it up: --force",
    )


def check_removable(cluster: Cluster, job: Job | None, number: int, force: bool) -> None:
    """Raise what keeps a job from being removed."""
    where = f"--cluster {cluster.name} {number}"
    if job is None:
        raise NotFoundError(f"there is no job {number}", f"gpujob jobs --cluster {cluster.name}")
    if not job.over:
        raise LossError(f"job {number} is {job.state}", f"gpujob cancel {where}")
    if not (job.fetched or force):
        raise LossError(f"job {number} is not downloaded", f"gpujob fetch {where}; or give up what it wrote: --force")
