"""What a command is about: the folder that it was typed in, and the cluster that it means."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from cli.options.declared import CLUSTER_VARIABLE
from infra.errors import UsageError

if TYPE_CHECKING:
    from infra.model import Cluster


def find_cluster(name: str | None) -> "Cluster":
    """Return the cluster to work on; raises UsageError if a rehearsal meets one on AWS."""
    from infra.ledger import choice
    from infra.project.files import find_root

    cluster = choice.find(name, find_root(here()))
    if cluster.cloud == "aws" and os.environ.get("GPUJOB_DRY_RUN", "") not in ("", "0"):
        raise UsageError(f"'{cluster.name}' is a cluster on AWS, and GPUJOB_DRY_RUN is set", "unset GPUJOB_DRY_RUN")
    return cluster


def choose_name(name: str | None) -> str:
    """Return the name given, else that of the folder's cluster or the only one there is; whether or not there is one."""
    from infra.errors import NotFoundError
    from infra.ledger import choice
    from infra.project.files import find_root

    try:
        return choice.find(name, find_root(here())).name
    except NotFoundError:
        return own_name(name)


def own_name(name: str | None) -> str:
    """Return the name given, else that of the folder's own cluster: what ends one must not hit another for want of a name."""
    from infra import names
    from infra.project.files import find_root

    return names.name_for(find_root(here())) if name is None else name


def name_to_end(name: str | None, command: str) -> str:
    """Return the cluster that a command ends: the one typed, else the folder's own.

    Raises UsageError if a variable names another: what ends a cluster must not do so for a variable set long ago.
    """
    check_variable(name, command)
    return own_name(name)


def check_variable(name: str | None, command: str) -> None:
    """Raise UsageError if only a variable, whose cluster is not the folder's own, says what a command ends."""
    variable = os.environ.get(CLUSTER_VARIABLE)
    if name is None and variable and variable != own_name(None):
        raise UsageError(
            f"{CLUSTER_VARIABLE} is {shlex.quote(variable)}, but what ends something takes the cluster's name"
            " from the command line only",
            command.format(name=shlex.quote(variable)),
        )


def cluster_flag(name: str) -> str:
    """Return what lets a suggested command mean this cluster: ` --cluster NAME`, or in its own folder nothing."""
    own = own_name(None)
    return "" if name == own == (os.environ.get(CLUSTER_VARIABLE) or own) else f" --cluster {name}"


def runs_here() -> Path:
    """Return the folder that jobs' files come home to: `runs` of the project that the command was typed in."""
    from infra.project.files import find_root
    from infra.project.rules import RUNS

    return find_root(here()) / RUNS


def runs_of(cluster: "Cluster", number: int) -> Path:
    """Return the folder for a job's results: `runs` of the project that it was submitted from, else of the one here."""
    from infra.run.origins import find_runs

    return find_runs(cluster, number) or runs_here()


def here() -> Path:
    """Return the folder that the command was typed in."""
    try:
        return Path.cwd().resolve()
    except FileNotFoundError as error:
        raise UsageError("the folder you are in was removed", "cd to your project") from error
