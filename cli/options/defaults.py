"""Option defaults from GPUJOB_ variables and the project's gpujob.toml.

The command line takes precedence over variables, and these over the file. The file may come from someone else's project, so
it cannot set options that are destructive, skip a confirmation or reach beyond the project
(`cli.options.declared.GuardedOption`).
"""

import difflib
import os
from typing import Any

import click

from cli.options.declared import GuardedOption, variable_of
from cli.terminal import show
from infra.errors import UsageError
from infra.project.files import find_here, find_root
from infra.project.settings import FILE, read_settings

OPTIONS = """
all all-regions all-tasks allow-outside array as as-it-was boot-timeout browser bucket buckets check clear cluster
csv detach disk done down dry-run env env-file every everyone exclude extra fetch-every follow force from gpu gpu-memory
gpus grid grid-file group hang-after hours html idle-stop if-exists image install instance-profile instance-type
interactive json kill-stalled kms-key launcher login-user machines max-cost max-hours max-price module name no-color
no-deps node nodes notify nproc on-demand once output overwrite owner-only pattern plan port private profile
proxy-jump python raw refresh region report reservation retries secret security-group send set set-file setup share since
spot spot-first ssh-from stop subnet tag tags tail template time-limit to torchrun transfer-usd verbose wait workdir
yes zone
"""
"""All options of all commands, listed here so that checking a variable imports no command."""
VARIABLES = frozenset(variable_of([f"--{name}"]) for name in OPTIONS.split())
OTHERS = frozenset(
    f"GPUJOB_{name}"
    for name in (
        *("CHECKIP_URL", "COMMIT", "HOSTFILE", "JOB", "LOCAL_HOST"),
        *("NODE_ADDRESSES", "NODE_RANK", "OUTPUTS", "PYTHON", "SSH_PORT", "TASK", "TASKS"),
    )
)
"""Variables that set no option: those of jobs and of the local cloud's hosts, and the address of a service."""
GRID = "GPUJOB_GRID_"
"""How the variables begin in which a task of an array finds the values of its grid."""


def warn_unknown() -> None:
    """Warn about GPUJOB_ variables that no option has, with the nearest one that exists."""
    for name in sorted(os.environ):
        if name.startswith("GPUJOB_") and name not in VARIABLES | OTHERS and not name.startswith(GRID):
            option = name.removeprefix("GPUJOB_").lower().replace("_", "-")
            near = difflib.get_close_matches(option, OPTIONS.split(), 1)
            instead = f"did you mean {variable_of([f'--{near[0]}'])}?" if near else "list all: gpujob config"
            show.say(f"warning: ignoring the unknown variable {name}; {instead}")


def read_defaults(group: click.Group, typed: str | None) -> dict[str, dict[str, Any]]:
    """Return the defaults for click, by command and parameter; `typed` is the command being run.

    Raises UsageError for an unknown table or key, whichever command is being run.
    """
    here = find_here()
    if here is None or not any((folder / FILE).is_file() for folder in (here, *here.parents)):
        return {}
    tables = read_settings(find_root(here)).commands
    return {name: read_table(group, name, table, typed) for name, table in tables.items()}


def read_table(group: click.Group, name: str, table: Any, typed: str | None) -> dict[str, Any]:
    """Return one command's defaults; their values are checked if that command is being run."""
    if name not in group.commands:
        near = difflib.get_close_matches(name, group.commands, 1) or ["run"]
        raise UsageError(f"{FILE}: no such command: [{name}]", f"try [{near[0]}], or see: gpujob --help")
    command = group.commands[name]
    parameters = {opt: param for param in command.params for opt in param.opts}
    for key in table:
        parameter = parameters.get(f"--{key}")
        if parameter is None:
            near = [flag for flag in difflib.get_close_matches(f"--{key}", parameters, 1) if flag.startswith("--")]
            instead = f"; did you mean {near[0].removeprefix('--')}?" if near else ""
            raise UsageError(f"{FILE}: gpujob {name} has no option --{key}{instead}", f"gpujob {name} --help")
        if isinstance(parameter, GuardedOption):
            raise UsageError(
                f"{FILE}: [{name}] {key}: --{key} is accepted {parameter.accepted}",
                f"remove the line '{key} = ...' from [{name}] in {FILE}",
            )
    for key in table if name == typed else ():  # an invalid value for another command does not affect this one
        check_value(command, key, parameters[f"--{key}"], table[key])
    return {str(parameters[f"--{key}"].name): chosen(parameters[f"--{key}"], value) for key, value in table.items()}


def chosen(parameter: click.Parameter, value: Any) -> Any:
    """Return a value from the file in the form click expects for a parameter."""
    return as_typed([value] if parameter.multiple and not isinstance(value, list) else value, is_flag(parameter))


def is_flag(parameter: click.Parameter) -> bool:
    """Return whether a parameter is a boolean flag."""
    return isinstance(parameter, click.Option) and bool(parameter.is_flag)


def check_value(command: click.Command, key: str, parameter: click.Parameter, value: Any) -> None:
    """Raise UsageError, naming the file and the key, for an invalid value."""
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
    """Return a value as it would be typed on the command line."""
    if isinstance(value, list):
        return [as_typed(each, flag) for each in value]
    if isinstance(value, bool):
        return value if flag else str(value).lower()
    return str(value)
