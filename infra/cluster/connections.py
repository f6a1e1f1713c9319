"""Connections to a cluster's nodes: open, re-open when dropped, explain failures."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from infra.base.parallel import map_parallel
from infra.errors import CloudError, GoneError, NodeError, NotFoundError, StoppedError, UsageError
from infra.ledger import builds, known_clusters
from infra.model import GONE, Cluster
from infra.ssh.connection import Connection, DroppedError, connect

RECONNECT_S = 600
FOUND_AGAIN_S = 10  # for a port that was just opened
ROUND_S = 10  # then check with the cloud whether the machine still exists
T = TypeVar("T")


@contextmanager
def reach(cluster: Cluster, rank: int | None = None, *, patience_s: float = 0) -> Iterator[Connection]:
    """Connect to a node, by default the first that still exists, and yield the connection.

    If that fails, the error says why according to the cloud. Raises UsageError for a machine of a sent job.
    """
    check_login(cluster)
    with ExitStack() as connections:
        connection = open_first(cluster, (rank,) if rank is not None else cluster.ranks, patience_s, connections)
        try:
            yield connection
        except NotFoundError as error:  # no such job: list those of this cluster
            error.hint = f"gpujob jobs --cluster {cluster.name}"
            raise
        except DroppedError as error:
            from infra.cluster.clusters import explain_silence

            raise explain_silence(cluster, error, connection.rank) from error


def check_login(cluster: Cluster) -> None:
    """Raise UsageError for the machines of a sent job, which have no login: the bucket has their state."""
    if cluster.sent:
        raise UsageError(
            f"the machines of '{cluster.name}' work on a sent job, and have no login",
            f"gpujob logs --cluster {cluster.name}",
        )


def open_first(cluster: Cluster, ranks: Sequence[int], patience_s: float, opened: ExitStack) -> Connection:
    """Connect to the first of these nodes that still exists."""
    for rank in ranks[:-1]:
        try:
            return open_node(cluster, rank, patience_s, opened)
        except GoneError as error:
            if not error.partial:
                raise
            cluster = known_clusters.recall(cluster.name) or cluster  # which now says so
    return open_node(cluster, ranks[-1], patience_s, opened)


def open_node(cluster: Cluster, rank: int, patience_s: float, opened: ExitStack) -> Connection:
    """Connect to a node; say if it does not answer because an image is made of it."""
    if cluster.nodes[rank].state == GONE:
        from infra.cluster.clusters import lost_node  # as below

        raise lost_node(cluster, rank)
    try:
        return opened.enter_context(connect_or_find(cluster, rank, patience_s))
    except NodeError as error:
        image = None if isinstance(error, GoneError | StoppedError) else builds.find_closed(cluster, rank)
        if image is None:
            raise
        raise NodeError(
            f"image '{image}' is being created from '{cluster.name}', which reboots with new host keys",
            f"resume, which pins the new keys: gpujob bake {cluster.name}{f' --node {rank}' * bool(rank)} --as {image}",
        ) from error


@contextmanager
def connect_or_find(cluster: Cluster, rank: int, patience_s: float) -> Iterator[Connection]:
    """Connect to a node, at its current address in the cloud if the known one does not respond."""
    with ExitStack() as connections:
        try:
            connection = connections.enter_context(connect(cluster, rank, patience_s=patience_s))
        except DroppedError as error:
            # Imported late: it imports boto3, which takes a third of a second and is rarely needed.
            from infra.cluster.clusters import find_again

            again = find_again(cluster, error, rank)
            rank = [node.instance_id for node in again.nodes].index(cluster.nodes[rank].instance_id)
            connection = connections.enter_context(connect(again, rank, patience_s=FOUND_AGAIN_S))
        yield connection


def find_prices(cluster: Cluster) -> Cluster:
    """Return a recorded cluster with the prices of its spot machines, if its cloud says what they are."""
    if all(node.market != "spot" for node in cluster.nodes):
        return cluster
    # Imported late, as above.
    from infra.cluster.clusters import open_known
    from infra.ec2.market.history import add_spot_prices

    try:
        return add_spot_prices(open_known(cluster), [cluster])[0]
    except CloudError:
        return cluster


def find_addresses(cluster: Cluster) -> Cluster:
    """Return a cluster with the private addresses of its nodes, which its cloud knows; raises NodeError."""
    if all(node.address for node in cluster.nodes):
        return cluster
    # Imported late, as above.
    from infra.cluster.clusters import find_living, open_known

    found = next(iter(find_living(cluster.name, [open_known(cluster)])), cluster)
    if not all(node.address for node in found.nodes):
        raise NodeError(f"EC2 does not name the private addresses of '{cluster.name}'", "rerun in a minute")
    return found


def ask_all(cluster: Cluster, ask: Callable[[Connection], T]) -> dict[int, T]:
    """Return what `ask` returns on each node that still exists, by its rank; raises NodeError."""

    def ask_one(rank: int) -> tuple[T] | None:
        try:
            with reach(cluster, rank) as connection:
                return (ask(connection),)
        except GoneError as error:
            if not error.partial:
                raise
            return None

    answers = zip(cluster.ranks, map_parallel(ask_one, cluster.ranks), strict=True)
    return {rank: answer[0] for rank, answer in answers if answer}


@contextmanager
def reach_meanwhile(cluster: Cluster) -> Iterator[Callable[[], Connection]]:
    """Connect in the background; yield a function that returns the connection, or raises like `reach`.

    If the caller fails before calling it, the connection is abandoned.
    """
    attempt: Future[Connection] = Future()
    done = threading.Event()

    def hold() -> None:
        try:
            with reach(cluster) as connection:
                attempt.set_result(connection)
                done.wait()
        except BaseException as error:
            if attempt.done():  # it broke while it was closed
                return
            attempt.set_exception(error)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    try:
        yield attempt.result
    finally:
        done.set()
        if attempt.done():
            holder.join()


def persist(connection: Connection, act: Callable[[Connection], T], warn: Callable[[str], None], meanwhile: str) -> T:
    """Return the result of `act`, called again with a new connection after each drop, which is reported.

    `meanwhile` says what happens on the node until then. Raises NodeError if reconnecting fails for `RECONNECT_S`.
    """
    with ExitStack() as connections:
        while True:
            try:
                return act(connection)
            except DroppedError as error:
                warn(f"{error.what}; {meanwhile}; reconnecting")
                connection = connections.enter_context(reconnect(connection))


@contextmanager
def reconnect(broken: Connection) -> Iterator[Connection]:
    """Reconnect to the same node, retrying for `RECONNECT_S`; yield the new connection.

    Raises GoneError as soon as the cloud says that the machine no longer exists.
    """
    deadline = time.monotonic() + RECONNECT_S
    with ExitStack() as connections:
        while True:
            try:
                connection = connections.enter_context(reach(broken.cluster, broken.rank, patience_s=ROUND_S))
                break
            except GoneError:
                raise
            except NodeError:
                if time.monotonic() > deadline:
                    raise
        yield connection
