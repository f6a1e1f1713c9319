"""The private addresses that a machine can reach: those whose security groups let it in."""

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Routes:
    """The cloud's file of private addresses, and the machine that asks."""

    file: Path
    address: str
    """The private address of the machine."""
    vpc: str

    def find_port(self, address: str, port: int) -> int | None:
        """Return the local port of a private address; None if the machine does not reach it."""
        try:
            found = json.loads(self.file.read_text()).get(address)
        except FileNotFoundError:
            return None
        if found is None or port != 22 or found["vpc"] != self.vpc or not is_within(self.address, found["sources"]):
            return None
        return int(found["port"])


def is_within(address: str, networks: Iterable[str]) -> bool:
    """Return whether an address is in one of these networks."""
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(one) for one in networks)
