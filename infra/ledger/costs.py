"""What was spent: on machines by their tags while they live and by a note once they are given back, on jobs by their receipts."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra import state
from infra.base.decoding import MOST, MOST_SECONDS
from infra.ec2.machines.lease import is_over, spent_usd
from infra.ledger.traffic import USD_PER_GB, transfer_usd
from infra.model import GONE, UNKNOWN, Cluster
from infra.results.receipts import read_receipt

LONGEST_S = 366 * 86400.0  # no lease is as long


@dataclass(frozen=True)
class Cost:
    """What one cluster cost on one day of this laptop's calendar."""

    day: str
    cluster: str
    cloud: str
    hours: float
    usd: float
    jobs_usd: float
    """The part of it in which jobs ran, by their receipts."""
    transfer_usd: float
    """What the downloads of jobs' outputs cost beside that, by their receipts."""
    missed: bool
    """Whether nobody saw it end: then it is counted until its lease's end, or until it was missed if that was earlier."""


def record_end(clusters: Iterable[Cluster]) -> None:
    """Note what clusters cost that are about to be given back: AWS forgets their tags within the hour."""
    for cluster in clusters:
        state.write_private(note_file(cluster), json.dumps(span_of(cluster, time.time())))


def record_missed(cluster: Cluster, ended_at: float | None = None) -> None:
    """Note what a cluster cost that ended by itself, unless that was noted: whoever misses it first is nearest to its end.

    Without the time at which it ended, its lease's end counts, or now if that is earlier.
    """
    now = time.time()
    if not note_file(cluster).exists():
        end = cluster.lease_until if is_over(cluster, now) else now
        end = end if ended_at is None else min(max(ended_at, cluster.launched_at), end)
        state.write_private(note_file(cluster), json.dumps({**span_of(cluster, end), "missed": True}))


def note_file(cluster: Cluster) -> Path:
    """Return where it is noted what a cluster cost."""
    return state.state_folder() / "costs" / f"{cluster.cloud}-{cluster.region}-{cluster.node.instance_id}.json"


def add_up(living: Iterable[Cluster], runs: Path, usd_per_gb: float = USD_PER_GB) -> list[Cost]:
    """Return what every cluster that is known here cost, by day and cluster, latest first; `runs` holds receipts of jobs.

    Downloads are counted on the days on which their jobs ran.
    """
    now = time.time()
    known = [cluster for cluster in living if cluster.node.state not in (GONE, UNKNOWN)]
    spans = read_ended() | {note_file(cluster).name: span_of(cluster, now) for cluster in known}
    totals: dict[tuple[str, str, str], list[float]] = {}
    missed = set()
    for span in spans.values():
        for day, share in split(span["launched_at"], span["ended_at"]):
            key = (day, span["cluster"], span["cloud"])
            row = totals.setdefault(key, [0.0] * 4)
            missed |= {key} if span.get("missed") else set()
            row[0] += share * (span["ended_at"] - span["launched_at"]) / 3600
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
    """Return what a cluster has cost until a time, as a note of it holds it."""
    return {
        "cluster": cluster.name,
        "cloud": cluster.cloud,
        "launched_at": min(cluster.launched_at, end),
        "ended_at": end,
        "usd": spent_usd(cluster, end),
    }


def read_ended() -> dict[str, dict[str, Any]]:
    """Return the notes of clusters that are no more, by their files' names."""
    found = ((path.name, read(path)) for path in sorted((state.state_folder() / "costs").glob("*.json")))
    needed = {"cluster", "cloud", "launched_at", "ended_at", "usd"}
    return {name: note for name, note in found if note and needed <= note.keys()}


def read_receipts(runs: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the receipts of jobs that tell what they cost; those that nobody here wrote may say anything else."""
    for path in sorted(runs.glob("*/receipt.json")):
        receipt = read_receipt(path.parent)
        if receipt and is_counted(receipt):
            yield receipt


def is_counted(receipt: Mapping[str, Any]) -> bool:
    """Tell whether a receipt says, in numbers that can be, from when to when its job ran and what that cost."""
    job = receipt["job"]
    numbers = receipt.get("usd"), job.get("started_at"), job.get("ended_at")
    names = receipt.get("cluster"), receipt.get("cloud")
    if not all(isinstance(number, int | float) and 0 <= number < MOST_SECONDS for number in numbers):
        return False
    start, end = job["started_at"], job["ended_at"]
    return all(isinstance(name, str) for name in names) and 0 < start <= end < start + LONGEST_S


def downloaded_bytes(receipt: Mapping[str, Any]) -> int:
    """Return how much was downloaded of a job, by its receipt; 0 by one of an earlier version."""
    found = receipt.get("downloaded_bytes", 0)
    return found if type(found) is int and 0 <= found < MOST else 0


def read(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds; None for one that cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def split(start: float, end: float) -> Iterator[tuple[str, float]]:
    """Yield each day between two times, with its share of the time between them."""
    moment = start
    while True:
        here = datetime.fromtimestamp(moment, UTC).astimezone()
        midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time()).astimezone().timestamp()
        until = min(midnight, end)
        yield here.date().isoformat(), (until - moment) / (end - start) if end > start else 1.0
        if until >= end:
            return
        moment = until
