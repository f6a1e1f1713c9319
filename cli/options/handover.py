"""Confirm what gpujob.toml passes to a job: secrets, variables, data from outside the project."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from cli.terminal import show
from infra.errors import GpujobError, UsageError
from infra.project import consents
from infra.project.datasets import Source


def confirm_handover(context: click.Context, root: Path, secrets: Sequence[str], env_file: Path | None) -> None:
    """Ask, once per project, whether jobs may get the variables and the file named in gpujob.toml.

    Values from the command line or the user's environment need no confirmation. Raises UsageError without a terminal, and
    GpujobError if the answer is no.
    """
    wanted = []
    if context.get_parameter_source("secret") is ParameterSource.DEFAULT_MAP:
        wanted += [f"--secret {shlex.quote(name)}" for name in secrets]
    if env_file and context.get_parameter_source("env_file") is ParameterSource.DEFAULT_MAP:
        wanted.append(f"--env-file {shlex.quote(str(env_file.resolve()))}")
    asked = consents.list_missing(root, wanted)
    if not asked:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"gpujob.toml passes {describe(asked)} from this computer to the job; this needs confirmation",
            f"allow it by adding: {' '.join(asked)}",
        )
    show.say(f"gpujob.toml in {root} passes to the job, from this computer: {describe(asked)}")
    if not click.confirm("Always allow this for the project?", err=True):
        raise GpujobError("aborted; nothing was changed")
    consents.remember(root, asked)


def confirm_outside(root: Path, sources: Sequence[Source], allow: bool = False) -> None:
    """Ask, once per project and place, whether data from outside the project may be sent.

    `allow` is the answer. Raises UsageError without a terminal, and GpujobError if the answer is no.
    """
    outside = {f"data {each.place}": each for each in sources if each.leads_out(root)}
    asked = consents.list_missing(root, list(outside))
    if not asked:
        return
    names = ", ".join(f"{outside[item].place} (as {outside[item].path})" for item in asked)
    if not allow:
        if not sys.stdin.isatty():
            raise UsageError(
                f"gpujob.toml sends files from outside the project to the machine: {names}; this needs confirmation",
                "allow it, once for this project: gpujob data push --allow-outside",
            )
        show.say(f"gpujob.toml in {root} sends to the machine, from outside the project: {names}")
        if not click.confirm("Always allow this for the project?", err=True):
            raise GpujobError("aborted; nothing was sent")
    consents.remember(root, asked)


def describe(asked: Sequence[str]) -> str:
    """Describe what is passed to the job."""
    kinds = {"--secret": "the variable", "--env-file": "the variables in"}
    return ", ".join(f"{kinds[kind]} {what}" for kind, _, what in (flag.partition(" ") for flag in asked))
