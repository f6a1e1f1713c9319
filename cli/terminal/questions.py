"""Questions to the person at the terminal."""

import sys

import click

from infra.base.text import printable
from infra.errors import GpujobError, UsageError


def confirm(question: str, yes: bool) -> None:
    """Ask, unless `yes`; raises UsageError without a terminal, and GpujobError if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer on", "add --yes")
    if not click.confirm(printable(question), err=True):
        raise GpujobError("nothing was done")
