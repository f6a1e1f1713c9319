"""What a command is about: the folder it was typed in and the cluster it means."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from cli.options.declared import CLUSTER_VARIABLE
from infra import names
from infra.errors import NotFoundError, UsageError
from infra.ledger import choice
from infra.project.files import find_root
from infra.project.rules import RUNS
from infra.run.origins import find_runs

if TYPE_CHECKING:
    from infra.model import Cluster


def find_cluster(name: str | None) -> "Cluster":
    """Return the cluster to work on; raises UsageError if GPUJOB_DRY_RUN is set and it is on AWS."""
    cluster = choice.find(name, find_root(here()))
    if not cluster.is_local and os.environ.get("GPUJOB_DRY_RUN", "") not in ("", "0"):
        raise UsageError(f"'{cluster.name}' is a cluster on AWS, and GPUJOB_DRY_RUN is set", "unset GPUJOB_DRY_RUN")
    return cluster


def choose_name(name: str | None) -> str:
    """Return the name given, else that of the folder's cluster or the only one, even if it is gone."""
    try:
        return choice.find(name, find_root(here())).name
    except NotFoundError:
        return own_name(name)


def own_name(name: str | None) -> str:
    """Return the name given, else that of the folder's own cluster, even if there is only another."""
    return names.name_for(find_root(here())) if name is None else name


def name_to_end(name: str | None, command: str) -> str:
    """Return the cluster that a command ends: the one typed, else the folder's own.

    Raises UsageError if a variable names another: one that was set long ago must not end a cluster.
    """
    check_variable(name, command)
    return own_name(name)


def check_variable(name: str | None, command: str) -> None:
    """Raise UsageError if only a variable says which cluster to end, and it is not the folder's own."""
    variable = os.environ.get(CLUSTER_VARIABLE)
    if name is None and variable and variable != own_name(None):
        raise UsageError(
            f"{CLUSTER_VARIABLE} is {shlex.quote(variable)}, but what ends something takes the cluster's name"
            " from the command line only",
            command.format(name=shlex.quote(variable)),
        )


def cluster_flag(name: str) -> str:
    """Return the flag that makes a suggested command mean this cluster; "" in the cluster's own folder."""
    own = own_name(None)
    return "" if name == own == (os.environ.get(CLUSTER_VARIABLE) or own) else f" --cluster {name}"


def runs_here() -> Path:
    """Return the folder for jobs' results: `runs` of the project that the command was typed in."""
    return find_root(here()) / RUNS


def runs_of(cluster: "Cluster", number: int) -> Path:
    """Return the folder for a job's results: `runs` of the project it came from, else of this one."""
    return find_runs(cluster, number) or runs_here()


def here() -> Path:
    """Return the folder that the command was typed in; raises UsageError if it was removed."""
    try:
        return Path.cwd().resolve()
    except FileNotFoundError as error:
        raise UsageError("the folder you are in was removed", "cd to your project") from error
