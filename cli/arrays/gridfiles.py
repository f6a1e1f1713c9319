"""The file of --grid-file: CSV with a task in each row, or TOML with values for each name."""

import csv
import io
import json
import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from cli.arrays.grids import Factor, Values, check_name, check_names, check_value, make_axis
from cli.options.context import launcher_here
from infra.errors import UsageError

MOST_BYTES = 16 << 20
AGAIN = "fix it and rerun"


def read_grid(path: Path) -> list[Factor]:
    """Return the factors of a grid in a file; raises UsageError with the file and the line."""
    readers = {".csv": read_csv, ".toml": read_toml}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"--grid-file {path} is neither a .csv nor a .toml file", f"{launcher_here()} --grid-file sweep.csv ..."
        )
    if path.stat().st_size > MOST_BYTES:
        raise UsageError(f"{path} is larger than {MOST_BYTES >> 20} MiB, too large for a grid", AGAIN)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", AGAIN) from error
    return readers[path.suffix.lower()](path, text)


def read_csv(path: Path, text: str) -> list[Factor]:
    """Return the rows of a CSV file as one factor; commas, semicolons or tabs separate columns."""
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows: dict[tuple[str, ...], int] = {}
    names: list[str] = []
    try:
        for cells in ([cell.strip() for cell in row] for row in reader):
            where = f"{path}, line {reader.line_num}"
            if not names:
                names = cells
                for name in names:
                    check_name(name, where)
                check_names(names)
            elif any(cells):
                check_row(cells, names, where)
                if (before := rows.setdefault(tuple(cells), reader.line_num)) != reader.line_num:
                    raise UsageError(f"{where} repeats line {before}", "to repeat a task, add a column such as seed")
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}", AGAIN) from error
    if not rows:
        raise UsageError(f"{path} has no tasks; its first line has the names, each further line is a task", AGAIN)
    return [Factor(path.name, tuple(make_row(names, cells) for cells in rows))]


def check_row(cells: list[str], names: list[str], where: str) -> None:
    """Raise UsageError for a row with too many or too few cells, or with an invalid value."""
    if len(cells) != len(names):
        raise UsageError(f"{where} has {len(cells)} values for {len(names)} names", AGAIN)
    for cell in cells:
        check_value(cell, where)


def make_row(names: list[str], cells: tuple[str, ...]) -> Values:
    """Return a row's values by name."""
    return dict(zip(names, cells, strict=True))


class Number(float):
    """A number of a TOML file, with its text as written: 1e-3 stays 1e-3."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> "Number":
        """Return the number in a text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def read_toml(path: Path, text: str) -> list[Factor]:
    """Return the values of each name in a TOML file as a factor; a single value is a list of one."""
    try:
        found = tomllib.loads(text, parse_float=Number)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", AGAIN) from error
    if not found:
        raise UsageError(f"{path} sets no names; a line has a list of values: lr = [1e-3, 1e-4]", AGAIN)
    for name, value in found.items():
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict) for each in value)):
            raise UsageError(
                f"{path}: [{name}] is a table; a line has a list of values: lr = [1e-3, 1e-4]",
                f"to name each combination, use a CSV file: {launcher_here()} --grid-file sweep.csv ...",
            )
    listed = {name: value if isinstance(value, list) else [value] for name, value in found.items()}
    return [make_axis(name, [*map(as_text, values)], f"{path}: {name}") for name, values in listed.items()]


def as_text(value: Any) -> str:
    """Return a value of a TOML file as an argument; a list becomes JSON."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, str | datetime | date | time):
        return value if isinstance(value, str) else value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)
