"""A bake that is not through yet: written down before its node is touched, so that the same words take it up after a crash."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from infra import state
from infra.model import Cluster
from infra.ssh import keys


@dataclass(frozen=True)
class Bake:
    """A bake that is not through yet, so that the same words go on with it."""

    instance_id: str
    host_keys: tuple[str, ...]
    """What the node showed before it was cleaned."""


def make_bake(cluster: Cluster, rank: int = 0) -> Bake:
    """Return the bake of a node as it stands."""
    node = cluster.nodes[rank].instance_id
    return Bake(node, keys.read_pins(state.known_hosts_file(cluster.name)).get(node, ()))


def bake_file(name: str) -> Path:
    """Return where a bake that is not through is written down."""
    return state.state_folder() / "bakes" / f"{name}.json"


def write_bake(name: str, bake: Bake) -> None:
    """Write down a bake that begins."""
    state.write_private(bake_file(name), json.dumps(asdict(bake)))


def read_bake(name: str) -> Bake | None:
    """Return the bake of this name that was broken off on this laptop, or None."""
    try:
        facts = json.loads(bake_file(name).read_text(encoding="utf-8"))
        return Bake(facts["instance_id"], tuple(facts["host_keys"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def find_closed(cluster: Cluster, rank: int) -> str | None:
    """Return the image whose bake has begun and has not pinned this node's new host keys yet, or None."""
    asked = make_bake(cluster, rank)
    names = sorted(file.stem for file in bake_file("any").parent.glob("*.json"))
    return next((name for name in names if read_bake(name) == asked), None)
