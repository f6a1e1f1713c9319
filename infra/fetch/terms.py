"""The conditions for terminating a machine with files on it."""

from collections.abc import Callable
from dataclasses import dataclass

from infra.fetch.outputs import Choose, take_all
from infra.model import Cluster, Job


@dataclass(frozen=True)
class Terms:
    """The conditions for terminating a machine with files on it."""

    force: str = ""
    """A hint how to terminate it anyway."""
    choose: Choose = take_all
    keeps_home: bool = False
    """Whether the files in the user's home folder survive."""
    saved: Callable[[Cluster, Job], bool] = lambda *_: False
    """Whether the cluster's bucket has all outputs of a job, so that they cannot be lost with the machine."""
    arrived: Callable[[int], None] = lambda _: None
    """Gets the number of bytes of each downloaded chunk."""
