"""Prepare a running machine for jobs."""

from collections.abc import Callable
from dataclasses import dataclass

from infra import state
from infra.base.parallel import map_parallel
from infra.base.text import one_line
from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.machines import instances
from infra.errors import GpujobError, NodeError, SetupError
from infra.launch.arming import ensure_lease, introduce
from infra.model import Cluster, Lease, Node
from infra.node import client
from infra.node.packing import install_agent
from infra.setup.events import Event
from infra.setup.playbook import Setup, run
from infra.ssh import keys
from infra.ssh.commands import execute
from infra.ssh.connection import Connection, connect

BOOT_S = 300.0
CONSOLE_LINES = 8
SLOW = "rerun with another --gpu or a longer --boot-timeout"
TIMED_OUT = 124  # timeout's exit code
Report = Callable[[str], None]


@dataclass(frozen=True)
class Limits:
    """How long a boot may take, and the parts of the playbook that follow it."""

    boot_s: float = BOOT_S
    setup: Setup | None = None


def prepare(account: Account, cluster: Cluster, lease: Lease, limits: Limits, report: Report) -> None:
    """Prepare all nodes in parallel: host keys, login, lease, setup, agent, GPUs.

    Raises NodeError for a node that is not ready in time or does not end itself, SetupError if the playbook fails.
    """
    report("waiting for the host key on the console")
    found = map_parallel(lambda node: find_host_keys(account, node, limits.boot_s), cluster.nodes)
    pins = {node.instance_id: keys for node, keys in zip(cluster.nodes, found, strict=True)}
    keys.pin(state.known_hosts_file(cluster.name), pins)
    report(f"waiting for a login at {', '.join(f'{node.host}:{node.port}' for node in cluster.nodes)}")
    if limits.setup is not None:
        map_parallel(lambda rank: settle(cluster, rank, lease, limits.boot_s, report), range(len(cluster.nodes)))
        set_up(cluster, limits.setup, report)
    map_parallel(lambda rank: prepare_node(cluster, rank, lease, limits, report), range(len(cluster.nodes)))


def settle(cluster: Cluster, rank: int, lease: Lease, boot_s: float, report: Report) -> None:
    """Log in to a node, check its lease, and wait for its first boot to finish."""
    with connect(cluster, rank, patience_s=boot_s) as connection:
        check_boot(connection, lease, boot_s, report)


def check_boot(connection: Connection, lease: Lease, boot_s: float, report: Report) -> None:
    """Check a node's lease, then wait for its first boot, which may still be installing packages.

    Raises NodeError if the lease cannot be armed.
    """
    if not ensure_lease(connection, lease):
        report("armed the lease over SSH: the machine's first boot had not")
    report("waiting for its first boot to finish")
    wait_for_first_boot(connection, boot_s)


def wait_for_first_boot(connection: Connection, boot_s: float) -> None:
    """Wait until a node's first boot has finished; raises NodeError after `boot_s`."""
    command = f"! command -v cloud-init > /dev/null || timeout {boot_s:g} cloud-init status --wait"
    if execute(connection, ["sh", "-c", command]).exit_code == TIMED_OUT:
        raise NodeError(f"the first boot of {connection.node.instance_id} did not finish within {boot_s:g} s", SLOW)


def set_up(cluster: Cluster, setup: Setup, report: Report) -> None:
    """Run the playbook, and report each task as it starts."""

    def tell(event: Event) -> None:
        if event.status == "started":
            report(f"setting up {event.node}: {event.title}")
        for line in event.told:
            report(line)

    try:
        run(cluster, setup, tell)
    except SetupError as error:
        error.hint = "rerun; or skip the setup with --no-setup"
        raise


def find_host_keys(account: Account, node: Node, boot_s: float = BOOT_S) -> tuple[str, ...]:
    """Return the host keys on a node's console; raises NodeError on timeout."""
    found = wait_until(lambda: keys.read_host_keys(instances.read_console(account, node.instance_id)), boot_s)
    if not found:
        raise NodeError(f"no host key on the console of {node.instance_id} within {boot_s:g} s", SLOW)
    return found


def prepare_node(cluster: Cluster, rank: int, lease: Lease, limits: Limits, report: Report) -> None:
    """Prepare one node."""
    with connect(cluster, rank, patience_s=limits.boot_s) as connection:
        if limits.setup is None:
            check_boot(connection, lease, limits.boot_s, report)
        install_agent(connection)
        if len(cluster.nodes) > 1:
            introduce(connection)
        check_gpu(connection, "rerun", report)


def check_gpu(connection: Connection, hint: str, report: Report) -> None:
    """Raise NodeError, with a hint, unless the agent answers and, on AWS, its GPU multiplies matrices."""
    cluster, machine = connection.cluster, client.probe(connection)
    if not cluster.is_local and cluster.gpu is not None:
        report("testing the GPU with a matrix product")
        if not machine["multiplied"]:
            raise NodeError(f"the GPU does not work (nvidia-smi lists {machine['gpus'] or 'none'})", hint)


def add_console(account: Account, name: str, error: BaseException) -> None:
    """Add the last lines of each machine's console to an error."""
    try:
        for cluster in instances.find_clusters(account, name):
            for node in cluster.nodes:
                lines = [
                    line for line in instances.read_console(account, node.instance_id).splitlines() if line.strip()
                ]
                error.add_note(
                    f"end of the console of {node.instance_id}:"
                    if lines
                    else f"the console of {node.instance_id} is empty"
                )
                for line in lines[-CONSOLE_LINES:]:
                    error.add_note(f"  {one_line(line, 160)}")
    except GpujobError:
        return
