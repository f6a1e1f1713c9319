"""What became of the tasks of an array: their counts, and each of them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from ..records import folder_of, is_supervised, read_json
from .book import Book, is_array

RUNNING = ("running", "stalled")
BAD = ("failed", "interrupted")


def list_tasks(number: str) -> dict[str, Any]:
    """Return the tasks of an array, with the node's time."""
    folder = folder_of(number)
    book, missing = Book(folder), name_missing(folder)
    records = book.read()
    tasks = [describe(task, records.get(position, {}), missing) for position, task in enumerate(book.tasks)]
    return {"now": time.time(), "tasks": tasks}


def name_missing(folder: Path) -> str:
    """Return the state of a task without an end: what runs or waits while the array is alive has been ended with it."""
    if is_supervised(folder):
        return ""
    return "cancelled" if read_json(folder / "end.json", {}).get("cancelled") else "interrupted"


def describe(task: dict[str, Any], record: dict[str, Any], missing: str) -> dict[str, Any]:
    """Return what is known of a task; `missing` is its state if its end is not recorded, "" while the array is alive."""
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


def count_tasks(folder: Path) -> dict[str, Any] | None:
    """Return how many tasks of an array are in which state; None for another job."""
    if not is_array(folder):
        return None
    book, missing = Book(folder), name_missing(folder)
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
    began_s = read_json(folder / "state.json", {}).get("dispatched_s")
    rest = counts["left"] + counts["running"] / 2
    known = ended and rest and began_s and not missing
    return {**counts, "left_s": (time.monotonic() - began_s) / len(ended) * rest if known else None}
