"""Environment variables for a job, from the command line, a .env file or this computer."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables

from cli.options.context import launcher_here, script_here
from infra.errors import UsageError


def read_variables(pairs: Sequence[str], file: Path | None) -> dict[str, str]:
    """Return the variables of a .env file, overridden by NAME=VALUE pairs; raises UsageError."""
    variables = read_env_file(file) if file else {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"'{pair}' is not NAME=VALUE", f"{launcher_here()} --env NAME=VALUE {script_here()}")
        variables[name] = value
    return variables


def read_env_file(file: Path) -> dict[str, str]:
    """Return the variables of a .env file; raises UsageError that names the line of a syntax error."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text", "fix it and rerun") from error
    line, values = 1, dict[str, str]()
    for statement in parse_stream(io.StringIO(text)):
        said = statement.original.string
        if statement.error or "\0" in said:
            line += said.partition("\0")[0].rstrip("\n").count("\n")
            raise UsageError(f"{file}, line {line}: not NAME=VALUE", "fix it and rerun")
        if statement.key is not None:
            values[statement.key] = expand(statement.value or "", values, f"{file}, line {line}")
        line += said.count("\n")
    return values


def expand(text: str, values: Mapping[str, str], where: str) -> str:
    """Replace ${NAME} by values set earlier in the file; raises UsageError for other names.

    Other names could be variables of this computer, such as a token, and the file may come from someone else's project.
    """
    atoms = [*parse_variables(text)]
    for atom in atoms:
        if isinstance(atom, Variable) and atom.name not in values and atom.default is None:
            raise UsageError(
                f"{where}: ${{{atom.name}}} is not set earlier in the file; variables of this computer are not used",
                f"set {atom.name} above that line, or pass it with --secret {atom.name}",
            )
    return "".join(atom.resolve(values) for atom in atoms)


def read_secrets(names: Sequence[str]) -> dict[str, str]:
    """Return the values of variables; prompt for unset ones, or raise UsageError without a terminal."""
    values = {}
    for name in names:
        if not name.isidentifier():
            raise UsageError(
                f"'{name}' is not a valid variable name",
                f"export NAME=..., then: {launcher_here()} --secret NAME {script_here()}",
            )
        value = os.environ.get(name, "")
        if not value and sys.stdin.isatty():
            value = click.prompt(f"{name} (input hidden)", hide_input=True, err=True)
        if not value:
            raise UsageError(
                f"{name} is not set, and there is no terminal to prompt for it",
                f"export {name}=..., then rerun",
            )
        values[name] = value
    return values
