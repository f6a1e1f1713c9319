"""Complete errors: keep what was typed in suggestions, and warn of a machine that may be running."""

import time

import click

from cli.notices.billing import describe_unasked
from cli.options.context import chosen_cluster
from cli.options.retype import typed_command
from cli.suggestions import complete_commands
from infra.errors import CloudError, CredentialsError, GpujobError, UnreachableError
from infra.ledger.known_clusters import recall

LOG_IN, RERUN = "aws sso login", "; then rerun"


def complete(error: BaseException, context: click.Context) -> None:
    """Complete an error, in place, with what only the command line knows."""
    if notes := getattr(error, "__notes__", None):
        notes[:] = [complete_commands(note, context) for note in notes]
    if isinstance(error, GpujobError):
        error.hint = complete_commands(error.hint, context)
        explain_obstacle(error, context)


def explain_obstacle(error: GpujobError, context: click.Context) -> None:
    """If the cloud could not be asked, add what continues there, and how to rerun after logging in."""
    name = chosen_cluster(context)
    known = recall(name) if name else None
    obstacle = error.obstacle if isinstance(error, UnreachableError) else error
    if not isinstance(obstacle, CloudError) or known is None:
        return
    if known.is_local and not isinstance(obstacle, CredentialsError):  # the local cloud and its machines end together
        return
    if not any("still be running" in note or "still running" in note for note in getattr(error, "__notes__", ())):
        error.add_note(describe_unasked(known, time.time()))
    if isinstance(obstacle, CredentialsError) and obstacle.hint.endswith(RERUN):
        error.hint = f"{obstacle.hint.removesuffix(RERUN)}; then: {typed_command(context)}"
    elif isinstance(obstacle, CredentialsError) and LOG_IN in obstacle.hint:
        error.hint = f"log in: {LOG_IN}, or aws configure; then: {typed_command(context)}"
