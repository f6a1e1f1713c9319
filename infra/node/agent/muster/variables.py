"""What a part of a job over several nodes learns from its environment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Any

from ..records import reserve
from .failures import FAILURE

SIOCGIFADDR = 0x8915  # linux/sockios.h
INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")


def describe_part(part: dict[str, Any], gpus: int, port: int, folder: Path) -> dict[str, str]:
    """Return a part's variables; those that start with PET_ are torchrun's options."""
    rank, addresses = part["rank"], part["addresses"]
    hosts = folder / "hostfile"
    hosts.write_text("".join(f"{address} slots={max(gpus, 1)}\n" for address in addresses))
    reserve(folder / FAILURE)
    interface = find_interface(addresses[rank])
    return {
        **{name: interface for name in INTERFACES if interface and name not in os.environ},
        "MASTER_ADDR": addresses[0],
        "MASTER_PORT": str(port),
        "NODE_RANK": str(rank),
        "PET_NNODES": str(len(addresses)),
        "PET_NODE_RANK": str(rank),
        "PET_MASTER_ADDR": addresses[0],
        "PET_MASTER_PORT": str(port),
        "GPUJOB_NODES": str(len(addresses)),
        "GPUJOB_NODE_RANK": str(rank),
        "GPUJOB_NODE_ADDRESSES": ",".join(addresses),
        "GPUJOB_GPUS": str(gpus),
        "GPUJOB_HOSTFILE": str(hosts),
        "GPUJOB_FAILURE": str(folder / FAILURE),
    }


def find_interface(address: str) -> str:
    """Return the network interface that has an address; "" if none is found."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has no address
                answer = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""
