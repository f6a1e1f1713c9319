"""The tasks of an array as the client asks for them: all, or one with its log, as a job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable

from ..book.counts import RUNNING, describe, name_missing, state_of
from ..book.tasks import CANCELS, Book
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
    place = find_task(number)[0] / "tasks" / number.partition(".")[2]
    place.mkdir(parents=True, exist_ok=True)
    return place


def watch_end(number: str) -> Callable[[], bool]:
    """Return a function that says whether a job, or a task, has ended."""
    if "." not in number:
        folder = folder_of(number)
        return lambda: not is_supervised(folder)
    array, book, position = find_task(number)
    return lambda: state_of(book.find(position), find_missing(array)) not in ("queued", *RUNNING)


def ask_for_end(number: str) -> None:
    """Ask the dispatcher of node 0 to end a task, or not to start it."""
    folder, _, position = find_task(number)
    wanted = folder / CANCELS
    wanted.mkdir(exist_ok=True)
    (wanted / str(position)).touch()


def record_of_task(number: str) -> dict[str, Any]:
    """Return the record of a task, as that of a job."""
    folder, book, position = find_task(number)
    record = book.find(position)
    task = describe(book.tasks[position], record, find_missing(folder))
    log = folder / "tasks" / str(task["index"]) / "log"
    kept = {name: task[name] for name in ("state", "exit_code", "reason", "started_at", "seconds")}
    own = {"ended_at": record.get("ended_at"), "log_bytes": log.stat().st_size if log.exists() else 0}
    return {**record_of(folder.name), **kept, **own, "tasks": None, "nodes": 1}
