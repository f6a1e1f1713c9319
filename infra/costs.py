"""What was spent: on machines by their tags while they live and by a note once they are given back, on jobs by their receipts."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra import state
from infra.ec2.lease import hourly_usd, spent_usd
from infra.model import Cluster


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


def record_end(clusters: Iterable[Cluster]) -> None:
    """Note what clusters cost that are about to be given back: AWS forgets their tags within the hour."""
    now = time.time()
    for cluster in clusters:
        facts = {
            "cluster": cluster.name,
            "cloud": cluster.cloud,
            "launched_at": cluster.launched_at,
            "ended_at": max(now, cluster.launched_at),
            "usd": spent_usd(cluster, now),
        }
        name = f"{cluster.cloud}-{cluster.region}-{cluster.node.instance_id}.json"
        state.write_private(state.state_folder() / "costs" / name, json.dumps(facts))


def add_up(living: Iterable[Cluster], runs: Path) -> list[Cost]:
    """Return what every cluster that is known here cost, by day and cluster, latest first; `runs` holds receipts of jobs."""
    now = time.time()
    spans = [*read_ended(), *(span_of(cluster, now) for cluster in living if hourly_usd(cluster) or cluster.spent_usd)]
    totals: dict[tuple[str, str, str], list[float]] = {}
    for span in spans:
        for day, share in split(span["launched_at"], span["ended_at"]):
            row = totals.setdefault((day, span["cluster"], span["cloud"]), [0.0, 0.0, 0.0])
            row[0] += share * (span["ended_at"] - span["launched_at"]) / 3600
            row[1] += share * span["usd"]
    for receipt in read_receipts(runs):
        job = receipt["job"]
        for day, share in split(job["started_at"], job["ended_at"]):
            row = totals.setdefault((day, receipt["cluster"], receipt["cloud"]), [0.0, 0.0, 0.0])
            row[2] += share * receipt["usd"]
    return [Cost(*key, *values) for key, values in sorted(totals.items(), reverse=True)]


def span_of(cluster: Cluster, now: float) -> dict[str, Any]:
    """Return a living cluster as a note of it would be."""
    return {
        "cluster": cluster.name,
        "cloud": cluster.cloud,
        "launched_at": min(cluster.launched_at, now),
        "ended_at": now,
        "usd": spent_usd(cluster, now),
    }


def read_ended() -> Iterator[dict[str, Any]]:
    """Yield the notes of clusters that were given back from this laptop."""
    for path in sorted((state.state_folder() / "costs").glob("*.json")):
        note = read(path)
        if note and {"cluster", "cloud", "launched_at", "ended_at", "usd"} <= note.keys():
            yield dict(note)


def read_receipts(runs: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the receipts of jobs that tell what they cost."""
    for path in sorted(runs.glob("*/receipt.json")):
        receipt = read(path)
        job = receipt.get("job", {}) if receipt else {}
        if receipt and receipt.get("usd") is not None and job.get("started_at") and job.get("ended_at"):
            yield receipt


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
