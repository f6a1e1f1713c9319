"""Complete errors: name the cluster in suggestions, and warn of a machine that may be running."""

import re
import time

import click

from cli.notices.billing import describe_unasked
from cli.options.context import chosen_cluster, cluster_flag
from cli.options.retype import typed_command
from infra.errors import CloudError, CredentialsError, GpujobError, UnreachableError
from infra.ledger.known_clusters import recall

SUGGESTED = re.compile(r"\bgpujob ((?:jobs rm|[a-z-]+)\b)(?![a-z-])([^;]*?)(?=; |, or\b|, then\b|  |$)")
LOG_IN, RERUN = "aws sso login", "; then rerun"


def complete(error: GpujobError, context: click.Context) -> None:
    """Complete an error, in place, with what only the command line knows."""
    name = chosen_cluster(context)
    if name is None:
        return
    error.hint = keep_cluster(error.hint, name, context)
    known = recall(name)
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


def keep_cluster(text: str, name: str, context: click.Context) -> str:
    """Return a text whose suggested commands name this cluster, where they would take another one."""
    flag = cluster_flag(name)

    def keep(found: re.Match[str]) -> str:
        command, rest = found[1], found[2]
        if "--cluster" in rest or not takes_cluster(context, command):
            return found[0]
        return f"gpujob {command}{flag}{rest}"

    return SUGGESTED.sub(keep, text) if flag else text


def takes_cluster(context: click.Context, words: str) -> bool:
    """Return whether a command, such as `jobs rm`, has the option --cluster."""
    command: click.Command | None = context.find_root().command
    for word in words.split():
        command = command.get_command(context, word) if isinstance(command, click.Group) else None
    return command is not None and any("--cluster" in parameter.opts for parameter in command.params)
