"""A login for a person, by the ssh program of this laptop, with the cluster's key and its pinned host keys."""

import os
import shlex
from collections.abc import Sequence
from typing import NoReturn

from infra import state
from infra.errors import NodeError
from infra.model import Cluster
from infra.ssh.connection import USER


def log_in(cluster: Cluster, command: Sequence[str]) -> NoReturn:
    """Become the ssh program, logged in to the cluster's machine; it runs `command`, or a shell without one.

    Raises NodeError where there is no ssh program.
    """
    node = cluster.node
    options = {
        "IdentityFile": state.key_file(cluster.name),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": state.known_hosts_file(cluster.name),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ServerAliveInterval": 15,
    }
    settings = [word for name, value in options.items() for word in ("-o", f'{name}="{value}"')]
    words = ["ssh", "-F", "none", *settings, "-p", str(node.port), f"{USER}@{node.host}"]
    try:
        os.execvp("ssh", [*words, "--", shlex.join(command)] if command else words)  # noqa: S606
    except FileNotFoundError as error:
        raise NodeError("there is no ssh program here", "install openssh-client") from error
