"""Where outputs are downloaded from: a node, or the bucket that a machine uploaded them to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from infra.fetch.arrays import find_portion
from infra.model import Cluster, Job, Output
from infra.node import client
from infra.node.listing import Outputs
from infra.node.packing import agent_argv
from infra.node.tasks import Portion
from infra.ssh import carry
from infra.ssh.connection import Connection

Take = Callable[[Output, Iterator[bytes]], None]


class Source(Protocol):
    """A job's outputs and log; nothing that it says is trusted."""

    @property
    def cluster(self) -> Cluster:
        """The cluster that the job ran on."""

    @property
    def rank(self) -> int:
        """Of a job over several nodes, which node it is."""

    def list_outputs(self, settled: bool, asked: Sequence[str], before: Outputs | None, /) -> tuple[Job, Outputs]:
        """Return the job and its outputs."""

    def receive(self, wanted: Mapping[Output, int], take: Take) -> None:
        """Pass the last so many bytes of each of these outputs to `take`."""

    def read_log(self, offset: int) -> Iterator[bytes]:
        """Yield the log from an offset on."""

    def mark_fetched(self) -> None:
        """Record that all has arrived."""

    def find_portion(self, job: Job, settled: bool, /) -> Portion | None:
        """Return what it has of an array; None for another job."""


@dataclass(frozen=True)
class NodeSource:
    """A job on a node, over an open connection."""

    connection: Connection
    number: int

    @property
    def cluster(self) -> Cluster:
        """The node's cluster."""
        return self.connection.cluster

    @property
    def rank(self) -> int:
        """The node's rank."""
        return self.connection.rank

    def list_outputs(self, settled: bool, asked: Sequence[str], before: Outputs | None, /) -> tuple[Job, Outputs]:
        """Return the job and its outputs, including the `asked` paths elsewhere."""
        return client.list_outputs(self.connection, self.number, settled, asked, before)

    def receive(self, wanted: Mapping[Output, int], take: Take) -> None:
        """Pass the last so many bytes of each of these outputs to `take`."""
        carry.receive(self.connection, agent_argv("send", str(self.number)), wanted, take)

    def read_log(self, offset: int) -> Iterator[bytes]:
        """Yield the log from an offset on."""
        return client.read_log(self.connection, self.number, offset)

    def mark_fetched(self) -> None:
        """Mark the job as downloaded on the node."""
        client.mark_fetched(self.connection, self.number)

    def find_portion(self, job: Job, settled: bool, /) -> Portion | None:
        """Return what the node has of an array; None for another job."""
        return find_portion(self.connection, job, settled)
