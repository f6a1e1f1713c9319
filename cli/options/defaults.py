"""Defaults of options from the project's gpujob.toml; the command line and variables take precedence.

The file may have come with somebody else's project, so it never sets an option that destroys, skips a question or reaches
beyond the project (`cli.options.declared.GuardedOption`).
"""

import difflib
from pathlib import Path
from typing import Any

import click

from cli.options.declared import GuardedOption
from infra.errors import UsageError
from infra.project.files import find_root
from infra.project.settings import FILE, read_settings


def read_defaults(group: click.Group, typed: str | None) -> dict[str, dict[str, Any]]:
    """Return the defaults as click takes them, by command and parameter, for the command that was typed.

    Raises UsageError for a table or a key that no command has, whichever command was typed.
    """
    try:
        here = Path.cwd().resolve()
    except FileNotFoundError:  # the folder was removed
        return {}
    if not any((folder / FILE).is_file() for folder in (here, *here.parents)):
        return {}
    tables = read_settings(find_root(here)).commands
    return {name: read_table(group, name, table, typed) for name, table in tables.items()}


def read_table(group: click.Group, name: str, table: Any, typed: str | None) -> dict[str, Any]:
    """Return one command's defaults; their values are checked if it is the one that was typed."""
    if name not in group.commands:
        near = difflib.get_close_matches(name, group.commands, 1) or ["run"]
        raise UsageError(f"{FILE}: [{name}] is no command", f"[{near[0]}], or see: gpujob --help")
    command = group.commands[name]
    parameters = {opt: param for param in command.params for opt in param.opts}
    for key in table:
        parameter = parameters.get(f"--{key}")
        if parameter is None:
            raise UsageError(f"{FILE}: gpujob {name} has no option --{key}", f"gpujob {name} --help")
        if isinstance(parameter, GuardedOption):
            raise UsageError(
                f"{FILE}: [{name}] {key}: --{key} is accepted {parameter.accepted}",
                f"remove the line '{key} = ...' of [{name}] from {FILE}",
            )
    for key in table if name == typed else ():  # a wrong value for another command is no reason to refuse this one
        check_value(command, key, parameters[f"--{key}"], table[key])
    return {str(parameters[f"--{key}"].name): chosen(parameters[f"--{key}"], value) for key, value in table.items()}


def chosen(parameter: click.Parameter, value: Any) -> Any:
    """Return a parameter's value as click takes it."""
    return as_typed([value] if parameter.multiple and not isinstance(value, list) else value, is_flag(parameter))


def is_flag(parameter: click.Parameter) -> bool:
    """Return whether a parameter is on or off."""
    return isinstance(parameter, click.Option) and bool(parameter.is_flag)


def check_value(command: click.Command, key: str, parameter: click.Parameter, value: Any) -> None:
    """Raise UsageError, naming the file and the key, for a value that the option does not take."""
    wrong = ""
    if isinstance(value, dict) or (isinstance(value, list) and not parameter.multiple):
        wrong = "must be a list" if parameter.multiple else "must be a single value"
    else:
        try:
            parameter.type_cast_value(click.Context(command), chosen(parameter, value))
        except click.BadParameter as error:
            wrong = error.message.rstrip(".")
    if wrong:
        raise UsageError(f"{FILE}: [{command.name}] {key}: {wrong}", f"gpujob {command.name} --help")


def as_typed(value: Any, flag: bool) -> Any:
    """Return a value as it would be typed, which is what the options' types read."""
    if isinstance(value, list):
        return [as_typed(each, flag) for each in value]
    if isinstance(value, bool):
        return value if flag else str(value).lower()
    return str(value)
