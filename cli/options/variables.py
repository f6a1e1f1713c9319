"""The variables that a job gets: from the command line, a .env file and, for secrets, this computer."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from infra.errors import UsageError


def read_variables(pairs: Sequence[str], file: Path | None) -> dict[str, str]:
    """Return the variables of a .env file, and over them those given as NAME=VALUE; raises UsageError for what is neither."""
    variables = read_env_file(file) if file else {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"'{pair}' is not NAME=VALUE", "gpujob run --env NAME=VALUE train.py")
        variables[name] = value
    return variables


def read_env_file(file: Path) -> dict[str, str]:
    """Return the variables of a .env file; raises UsageError, with its line, for what is none."""
    from dotenv.parser import parse_stream

    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8", "fix it and rerun") from error
    line, values = 1, dict[str, str]()
    for statement in parse_stream(io.StringIO(text)):
        said = statement.original.string
        if statement.error or "\0" in said:
            line += said.partition("\0")[0].rstrip("\n").count("\n")
            raise UsageError(f"{file}, line {line}, is not NAME=VALUE", "fix it and rerun")
        if statement.key is not None:
            values[statement.key] = expand(statement.value or "", values, f"{file}, line {line}")
        line += said.count("\n")
    return values


def expand(text: str, values: Mapping[str, str], where: str) -> str:
    """Return a text in which ${NAME} is replaced by a variable that the file has set before; raises UsageError for any other.

    It could be one of this computer, a token say, and the file can have come with somebody else's project.
    """
    from dotenv.variables import Variable, parse_variables

    atoms = [*parse_variables(text)]
    for atom in atoms:
        if isinstance(atom, Variable) and atom.name not in values and atom.default is None:
            raise UsageError(
                f"{where}, refers to ${{{atom.name}}}, which the file has not set; variables of this computer are not used",
                f"set {atom.name} above that line, or pass it by --secret {atom.name}",
            )
    return "".join(atom.resolve(values) for atom in atoms)


def read_secrets(names: Sequence[str]) -> dict[str, str]:
    """Return the values of these variables, asked for if they are not set; raises UsageError where nobody can answer."""
    values = {}
    for name in names:
        if not name.isidentifier():
            raise UsageError(
                f"'{name}' is not the name of a variable", "export NAME=..., then: gpujob run --secret NAME train.py"
            )
        value = os.environ.get(name, "")
        if not value and sys.stdin.isatty():
            value = click.prompt(f"{name} (not shown as you type)", hide_input=True, err=True)
        if not value:
            raise UsageError(
                f"{name} is not set, and there is no terminal to ask for it on",
                f"export {name}=..., then type it again",
            )
        values[name] = value
    return values
