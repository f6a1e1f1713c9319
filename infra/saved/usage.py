"""What a bucket stores of each job, what that costs, and removing it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from infra.base.decoding import parse
from infra.ec2.scaling.groups import find_groups
from infra.ec2.storage.objects import Store, StoredObject
from infra.ec2.storage.prices import find_request_price, find_storage_price
from infra.errors import NodeError, NotFoundError, PermissionsError
from infra.names import NAME
from infra.node.agent.bucket.layout import ATTEMPT, DONE, END, MANIFEST, RECORD, SENT
from infra.saved.manifests import read_record
from infra.saved.sent import read_array
from infra.saved.tasks import call_each

MOST_REQUESTS = 10**9  # of one job
PREFIXES = 3  # CLUSTER/TOKEN/tasks: anything else in a bucket is not gpujob's


@dataclass(frozen=True)
class StoredJob:
    """A job in a bucket, by its prefix."""

    cluster: str
    token: str
    objects: int
    size_bytes: int
    modified_at: float
    ended: int
    """How many parts it has, if each of them has ended; otherwise 0."""

    sent: bool = False
    record: str = ""
    """The object that says what an ordinary job is; "" without one."""

    ends: tuple[str, ...] = ()
    """The objects that say how its parts ended, without those of which the listing says that they are complete."""

    counts: tuple[str, ...] = ()
    """The objects in which its machines say how many requests they have made."""

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
    ended = len(tasks) if tasks == {place[1] for place in places if place[2:] == [END]} else 0
    size_bytes, last = sum(each.size_bytes for each in objects), max(each.modified_at for each in objects)
    keys = [each.key for each in objects]
    record = next((key for key in keys if key.endswith(f"/{ATTEMPT}/{RECORD}")), "")
    sent = f"{cluster}/{token}/{SENT}" in keys
    # The end of an ordinary job is small, and has the last count.
    ends = {key.removesuffix(END) for key in keys if key.endswith(f"/{END}") and not sent}
    known = {f"{place}{ATTEMPT}/{MANIFEST}" for place in ends}
    told = (MANIFEST,) if sent else (END, MANIFEST)
    counts = tuple(key for key in keys if key.rpartition("/")[2] in told and key not in known)
    done = {place[1] for place in places if len(place) > 2 and place[2].startswith(DONE)}
    unsure = tuple(f"{cluster}/{token}/tasks/{task}/{END}" for task in sorted(tasks - done)) if ended else ()
    return StoredJob(cluster, token, len(objects), size_bytes, last, ended, sent, record, unsure, counts)


def find_complete(store: Store, jobs: Iterable[StoredJob]) -> set[StoredJob]:
    """Return the jobs that ended after every part had uploaded all of its outputs; raises CloudError.

    A node that was lost early, or a task that has not begun, has uploaded nothing: only the job's own record counts it.
    """
    ended = [job for job in jobs if job.ended]
    parts = call_each(lambda job: count_parts(store, job), ended)
    whole = [job for job, count in zip(ended, parts, strict=True) if job.ended == count]
    keys = [key for job in whole for key in job.ends]
    unfinished = {
        key for key, full in zip(keys, call_each(lambda key: is_full(store, key), keys), strict=True) if not full
    }
    return {job for job in whole if not unfinished.intersection(job.ends)}


def is_full(store: Store, key: str) -> bool:
    """Return whether all outputs of a part were uploaded before its end; some may not have been readable."""
    with suppress(NodeError, NotFoundError, AttributeError):
        return parse(store.get(key), "gpujob bucket ls").get("complete") is True
    return False


def count_parts(store: Store, job: StoredJob) -> int:
    """Return on how many nodes a job ran, or how many tasks a sent array has; 0 if that cannot be read."""
    with suppress(NodeError, NotFoundError):
        if job.sent:
            array = read_array(store, job.prefix)
            return len(array.tasks) if array else 1
        return read_record(store.get(job.record)).job.nodes if job.record else 0
    return 0


def find_kept(store: Store, jobs: Iterable[StoredJob]) -> list[StoredJob]:
    """Return the sent jobs that groups keep machines for.

    Without its objects, what such a job writes is lost. Without the permission to list groups, each that has not ended counts.
    """
    try:
        tokens = {one.token for one in find_groups(store.account) if one.capacity}
    except PermissionsError:
        return [job for job in jobs if job.sent and not job.ended]
    return [job for job in jobs if job.token in tokens]


def remove(store: Store, jobs: Iterable[StoredJob]) -> int:
    """Delete jobs from a bucket; return the number of objects."""
    keys = [each.key for job in jobs for each in store.list(job.prefix)]
    store.delete(keys)
    return len(keys)


@dataclass(frozen=True)
class Usage:
    """What a bucket stores, what S3 bills for that each month, and what it billed for the uploads."""

    jobs: int
    size_bytes: int
    month_usd: float
    put_requests: int
    """How many requests the machines made to upload these jobs, as they counted them."""
    requests_usd: float


def measure(store: Store, cluster: str = "") -> Usage:
    """Return what a bucket stores of gpujob, or of one cluster; raises CloudError."""
    found = list_stored(store, cluster)
    size_bytes = sum(job.size_bytes for job in found)
    requests = sum(call_each(lambda name: count_requests(store, name), [each for job in found for each in job.counts]))
    month_usd = size_bytes / 2**30 * find_storage_price(store.account)
    return Usage(len(found), size_bytes, month_usd, requests, requests * find_request_price(store.account))


def count_requests(store: Store, key: str) -> int:
    """Return how many requests a machine says that it made; 0 if what it wrote cannot be read."""
    try:
        count = parse(store.get(key), "gpujob bucket ls").get("put_requests", 0)
        return count if isinstance(count, int) and 0 < count < MOST_REQUESTS else 0
    except (NodeError, NotFoundError, AttributeError):
        return 0
