"""Answer a shell that completes a command line: quickly, from local records, and without any message."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
)

from cli.completion import records
from cli.completion.imports import avoid_connections
from cli.completion.records import Candidates

VARIABLE = "_GPUJOB_COMPLETE"
SOURCES: dict[str, Callable[[click.Context], Candidates]] = {
    "--cluster": records.list_clusters,
    "--from": records.list_earlier,
    "--gpu": records.list_gpus,
    "--image": records.list_images,
    "--region": records.list_regions,
    "--tags": records.list_roles,
    "CLUSTER": records.list_clusters,
    "IMAGE": records.list_images,
    "JOB": records.list_jobs,
    "JOB[.TASK": records.list_jobs,
    "DATASET": records.list_datasets,
    "NAME": records.list_clusters,
    "RUN": records.list_jobs,
}
"""By option, or by an argument's name in help."""
FILES = ("SCRIPT", "ARGS")
LISTS = ("--tags",)
"""Options whose value is a comma-separated list."""


class Completing(ShellComplete):
    """Completes values from local records."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return the candidates for an incomplete word."""
        command = find_command(self.cli, args)
        for parameter in command.params:
            if answer := find_answer(parameter):
                parameter.shell_complete = answer  # type: ignore[method-assign, assignment]
        if not command.context_settings.get("allow_interspersed_args", True):
            command.shell_complete = partial(complete_options, command)  # type: ignore[method-assign]
        return super().get_completions(args, incomplete)


class Bash(Completing, BashComplete):
    """Completes in bash."""


class Zsh(Completing, ZshComplete):
    """Completes in zsh."""

    # The file may be sourced before or without compinit.
    source_template = ZshComplete.source_template.replace(
        "    compdef", "    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }\n    compdef"
    )


class Fish(Completing, FishComplete):
    """Completes in fish."""

    # A value or its description may contain commas.
    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


SHELLS: dict[str, type[Completing]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def answer_shell(group: click.Group, instruction: str) -> None:
    """Print the candidates that a shell's completion function asks for; errors are not shown."""
    avoid_connections()
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  for good
    for name, shell in SHELLS.items():
        add_completion_class(shell, name)
    try:
        shell_complete(group, {}, "gpujob", VARIABLE, instruction)
        sys.stdout.flush()
    except Exception:  # a message would end up in the command line that is being typed
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def find_command(command: click.Command, args: Sequence[str]) -> click.Command:
    """Return the command that these arguments name."""
    for arg in args:
        if isinstance(command, click.Group) and arg in command.commands:
            command = command.commands[arg]
    return command


def find_answer(parameter: click.Parameter) -> Callable[[click.Context, str], list[CompletionItem]] | None:
    """Return the function that completes a parameter; None if click's own does."""
    names = parameter.opts
    if isinstance(parameter, click.Argument):
        names = [(parameter.metavar or str(parameter.name)).strip("[]. ").upper()]
    if any(name in FILES for name in names):
        return lambda _, incomplete: [CompletionItem(incomplete, type="file")]
    found = next((name for name in names if name in SOURCES), None)
    return partial(complete, SOURCES[found], found in LISTS) if found else None


def complete(
    source: Callable[[click.Context], Candidates], is_list: bool, context: click.Context, incomplete: str
) -> list[CompletionItem]:
    """Return a source's candidates for an incomplete word."""
    before, comma, last = incomplete.rpartition(",") if is_list else ("", "", incomplete)
    given = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{value}", help=about or None)
        for value, about in source(context)
        if value.lower().startswith(last.lower()) and value not in given
    ]


def complete_options(command: click.Command, context: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return a command's options, but none after its script, to which they would be passed."""
    after = context.params.get("script") is not None
    return [] if after else type(command).shell_complete(command, context, incomplete)
