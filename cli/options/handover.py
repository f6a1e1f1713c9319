"""What gpujob.toml may pass from this computer to a job: only what was confirmed for the project."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from cli.terminal import show
from infra.errors import GpujobError, UsageError
from infra.project import consents


def confirm_handover(context: click.Context, root: Path, secrets: Sequence[str], env_file: Path | None) -> None:
    """Ask, once per project, whether a job may have the variables and the file that gpujob.toml names.

    What was typed, or set in a variable of the user's own, needs no question. Raises UsageError where there is no terminal,
    and GpujobError if the answer is no.
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
            f"gpujob.toml would give the job {describe(asked)} of this computer, and nobody has confirmed that",
            f"to allow it, add {' '.join(asked)}",
        )
    show.say(f"gpujob.toml of {root} would give the job, from this computer: {describe(asked)}")
    if not click.confirm("Allow it, for this project from now on?", err=True):
        raise GpujobError("nothing was done")
    consents.remember(root, asked)


def describe(asked: Sequence[str]) -> str:
    """Return what is handed over, in words."""
    kinds = {"--secret": "the variable", "--env-file": "the variables in"}
    return ", ".join(f"{kinds[kind]} {what}" for kind, _, what in (flag.partition(" ") for flag in asked))
