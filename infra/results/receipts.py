"""Receipts: the record of a job, made from what the agent and the cluster's tags tell, kept beside the job's outputs."""

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from infra.base.decoding import decode
from infra.base.folders import read_plain
from infra.errors import NodeError
from infra.model import CloudName, Cluster, Job, Output, format_gpu

RECEIPT = "receipt.json"
FILES = "files"
RECEIPT_BYTES = 1 << 30  # two million outputs
RESULTS = re.compile("[a-z0-9-]+-[1-9][0-9]*")


@dataclass(frozen=True)
class Renamed:
    """An output that was saved under another name than the job's."""

    path: str
    saved_as: str
    sha256: str
    link: str | None
    why: str

    @property
    def content(self) -> str:
        """What it holds, as an output's content."""
        return self.sha256 if self.link is None else f"-> {self.link}"


@dataclass(frozen=True)
class Withheld:
    """Outputs at a path, or below it, that were not downloaded."""

    path: str
    files: int
    why: str


@dataclass(frozen=True)
class Shelved:
    """What was saved of some outputs, and what not; as a receipt tells it of those in the job's working folder."""

    outputs: tuple[Output, ...] = ()
    renamed: tuple[Renamed, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    interim: tuple[str, ...] = ()


@dataclass(frozen=True)
class Receipt:
    """The record of a job, kept beside its outputs."""

    cluster: str
    cloud: CloudName
    region: str
    instance_id: str
    instance_type: str
    market: str
    image: str
    """The AMI."""
    driver: str
    gpu: str
    price_usd: float
    """USD per hour of the whole machine."""
    job: Job
    states: tuple[tuple[str, float], ...]
    usd: float | None
    """What the job's time cost, at the price of its share of the machine; on the local cloud what it would have cost."""
    outputs: tuple[Output, ...]
    """What was downloaded and verified."""
    folder: str = "."
    """Where the outputs lie, seen from the receipt; beside it in those that older versions wrote."""
    renamed: tuple[Renamed, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    interim: tuple[str, ...] = ()
    """Where those outputs lie that came while the job was running, so that a later version replaces them."""
    outside: Shelved = Shelved()
    """The same of what the job wrote outside of its working folder, and was asked for."""
    downloaded_bytes: int = 0
    """How much has crossed the network for these results, every version of a file counted."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


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
        gpu=format_gpu(cluster.gpu),
        price_usd=cluster.price_usd,
        job=job,
        states=job.states,
        usd=None if job.seconds is None else job.seconds / 3600 * cluster.price_usd * share_of(job, cluster),
        outputs=outputs,
        folder=FILES,
    )


def share_of(job: Job, cluster: Cluster) -> float:
    """Return which part of the machine a job had for itself, by its GPUs; one without any counts like one with a single GPU."""
    return min(max(len(job.gpus), 1) / cluster.gpu_count, 1.0)


def format_receipt(receipt: Receipt) -> bytes:
    """Return a receipt as its file holds it."""
    return json.dumps(receipt.to_dict(), indent=2).encode() + b"\n"


def parse_receipt(content: bytes) -> Receipt | None:
    """Return the receipt that a file holds; None if it holds none that this version understands."""
    try:
        found = json.loads(content)
        known = {field.name for field in fields(Receipt)}
        return decode(Receipt, {name: value for name, value in found.items() if name in known})
    except (ValueError, AttributeError, RecursionError, NodeError):
        return None


def read_receipt(folder: Path) -> Mapping[str, Any] | None:
    """Return what the receipt in a folder says; None where there is none, or none that can be read."""
    try:
        found = json.loads(read_plain(folder / RECEIPT, RECEIPT_BYTES))
    except (OSError, ValueError, RecursionError):
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
