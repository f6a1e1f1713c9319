"""Runs of the past: results folders as a download leaves them."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.model import Cluster, Gpu, Job, Node, Output
from infra.results.receipts import format_receipt, make_receipt

NODE = Node("i-1", "running", "h", 22, "g5.xlarge", "z")
CLUSTER = Cluster("project", "aws", "us-east-1", (NODE,), Gpu("A10G"), 1.0, 2e9, 1.7e9, "o")
JOB = Job(1, "", ("python", "train.py"), "succeeded", "", (0,), 0, 1.0, 2.0, None, 3602.0, 3600.0, 0, True, "", "", "")


def record(project: Path, number: int, files: dict[str, str] | None = None, **changes: Any) -> Path:
    """Leave the results of a job of the cluster "project", with these outputs and this log, and return their folder."""
    log, cluster = changes.pop("log", ""), replace(CLUSTER, **changes.pop("cluster", {}))
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
    job = replace(JOB, number=number, **{**times, **changes})
    (home / "receipt.json").write_bytes(format_receipt(make_receipt(cluster, job, tuple(outputs))))
    return home
