"""Check that a node's lease is armed, and arm it over SSH if the node's first boot did not."""

from typing import BinaryIO

from infra.base.waiting import wait_until
from infra.ec2.machines.userdata import format_until, list_lease_files
from infra.errors import NodeError
from infra.model import Lease
from infra.ssh.commands import execute
from infra.ssh.connection import Connection

CONFIRM_S = 10
NOT_FOUND = 127


def ensure_lease(connection: Connection, lease: Lease) -> bool:
    """Make sure that a node ends itself with its lease; return whether it already would.

    User data that fails is only a warning to cloud-init. Raises NodeError if the lease cannot be armed over SSH either.
    """
    armed_until = find_end(connection)
    if armed_until == int(lease.until):
        return True
    if not armed_until:
        for path, mode, text in list_lease_files(lease):
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


def send_file(connection: Connection, path: str, mode: str, text: str) -> None:
    """Write a file of the system."""

    def send(stdin: BinaryIO, _: BinaryIO) -> None:
        stdin.write(text.encode())
        stdin.flush()

    execute(connection, ["sudo", "install", "-m", mode, "/dev/stdin", path], send)
