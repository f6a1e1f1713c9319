"""The tasks of an array as the client asks for them: all, or one with its log, as a job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..book.counts import RUNNING, describe, name_missing, state_of
from ..book.tasks import Book
from ..records import UnknownJobError, folder_of, is_supervised, read_json, record_of


def list_tasks(number: str) -> dict[str, Any]:
    """Return the tasks of an array, with the node's time."""
    folder = folder_of(number)
    missing, book = find_missing(folder), Book(folder)
    records = book.read()
    tasks = [describe(task, records.get(position, {}), missing) for position, task in enumerate(book.tasks)]
    return {"now": time.time(), "tasks": tasks}


def find_missing(folder: Path) -> str:
    """Return the state of an array's tasks whose end is not recorded; "" while the array is alive."""
    return name_missing(is_supervised(folder), read_json(folder / "end.json", {}))


def find_task(number: str) -> tuple[Path, Book, int]:
    """Return an array's folder and record, and the position of one of its tasks; raises UnknownJobError."""
    job, _, index = number.partition(".")
    folder = folder_of(job)
    book = Book(folder)
    for position, task in enumerate(book.tasks):
        if str(task["index"]) == index:
            return folder, book, position
    raise UnknownJobError(f"job {job} has no task {index}")


def place_of(number: str) -> Path:
    """Return the folder with the log of a job, or of a task, which may not have started."""
    if "." not in number:
        return folder_of(number)
    folder, book, position = find_task(number)
    place = folder / "tasks" / str(book.tasks[position]["index"])
    place.mkdir(parents=True, exist_ok=True)
    return place


def is_alive(number: str) -> bool:
    """Return whether a job, or a task, has not ended."""
    if "." not in number:
        return is_supervised(folder_of(number))
    folder, book, position = find_task(number)
    return state_of(book.find(position), find_missing(folder)) in ("queued", *RUNNING)


def record_of_task(number: str) -> dict[str, Any]:
    """Return the record of a task, as that of a job."""
    folder, book, position = find_task(number)
    task = describe(book.tasks[position], book.find(position), find_missing(folder))
    log = place_of(number) / "log"
    kept = {name: task[name] for name in ("state", "exit_code", "reason", "started_at", "seconds")}
    ended_at = book.find(position).get("ended_at")
    size_bytes = log.stat().st_size if log.exists() else 0
    return {**record_of(folder.name), **kept, "ended_at": ended_at, "log_bytes": size_bytes, "tasks": None, "nodes": 1}
