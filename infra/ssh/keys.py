"""Key pairs of clusters and host keys of nodes."""

import re
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from infra.state import write_private

# cloud-init prints the public host keys to the console between these lines, so that the first login can be verified:
# https://cloudinit.readthedocs.io/en/latest/reference/modules.html (SSH, "keys to console")
BLOCK = re.compile("-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"^.*?((?:ssh-ed25519|ecdsa-sha2-nistp\d+|ssh-rsa) [A-Za-z0-9+/=]+)", re.MULTILINE)


def make_key() -> tuple[str, str]:
    """Return a new ed25519 key pair, private and public, in OpenSSH's format."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return private.decode(), key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def read_host_keys(console: str) -> tuple[str, ...]:
    """Return the host keys that cloud-init last printed to the console, each as "type base64", if any."""
    blocks = BLOCK.findall(console)
    return tuple(KEY.findall(blocks[-1])) if blocks else ()


def read_pins(known_hosts: Path) -> dict[str, tuple[str, ...]]:
    """Return the pinned host keys of each node; none if there is no file."""
    pins: dict[str, tuple[str, ...]] = {}
    if known_hosts.exists():
        for line in known_hosts.read_text(encoding="utf-8").splitlines():
            node, _, key = line.partition(" ")
            pins[node] = (*pins.get(node, ()), key)
    return pins


def pin(known_hosts: Path, nodes: Mapping[str, tuple[str, ...]]) -> None:
    """Pin the host keys of each node, in OpenSSH's known_hosts format.

    Nodes are named by instance id: an address changes when a machine is stopped and started, and AWS reassigns the old one.
    """
    write_private(known_hosts, "".join(f"{node} {key}\n" for node, keys in nodes.items() for key in keys))
