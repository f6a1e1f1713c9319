"""The agent's measurements of a node."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, BinaryIO

from infra.base.decoding import decode, parse
from infra.node.calls import call
from infra.node.packing import write
from infra.ssh.connection import Connection

LINE_BYTES = 1 << 16
Port = Annotated[int, range(65536)]


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


@dataclass(frozen=True)
class Way:
    """The network from one node to another; `error` says why it is unknown."""

    bytes_s: float
    latency_s: float
    error: str


@dataclass(frozen=True)
class Place:
    """Where a node answers another one that measures."""

    address: str
    port: Port


@dataclass(frozen=True)
class Listening:
    """The port on which a node answers."""

    port: Port


def measure_way(
    connection: Connection, address: str, key: str, meet: Callable[[Place], Place], wait: Callable[[], object]
) -> Way:
    """Measure the way from a node with this private address to another one.

    `meet` gets where this node answers, and returns where the other one does; `wait` returns once all have measured.
    """
    found = Way(0.0, 0.0, "the measurement did not start")

    def converse(stdin: BinaryIO, stdout: BinaryIO) -> None:
        nonlocal found
        write(stdin, key.encode() + b"\n")
        line = stdout.readline(LINE_BYTES)
        if not line:  # it has ended, and stderr says why
            return
        other = meet(Place(address, decode(Listening, parse(line)).port))
        write(stdin, json.dumps(asdict(other)).encode() + b"\n")
        found = decode(Way, parse(stdout.readline(LINE_BYTES)))
        wait()

    call(connection, "network", address, converse=converse)
    return found


def measure(connection: Connection) -> Measures:
    """Measure the node, which takes half a minute."""
    return decode(Measures, call(connection, "measure"))
