"""What ended recently: jobs, from a project's receipts, and clusters, from this computer's records."""

import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from infra.base.decoding import MOST_SECONDS
from infra.ledger.costs import is_counted, read_ended
from infra.model import UNFINISHED
from infra.results.receipts import RECEIPT, is_results, read_receipt

MOST_CHARACTERS = 32
"""Of a job's name or command."""


@dataclass(frozen=True)
class Ended:
    """A job or a cluster that ended."""

    what: str
    state: str
    at: float
    usd: float
    cloud: str
    folder: str = ""
    """A job's results."""


def list_recent(runs: Path, since: float, most: int) -> list[Ended]:
    """Return the latest jobs and clusters that ended after a time, latest first."""
    ended = [one for one in (*list_jobs(runs, most), *list_clusters()) if one.at >= since]
    return sorted(ended, key=attrgetter("at"), reverse=True)[:most]


def list_jobs(runs: Path, most: int) -> Iterator[Ended]:
    """Yield the jobs of the latest receipts; foreign receipts may contain anything."""
    times = []
    for path in runs.glob(f"*/{RECEIPT}"):
        with suppress(OSError):
            times.append((path.stat().st_mtime, path.parent))
    for _, folder in sorted(times, reverse=True)[: 2 * most]:
        found = read_receipt(folder) if is_results(folder) else None
        if found and is_counted(found) and (job := found["job"]).get("state") not in UNFINISHED:
            command = job.get("command")
            name = str(job.get("name") or (shlex.join(map(str, command)) if isinstance(command, list) else ""))
            short = name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 3]}..."
            what = f"job {job.get('number')} on {found['cluster']}: {short}"
            code = job.get("exit_code")
            state = f"{job.get('state')}{f' (exit {code})' if code else ''}"
            yield Ended(what, state, job["ended_at"], found["usd"], found["cloud"], f"{runs.name}/{folder.name}")


def list_clusters() -> Iterator[Ended]:
    """Yield the clusters that ended."""
    for note in read_ended().values():
        at, usd = note["ended_at"], note["usd"]
        if all(isinstance(number, int | float) and 0 <= number < MOST_SECONDS for number in (at, usd)):
            state = "ended by itself" if note.get("missed") else "terminated"
            yield Ended(f"cluster {note['cluster']}", state, at, usd, note["cloud"])
