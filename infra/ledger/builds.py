"""Unfinished bakes, recorded so that `bake` can resume them, and the names of finished images."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from infra import state
from infra.model import Cluster
from infra.names import NAME


@dataclass(frozen=True)
class Bake:
    """An unfinished bake."""

    instance_id: str
    host_keys: tuple[str, ...]
    """The node's host keys before it was cleaned."""


def make_bake(cluster: Cluster, rank: int = 0) -> Bake:
    """Return a new bake of a node."""
    from infra.ssh import keys  # loads cryptography, which completion does not need

    node = cluster.nodes[rank].instance_id
    return Bake(node, keys.read_pins(state.known_hosts_file(cluster.name)).get(node, ()))


def bake_file(name: str) -> Path:
    """Return the file that records an unfinished bake."""
    return state.state_folder() / "bakes" / f"{name}.json"


def write_bake(name: str, bake: Bake) -> None:
    """Record a bake that starts."""
    state.write_private(bake_file(name), json.dumps(asdict(bake)))


def read_bake(name: str) -> Bake | None:
    """Return the interrupted bake of this name on this computer, or None."""
    try:
        facts = json.loads(bake_file(name).read_text(encoding="utf-8"))
        return Bake(facts["instance_id"], tuple(facts["host_keys"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def find_closed(cluster: Cluster, rank: int) -> str | None:
    """Return the image whose unfinished bake has not yet pinned this node's new host keys, or None."""
    asked = make_bake(cluster, rank)
    names = sorted(file.stem for file in bake_file("any").parent.glob("*.json"))
    return next((name for name in names if read_bake(name) == asked), None)


def image_file(name: str) -> Path:
    """Return the file that records that an image of this name exists; it serves completion only."""
    return state.state_folder() / "images" / name


def note_image(name: str, exists: bool = True) -> None:
    """Record that an image of this name exists, or that it does not."""
    if not NAME.fullmatch(name):  # a tag of another user may be anything
        return
    with suppress(OSError):
        if exists:
            state.write_private(image_file(name), "")
        else:
            image_file(name).unlink(missing_ok=True)


def list_noted() -> list[str]:
    """Return the names of the images that existed when this computer last saw them."""
    return sorted(path.name for path in image_file("any").parent.glob("*") if NAME.fullmatch(path.name))
