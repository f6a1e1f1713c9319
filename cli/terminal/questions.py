"""Confirmation prompts."""

import sys

import click

from infra.base.text import printable
from infra.errors import GpujobError, UsageError


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation unless `yes`; raises UsageError without a terminal, GpujobError on no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"cannot ask for confirmation without a terminal: {question}", "add --yes")
    if not click.confirm(printable(question), err=True):
        raise GpujobError("aborted; nothing was changed")
