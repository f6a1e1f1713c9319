"""The jobs that a terminated machine uploaded to its bucket."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.notices.remains import expecting, show_remains, want
from cli.notices.results import show_fetched
from cli.options.context import is_dry_run, runs_of
from cli.options.sources import read_chosen
from cli.terminal import progress, show
from infra.errors import CloudError, GoneError, GpujobError, NotFoundError, UnbegunError
from infra.fetch.outputs import Wanted, fetch_once
from infra.ledger import known_clusters
from infra.results.receipts import find_home, read_receipt

if TYPE_CHECKING:
    from infra.ec2.storage.objects import Store
    from infra.saved.search import Saved

GONE = (NotFoundError, GoneError)
"""Why a job is looked for in the bucket."""


def find_saved(error: GpujobError, cluster: str, asked: int | str | None = None) -> "tuple[Saved, ...]":
    """Return the uploaded jobs of a cluster that cannot be reached, or one by number or name.

    Raises the error if the cluster has no bucket, or the bucket no such job; UnbegunError for a sent one without any.
    """
    found = search(error, cluster, asked)
    say_source(error, cluster, found)
    return found


def search(error: GpujobError, cluster: str, asked: int | str | None) -> "tuple[Saved, ...]":
    """Return what `find_saved` does, but do not say so."""
    try:
        store = open_store(cluster)
        if store is None:
            raise error
        sent = is_sent(cluster)
        with progress.waiting(f"reading the bucket {store.bucket}"):
            found = read_saved(store, cluster, asked)
            kept = find_kept(store, cluster) if sent and not found else None
            if sent and not found and (kept is None or asked not in (None, kept)):
                found = read_saved(store, cluster, asked)  # it may have begun and ended since
    except CloudError as refusal:
        if is_sent(cluster):
            raise  # the bucket is the only place that has the job
        if refusal is not error:
            error.add_note(f"its bucket cannot be read: {refusal.what}")
        raise error from refusal
    if not found:
        if not sent:
            error.add_note(f"nor is it in the bucket {store.bucket}")
        elif kept is not None and asked in (None, kept):
            raise UnbegunError(describe_unbegun(cluster), "gpujob ls") from error
        elif asked is None:
            what = f"the bucket {store.bucket} has nothing of the job of '{cluster}', and no machine is kept for it"
            raise UnbegunError(what, f"gpujob down {cluster}") from error
        else:
            error.what = f"no job {asked} of '{cluster}' in the bucket {store.bucket}"
        raise error
    return tuple(found)


def read_saved(store: "Store", cluster: str, asked: int | str | None) -> "list[Saved]":
    """Return the uploaded jobs of a cluster, or those with this number or name."""
    from infra.saved.search import list_saved

    return [each for each in list_saved(store, cluster) if asked in (None, each.job.number, each.job.name)]


def say_source(error: GpujobError, cluster: str, found: "Sequence[Saved]") -> None:
    """Say that jobs are read from the bucket, and why."""
    why = "" if is_sent(cluster) else f"{error.what}; "
    show.say(f"{why}reading the bucket {found[0].store.bucket}")


def find_last_saved(error: GpujobError, cluster: str, asked: int | str | None = None) -> "Saved":
    """Return an uploaded job, by default the last; raises UnbegunError if a later one was sent.

    Raises the error if there is none.
    """
    found = search(error, cluster, asked)
    if asked is None and is_unbegun(cluster, found):
        raise UnbegunError(describe_unbegun(cluster), "gpujob ls")
    say_source(error, cluster, found)
    return found[-1]


def is_unbegun(cluster: str, found: "Sequence[Saved]") -> bool:
    """Return whether a group keeps machines for a sent job that is not among the uploaded ones."""
    from infra.cluster.groups import find_prefix  # this loads boto3

    return is_sent(cluster) and find_prefix(found[-1].store.account, cluster) not in ("", found[-1].root)


def note_last(cluster: str, found: "Sequence[Saved]") -> None:
    """Say why the last sent job is in its state, and whether another was sent that no machine has begun."""
    last = found[-1].current
    if found[-1].was_sent and last.reason:
        show.say(f"job {last.number} {last.state}: {last.reason}")
    if is_unbegun(cluster, found):
        show.say(f"a later job was sent, but {describe_unbegun(cluster)}: gpujob ls")


def find_kept(store: "Store", cluster: str) -> int | None:
    """Return the number of the sent job that a group keeps machines for; None without one."""
    from infra.cluster.groups import find_prefix  # these load boto3
    from infra.saved.sent import read_number

    prefix = find_prefix(store.account, cluster)
    return read_number(store, prefix) if prefix else None


def describe_unbegun(cluster: str) -> str:
    """Return what to say of a sent job that no machine has begun."""
    return f"no machine of '{cluster}' has begun the job yet"


def is_sent(cluster: str) -> bool:
    """Return whether the machines of a recorded cluster work on a sent job."""
    known = known_clusters.recall(cluster)
    return known is not None and known.sent


def open_store(cluster: str) -> "Store | None":
    """Return the bucket of a cluster, as recorded here or set for `up`; None without one."""
    known = known_clusters.recall(cluster)
    chosen = read_chosen(click.get_current_context()).bucket
    bucket = (known.bucket if known else "") or chosen
    if not bucket:
        return None
    from infra.cluster.clouds import open_account, open_cloud  # this loads boto3
    from infra.ec2.storage.buckets import name_bucket
    from infra.ec2.storage.objects import Store

    account = open_cloud(known.cloud, known.region) if known else open_account(is_dry_run(), ())
    return Store(account, name_bucket(account, bucket))


def was_fetched(job: "Saved") -> bool:
    """Return whether all outputs of an uploaded job have been downloaded to this computer."""
    cluster, number = job.cluster, job.job.number
    receipt = read_receipt(find_home(runs_of(cluster, number), cluster.name, number)) or {"job": {}}
    same = (receipt.get("token") or receipt.get("instance_id")) == (cluster.token or cluster.nodes[0].instance_id)
    return same and receipt["job"].get("fetched") is True


def download_saved(jobs: "Iterable[Saved]", runs: Path, wanted: Wanted | None = None) -> None:
    """Download uploaded jobs, and say what arrived."""
    for job in jobs:
        parts: tuple[Saved, ...] = job.parts
        whole = len(parts) == job.job.nodes
        for part in reversed(parts):  # the first last, as its receipt then has all tasks of an array
            try:
                download_part(
                    part, runs, replace(wanted or want(), partial=not whole), shown=not (part.first and job.job.tasks)
                )
            except NotFoundError as error:
                if job.job.nodes == 1:
                    raise
                show.say(error.what)
        if job.was_sent and not job.ended:
            show.say(f"job {job.job.number} has not ended: fetch it again for what it writes from now on")
        elif not job.complete:
            which = "its machine" if job.job.nodes == 1 else "a machine of it"
            show.say(f"job {job.job.number}: {which} ended before the last upload; later changes are lost")


def download_part(part: "Saved", runs: Path, wanted: Wanted, *, shown: bool) -> None:
    """Download what a node uploaded of a job, and report it if `shown`."""
    with progress.transfer("downloading") as arrived:
        chosen = replace(wanted, choose=expecting(arrived.expect, wanted.choose))
        home = fetch_once(part, part.job.number, runs, arrived, chosen)
    if shown:
        show_fetched(home)
    show_remains(home)
