"""Log in with the local ssh program, using the cluster's key and pinned host keys."""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from infra import state
from infra.errors import NodeError
from infra.model import Cluster, Node

USER = "ubuntu"
HEAD = "# Written by gpujob ssh-config, and rewritten when clusters change: edits here are lost."
# ssh uses the first value that it finds for each keyword, so a user's `Host *` cannot override these. They are ssh's defaults
# except for the algorithms, which must allow our keys. https://man.openbsd.org/ssh_config
# Not included: keywords that accumulate, such as LocalForward, and those unknown to ssh of Ubuntu 20.04 (8.2).
SHIELD = {
    "ProxyCommand": "none",
    "ProxyJump": "none",
    "RemoteCommand": "none",
    "RequestTTY": "auto",
    "ControlMaster": "no",
    "ControlPath": "none",
    "ControlPersist": "no",
    "PubkeyAuthentication": "yes",
    "PubkeyAcceptedKeyTypes": "+ssh-ed25519",
    "PreferredAuthentications": "publickey",
    "IdentityAgent": "SSH_AUTH_SOCK",
    "AddKeysToAgent": "no",
    "HostKeyAlgorithms": "+ssh-ed25519",
    "NoHostAuthenticationForLocalhost": "no",
    "UpdateHostKeys": "no",
    "VerifyHostKeyDNS": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ForwardX11Trusted": "no",
    "PermitLocalCommand": "no",
    "ExitOnForwardFailure": "no",
    "GatewayPorts": "no",
    "Tunnel": "no",
    "AddressFamily": "any",
    "CanonicalizeHostname": "no",
}


def ssh_options(cluster: Cluster, node: Node) -> dict[str, str]:
    """Return the ssh_config settings that a node needs."""
    return {
        "HostName": node.host,
        "Port": str(node.port),
        "User": USER,
        "HostKeyAlias": node.instance_id,
        "IdentityFile": quote(state.key_file(cluster.name)),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": quote(state.known_hosts_file(cluster.name)),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "CheckHostIP": "no",
        "ServerAliveInterval": "15",
    }


def quote(path: Path) -> str:
    """Return a path quoted for ssh_config."""
    return f'"{path}"'


def log_in(cluster: Cluster, node: Node, command: Sequence[str]) -> NoReturn:
    """Replace this process with ssh on a node, which runs `command`, or a shell without one.

    Raises NodeError if ssh is not installed.
    """
    settings = [word for name, value in ssh_options(cluster, node).items() for word in ("-o", f"{name}={value}")]
    text = (
        command[0] if len(command) == 1 else shlex.join(command)
    )  # as with ssh itself, a single argument is shell syntax
    words = ["--", text] if command else []
    try:
        os.execvp("ssh", ["ssh", "-F", "none", *settings, node.instance_id, *words])  # noqa: S606
    except FileNotFoundError as error:
        raise NodeError("ssh is not installed on this computer", "install OpenSSH's client") from error


def make_config(clusters: Iterable[Cluster]) -> str:
    """Return an ssh_config with each node as gpujob-NAME, the nodes after the first as gpujob-NAME-RANK.

    Included at the top of the user's configuration, so that settings there for every host do not override it.
    """
    blocks = []
    for cluster in clusters:
        for rank, node in enumerate(cluster.nodes):
            lines = [f"  {name} {value}" for name, value in {**ssh_options(cluster, node), **SHIELD}.items()]
            host = f"gpujob-{cluster.name}" + (f"-{rank}" if rank else "")
            blocks.append("\n".join([f"Host {host}", *lines]))
    return "\n\n".join([HEAD, *blocks]) + "\n"
