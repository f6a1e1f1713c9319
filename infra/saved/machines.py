"""The machine of a job in a bucket, as it was described when the job was submitted."""

import re
from dataclasses import dataclass
from typing import Annotated

from infra.model import GONE, CloudName, Cluster, Market, Node, format_gpu, parse_gpu

Word = Annotated[str, re.compile(r"[\w.:/ -]{0,128}")]


@dataclass(frozen=True)
class SavedMachine:
    """The machine that a job ran on, as it was described when the job was submitted."""

    instance_id: Annotated[str, re.compile("i-[0-9a-f]{8,17}")]
    instance_type: Word
    zone: Word
    market: Market
    image_id: Word
    gpu: Word
    price_usd: float
    launched_at: float
    owner: Annotated[str, re.compile("[ -~]{0,256}")]


def make_cluster(name: str, cloud: CloudName, region: str, machine: SavedMachine) -> Cluster:
    """Return a cluster that no longer exists, as far as the record of its job says."""
    node = Node(
        instance_id=machine.instance_id,
        state=GONE,
        host="",
        port=22,
        instance_type=machine.instance_type,
        zone=machine.zone,
        market=machine.market,
        price_usd=machine.price_usd,
        image_id=machine.image_id,
    )
    gpu = parse_gpu(machine.gpu)
    ends = machine.launched_at
    return Cluster(name, cloud, region, (node,), gpu, machine.price_usd, ends, machine.launched_at, machine.owner)


def describe_machine(cluster: Cluster, rank: int = 0) -> dict[str, object]:
    """Return what the record of a job says of its machine."""
    node = cluster.nodes[rank]
    facts = {name: getattr(node, name) for name in ("instance_id", "instance_type", "zone", "market", "image_id")}
    own = {"price_usd": cluster.price_usd, "launched_at": cluster.launched_at, "owner": cluster.owner}
    return {**facts, **own, "gpu": format_gpu(cluster.gpu)}
