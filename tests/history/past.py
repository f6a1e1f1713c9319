"""Runs of the past: results folders as a download leaves them."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.model import Cluster, Counts, Gpu, Job, Node, Output, TaskRecord
from infra.results.receipts import format_receipt, make_receipt

NODE = Node("i-1", "running", "h", 22, "g5.xlarge", "z")
CLUSTER = Cluster("project", "aws", "us-east-1", (NODE,), Gpu("A10G"), 1.0, 2e9, 1.7e9, "o")
JOB = Job(1, "", ("python", "train.py"), "succeeded", "", (0,), 0, 1.0, 2.0, None, 3602.0, 3600.0, 0, True, "", "", "")


def record(project: Path, number: int, files: dict[str, str] | None = None, **changes: Any) -> Path:
    """Leave the results of a job of the cluster "project", with these outputs and this log, and return their folder."""
    log, cluster, tasks = (
        changes.pop("log", ""),
        replace(CLUSTER, **changes.pop("cluster", {})),
        changes.pop("tasks", ()),
    )
    home = project / "runs" / f"{cluster.name}-{number}"
    outputs = []
    for name, text in (files or {}).items():
        path = home / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        outputs.append(Output(name, len(text), hashlib.sha256(text.encode()).hexdigest(), 0o644))
    home.mkdir(parents=True, exist_ok=True)
    (home / "job.log").write_text(log)
    times = {"submitted_at": time.time() - 1000 + number, "started_at": time.time() - 999 + number}
    job = replace(JOB, number=number, tasks=changes.pop("counts", None), **{**times, **changes})
    receipt = replace(make_receipt(cluster, job, tuple(outputs)), tasks=tasks)
    (home / "receipt.json").write_bytes(format_receipt(receipt))
    return home


def record_array(project: Path, number: int, tasks: list[tuple[dict[str, str], str, str]], **changes: Any) -> Path:
    """Leave the results of an array of a minute: of each task its values, its metrics.csv and its log."""
    files = {f"{at}/metrics.csv": metrics for at, (_, metrics, _) in enumerate(tasks) if metrics}
    files |= {f"{at}.log": log for at, (_, _, log) in enumerate(tasks)}
    failed = {at for at, (_, _, log) in enumerate(tasks) if "Error" in log}
    records = tuple(
        TaskRecord(
            at, values, *(("failed", 1) if at in failed else ("succeeded", 0)), "", 0, 3.0, 10.0 * (at + 1), 1, "i-1"
        )
        for at, (values, _, _) in enumerate(tasks)
    )
    counts = Counts(done=len(tasks) - len(failed), failed=len(failed))
    return record(project, number, files, **{"tasks": records, "counts": counts, **changes})
