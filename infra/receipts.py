"""Receipts: the record of a job, made from what the agent and the cluster's tags tell, kept beside the job's outputs."""

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.model import Cluster, Job, Output, Receipt
from infra.ssh.carry import local_errors

RECEIPT = "receipt.json"
RESULTS = re.compile("[a-z0-9-]+-[1-9][0-9]*")


def make_receipt(cluster: Cluster, job: Job, outputs: tuple[Output, ...]) -> Receipt:
    """Return the record of a job; its cost is its own time at its share of the cluster's price."""
    return Receipt(
        cluster=cluster.name,
        cloud=cluster.cloud,
        region=cluster.region,
        instance_id=cluster.node.instance_id,
        instance_type=cluster.node.instance_type,
        market=cluster.node.market,
        image=cluster.node.image_id,
        driver=job.driver,
        gpu=cluster.gpu,
        price_usd=cluster.price_usd,
        job=job,
        states=job.states,
        usd=None if job.seconds is None else job.seconds / 3600 * cluster.price_usd * share_of(job, cluster),
        outputs=outputs,
    )


def share_of(job: Job, cluster: Cluster) -> float:
    """Return which part of the machine a job had for itself, by its GPUs; one without any counts like one with a single GPU."""
    return min(max(len(job.gpus), 1) / cluster.gpu_count, 1.0)


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write the receipt whole or not at all."""
    part = folder / f".{RECEIPT}.part"
    with local_errors(part):
        part.write_text(json.dumps(receipt.to_dict(), indent=2) + "\n", encoding="utf-8")
        part.replace(folder / RECEIPT)


def read_receipt(folder: Path) -> Mapping[str, Any] | None:
    """Return what the receipt in a folder says; None where there is none, or none that can be read."""
    try:
        found = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("job"), dict) else None


def is_results(folder: Path) -> bool:
    """Tell whether a folder holds a job's results: a folder CLUSTER-NUMBER, no link, with a receipt in it."""
    try:
        modes = folder.lstat().st_mode, (folder / RECEIPT).lstat().st_mode
    except OSError:
        return False
    return bool(RESULTS.fullmatch(folder.name)) and stat.S_ISDIR(modes[0]) and stat.S_ISREG(modes[1])


def find_home(runs: Path, cluster: str, number: int | None) -> Path:
    """Return the folder in `runs` that a job, by default the latest of the cluster there, comes home to; it need not exist."""
    numbers = (folder.name.removeprefix(f"{cluster}-") for folder in runs.glob(f"{cluster}-*"))
    latest = max((int(text) for text in numbers if text.isdecimal()), default=0)
    return runs / f"{cluster}-{number or latest}"


def find_receipt(runs: Path, cluster: str, number: int | None) -> Mapping[str, Any] | None:
    """Return the receipt of a job, by default the latest of the cluster, that has come home to `runs`; None if it has not."""
    return read_receipt(find_home(runs, cluster, number))
