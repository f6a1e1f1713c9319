"""The folder a command runs in and the cluster it applies to."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options.declared import CLUSTER_VARIABLE
from infra import names
from infra.errors import NotFoundError, UsageError
from infra.ledger import choice
from infra.project.files import find_here, find_root
from infra.project.rules import RUNS
from infra.run.origins import find_runs

if TYPE_CHECKING:
    from infra.model import Cluster

CHOSEN = "gpujob.cluster"
CHECK_PLAN = "gpujob.check-plan"
"""Where `up` finds a function that may refuse its plan, if another command launches."""
SCRIPTS = ("train.py", "main.py")
"""Names of scripts that are suggested first."""
NO_SCRIPTS = ("conftest.py", "setup.py")


def find_cluster(name: str | None) -> "Cluster":
    """Return the cluster to work on; raises UsageError if GPUJOB_DRY_RUN is set and it is on AWS."""
    try:
        cluster = choice.find(name, find_root(here()))
    except NotFoundError:
        found = adopt(name) if name else None
        if found is None:
            raise
        cluster = found
    if not cluster.is_local and is_dry_run():
        raise UsageError(f"GPUJOB_DRY_RUN is set, but '{cluster.name}' is a cluster on AWS", "unset GPUJOB_DRY_RUN")
    note_cluster(cluster.name)
    return cluster


def adopt(name: str) -> "Cluster | None":
    """Return the cluster of a job that was sent from another computer; None if there is none."""
    from infra.cluster import groups  # this loads boto3

    return groups.adopt(name, dry_run=is_dry_run())


def note_cluster(name: str) -> None:
    """Note which cluster the command applies to, for its errors."""
    context = click.get_current_context(silent=True)
    if context:
        context.meta[CHOSEN] = name


def chosen_cluster(context: click.Context) -> str | None:
    """Return the name of the cluster that the command applies to; None if none was chosen yet."""
    name: str | None = context.meta.get(CHOSEN)
    return name


def is_dry_run() -> bool:
    """Return whether GPUJOB_DRY_RUN makes everything a dry run."""
    return os.environ.get("GPUJOB_DRY_RUN", "") not in ("", "0")


def choose_name(name: str | None) -> str:
    """Return `name`, or the default cluster's name, even if it was terminated."""
    try:
        chosen = choice.find(name, find_root(here())).name
    except NotFoundError:
        chosen = own_name(name)
    note_cluster(chosen)
    return chosen


def own_name(name: str | None) -> str:
    """Return `name`, or the name of this folder's own cluster, whether or not it exists."""
    return names.name_for(find_root(here())) if name is None else name


def name_to_end(name: str | None, command: str) -> str:
    """Return the cluster that a destructive command applies to: `name`, or this folder's own.

    Raises UsageError if GPUJOB_CLUSTER names another one: a forgotten variable must not terminate a cluster.
    """
    check_variable(name, command)
    return own_name(name)


def check_variable(name: str | None, command: str) -> None:
    """Raise UsageError if GPUJOB_CLUSTER, not the command line, names another folder's cluster."""
    variable = os.environ.get(CLUSTER_VARIABLE)
    if name is None and variable and variable != own_name(None):
        raise UsageError(
            f"{CLUSTER_VARIABLE} is {shlex.quote(variable)}, but a destructive command takes the cluster's name"
            " only from the command line",
            command.format(name=shlex.quote(variable)),
        )


def cluster_flag(name: str) -> str:
    """Return the --cluster flag that a suggested command needs; "" in the cluster's own folder."""
    own = own_name(None)
    return "" if name == own == (os.environ.get(CLUSTER_VARIABLE) or own) else f" --cluster {name}"


def runs_here() -> Path:
    """Return the results folder of the current project: `runs`."""
    return find_root(here()) / RUNS


def runs_of(cluster: "Cluster", number: int) -> Path:
    """Return the results folder of the project that a job was submitted from, or of the current one."""
    return find_runs(cluster, number) or runs_here()


def script_here() -> str:
    """Return a script of the current folder for a suggested command, quoted; SCRIPT if there is none."""
    names = sorted(path.name for path in here().glob("*.py") if not path.name.startswith(("_", ".", "test_")))
    usual = [name for name in SCRIPTS if name in names]
    return shlex.quote([*usual, *(name for name in names if name not in NO_SCRIPTS), "SCRIPT"][0])


def launcher_here() -> str:
    """Return how to run a script in a suggested command: gpujob run, or gpujob send where that was typed."""
    context = click.get_current_context(silent=True)
    return "gpujob send" if context and context.info_name == "send" else "gpujob run"


def here() -> Path:
    """Return the current folder; raises UsageError if it was deleted."""
    folder = find_here()
    if folder is None:
        raise UsageError("the current folder was deleted", "cd to your project")
    return folder
