"""What a bucket stores of each job, what that costs, and removing it."""

from collections.abc import Iterable
from dataclasses import dataclass

from infra.ec2.storage.objects import Store, StoredObject
from infra.ec2.storage.prices import find_storage_price
from infra.names import NAME
from infra.node.agent.bucket.layout import END

PREFIXES = 3  # CLUSTER/TOKEN/tasks: anything else in a bucket is not gpujob's


@dataclass(frozen=True)
class StoredJob:
    """A job in a bucket, by its prefix."""

    cluster: str
    token: str
    objects: int
    size_bytes: int
    modified_at: float
    complete: bool
    """Whether the end of each of its parts is there, after all of its outputs."""

    @property
    def prefix(self) -> str:
        """The prefix of its objects."""
        return f"{self.cluster}/{self.token}/"


def list_stored(store: Store, cluster: str = "") -> list[StoredJob]:
    """Return what a bucket stores of gpujob, by job; of one cluster if named."""
    found: dict[tuple[str, str], list[StoredObject]] = {}
    for each in store.list(f"{cluster}/" if cluster else ""):
        parts = each.key.split("/")
        if len(parts) >= PREFIXES and NAME.fullmatch(parts[0]):
            found.setdefault((parts[0], parts[1]), []).append(each)
    return [add_up(*place, objects) for place, objects in sorted(found.items())]


def add_up(cluster: str, token: str, objects: list[StoredObject]) -> StoredJob:
    """Return the size of one job's objects."""
    places = [each.key.split("/")[2:5] for each in objects]  # tasks, which one, what
    tasks = {place[1] for place in places if place[0] == "tasks" and len(place) > 2}
    ends = bool(tasks) and tasks == {place[1] for place in places if place[2:] == [END]}
    size_bytes, last = sum(each.size_bytes for each in objects), max(each.modified_at for each in objects)
    return StoredJob(cluster, token, len(objects), size_bytes, last, ends)


def remove(store: Store, jobs: Iterable[StoredJob]) -> int:
    """Delete jobs from a bucket; return the number of objects."""
    keys = [each.key for job in jobs for each in store.list(job.prefix)]
    store.delete(keys)
    return len(keys)


@dataclass(frozen=True)
class Usage:
    """What a bucket stores, and what S3 bills for that each month."""

    jobs: int
    size_bytes: int
    month_usd: float


def measure(store: Store, cluster: str = "") -> Usage:
    """Return what a bucket stores of gpujob, or of one cluster; raises CloudError."""
    found = list_stored(store, cluster)
    size_bytes = sum(job.size_bytes for job in found)
    return Usage(len(found), size_bytes, size_bytes / 2**30 * find_storage_price(store.account))
