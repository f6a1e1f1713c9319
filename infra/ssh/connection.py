"""An SSH connection to a node, with strict checking of its pinned host key."""

import base64
import hashlib
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NoReturn

import fabric
import paramiko

from infra import state
from infra.base.text import one_line
from infra.base.waiting import wait_until
from infra.errors import HostKeyError, NodeError
from infra.model import Cluster, Node
from infra.ssh.jump import open_jump
from infra.ssh.transport import make_transport, protocol_errors

log = logging.getLogger(__name__)
# Paramiko also logs what it raises, with a traceback, which Python prints if logging is not configured.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class DroppedError(NodeError):
    """The connection broke or could not be made; a new one may work."""


@dataclass(frozen=True)
class Connection:
    """A login on one node of a cluster, opaque outside this package except for its cluster and node."""

    cluster: Cluster
    rank: int
    login: fabric.Connection = field(repr=False)
    """Fabric's connection, for use in this package only."""
    early: dict[tuple[str, ...], Future[paramiko.Channel]] = field(default_factory=dict, repr=False, compare=False)
    """Commands that were started before they are needed; for use in this package only."""

    @property
    def node(self) -> Node:
        """The node that it is connected to."""
        return self.cluster.nodes[self.rank]

    @property
    def on_node(self) -> str:
        """Which node of several it is connected to, for a message: " on node 1"; "" if the cluster has one."""
        return f" on node {self.rank}" if len(self.cluster.nodes) > 1 else ""

    @property
    def transport(self) -> paramiko.Transport:
        """Paramiko's transport."""
        transport: paramiko.Transport = self.login.transport
        return transport


def fingerprint(key: paramiko.PKey) -> str:
    """Return a host key's fingerprint as OpenSSH shows it."""
    return base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


@contextmanager
def ssh_errors(node: str) -> Iterator[None]:
    """Turn exceptions of Paramiko or its socket into a GpujobError."""
    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise HostKeyError(
            f"the host key of {node} has changed: SHA256:{fingerprint(error.key)} instead of"
            f" SHA256:{fingerprint(error.expected_key)}, which it printed to its console at launch."
            " Another machine may have its address, or someone may be intercepting the connection",
            "check that the cluster is running: gpujob ls",
        ) from error
    except paramiko.AuthenticationException as error:
        raise NodeError(f"{node} rejects this cluster's SSH key", "see who owns the cluster: gpujob ls") from error
    except (paramiko.SSHException, EOFError, TimeoutError, OSError) as error:
        why = one_line(str(error)) or type(error).__name__  # Paramiko quotes what a server sends before the login
        raise DroppedError(f"cannot connect to {node}: {why}", "gpujob ls") from error


@contextmanager
def connect(cluster: Cluster, rank: int = 0, *, patience_s: float = 0) -> Iterator[Connection]:
    """Connect to a node, retrying for `patience_s` seconds; yield the connection and close it at the end.

    Raises HostKeyError at once if the host key is not the pinned one, DroppedError if the node does not respond.
    """
    login = wait_until(lambda: log_in(cluster, rank), patience_s, retry_on=DroppedError)
    assert login is not None  # noqa: S101  log_in returns or raises
    with login:
        try:
            yield Connection(cluster, rank, login)
        finally:
            hang_up(login)


def hang_up(login: fabric.Connection) -> None:
    """Wake a connection's reader, which looks only every 0.1 s whether it is to end; close() waits."""
    with suppress(OSError):
        login.connect_kwargs["sock"].shutdown(socket.SHUT_RDWR)


def log_in(cluster: Cluster, rank: int) -> fabric.Connection:
    """Log in to a node with the cluster's key, checking its pinned host keys."""
    node, key, known_hosts = cluster.nodes[rank], state.key_file(cluster.name), state.known_hosts_file(cluster.name)
    for file in (key, known_hosts):
        if not file.exists():
            raise NodeError(
                f"cannot log in to {node.instance_id}: {file} is missing",
                f"terminate it without downloading: gpujob down {cluster.name} --force",
            )
    login = fabric.Connection(
        host=node.instance_id,  # the host key is pinned by this name; the socket below has the address
        user=cluster.user,
        connect_timeout=10,
        config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
        connect_kwargs={
            "key_filename": str(key),
            "allow_agent": False,
            "look_for_keys": False,
            "banner_timeout": 10,
            "auth_timeout": 10,
            "transport_factory": make_transport,
        },
    )
    # Fabric accepts any host key by default: https://github.com/fabric/fabric/issues/2071
    login.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    began = time.monotonic()
    jump = open_jump(cluster.proxy_jump, node) if cluster.proxy_jump else None
    with ssh_errors(describe(cluster, node)):
        try:
            login.client.load_host_keys(str(known_hosts))
            login.connect_kwargs["sock"] = jump.link if jump else open_link(node)
            log.info("%s at %s:%s: connected, %.3f s", node.instance_id, node.host, node.port, time.monotonic() - began)
            with protocol_errors():
                login.open()
            login.transport.set_keepalive(15)
        except BaseException as error:
            log.info("%s at %s:%s: login failed: %s", node.instance_id, node.host, node.port, type(error).__name__)
            login.close()
            if jump:
                jump.close()
                jump.check()
            raise
    server = one_line(login.transport.remote_version, 80)
    taken_s = time.monotonic() - began
    log.info("%s at %s:%s: logged in to %s, %.3f s", node.instance_id, node.host, node.port, server, taken_s)
    return login


def describe(cluster: Cluster, node: Node) -> str:
    """Return a node and the way to it, for errors."""
    way = f" through {cluster.proxy_jump}" if cluster.proxy_jump else ", a private address" * cluster.private
    return f"{node.instance_id} at {node.host}:{node.port}{way}"


def open_link(node: Node) -> socket.socket:
    """Return a connection to a node's SSH server."""
    link = socket.create_connection((node.host, node.port), timeout=10)
    # Otherwise each small message waits 40 ms for an acknowledgement.
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def wait_for_drop(connection: Connection) -> NoReturn:
    """Wait until a connection ends, then raise DroppedError."""
    connection.transport.join()  # the thread ends with its connection
    raise DroppedError(f"the connection to {connection.node.instance_id} broke")
