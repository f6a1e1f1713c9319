"""The results of an array as a table: a row for each task, with its values and last metrics."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from cli.facts.sorting import Line, choose_names, sort_lines
from cli.facts.times import instant
from cli.terminal import formats, show
from infra.base.money import format_usd
from infra.base.text import printable
from infra.history.metrics import last_metrics
from infra.history.tasks import TaskRun

FIXED = ("task", "state", "exit", "duration", "cost")


class Table:
    """The tasks of an array as lines, in order; what a column shows is also what it can be sorted by."""

    def __init__(self, tasks: Sequence[TaskRun]) -> None:
        """Make the lines of tasks; there is at least one."""
        self.tasks = tasks
        self.metrics = [last_metrics(task.metrics) for task in tasks]
        names = dict.fromkeys(name for task in tasks for name in task.record.values)
        self.grid = {name: f"grid {name}" if name in FIXED else name for name in names}
        self.names = choose_names(self.metrics, (*FIXED, *self.grid.values()))
        numeric = {name for name in names if all(is_number(task.record.values.get(name, "0")) for task in tasks)}
        self.lines = [self.make_line(task, last, numeric) for task, last in zip(tasks, self.metrics, strict=True)]

    def make_line(self, task: TaskRun, last: Mapping[str, float], numeric: set[str]) -> Line:
        """Return the line of a task; the values of a grid are sorted as numbers if all are."""
        record, given = task.record, task.record.values
        index = str(record.index)
        exits = "" if record.exit_code in (None, 0) else str(record.exit_code)
        shown = {
            "task": show.Linked(index, task.folder) if task.folder.is_dir() else index,
            **{title: given.get(name, "") for name, title in self.grid.items()},
            **{name: f"{last[name]:.4g}" if name in last else "" for name in self.names},
            "state": record.state,
            "exit": exits,
            "duration": "" if record.seconds is None else formats.duration(record.seconds),
            "cost": "" if task.usd is None else format_usd(task.usd),
        }
        values = {
            **shown,
            "task": record.index,
            **{title: float(given[name]) for name, title in self.grid.items() if name in numeric and name in given},
            **{name: last.get(name) for name in self.names},
            "exit": record.exit_code,
            "duration": record.seconds,
            "cost": task.usd,
        }
        return Line(shown, values)

    def sort(self, column: str | None, command: str) -> list[int]:
        """Return the positions of the tasks in the order of a column; raises UsageError if there is none."""
        usual = self.names[0] if self.names else "duration"
        known = [*self.lines[0].shown]
        return sort_lines(self.lines, column, known, command, usual) if column else [*range(len(self.lines))]

    def show(self, order: Sequence[int]) -> None:
        """Print the tasks; a narrow terminal leaves out the further metrics first."""
        rows = [self.lines[at].shown for at in order]
        if not any(row["exit"] for row in rows):
            rows = [{name: text for name, text in row.items() if name != "exit"} for row in rows]
        show.listing(rows, False, droppable=(*reversed(self.names[2:]), "cost", "exit", "duration", *self.names[1:2]))

    def write_csv(self, order: Sequence[int]) -> str:
        """Return the tasks as CSV, with all metrics and with numbers as they are."""
        metrics = list(dict.fromkeys(name for last in self.metrics for name in last))
        given = [*self.grid.values()]
        titles = [f"metric {name}" if name in (*FIXED, *OTHERS, *given) else name for name in metrics]
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["task", *given, *titles, *OTHERS])
        for at in order:
            task, last = self.tasks[at], self.metrics[at]
            record = task.record
            grid = [printable(record.values.get(name, "")) for name in self.grid]
            ends = record.state, record.exit_code, record.seconds, task.usd, record.node, record.attempts
            writer.writerow([record.index, *grid, *(last.get(name) for name in metrics), *ends])
        return stream.getvalue()

    def list_facts(self, order: Sequence[int]) -> list[dict[str, Any]]:
        """Return the tasks for --json."""
        return [task_facts(self.tasks[at], self.metrics[at]) for at in order]


OTHERS = ("state", "exit_code", "seconds", "usd", "node", "attempts")


def task_facts(task: TaskRun, last: dict[str, float]) -> dict[str, Any]:
    """Return a task for --json."""
    record = task.record
    return {
        "task": record.index,
        "values": dict(record.values),
        "metrics": last,
        "state": record.state,
        "exit_code": record.exit_code,
        "reason": record.reason,
        "node": record.node,
        "instance_id": record.machine or None,
        "attempts": record.attempts,
        "started_at": instant(record.started_at),
        "seconds": record.seconds,
        "usd": task.usd,
        "folder": str(task.folder),
        "log": str(task.log),
    }


def is_number(text: str) -> bool:
    """Return whether a value of a grid is a number."""
    try:
        return float(text) == float(text)  # nan has no place in an order
    except ValueError:
        return False
