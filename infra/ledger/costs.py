"""Costs: of clusters from their tags, or from a record once terminated; of jobs from their receipts."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra import state
from infra.base.decoding import MOST, MOST_SECONDS
from infra.ec2.machines.lease import hours_on, is_over, spent_usd
from infra.ledger.traffic import USD_PER_GB, transfer_usd
from infra.model import GONE, UNKNOWN, Cluster
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


def record_end(clusters: Iterable[Cluster]) -> None:
    """Record the cost of clusters about to be terminated: AWS deletes their tags within the hour."""
    for cluster in clusters:
        record(cluster, span_of(cluster, time.time()))


def record_missed(cluster: Cluster, ended_at: float | None = None) -> None:
    """Record the cost of a cluster that ended by itself, unless that was done closer to its end.

    Without the time at which it ended, its lease's end or the current time counts, whichever is earlier.
    """
    now = time.time()
    if not note_file(cluster).exists():
        end = cluster.lease_until if is_over(cluster, now) else now
        end = end if ended_at is None else min(max(ended_at, cluster.launched_at), end)
        record(cluster, {**span_of(cluster, end), "missed": True})


def record(cluster: Cluster, span: Mapping[str, Any]) -> None:
    """Write a cluster's cost; those of thousands of clusters before it are kept, but not without a limit."""
    state.write_private(note_file(cluster), json.dumps(span))
    with suppress(OSError):  # another command removes them at the same time
        prune(note_file(cluster).parent, MOST_BYTES)


def note_file(cluster: Cluster) -> Path:
    """Return the file that records a cluster's cost."""
    return state.state_folder() / "costs" / f"{cluster.cloud}-{cluster.region}-{cluster.node.instance_id}.json"


def add_up(existing: Iterable[Cluster], runs: Path, usd_per_gb: float = USD_PER_GB) -> list[Cost]:
    """Return the costs of all known clusters by day, latest first; `runs` has the jobs' receipts.

    Downloads count on the days when their jobs ran.
    """
    now = time.time()
    known = [cluster for cluster in existing if cluster.node.state not in (GONE, UNKNOWN)]
    spans = read_ended() | {note_file(cluster).name: span_of(cluster, now) for cluster in known}
    totals: dict[tuple[str, str, str], list[float]] = {}
    missed = set()
    for span in spans.values():
        for day, share in split(span["launched_at"], span["ended_at"]):
            key = (day, span["cluster"], span["cloud"])
            row = totals.setdefault(key, [0.0] * 4)
            missed |= {key} if span.get("missed") else set()
            row[0] += share * span.get("hours", (span["ended_at"] - span["launched_at"]) / 3600)
            row[1] += share * span["usd"]
    for receipt in read_receipts(runs):
        job = receipt["job"]
        for day, share in split(job["started_at"], job["ended_at"]):
            row = totals.setdefault((day, receipt["cluster"], receipt["cloud"]), [0.0] * 4)
            row[2] += share * receipt["usd"]
            row[3] += share * transfer_usd(downloaded_bytes(receipt), usd_per_gb)
    rows = sorted(totals.items(), reverse=True)
    return [Cost(*key, hours, usd, jobs, transfer, key in missed) for key, (hours, usd, jobs, transfer) in rows]


def span_of(cluster: Cluster, end: float) -> dict[str, Any]:
    """Return a cluster's cost until a time, as recorded in its file."""
    return {
        "cluster": cluster.name,
        "cloud": cluster.cloud,
        "launched_at": min(cluster.launched_at, end),
        "ended_at": end,
        "usd": spent_usd(cluster, end),
        "hours": hours_on(cluster, end),
    }


def read_ended() -> dict[str, dict[str, Any]]:
    """Return the records of ended clusters by file name."""
    found = ((path.name, read(path)) for path in sorted((state.state_folder() / "costs").glob("*.json")))
    needed = {"cluster", "cloud", "launched_at", "ended_at", "usd"}
    return {name: note for name, note in found if note and needed <= note.keys()}


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


def split(start: float, end: float) -> Iterator[tuple[str, float]]:
    """Yield the days between two times, each with its share of that time."""
    moment = start
    while True:
        here = datetime.fromtimestamp(moment, UTC).astimezone()
        midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time()).astimezone().timestamp()
        until = min(midnight, end)
        yield here.date().isoformat(), (until - moment) / (end - start) if end > start else 1.0
        if until >= end:
            return
        moment = until
