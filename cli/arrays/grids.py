"""Grids: the values of --grid NAME=V1,V2 and of --grid-file, and their combinations."""

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product

from cli.options.context import launcher_here
from infra.errors import UsageError
from infra.model import MOST_TASKS
from infra.node.agent.book.tasks import variable_of

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", re.ASCII)
VALUE = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*))\s*(,|$)')
PAIRS = {"(": ")", "[": "]", "{": "}"}
MOST_CHARACTERS = 1000
Values = Mapping[str, str]
"""What a grid sets for one task, by name."""


@dataclass(frozen=True)
class Factor:
    """One of the parts whose combinations are the grid: the values of a name, or the rows of a file."""

    title: str
    """What a message calls it: lr, or sweep.csv."""
    rows: tuple[Values, ...]


def parse_axis(text: str) -> Factor:
    """Parse NAME=V1,V2; a value with a comma is quoted as in CSV. Raises UsageError."""
    name, equals, values = text.partition("=")
    if not equals:
        raise UsageError(f"--grid {text} is not NAME=VALUE,VALUE", example())
    return make_axis(name.strip(), split_values(name.strip(), values), f"--grid {name.strip()}")


def make_axis(name: str, values: Sequence[str], where: str) -> Factor:
    """Return the values of a name; raises UsageError for a name or value that is invalid or repeated."""
    check_name(name, where)
    if not values:
        raise UsageError(f"{where} has no values", example())
    for value in values:
        check_value(value, where)
    twice = next((value for at, value in enumerate(values) if value in values[:at]), None)
    if twice is not None:
        raise UsageError(f"{where} has the value '{twice}' twice", "to repeat each task, add a seed: --grid seed=0,1,2")
    return Factor(name, tuple({name: value} for value in values))


def split_values(name: str, text: str) -> list[str]:
    """Return the values between commas; raises UsageError for an unclear one."""
    found, at = [], 0
    while True:
        match = VALUE.match(text, at)
        if match is None:
            raise UsageError(
                f"--grid {name}: a quote in {text!r} is not closed, or not at the start of a value", example()
            )
        quoted, plain, comma = match.groups()
        if quoted is None and not plain.strip():
            raise UsageError(f'--grid {name} has an empty value; if you mean it, write ""', example())
        if quoted is None and not is_balanced(plain):
            raise UsageError(
                f"--grid {name}: '{plain.strip()}' has brackets or quotes that are not closed before the comma",
                f"quote each value that has a comma: {launcher_here()} --grid {suggest_quotes(name, text)} ...",
            )
        found.append(plain.strip() if quoted is None else quoted.replace('""', '"'))
        if not comma:
            return found
        at = match.end()


def is_balanced(value: str) -> bool:
    """Return whether all brackets and single quotes of a value are closed: [64 of [64,32] is not."""
    opened = []
    for character in value:
        if character in PAIRS:
            opened.append(PAIRS[character])
        elif character in PAIRS.values() and (not opened or opened.pop() != character):
            return False
    return not opened and value.count("'") % 2 == 0


def suggest_quotes(name: str, text: str) -> str:
    """Return the option with its values split at the commas outside brackets, each quoted."""
    parts = text.split(",")
    values = [parts[0]]
    for part in parts[1:]:
        values = [*values, part] if is_balanced(values[-1]) else [*values[:-1], f"{values[-1]},{part}"]
    return shlex.quote(
        f"{name}=" + ",".join('"{}"'.format(value.strip().strip("'").replace('"', '""')) for value in values)
    )


def check_name(name: str, where: str) -> None:
    """Raise UsageError if a name cannot stand in braces and in a variable's name."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{where}: '{name}' is not a valid name; a letter is followed by letters, digits, '_', '-' and '.'",
            example(),
        )


def check_value(value: str, where: str) -> None:
    """Raise UsageError if a value cannot be an argument of a program."""
    if len(value) > MOST_CHARACTERS:
        raise UsageError(
            f"{where} has a value of {len(value):,} characters; at most {MOST_CHARACTERS:,} are possible",
            "put it into a file of the project, and its name into the grid",
        )
    if "\0" in value or not is_text(value):
        raise UsageError(f"{where} has a value that is not UTF-8 text: {value!r}", example())


def is_text(value: str) -> bool:
    """Return whether a text can be encoded; an argument may have bytes that are none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def combine(factors: Sequence[Factor]) -> list[Values]:
    """Return all combinations, the last factor's values changing fastest; raises UsageError."""
    check_names(list_names(factors))
    count = math.prod(len(factor.rows) for factor in factors)
    if count > MOST_TASKS:
        raise UsageError(
            f"the grid has {count:,} combinations ({describe(factors)}); an array has at most {MOST_TASKS:,} tasks",
            f"leave out values, or name the combinations in a file: {launcher_here()} --grid-file sweep.csv ...",
        )
    return [dict(chain.from_iterable(each.items() for each in rows)) for rows in product(*(f.rows for f in factors))]


def list_names(factors: Iterable[Factor]) -> list[str]:
    """Return the names that factors set, in order."""
    return [name for factor in factors for name in factor.rows[0]]


def check_names(names: Sequence[str]) -> None:
    """Raise UsageError for a name that is there twice, also as a variable."""
    known: dict[str, str] = {}
    for name in names:
        before = known.setdefault(variable_of(name), name)
        if before is not name and before != name:
            raise UsageError(
                f"'{before}' and '{name}' of the grid are the same variable, {variable_of(name)}", example()
            )
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice:
        raise UsageError(f"the grid sets {twice} twice", f"name all its values at once: --grid {twice}=VALUE,VALUE")


def describe(factors: Iterable[Factor]) -> str:
    """Return what a grid is made of: lr (2) x seed (3)."""
    return " x ".join(f"{factor.title} ({len(factor.rows)})" for factor in factors)


def example() -> str:
    """Return a command with a grid, for errors."""
    return f"{launcher_here()} --grid lr=1e-3,1e-4 train.py --lr {{lr}}"
