"""Download what a sent job wrote from its bucket, before its machines are terminated."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.cluster import groups
from infra.cluster.clusters import Report, open_known
from infra.ec2.account import Account
from infra.ec2.storage.objects import Store
from infra.errors import CloudError, LossError, NodeError, NotFoundError
from infra.fetch.outputs import Fetched, Wanted, fetch_once
from infra.fetch.terms import Terms
from infra.ledger import known_clusters
from infra.model import Cluster
from infra.node.agent.bucket.layout import SENT
from infra.run.origins import find_runs
from infra.saved.search import Saved, list_saved


def find_sent(name: str, accounts: Sequence[Account]) -> Cluster | None:
    """Return the cluster of a sent job, by its record on this computer or its group; None for any other."""
    known = known_clusters.recall(name)
    if known:
        return known if known.sent else None
    return next(filter(None, (groups.find_sent(account, name) for account in accounts)), None)


def drain_sent(cluster: Cluster, runs: Path, report: Report, terms: Terms) -> Iterator[Fetched]:
    """Download the outputs of the last sent job; raises LossError while it runs or without an answer."""
    report(f"reading the bucket {cluster.bucket}")
    try:
        store = Store(open_known(cluster), cluster.bucket)
        job = find_last(store, cluster.name)
        if job is None:
            check_unbegun(store, cluster.name, terms.force)
            return
        check_ended(job, terms.force)
        report(f"downloading the outputs of job {job.job.number}")
        own = find_runs(cluster, job.job.number) or runs
        yield fetch_once(job, job.job.number, own, terms.arrived, Wanted(choose=terms.choose))
    except NotFoundError:  # it ended before anything was uploaded
        return
    except (CloudError, NodeError) as error:
        raise LossError(f"cannot download the outputs of '{cluster.name}': {error.what}", terms.force) from error


def find_last(store: Store, cluster: str) -> Saved | None:
    """Return the job that was sent last under a cluster's name; None before it has uploaded anything."""
    last = next((each for each in reversed(list_saved(store, cluster)) if each.was_sent), None)
    current = groups.find_prefix(store.account, cluster)
    return last if last and current in ("", last.root) else None


def check_unbegun(store: Store, cluster: str, force: str) -> None:
    """Raise LossError if a machine may work on a sent job that cannot be read from the bucket."""
    current = groups.find_prefix(store.account, cluster)
    if not current:
        return
    hint = f"stop it, which keeps what it wrote: gpujob cancel --cluster {cluster}"
    what = f"the job of '{cluster}' has begun, and nothing of it is in the bucket yet"
    keys = {one.key for one in store.list(current)}
    if f"{current}{SENT}" not in keys:
        what, hint = f"the objects of the job of '{cluster}' were deleted from {store.bucket}; it may be running", ""
    elif not any(key.startswith((f"{current}boots/", f"{current}tasks/")) for key in keys):
        return
    raise LossError(what, "; ".join(filter(None, (hint, force))))


def check_ended(job: Saved, force: str) -> None:
    """Raise LossError for a sent job that has not ended: a machine is at work, or will be."""
    if job.was_sent and not job.ended:
        where, number = f"--cluster {job.cluster.name}", job.job.number
        hint = f"stop it, which keeps what it wrote: gpujob cancel {where} {number}"
        raise LossError(f"job {number} of '{job.cluster.name}' has not ended", f"{hint}; {force}" if force else hint)
