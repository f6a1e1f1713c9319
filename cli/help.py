"""Show help: help."""

import re

import click

from cli.commands import COMMANDS, GROUPS
from cli.terminal import show
from infra.errors import UsageError


@click.command()
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help(context: click.Context, names: tuple[str, ...]) -> None:  # noqa: A001  its name is the command's
    """Show the help of a command, or list all commands.

    \b
    gpujob help up
    gpujob help jobs rm
    """  # noqa: D301  click reads the backspace
    if names:
        show.echo(find_context(context.find_root(), names).get_help())
    else:
        show.echo(list_all(context))


def find_context(root: click.Context, names: tuple[str, ...]) -> click.Context:
    """Return the context of a command below the root; raises UsageError if it does not exist."""
    context = root
    for name in names:
        if not isinstance(context.command, click.Group):
            raise UsageError(f"{context.command_path} has no subcommands", f"{context.command_path} --help")
        try:
            _, command, _ = context.command.resolve_command(context, [name])
        except UsageError as error:
            error.hint = re.sub(r"^gpujob (?!help)", "gpujob help ", error.hint)
            raise
        if command is None:
            raise UsageError(f"no such command '{name}'", "gpujob help")
        context = click.Context(command, info_name=name, parent=context, **command.context_settings)
    return context


def list_all(context: click.Context) -> str:
    """Return all commands by group, each with its line, without importing them."""
    formatter = context.make_formatter()
    width = max(map(len, COMMANDS))
    for group, names in GROUPS.items():
        with formatter.section(group):
            formatter.write_dl([(name.ljust(width), COMMANDS[name].help) for name in names])
    return formatter.getvalue().strip("\n")
