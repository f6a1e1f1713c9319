"""Receipts: the record of a job, from the agent and the cluster's tags, stored with its outputs."""

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from infra.base.decoding import decode
from infra.base.folders import read_plain
from infra.errors import NodeError
from infra.model import CloudName, Cluster, Job, Output, TaskRecord, format_gpu

RECEIPT = "receipt.json"
FILES = "files"
RECEIPT_BYTES = 1 << 30  # two million outputs
RESULTS = re.compile("[a-z0-9-]+-[1-9][0-9]*")


@dataclass(frozen=True)
class Renamed:
    """An output that was saved under a different name."""

    path: str
    saved_as: str
    sha256: str
    link: str | None
    why: str

    @property
    def content(self) -> str:
        """Its content, like an output's."""
        return self.sha256 if self.link is None else f"-> {self.link}"


@dataclass(frozen=True)
class Withheld:
    """Outputs at or below a path that were not downloaded."""

    path: str
    files: int
    why: str


@dataclass(frozen=True)
class Shelved:
    """Which outputs were saved and which not, as recorded in a receipt."""

    outputs: tuple[Output, ...] = ()
    renamed: tuple[Renamed, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    interim: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodePart:
    """What a job over several nodes did on one of them."""

    instance_id: str
    exit_code: int | None
    """None while it runs there, or if it is unknown."""
    folder: str
    """The folder of its results there, next to the folder of this receipt."""


@dataclass(frozen=True)
class Receipt:
    """The record of a job, stored with its outputs."""

    cluster: str
    cloud: CloudName
    region: str
    instance_id: str
    """Of a sent job, the machine that worked on it last."""
    instance_type: str
    market: str
    image: str
    """The AMI."""
    driver: str
    gpu: str
    price_usd: float
    """USD per hour for the whole machine; on average, for a spot machine."""
    job: Job
    states: tuple[tuple[str, float], ...]
    usd: float | None
    """Cost of the job's time on its share of the machine; on the local cloud, what it would have cost."""
    outputs: tuple[Output, ...]
    """The downloaded and verified outputs."""
    folder: str = "."
    """The outputs' folder relative to the receipt; older versions wrote them next to it."""
    renamed: tuple[Renamed, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    interim: tuple[str, ...] = ()
    """Places of outputs downloaded while the job was running, which later versions replace."""
    outside: Shelved = Shelved()
    """The same for requested outputs outside the working folder."""
    downloaded_bytes: int = 0
    """Bytes downloaded for these results, including every version of a file."""
    at_most: bool = False
    """Whether the machine's spot price was not known, so that `usd` is the most that it can be."""
    parts: tuple[NodePart, ...] = ()
    """Of a job over several nodes, what it did on each; the outputs above are those of the first."""
    tasks: tuple[TaskRecord, ...] = ()
    """Of an array, what became of each task; the outputs above are those of all of them."""
    token: str = ""
    """Identifies a sent job, whose machines are replaced; "" for any other."""

    def is_of(self, cluster: Cluster, job: Job, rank: int) -> bool:
        """Return whether it is that of a job on a node: the same machine, or the same sent job."""
        own = self.token or self.instance_id
        there = cluster.token or cluster.nodes[rank].instance_id
        return (self.cloud, self.region, own, self.job.number) == (cluster.cloud, cluster.region, there, job.number)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-compatible values."""
        return asdict(self)


def make_receipt(
    cluster: Cluster, job: Job, outputs: tuple[Output, ...], rank: int = 0, tasks: tuple[TaskRecord, ...] = ()
) -> Receipt:
    """Return the record of a job; its cost is its time at its share of the cluster's price."""
    price_usd, node = find_price(cluster, job), cluster.nodes[rank]
    return Receipt(
        cluster=cluster.name,
        cloud=cluster.cloud,
        region=cluster.region,
        instance_id=node.instance_id,
        instance_type=node.instance_type,
        market=node.market,
        image=node.image_id,
        driver=job.driver,
        gpu=format_gpu(cluster.gpu),
        price_usd=price_usd,
        job=job,
        states=job.states,
        usd=None if job.seconds is None else job.seconds / 3600 * price_usd * share_of(job, cluster),
        outputs=outputs,
        folder=FILES,
        at_most=cluster.is_at_most,
        parts=list_parts(cluster, job) if job.nodes > 1 and rank == 0 and job.tasks is None else (),
        tasks=tasks,
        token=cluster.token,
    )


def list_parts(cluster: Cluster, job: Job) -> tuple[NodePart, ...]:
    """Return what a job over several nodes did on each."""
    codes = dict(enumerate(job.exit_codes))
    nodes = enumerate(cluster.nodes[: job.nodes])
    return tuple(
        NodePart(node.instance_id, codes.get(rank), name_results(cluster.name, job.number, rank))
        for rank, node in nodes
    )


def name_results(cluster: str, number: int, rank: int = 0) -> str:
    """Return the name of the folder of a job's results on a node."""
    return f"{cluster}-{number}" + (f".{rank}" if rank else "")


def find_price(cluster: Cluster, job: Job) -> float:
    """Return the price of a cluster in USD per hour, on average while a job ran."""
    start, end = job.started_at, job.ended_at
    if cluster.is_at_most or start is None or end is None or end <= start:
        return cluster.price_usd
    spot = [cluster.nodes[rank] for rank in cluster.ranks if cluster.nodes[rank].spot_prices]
    changed = sum(node.usd_between(start, end) / (end - start) * 3600 - node.price_usd for node in spot)
    return cluster.price_usd + changed


def share_of(job: Job, cluster: Cluster) -> float:
    """Return a job's share of the cluster by nodes and GPUs; a job without any counts as having one."""
    nodes = len(cluster.ranks)
    return min(max(len(job.gpus), 1) / cluster.gpu_count, 1.0) * min(job.nodes, nodes) / nodes


def format_receipt(receipt: Receipt) -> bytes:
    """Return a receipt as the content of its file."""
    return f"{format_fields(receipt)}\n".encode()


def format_fields(value: Any, indent: str = "") -> str:
    """Return a dataclass instance as JSON with a line for each field, and for each output.

    Python's `indent` would take twenty times as long, which matters for ten thousand outputs.
    """
    inner = f"{indent}  "
    lines = [f"{inner}{json.dumps(name)}: {format_value(part, inner)}" for name, part in vars(value).items()]
    return ",\n".join(lines).join(("{\n", f"\n{indent}}}"))


def format_value(value: Any, indent: str) -> str:
    """Return the value of a field as JSON."""
    if is_dataclass(value):
        return format_fields(value, indent)
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        lines = (f"{indent}  {json.dumps(each, default=vars)}" for each in value)
        return ",\n".join(lines).join(("[\n", f"\n{indent}]"))
    return json.dumps(value, default=vars)


@lru_cache(maxsize=2)
def parse_receipt(content: bytes) -> Receipt | None:
    """Return the receipt in a file's content; None if this version cannot read it."""
    try:
        found = json.loads(content)
        known = {field.name for field in fields(Receipt)}
        return decode(Receipt, {name: value for name, value in found.items() if name in known})
    except (ValueError, AttributeError, RecursionError, NodeError):
        return None


def load_receipt(folder: Path) -> Receipt | None:
    """Return a folder's receipt; None if it is missing, or this version cannot read it."""
    try:
        return parse_receipt(read_plain(folder / RECEIPT, RECEIPT_BYTES))
    except OSError:
        return None


def read_receipt(folder: Path) -> Mapping[str, Any] | None:
    """Return the content of a folder's receipt; None if it is missing or unreadable."""
    try:
        found = json.loads(read_plain(folder / RECEIPT, RECEIPT_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("job"), dict) else None


def is_results(folder: Path) -> bool:
    """Return whether a folder is a job's results: named CLUSTER-NUMBER, not a link, and with a receipt."""
    try:
        modes = folder.lstat().st_mode, (folder / RECEIPT).lstat().st_mode
    except OSError:
        return False
    return bool(RESULTS.fullmatch(folder.name)) and stat.S_ISDIR(modes[0]) and stat.S_ISREG(modes[1])


def find_home(runs: Path, cluster: str, number: int | None) -> Path:
    """Return the results folder of a job in `runs`, by default the cluster's latest; it need not exist."""
    if not number:  # only then are all folders listed
        numbers = (folder.name.removeprefix(f"{cluster}-") for folder in runs.glob(f"{cluster}-*"))
        number = max((int(text) for text in numbers if text.isdecimal()), default=0)
    return runs / f"{cluster}-{number}"


def find_receipt(runs: Path, cluster: str, number: int | None) -> Mapping[str, Any] | None:
    """Return the receipt of a job in `runs`, by default the cluster's latest; None if there is none."""
    return read_receipt(find_home(runs, cluster, number))
