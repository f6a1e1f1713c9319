"""The machine of a job in a bucket, as it was described when the job was submitted."""

import re
from dataclasses import dataclass, fields
from typing import Annotated

from infra.errors import NodeError
from infra.model import GONE, CloudName, Cluster, Market, Node, format_gpu, parse_gpu
from infra.model.job import MOST_NODES

Word = Annotated[str, re.compile(r"[\w.:/ -]{0,128}")]


@dataclass(frozen=True)
class SavedNode:
    """A machine of a job's cluster, as it was described when the job was submitted."""

    instance_id: Annotated[str, re.compile("i-[0-9a-f]{8,17}")]
    instance_type: Word
    zone: Word
    market: Market
    image_id: Word


@dataclass(frozen=True)
class SavedMachine(SavedNode):
    """The first machine of the cluster, and what is common to all."""

    gpu: Word
    price_usd: float
    """USD per hour for all machines of its cluster."""
    launched_at: float
    owner: Annotated[str, re.compile("[ -~]{0,256}")]
    others: tuple[SavedNode, ...] = ()
    """The machines of its cluster after the first."""


def make_cluster(name: str, cloud: CloudName, region: str, machine: SavedMachine) -> Cluster:
    """Return a cluster that no longer exists, as far as the record of its job says."""
    if len(machine.others) >= MOST_NODES:
        raise NodeError(f"the job has more than {MOST_NODES} machines", "gpujob bucket ls")
    machines: tuple[SavedNode, ...] = (machine, *machine.others)
    price_usd = machine.price_usd / len(machines)
    nodes = tuple(
        Node(
            instance_id=each.instance_id,
            state=GONE,
            host="",
            port=22,
            instance_type=each.instance_type,
            zone=each.zone,
            market=each.market,
            price_usd=price_usd,
            image_id=each.image_id,
        )
        for each in machines
    )
    gpu = parse_gpu(machine.gpu)
    ends = machine.launched_at
    return Cluster(name, cloud, region, nodes, gpu, machine.price_usd, ends, machine.launched_at, machine.owner)


def describe_machine(cluster: Cluster) -> dict[str, object]:
    """Return what the record of a job says of its machines."""
    names = [field.name for field in fields(SavedNode)]
    first, *others = ({name: getattr(node, name) for name in names} for node in cluster.nodes)
    own = {"price_usd": cluster.price_usd, "launched_at": cluster.launched_at, "owner": cluster.owner}
    return {**first, **own, "gpu": format_gpu(cluster.gpu), "others": others}
