"""Suggest a command for a name that is not one: a typo, or what another tool calls it."""

import difflib
import shlex
from collections.abc import Sequence

import click

from infra.errors import GpujobError, UsageError

ELSEWHERE = {
    "up": "launch create apply provision",
    "down": "delete terminate destroy rm remove teardown",
    "ls": "status list clusters machines fleet",
    "jobs": "ps queue squeue",
    "run": "exec submit train sbatch python",
    "cancel": "kill abort scancel",
    "logs": "log tail output follow",
    "fetch": "download pull sync rsync-down",
    "notebook": "jupyter lab",
    "tensorboard": "tb",
    "top": "nvidia-smi gpu htop monitor",
    "ssh": "shell connect login",
    "tunnel": "forward port-forward",
    "offers": "offer gpus show-gpus prices instances",
    "cost": "costs cost-report billing usage spend",
    "sweep": "clean cleanup prune gc",
    "stop": "pause",
    "start": "resume restart",
    "extend": "autostop renew",
    "check": "doctor auth whoami",
    "config": "settings env variables",
    "bake": "snapshot",
    "--version": "version",
}
"""The words of other tools for each command."""
SURE = 0.75
"""How like another tool's word a mistyped one must be; nobody types those as often as our names."""
COMMANDS = {word: name for name, words in ELSEWHERE.items() for word in words.split()}


def explain(group: click.Group, context: click.Context, typed: Sequence[str]) -> UsageError:
    """Return the error for an unknown command, with the command line to type instead; nothing is run."""
    word, *arguments = typed
    known = group.list_commands(context)
    near = [COMMANDS[word]] if word in COMMANDS else find_near(word, known)
    path = context.command_path
    if not near:
        return UsageError(f"no such command '{word}'", f"{path} help")
    others = " or ".join(f"'{name}'" for name in near)
    return UsageError(
        f"no such command '{word}'; did you mean {others}?",
        shlex.join([*path.split(), near[0], *keep_accepted(group, context, near[0], arguments)]),
    )


def find_near(word: str, known: Sequence[str]) -> list[str]:
    """Return the commands that a mistyped word may mean, closest first, by names and other tools' words."""
    own = difflib.get_close_matches(word, known, 3)
    theirs = difflib.get_close_matches(word, COMMANDS, 3, SURE)
    near = sorted({*own, *theirs}, key=lambda one: -difflib.SequenceMatcher(None, word, one).ratio())
    return list(dict.fromkeys(COMMANDS.get(one, one) for one in near))[:3]


def keep_accepted(group: click.Group, context: click.Context, name: str, arguments: list[str]) -> list[str]:
    """Return the arguments if a command accepts them, otherwise none."""
    command = group.get_command(context, name)
    if command is None or any(word in context.help_option_names for word in arguments):
        return []
    try:
        command.make_context(name, [*arguments], parent=context)
    except (click.ClickException, GpujobError):
        return []
    return arguments
