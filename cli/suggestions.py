"""Complete suggested commands with the typed profile, region and cluster."""

import re
import shlex
from collections.abc import Iterator

import click

from cli.options.context import chosen_cluster, cluster_flag
from cli.options.declared import TYPED_OPTIONS
from cli.options.retype import typed_words
from infra.errors import UsageError

SUGGESTED = re.compile(
    r"\bgpujob (?P<name>[a-z]+(?:-[a-z]+)*)(?![\w-])(?P<rest>(?:(?!\bgpujob )[^;\n])*?)(?=; |,? or:? |, then\b| \(|\)|  |\n|$)"
)
SAME = ("--force", "--dry-run")
"""Flags that are kept where the suggested command is the one that was typed."""


def complete_commands(text: str, context: click.Context) -> str:
    """Return a text whose suggested commands have the typed profile, region, cluster and --force."""
    return SUGGESTED.sub(lambda found: complete_command(found, context), text)


def complete_command(found: re.Match[str], context: click.Context) -> str:
    """Return a suggested command with the missing flags after its name."""
    if not has_flags(context, shlex.quote(chosen_cluster(context) or "") in found["rest"].split()):
        return found[0]  # without importing the command, which takes a tenth of a short run
    path, command, rest = find_command(context, found["name"], found["rest"])
    if command is None:
        return found[0]
    accepted = {name: parameter for parameter in command.params for name in parameter.opts}
    given = {word.partition("=")[0] for word in rest.split(" -- ")[0].split()}
    flags = list_flags(context, path, accepted)
    if "--all-regions" in given:  # asks more than the region that was typed
        given.add("--region")
    missing = "".join(flag for name, flag in flags if name in accepted and name not in given)
    return f"gpujob {path}{missing}{rest}"


def has_flags(context: click.Context, names_cluster: bool) -> bool:
    """Return whether a suggested command may need flags; the cluster's is not needed if it is named."""
    typed, cluster = context.meta.get(TYPED_OPTIONS, {}), chosen_cluster(context)
    if any(typed.get(name) for name in ("--profile", "--region", "--cluster")):
        return True
    return any(flag in typed_words(context) for flag in SAME) or bool(
        cluster and not names_cluster and find_cluster_flag(cluster)
    )


def find_command(context: click.Context, name: str, rest: str) -> tuple[str, click.Command | None, str]:
    """Return the names of a command and its group, the command if it exists, and what follows its name."""
    root = context.find_root()
    command = root.command.get_command(root, name) if isinstance(root.command, click.Group) else None
    word = rest.split(" ", 2)[1] if rest.startswith(" ") else ""
    if isinstance(command, click.Group) and word in command.commands:
        return f"{name} {word}", command.commands[word], rest[len(word) + 1 :]
    return name, command, rest


def list_flags(context: click.Context, path: str, accepted: dict[str, click.Parameter]) -> Iterator[tuple[str, str]]:
    """Yield the flags that a suggested command keeps, each with its name."""
    typed = context.meta.get(TYPED_OPTIONS, {})
    for name in ("--profile", "--region"):
        values = typed.get(name, ())
        if len(values) == 1 or (name in accepted and accepted[name].multiple):
            yield name, "".join(f" {name} {shlex.quote(value)}" for value in values)
    cluster = chosen_cluster(context) or next(iter(typed.get("--cluster", ())), None)
    if cluster and "--cluster" in accepted:
        yield "--cluster", find_cluster_flag(cluster)
    words = typed_words(context)
    if path.split() == [word for word in words if not word.startswith("-")][: len(path.split())]:
        yield from ((flag, f" {flag}") for flag in SAME if flag in words)


def find_cluster_flag(name: str) -> str:
    """Return the --cluster flag that a command needs here, in a folder that may have been deleted."""
    try:
        return cluster_flag(name)
    except UsageError:
        return f" --cluster {shlex.quote(name)}"
