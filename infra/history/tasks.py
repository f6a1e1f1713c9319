"""The tasks of an array on this computer: the record, the metrics and the cost of each."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from infra.history.metrics import NAMES, Metrics, choose_metrics
from infra.history.runs import Run
from infra.model import TaskRecord


@dataclass(frozen=True)
class TaskRun:
    """A task with what was downloaded of it."""

    record: TaskRecord
    metrics: Metrics
    usd: float | None
    """Its part of the array's cost, by its seconds; None while that is not known."""
    folder: Path
    """Of its outputs; it need not exist."""
    log: Path


def read_tasks(run: Run) -> list[TaskRun]:
    """Return the tasks of an array in the order of their indices; empty for another job."""
    records = sorted(run.receipt.tasks, key=lambda task: task.index)
    files: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in run.find_outputs(NAMES) if records else ():
        files[path.parts[0]].append(path)
    total_s = sum(task.seconds or 0 for task in records)
    usd_per_s = None if run.receipt.usd is None or not total_s else run.receipt.usd / total_s
    found = []
    for record in records:
        name = str(record.index)
        log = PurePosixPath(run.files, f"{name}.log")
        metrics = choose_metrics(run, files[name], log)
        usd = None if usd_per_s is None else (record.seconds or 0) * usd_per_s
        found.append(TaskRun(record, metrics, usd, run.folder / run.files / name, run.folder / log))
    return found
