"""What the agent measures on a node, as values."""

from dataclasses import dataclass

from infra.base.decoding import decode
from infra.node.client import call
from infra.ssh.connection import Connection


@dataclass(frozen=True)
class ListedGpu:
    """A GPU as nvidia-smi lists it."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Product:
    """How fast a GPU multiplied two matrices of this type."""

    kind: str
    tflops: float


@dataclass(frozen=True)
class Torch:
    """What the interpreter that jobs get has of torch; `error` says why nothing is known."""

    python: str
    version: str
    seen: int
    products: tuple[Product, ...]
    error: str


@dataclass(frozen=True)
class Disk:
    """How a disk did; `error` says why it did not."""

    name: str
    free_bytes: int
    written_bytes_s: float
    read_bytes_s: float
    error: str


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    driver: str
    """Its version as its kernel module tells it; "" where that is not loaded."""
    smi: str
    """What nvidia-smi complained of: "absent" where there is none, "" if of nothing."""
    gpus: tuple[ListedGpu, ...]
    busy: int
    """A job that has GPUs now, so that none was tried; 0 for none."""
    torch: Torch
    disks: tuple[Disk, ...]
    lease_until: float | None
    """When the machine ends itself, by its own clock; None if it does not say."""
    guarded: bool
    now: float
    """What its clock shows."""


def measure(connection: Connection) -> Measures:
    """Return what the node measures of itself, which takes half a minute."""
    return decode(Measures, call(connection, "measure"))
