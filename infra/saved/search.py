"""Find the jobs of a cluster in a bucket: ordinary ones, sent ones, and sent arrays."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain, islice

from infra.ec2.storage.objects import Store
from infra.errors import NotFoundError, PermissionsError
from infra.model import MOST_NODES
from infra.names import check_name
from infra.node.agent.bucket.layout import ATTEMPT, END, RECORD, TASK, attempt_prefix
from infra.saved.jobs import SavedJob
from infra.saved.machines import make_cluster
from infra.saved.manifests import make_job, read_record
from infra.saved.members import NAMED, Done, SavedTask
from infra.saved.sent import SentArray, SentState, find_members, read_array, read_number, read_sent
from infra.saved.tasks import SavedArray, call_each

MOST_JOBS = 10_000  # of one cluster's name

Saved = SavedJob | SavedArray


def list_saved(store: Store, cluster: str) -> tuple[Saved, ...]:
    """Return the jobs of a cluster that are in a bucket, the oldest first; raises CloudError."""
    check_name(cluster)
    tokens = [*islice(store.list_folders(f"{cluster}/"), MOST_JOBS)]
    found = [each for each in call_each(lambda token: open_saved(store, cluster, token), tokens) if each]
    return tuple(sorted(found, key=lambda each: (each.cluster.launched_at, each.job.number)))


def list_numbers(store: Store, cluster: str) -> list[int]:
    """Return the numbers of a cluster's jobs, with one or two requests for each; raises CloudError."""

    def find(prefix: str) -> int | None:
        number = read_number(store, prefix)
        if number is None:
            with suppress(NotFoundError):
                return read_record(store.get(f"{attempt_prefix(prefix)}{RECORD}")).job.number
        return number

    tokens = islice(store.list_folders(f"{check_name(cluster)}/"), MOST_JOBS)
    return [number for number in call_each(find, [*tokens]) if number is not None]


def open_saved(store: Store, cluster: str, prefix: str) -> Saved | None:
    """Return the job with this prefix; None if there is none that can be read.

    A sent job that has not ended, and for which no machine is kept, is interrupted; one whose machine has left the group is
    queued. Without the permission to list groups, neither is known.
    """
    found = read_saved(store, cluster, prefix)
    if not found or not found.was_sent or found.ended:
        return found
    try:
        members = find_members(store.account, prefix)
    except PermissionsError:
        return found
    if members is not None:
        return found.lose() if isinstance(found, SavedJob) and not found.is_on(members) else found
    found = read_saved(store, cluster, prefix)  # its last machine may have written the end just before it left
    return found and found.interrupt()


def read_saved(store: Store, cluster: str, prefix: str) -> Saved | None:
    """Return the job with this prefix as the bucket has it; None if there is none that can be read."""
    array = read_array(store, prefix)
    if array:
        return open_array(store, cluster, prefix, array)
    for rank in chain([TASK], find_ranks(store, prefix)):  # the first may have been lost before it uploaded anything
        found = open_attempt(store, cluster, prefix, rank, ATTEMPT) if rank else open_last(store, cluster, prefix)
        if found and rank < len(found.cluster.nodes):
            return replace(found, rank=rank)
    return None


def open_array(store: Store, cluster: str, prefix: str, array: SentArray) -> SavedArray | None:
    """Return a sent array; None before a task of it has uploaded anything.

    The listing says enough of the tasks that succeeded at once, which are not read before they are needed.
    """
    attempts: dict[int, int] = {}
    ends: dict[int, float] = {}
    done: dict[int, Done] = {}
    for each in store.list(f"{prefix}tasks/"):
        task, _, rest = each.key[len(f"{prefix}tasks/") :].partition("/")
        attempt, _, name = rest.partition("/")
        if task.isdigit() and rest == END:
            ends[int(task)] = each.modified_at
        elif task.isdigit():
            begun = int(attempt) if name == RECORD and attempt.isdigit() else 0
            attempts[int(task)] = max(attempts.get(int(task), 0), begun)
            if found := NAMED.fullmatch(rest):
                done[int(task)] = Done(int(found[1]), int(found[2]) / 1000, int(found[3]) / 1000, found[4])

    def look(index: int) -> tuple[SentState | None, SavedJob | None]:
        state = read_sent(store, prefix, index) if index in attempts else None
        # An array pays for its machines, whose work is found by when its tasks ran there.
        own = state and replace(state, claim=replace(state.claim, earlier=()))
        last = done[index].attempt if index in done else attempts.get(index, 0)
        return state, open_attempt(store, cluster, prefix, index, last, own) if last else None

    members = tuple(
        SavedTask(
            task,
            partial(look, task.index),
            ends.get(task.index, 0.0),
            done.get(task.index) if task.index in ends else None,
        )
        for task in array.tasks
    )
    call_each(lambda each: each.found, [each for each in members if not each.done or each.done.attempt > 1])
    opened = SavedArray(store, prefix, array, members)
    return opened if opened.begun else None


def open_attempt(
    store: Store, cluster: str, prefix: str, task: int, attempt: int, sent: SentState | None = None
) -> SavedJob | None:
    """Return an attempt of a task; None if it has not uploaded anything that can be read."""
    place = attempt_prefix(prefix, task, attempt)
    with suppress(NotFoundError):
        record = read_record(store.get(f"{place}{RECORD}"))
        machine = make_cluster(cluster, store.account.cloud, store.account.region, record.cluster)
        sent = sent or read_sent(store, prefix, task)
        token = prefix.rstrip("/").rpartition("/")[2]
        job = sent.correct(make_job(record.job, ended=False)) if sent else make_job(record.job, ended=True)
        return SavedJob(store, place, replace(machine, token=token if sent else ""), job, sent=sent)
    return None


def find_ranks(store: Store, prefix: str) -> Iterator[int]:
    """Yield the ranks of the nodes that have uploaded parts of a job, except the first."""
    names = (each.rstrip("/").rpartition("/")[2] for each in store.list_folders(f"{prefix}tasks/"))
    yield from islice(sorted(int(name) for name in names if name.isdigit() and 0 < int(name) < MOST_NODES), MOST_NODES)


def open_last(store: Store, cluster: str, prefix: str) -> SavedJob | None:
    """Return the attempt that ended a job, or its last one, as far as it has uploaded anything.

    A machine may be lost before it says what it runs, and one that had lost its claim may have written the end.
    """
    names = (each.rstrip("/").rpartition("/")[2] for each in store.list_folders(f"{prefix}tasks/{TASK}/"))
    attempts = sorted((int(name) for name in names if name.isdigit()), reverse=True) or [ATTEMPT]
    sent = read_sent(store, prefix) if len(attempts) > 1 else None
    last = sent.end.attempt if sent and sent.end else attempts[0]
    opened = (open_attempt(store, cluster, prefix, TASK, each, sent) for each in attempts if each <= last)
    return next(filter(None, opened), None)
