"""What became of the tasks of an array: their counts, and each of them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Mapping

from .tasks import Book

RUNNING = ("running", "stalled")
BAD = ("failed", "interrupted")


def name_missing(supervised: bool, state: Mapping[str, Any]) -> str:
    """Return the state of a task whose end is not recorded: once the array has ended, so has it.

    `state` is that of the array, with its end.
    """
    if supervised:
        return ""
    return "cancelled" if state.get("cancelled") else "interrupted"


def cancelled_record() -> dict[str, Any]:
    """Return the record of a task that is cancelled before its start."""
    return {"state": "cancelled", "exit_code": None, "reason": "", "ended_at": time.time()}


def describe(task: dict[str, Any], record: dict[str, Any], missing: str) -> dict[str, Any]:
    """Return what is known of a task.

    `missing` is its state if its end is not recorded, "" while the array is alive.
    """
    state = state_of(record, missing)
    seconds = record.get("seconds")
    if seconds is None and state in RUNNING:
        seconds = time.monotonic() - record["started_s"]
    return {
        "index": task["index"],
        "values": task["values"],
        "state": state,
        "exit_code": record.get("exit_code"),
        "reason": record.get("reason", ""),
        "node": record.get("node"),
        "started_at": record.get("started_at"),
        "seconds": seconds,
        "attempts": record.get("attempts", 0),
    }


def state_of(record: dict[str, Any], missing: str) -> str:
    """Return the state of a task."""
    state: str = record.get("state", "queued")
    return missing if missing and state in ("queued", *RUNNING) else state


def count_tasks(folder: Path, missing: str, began_s: float | None) -> dict[str, Any]:
    """Return how many tasks of an array are in which state; it began at a monotonic time."""
    book = Book(folder)
    records = book.read()
    found = Counter(state_of(record, missing) for record in records.values())
    ended = [record for record in records.values() if record.get("seconds") is not None]
    found[missing or "queued"] += len(book.tasks) - len(records)
    counts = {
        "done": found["succeeded"],
        "running": sum(found[state] for state in RUNNING),
        "failed": sum(found[state] for state in BAD),
        "cancelled": found["cancelled"],
        "left": found["queued"],
    }
    rest = counts["left"] + counts["running"] / 2
    known = ended and rest and began_s and not missing
    return {**counts, "left_s": (time.monotonic() - (began_s or 0)) / len(ended) * rest if known else None}
