"""Check that a node's lease is armed, and arm it over SSH if the node's first boot did not."""

import hashlib
import json
from typing import BinaryIO

from infra import state
from infra.base.waiting import wait_until
from infra.ec2.machines.userdata import format_until, list_lease_files
from infra.errors import NodeError
from infra.model import Lease
from infra.ssh.commands import execute
from infra.ssh.connection import Connection

CONFIRM_S = 10
NOT_FOUND = 127
GUARD_PORT = 20022  # UDP; on the local cloud, where all nodes have one address, that of the SSH server


def ensure_lease(connection: Connection, lease: Lease) -> bool:
    """Make sure that a node ends itself with its lease; return whether it already would.

    User data that fails is only a warning to cloud-init. Raises NodeError if the lease cannot be armed over SSH either.
    """
    armed_until = find_end(connection)
    if armed_until == int(lease.until):
        return True
    if not armed_until:
        for path, mode, text in list_lease_files(lease, connection.cluster.user):
            send_file(connection, path, mode, text)
    set_lease(connection, lease.until)
    # The guard only warns jobs and stops an idle machine, so its start is not checked.
    execute(connection, ["sudo", "systemctl", "enable", "--now", "gpujob-guard.service"])
    return False


def find_end(connection: Connection) -> int:
    """Return when a node will power itself off, waiting briefly for a timer being set; 0 for never."""
    if execute(connection, ["sudo", "gpujob-lease"]).exit_code == NOT_FOUND:
        return 0
    return wait_until(lambda: read_lease(connection), CONFIRM_S) or 0


def set_lease(connection: Connection, until: float) -> None:
    """Set the end of a node's lease; raises NodeError if the node does not confirm it."""
    execute(connection, ["sudo", "gpujob-lease", format_until(until)])
    if not wait_until(lambda: read_lease(connection) == int(until), CONFIRM_S):
        node = connection.node.instance_id
        raise NodeError(f"{node} did not set the end of its lease", "rerun; or use another --image")


def read_lease(connection: Connection) -> int:
    """Return when a node will power itself off; 0 if its timer is not active or its answer is invalid."""
    word = execute(connection, ["sudo", "gpujob-lease"]).stdout.strip()
    return int(word) if word.isdigit() and len(word) < 16 else 0


def introduce(connection: Connection) -> None:
    """Tell a node's guard where the other nodes are: a cluster is idle only as a whole."""
    cluster = connection.cluster
    places = [(node.address, node.port if cluster.is_local else GUARD_PORT) for node in cluster.nodes]
    key = hashlib.sha256(b"neighbours" + state.key_file(cluster.name).read_bytes()).hexdigest()
    others = [place for rank, place in enumerate(places) if rank != connection.rank]
    text = json.dumps({"own": places[connection.rank], "others": others, "key": key})

    def send(stdin: BinaryIO, _: BinaryIO) -> None:
        stdin.write(text.encode())
        stdin.flush()

    words = "umask 077 && cat > .gpujob/neighbours.new && mv .gpujob/neighbours.new .gpujob/neighbours.json"
    if execute(connection, ["sh", "-c", words], send).exit_code:
        raise NodeError(f"{connection.node.instance_id} cannot write to its home folder", "rerun")


def send_file(connection: Connection, path: str, mode: str, text: str) -> None:
    """Write a file of the system."""

    def send(stdin: BinaryIO, _: BinaryIO) -> None:
        stdin.write(text.encode())
        stdin.flush()

    execute(connection, ["sudo", "install", "-m", mode, "/dev/stdin", path], send)
