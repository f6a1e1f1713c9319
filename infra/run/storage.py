"""A node's disk space, and removing ended jobs from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.cluster.connections import ask_all
from infra.errors import LossError, NotFoundError
from infra.model import Cluster, Job
from infra.node import client
from infra.node.listing import Left, output_options
from infra.ssh.connection import Connection

SHORT_BYTES, SHORT_SHARE = 10e9, 0.1
FORCE = "or discard it: --force"


@dataclass(frozen=True)
class Removal:
    """The removed jobs, those kept because they are not downloaded, and the freed disk space."""

    removed: tuple[int, ...]
    kept: Mapping[int, tuple[Left, ...]]
    """Each with the files that it left outside its working folder."""
    freed_bytes: int


def is_short(disk_bytes: int, free_bytes: int) -> bool:
    """Return whether a disk is nearly full: less than a tenth and less than 10 GB free."""
    return free_bytes < min(SHORT_BYTES, SHORT_SHARE * disk_bytes)


def remove_jobs(cluster: Cluster, numbers: Sequence[int], force: bool) -> Removal:
    """Remove these jobs with all their files from all nodes; without numbers, all that have ended.

    Without removing anything, raises LossError for a job that has not ended, or is not downloaded and not forced, and
    NotFoundError for an unknown one. Without numbers, jobs that are not downloaded are kept. This includes files outside their
    working folders, whose record is removed with the job.
    """
    plans = ask_all(cluster, lambda connection: plan_removal(connection, numbers, force))
    there = {number for plan in plans.values() for number in (*plan.removed, *plan.kept)}
    for number in numbers:
        if number not in there:
            raise NotFoundError(f"no job {number} on '{cluster.name}'", f"gpujob jobs --cluster {cluster.name}")
    kept = {number: left for plan in plans.values() for number, left in plan.kept.items()}

    def remove(connection: Connection) -> int:
        plan = plans.get(connection.rank)
        chosen = [number for number in plan.removed if number not in kept] if plan else []
        return client.remove_jobs(connection, chosen, force) if chosen else 0

    freed_bytes = sum(ask_all(cluster, remove).values())
    return Removal(tuple(sorted(there - kept.keys())), kept, freed_bytes)


def plan_removal(connection: Connection, numbers: Sequence[int], force: bool) -> Removal:
    """Return which jobs of a node can be removed, and which are kept; raises LossError for `numbers`."""
    jobs = {job.number: job for job in client.list_jobs(connection)}
    left = () if force else tuple(each for each in client.list_left(connection).left if not each.minor)
    lost = {number: tuple(each for each in left if number in each.jobs) for number in jobs}
    asked = [number for number in numbers if number in jobs]
    for number in asked:
        check_removable(connection.cluster, jobs[number], number, force)
        check_left(connection.cluster, number, lost[number])
    over = [job for job in jobs.values() if job.over]
    chosen = (
        tuple(asked)
        if numbers
        else tuple(job.number for job in over if force or (job.fetched and not lost[job.number]))
    )
    kept = {} if numbers else {job.number: lost[job.number] for job in over if job.number not in chosen}
    return Removal(chosen, kept, 0)


def check_removable(cluster: Cluster, job: Job, number: int, force: bool) -> None:
    """Raise LossError if a job must not be removed."""
    where = f"--cluster {cluster.name} {number}"
    if not job.over:
        raise LossError(f"job {number} is {job.state}", f"gpujob cancel {where}")
    if not (job.fetched or force):
        raise LossError(f"job {number} has outputs that are not downloaded", f"gpujob fetch {where}; {FORCE}")


def check_left(cluster: Cluster, number: int, left: Sequence[Left]) -> None:
    """Raise LossError if a job left files outside its working folder."""
    if left:
        what = (
            f"not downloaded, outside the working folder of job {number}: {', '.join(repr(e.path) for e in left[:3])}"
        )
        fetch = f"gpujob fetch --cluster {cluster.name} {number} {output_options(left)}".rstrip()
        raise LossError(what, f"{fetch}; {FORCE}")
