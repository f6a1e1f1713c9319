"""Costs: of clusters from their tags, or from a record once terminated; of jobs from their receipts."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra import state
from infra.base.decoding import MOST, MOST_SECONDS
from infra.base.money import USD_PER_GB, transfer_usd
from infra.ec2.account import Account
from infra.ec2.machines.lease import hours_on, is_over, spent_usd
from infra.ec2.market.history import add_spot_prices, is_spot
from infra.ledger.days import Days, share_out, split
from infra.model import GONE, UNKNOWN, WAITING, Cluster, Node
from infra.project.hashes import prune
from infra.results.receipts import read_receipt

MOST_BYTES = 2_000_000  # of all records: some ten thousand clusters
LONGEST_S = 366 * 86400.0  # longer than any lease


@dataclass(frozen=True)
class Cost:
    """The cost of a cluster on one local day."""

    day: str
    cluster: str
    cloud: str
    hours: float
    usd: float
    jobs_usd: float
    """The part during which jobs ran, from their receipts."""
    transfer_usd: float
    """The additional cost of downloading jobs' outputs, from their receipts."""
    missed: bool
    """Whether its end is unknown: then it is counted until its lease's end, or until it was found missing."""
    at_most: bool = False
    """Whether the price of a spot machine is not known, and counted as the most it can be."""


def record_end(account: Account, clusters: Sequence[Cluster]) -> None:
    """Record the cost of clusters about to be terminated: AWS deletes their tags within the hour."""
    for cluster in add_spot_prices(account, clusters, fresh_s=0):
        span = span_of(cluster, time.time())
        for node in cluster.nodes:
            note_file(cluster, node).unlink(missing_ok=True)  # it had only seemed lost
        record(cluster, span)


def record_days(cluster: Cluster, now: float) -> None:
    """Record the days of a cluster that is stopped or started now: its tags have the sum only."""
    record(cluster, {**span_of(cluster, now), "stopped": True})


def record_missed(cluster: Cluster, account: Account | None, ended_at: float | None = None) -> None:
    """Record the cost of a cluster that ended by itself, unless that was done closer to its end.

    Without the time at which it ended, its lease's end or the current time counts, whichever is earlier. `account`, of any
    region, is asked for spot prices.
    """
    now, cluster = time.time(), without_lost(cluster)
    if cluster.node.state == WAITING:
        return  # it had no machine
    if (read(note_file(cluster)) or {"stopped": True}).get("stopped"):
        end = cluster.lease_until if is_over(cluster, now) else now
        end = end if ended_at is None else min(max(ended_at, cluster.launched_at), end)
        if account and any(map(is_spot, cluster.nodes)):
            [cluster] = add_spot_prices(account.in_region(cluster.region), [cluster], fresh_s=now - end)
        record(cluster, {**span_of(cluster, end), "missed": True})


def record(cluster: Cluster, span: Mapping[str, Any]) -> None:
    """Write a cluster's cost; those of thousands of clusters before it are kept, but not without a limit."""
    state.write_private(note_file(cluster), json.dumps(span))
    with suppress(OSError):  # another command removes them at the same time
        prune(note_file(cluster).parent, MOST_BYTES)


def record_lost(known: Cluster, found: Cluster, account: Account) -> Cluster:
    """Record the cost of nodes that a cluster has lost; return it with those that are left."""
    known = without_lost(known)
    here = {node.instance_id for node in found.nodes}
    left = tuple(node for node in known.nodes if node.instance_id in here)
    lost = [node for node in known.nodes if node.instance_id not in here]
    share_usd = known.disk_usd / len(known.nodes)
    if not left:
        record_missed(known, account)  # an earlier cluster of this name
    for node in lost if left else ():
        alone = replace(known, nodes=(replace(node, state=GONE),), price_usd=node.price_usd, disk_usd=share_usd)
        record_missed(replace(alone, spent_usd=0.0, ran_hours=0.0), account)
    price_usd = known.price_usd - sum(node.price_usd for node in lost)
    return replace(known, nodes=left, price_usd=price_usd, disk_usd=share_usd * len(left))


def without_lost(cluster: Cluster) -> Cluster:
    """Return a recorded cluster without the nodes that it has lost; with all if none is left."""
    left = tuple(node for node in cluster.nodes if node.state != GONE)
    return replace(cluster, nodes=left or cluster.nodes)


def note_file(cluster: Cluster, node: Node | None = None) -> Path:
    """Return the file that records a cluster's cost, or that of a node that it has lost."""
    name = (node or cluster.node).instance_id
    return state.state_folder() / "costs" / f"{cluster.cloud}-{cluster.region}-{name}.json"


