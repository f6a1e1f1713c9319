"""The tasks of an array in a bucket, where each of its machines has uploaded what it knows."""

from collections.abc import Mapping
from dataclasses import replace

from infra.model import Cluster, Job, JobState, TaskRecord
from infra.saved.manifests import Manifest


def merge_tasks(manifests: Mapping[int, Manifest], cluster: Cluster, job: Job) -> tuple[TaskRecord, ...]:
    """Return what became of the tasks of an array, by what each of its machines uploaded last.

    Node 0 knows all tasks, but may have been lost before it uploaded how one ended elsewhere. As all machines have ended, so
    have the tasks.
    """
    own = {
        (rank, task.index): task for rank, manifest in manifests.items() for task in manifest.tasks if task.node == rank
    }
    missing: JobState = "cancelled" if job.state == "cancelled" else "interrupted"

    def settle(task: TaskRecord) -> TaskRecord:
        if not task.over:
            ranks = manifests if task.node is None else (task.node,)
            found = [own[rank, task.index] for rank in ranks if (rank, task.index) in own]
            later = next((each for each in found if each.over), found[0] if found else task)
            task = replace(later, attempts=max(task.attempts, later.attempts))
        there = task.node is not None and task.node < len(cluster.nodes)
        machine = cluster.nodes[task.node or 0].instance_id if there else ""
        return replace(task, state=task.state if task.over else missing, machine=machine)

    return tuple(map(settle, manifests[min(manifests)].tasks)) if manifests else ()
