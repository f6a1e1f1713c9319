"""The agent's measurements of a node."""

from dataclasses import dataclass

from infra.base.decoding import decode
from infra.node.calls import call
from infra.ssh.connection import Connection


@dataclass(frozen=True)
class ListedGpu:
    """A GPU as listed by nvidia-smi."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Product:
    """A GPU's speed of multiplying two matrices of this type."""

    kind: str
    tflops: float


@dataclass(frozen=True)
class Torch:
    """Torch in the jobs' interpreter; `error` says why it is unknown."""

    python: str
    version: str
    seen: int
    products: tuple[Product, ...]
    error: str


@dataclass(frozen=True)
class Disk:
    """A disk's speed and space; `error` says why they are unknown."""

    name: str
    free_bytes: int
    written_bytes_s: float
    read_bytes_s: float
    error: str


@dataclass(frozen=True)
class Measures:
    """All measurements of a node."""

    driver: str
    """The version of its kernel module; "" if that is not loaded."""
    smi: str
    """The error of nvidia-smi: "absent" if it is not installed, "" for none."""
    gpus: tuple[ListedGpu, ...]
    busy: int
    """A job that is using GPUs, so that none was tested; 0 for none."""
    torch: Torch
    disks: tuple[Disk, ...]
    lease_until: float | None
    """When the machine ends itself, by its own clock; None if unknown."""
    guarded: bool
    now: float
    """The time on its clock."""


def measure(connection: Connection) -> Measures:
    """Measure the node, which takes half a minute."""
    return decode(Measures, call(connection, "measure"))