def add_up(existing: Iterable[Cluster], runs: Path, usd_per_gb: float = USD_PER_GB) -> list[Cost]:
    """Return the costs of all known clusters by day, latest first; `runs` has the jobs' receipts.

    Downloads count on the days when their jobs ran.
    """
    now = time.time()
    known = [cluster for cluster in existing if cluster.node.state not in (GONE, UNKNOWN)]
    here = {note_file(cluster, node).name for cluster in known for node in cluster.nodes}
    ended = [note for name, note in read_ended().items() if name not in here]
    totals: dict[tuple[str, str, str], list[float]] = {}
    marks: dict[str, set[tuple[str, str, str]]] = {"missed": set(), "at_most": set()}
    for span in (*ended, *(span_of(cluster, now) for cluster in known)):
        for day, (hours, usd) in read_days(span).items():
            key = (day, span["cluster"], span["cloud"])
            row = totals.setdefault(key, [0.0] * 4)
            row[0] += hours
            row[1] += usd
            for mark, keys in marks.items():
                keys |= {key} if span.get(mark) else set()
    for receipt in read_receipts(runs):
        job = receipt["job"]
        start, end = job["started_at"], job["ended_at"]
        for day, begin, until in split(start, end):
            share = (until - begin) / (end - start) if end > start else 1.0
            row = totals.setdefault((day, receipt["cluster"], receipt["cloud"]), [0.0] * 4)
            row[2] += share * receipt["usd"]
            row[3] += share * transfer_usd(downloaded_bytes(receipt), usd_per_gb)
    rows = sorted(totals.items(), reverse=True)
    return [
        Cost(*key, hours, usd, jobs, transfer, key in marks["missed"], key in marks["at_most"])
        for key, (hours, usd, jobs, transfer) in rows
    ]


def span_of(cluster: Cluster, end: float) -> dict[str, Any]:
    """Return a cluster's cost until a time, as recorded in its file."""
    begin = min(cluster.launched_at, cluster.spent_at or cluster.launched_at, end)
    noted = read(note_file(cluster)) or {}
    return {
        "cluster": cluster.name,
        "cloud": cluster.cloud,
        "launched_at": begin,
        "ended_at": end,
        "usd": spent_usd(cluster, end),
        "hours": hours_on(cluster, end),
        "days": share_out(cluster, end, read_days(noted) if noted.get("stopped") else {}),
        "at_most": cluster.is_at_most,
    }


def read_days(span: Mapping[str, Any]) -> Days:
    """Return the hours and cost by day of a record; evenly by time in one of an earlier version."""
    with suppress(KeyError, AttributeError, TypeError, ValueError):
        return {str(day): (float(hours), float(usd)) for day, (hours, usd) in span["days"].items()}
    start, end = span["launched_at"], span["ended_at"]
    hours = span.get("hours", (end - start) / 3600)
    shares = {day: (until - begin) / (end - start) if end > start else 1.0 for day, begin, until in split(start, end)}
    return {day: (share * hours, share * span["usd"]) for day, share in shares.items()}


def read_ended() -> dict[str, dict[str, Any]]:
    """Return the records of ended clusters by file name."""
    found = ((path.name, read(path)) for path in sorted((state.state_folder() / "costs").glob("*.json")))
    needed = {"cluster", "cloud", "launched_at", "ended_at", "usd"}
    return {name: note for name, note in found if note and needed <= note.keys() and not note.get("stopped")}


def read_receipts(runs: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the jobs' receipts with a valid cost; foreign receipts may contain anything."""
    for path in sorted(runs.glob("*/receipt.json")):
        receipt = read_receipt(path.parent)
        if receipt and is_counted(receipt):
            yield receipt


def is_counted(receipt: Mapping[str, Any]) -> bool:
    """Return whether a receipt has a valid start, end and cost of its job."""
    job = receipt["job"]
    numbers = receipt.get("usd"), job.get("started_at"), job.get("ended_at")
    names = receipt.get("cluster"), receipt.get("cloud")
    if not all(isinstance(number, int | float) and 0 <= number < MOST_SECONDS for number in numbers):
        return False
    start, end = job["started_at"], job["ended_at"]
    return all(isinstance(name, str) for name in names) and 0 < start <= end < start + LONGEST_S


def downloaded_bytes(receipt: Mapping[str, Any]) -> int:
    """Return a job's downloaded bytes from its receipt; 0 for one of an earlier version."""
    found = receipt.get("downloaded_bytes", 0)
    return found if type(found) is int and 0 <= found < MOST else 0


def read(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file; None if it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
