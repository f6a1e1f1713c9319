"""The record of an array's tasks: a line of fixed length for each, reserved at submission.

Each line is overwritten in place, in one write, by the dispatcher only: a full disk cannot lose it, and a thousand of them are
read at once. An empty line is a task that has not started. array.json has the tasks themselves, in the same order.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Iterable, Mapping

BOOK, ARRAY = "tasks.book", "array.json"
LINE_BYTES = 512
REASON_CHARACTERS = 100
GRID = "GPUJOB_GRID_"  # what the variables with the values of a grid begin with
BRACED = re.compile(r"(?<!\$)\{([A-Za-z][A-Za-z0-9_.-]{0,39})\}", re.ASCII)
"""A name in braces, which the value of a grid replaces; `${name}` is the shell's."""


class Book:
    """The record of an array's tasks."""

    def __init__(self, folder: Path) -> None:
        """Open the record in an array's folder."""
        self.path = folder / BOOK
        self.tasks: list[dict[str, Any]] = read_array(folder)

    def read(self) -> dict[int, dict[str, Any]]:
        """Return the record of each task that has started, by its position."""
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = (content[at : at + LINE_BYTES].strip() for at in range(0, len(content), LINE_BYTES))
        found = [(position, line) for position, line in enumerate(lines) if line]
        records = json.loads(b"[" + b",".join(line for _, line in found) + b"]")
        return dict(zip((position for position, _ in found), records))

    def find(self, position: int) -> dict[str, Any]:
        """Return the record of a task; empty if it has not started."""
        with self.path.open("rb", buffering=0) as file:
            line = os.pread(file.fileno(), LINE_BYTES, position * LINE_BYTES).strip()
        return dict(json.loads(line)) if line else {}

    def write(self, position: int, record: dict[str, Any]) -> None:
        """Replace the record of a task."""
        line = json.dumps({**record, "reason": record.get("reason", "")[:REASON_CHARACTERS]}).encode()
        with self.path.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), line.ljust(LINE_BYTES - 1) + b"\n", position * LINE_BYTES)


def read_array(folder: Path) -> list[dict[str, Any]]:
    """Return the index and the values of each task of an array; none for another job."""
    try:
        found: list[dict[str, Any]] = json.loads((folder / ARRAY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return found


def fill_in(command: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """Return a command with the names of a grid in braces replaced by a task's values."""
    return [BRACED.sub(lambda found: values.get(found[1], found[0]), word) for word in command]


def variables_of(values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables in which a task finds the values of a grid."""
    return {variable_of(name): value for name, value in values.items()}


def variable_of(name: str) -> str:
    """Return the variable in which a task finds a value of the grid: GPUJOB_GRID_LR."""
    return f"{GRID}{re.sub('[.-]', '_', name).upper()}"


def is_array(folder: Path) -> bool:
    """Return whether a job is an array."""
    return (folder / ARRAY).exists()


def reserve_array(folder: Path, array: dict[str, Any]) -> dict[str, Any]:
    """Write an array's tasks, reserve the space for their records; return its other settings."""
    tasks = array["tasks"]
    (folder / ARRAY).write_text(json.dumps(tasks), encoding="utf-8")
    (folder / BOOK).write_bytes((b" " * (LINE_BYTES - 1) + b"\n") * len(tasks))
    return {
        "count": array.get("count") or len(tasks),
        **{name: array[name] for name in ("at_once", "share", "retries")},
    }
