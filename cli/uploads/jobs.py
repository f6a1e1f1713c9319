"""The jobs that a terminated machine uploaded to its bucket."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.notices.remains import expecting, show_remains, want
from cli.notices.results import show_fetched
from cli.options.context import is_dry_run, runs_of
from cli.options.sources import read_chosen
from cli.terminal import progress, show
from infra.errors import CloudError, GoneError, GpujobError, NotFoundError
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

    Raises the error if the cluster has no bucket, or the bucket no such job.
    """
    from infra.saved.search import list_saved

    try:
        store = open_store(cluster)
        if store is None:
            raise error
        with progress.waiting(f"reading the bucket {store.bucket}"):
            found = [each for each in list_saved(store, cluster) if asked in (None, each.job.number, each.job.name)]
    except CloudError as refusal:
        if refusal is not error:
            error.add_note(f"its bucket cannot be read: {refusal.what}")
        raise error from refusal
    sent = is_sent(cluster)
    if not found:
        if not sent:
            error.add_note(f"nor is it in the bucket {store.bucket}")
        elif asked is None:
            error.what, error.hint = describe_unbegun(cluster), "gpujob ls"
        else:
            error.what = f"no job {asked} of '{cluster}' in the bucket {store.bucket}"
        raise error
    show.say(f"reading the bucket {store.bucket}" if sent else f"{error.what}; reading the bucket {store.bucket}")
    return tuple(found)


def find_last_saved(error: GpujobError, cluster: str, asked: int | str | None = None) -> "Saved":
    """Return an uploaded job, by default the last; raises GpujobError if a later one was sent.

    Raises the error if there is none.
    """
    from infra.cluster.groups import find_prefix  # this loads boto3

    last = find_saved(error, cluster, asked)[-1]
    if asked is None and is_sent(cluster) and find_prefix(last.store.account, cluster) not in ("", last.root):
        raise GpujobError(describe_unbegun(cluster), "gpujob ls")
    return last


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
