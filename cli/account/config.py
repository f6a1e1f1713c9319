"""Show settings: config."""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click
from click.core import ParameterSource

from cli.options.declared import GuardedOption, json_option
from cli.terminal import show
from infra.errors import NotFoundError
from infra.project.files import find_here, find_root
from infra.project.settings import FILE, Settings, read_settings

SOURCES = {ParameterSource.ENVIRONMENT: "variable", ParameterSource.DEFAULT_MAP: "file"}


@dataclass(frozen=True)
class Setting:
    """The value of an option that is not given on the command line, and where it comes from."""

    command: str
    """A command, or a table of gpujob.toml."""
    option: str
    value: Any
    source: str
    """variable, file or default."""
    variable: str = ""
    """The variable that sets it."""
    invalid: str = ""
    """Why the command does not accept the value."""


@click.command()
@click.argument("command", required=False)
@json_option
@click.pass_context
def config(context: click.Context, command: str | None, as_json: bool) -> None:
    """Show the value of every option and where it comes from.

    The source is a variable, gpujob.toml or the default; an option on the command line overrides them. With COMMAND,
    show only its options. A variable is named GPUJOB_ and the option in capitals: --max-hours is GPUJOB_MAX_HOURS.
    Options that only the command line may set are not listed.

    Exits with 1 if a value is invalid.
    """
    found = [*list_options(context.find_root()), *list_tables(read_project())]
    if command is not None:
        found = [one for one in found if one.command == command or one.command.startswith(f"{command} ")]
        if not found:
            raise NotFoundError(f"no settings for '{command}'", "gpujob config")
    show.listing([setting_row(one) for one in found], as_json, [asdict(one) for one in found])
    for one in found:
        if one.invalid:
            place = one.variable if one.source == "variable" else FILE
            show.say(f"invalid: {one.command} {one.option} ({place}): {one.invalid}")
    sys.exit(1 if any(one.invalid for one in found) else 0)


def setting_row(one: Setting) -> dict[str, str]:
    """Return a setting as a row of the listing."""
    source = link_file() if one.source == "file" else one.source
    setting = f"{one.command} {one.option}"
    return {"setting": setting, "value": text_of(one.value), "source": source, "variable": one.variable}


def link_file() -> str:
    """Return the name of the project's gpujob.toml, which leads to it."""
    folder = find_here()
    return show.Linked(FILE, find_root(folder) / FILE) if folder else FILE


def list_options(root: click.Context) -> Iterator[Setting]:
    """Yield the options that a variable or gpujob.toml may set, for all commands."""
    for context in walk(root):
        for parameter in context.command.params:
            if is_listed(parameter):
                yield read_parameter(context, parameter)


def walk(context: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command below another one."""
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command:
                below = click.Context(command, info_name=name, parent=context, resilient_parsing=True)
                yield below
                yield from walk(below)


def is_listed(parameter: click.Parameter) -> bool:
    """Return whether anything but the command line may set an option or argument."""
    return bool(parameter.envvar) and not (isinstance(parameter, GuardedOption) and parameter.typed_only)


def read_parameter(context: click.Context, parameter: click.Parameter) -> Setting:
    """Return the value that an option has when it is not given on the command line."""
    value, source = parameter.consume_value(context, {})
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    if not isinstance(value, str | int | float | list | tuple):  # click's sentinels for an unset value
        value = False if flag else None
    invalid = ""
    try:
        typed = parameter.type_cast_value(context, value)
        value = typed if flag else value
    except click.BadParameter as error:
        invalid = error.message
    _, _, path = context.command_path.partition(" ")
    variable = str(parameter.envvar)
    name = variable.removeprefix("GPUJOB_").lower().replace("_", "-")
    return Setting(path, name, value, SOURCES.get(source, "default"), variable, invalid)


def read_project() -> Settings:
    """Return the project's settings, empty if the current folder was deleted."""
    here = find_here()
    return read_settings(find_root(here)) if here else Settings()


def list_tables(settings: Settings) -> Iterator[Setting]:
    """Yield the settings of gpujob.toml that are not options."""
    tables = {
        ("[sync]", "include"): settings.include,
        ("[sync]", "exclude"): settings.exclude,
        ("[fetch]", "also"): settings.outputs,
        ("[fetch]", "exclude"): settings.unwanted,
        **{("[data]", path): address for path, address in settings.data.items()},
        **{("[setup.variables]", name): value for name, value in settings.variables.items()},
    }
    for (table, name), value in tables.items():
        yield Setting(table, name, value, "file" if value else "default")


def text_of(value: Any) -> str:
    """Return a value as one would type it."""
    if isinstance(value, list | tuple):
        return " ".join(map(text_of, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
