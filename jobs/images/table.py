"""Read a CSV file of labels with any usual encoding, separator and header."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError
from ..program import names_of, say
from .listing import join_labels

SEPARATORS = (",", ";", "\t", "|")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
MARKS = ("|", ";", ",", " ")
"""What may be between several labels in a cell."""
MOST_HEADER = 100_000
"""The most letters of the first line that are looked at for a separator: Python's reader takes no longer cell."""
MOST_NUMBERS = 50
"""The most distinct fractions in a column of classes; a column with more contains measurements."""


@dataclass(frozen=True)
class Table:
    """Rows of equal length below named columns."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    headed: bool = True
    """Whether the file has a line with the columns' names; otherwise they are numbered from 1."""

    def cells(self, column: str) -> tuple[str, ...]:
        """Return the values of a column."""
        at = self.columns.index(column)
        return tuple(row[at] for row in self.rows)


def read_table(path: Path) -> Table:
    """Read a CSV file; columns that only count the rows are dropped. Raises DataError."""
    text = decode(path)
    lines = split_rows(path, text, separator(text))
    if len(lines) < 2 or len(lines[0]) < 2:
        raise DataError(f"{path}: the CSV file needs a header, two columns and at least one row")
    header = tuple(name.strip() for name in lines[0])
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise DataError(f"{path}: two columns are called '{sorted(twice)[0]}'")
    for at, row in enumerate(lines, 1):
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            raise DataError(f"{path}: row {at} has {len(row)} cells, the header {len(header)}")
    width = len(header)
    rows = tuple(tuple(cell.strip() for cell in (row + [""] * width)[:width]) for row in lines[1:])
    return drop_counts(Table(path, header, rows))


def split_rows(path: Path, text: str, mark: str) -> list[list[str]]:
    """Return the rows that are not empty. Raises DataError for a quotation mark that is never closed."""
    try:
        # To its end, such a cell would take in all rows that follow. Other irregular quotation marks are read as they are.
        list(csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True))
    except csv.Error as error:
        if "unexpected end of data" in str(error) or "field limit" in str(error):
            raise DataError(f'{path}: a quotation mark (") is never closed, or a cell is too long') from error
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if any(row)]
    except csv.Error as error:
        raise DataError(f"{path}: not a valid CSV file: {error}") from error


def drop_counts(table: Table) -> Table:
    """Return a table without pandas' index: a nameless column that counts the rows."""
    for at, name in enumerate(table.columns):
        counts = all(row[at] == str(number) for number, row in enumerate(table.rows))
        if counts and (not name or name.startswith("Unnamed:")) and len(table.columns) > 2:
            return replace(
                table,
                columns=table.columns[:at] + table.columns[at + 1 :],
                rows=tuple(row[:at] + row[at + 1 :] for row in table.rows),
            )
    return table


def without_header(table: Table) -> Table:
    """Return a table whose first line is a row like all others."""
    numbered = tuple(str(at) for at in range(1, len(table.columns) + 1))
    return replace(table, columns=numbered, rows=(table.columns, *table.rows), headed=False)


def decode(path: Path) -> str:
    """Return a file's text: UTF-8, UTF-16 with a byte order mark, otherwise Windows-1252."""
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in content[:1000]:
        raise DataError(f"{path}: not a CSV file, or UTF-16 without a byte order mark; save it as UTF-8")
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise DataError(f"{path}: cannot read as UTF-16: {error.reason}; save it as UTF-8") from error
        say(f"{path}: not UTF-8, reading it as Windows-1252")
        return content.decode("cp1252", errors="replace")


def separator(text: str) -> str:
    """Return the separator of the first line's cells, by default a comma."""
    first = next((line for line in text.splitlines() if line.strip()), "")[:MOST_HEADER]
    counts = {mark: len(next(csv.reader([first], delimiter=mark), [])) for mark in SEPARATORS}
    return max(SEPARATORS, key=lambda mark: counts[mark])


def read_one_hot(table: Table, columns: Sequence[str]) -> tuple[str, ...] | None:
    """Return each row's class from columns of 0 and 1, one per class, or None if they are something else.

    Raises DataError if a row has several classes or none.
    """
    if not are_marks(table, columns):
        return None
    found = []
    marks = [table.cells(column) for column in columns]
    for at, row in enumerate(zip(*marks, strict=True), 1):
        ones = [column for column, cell in zip(columns, row, strict=True) if float(cell) == 1]
        if len(ones) != 1:
            raise DataError(
                f"{table.path}: row {at} has {len(ones)} of the classes {', '.join(columns[:5])}; --multi-label learns any "
                "number of them, --label chooses one column"
            )
        found.append(ones[0])
    return tuple(found)


def read_classes(table: Table, column: str) -> tuple[str, ...]:
    """Return the classes in a column: whole numbers without .0, "" for missing ones.

    Raises DataError for measurements and for several classes in a cell.
    """
    cells = ["" if cell.lower() == "nan" else cell for cell in table.cells(column)]
    known = {cell for cell in cells if cell}
    if known and all(map(is_number, known)):
        if all(float(cell).is_integer() for cell in known):
            return tuple(str(int(float(cell))) if "." in cell else cell for cell in cells)
        if len(known) > MOST_NUMBERS:
            raise DataError(
                f"{table.path}: '{column}' has {len(known):,} different numbers, no classes; --regression predicts them"
            )
    for mark in MARKS:
        several = [cell for cell in known if mark in cell]
        words = {word for cell in known for word in cell.split(mark)}
        # Combinations of a few words are several labels; "golden retriever" and "labrador retriever" are names.
        if several and words & (known - set(several)) and len(known) > len(words):
            raise DataError(
                f"{table.path}: '{column}' has several classes in one cell, such as '{sorted(several)[0]}'; --multi-label "
                "learns all of them"
            )
    return tuple(cells)


def read_marks(table: Table, columns: Sequence[str]) -> tuple[str, ...]:
    """Return each row's labels, joined, from columns of 0 and 1. Raises DataError for anything else."""
    for column in columns:
        if strange := next((cell for cell in table.cells(column) if not is_mark(cell)), None):
            raise DataError(f"{table.path}: '{column}' is 0 or 1 for each image, not '{strange}'")
    marks = zip(*(table.cells(column) for column in columns), strict=True)
    return tuple(
        join_labels(name for name, cell in zip(columns, row, strict=True) if float(cell) == 1) for row in marks
    )


def read_sets(table: Table, column: str, separator: str | None) -> tuple[str, ...]:
    """Return each row's labels, joined, from cells that hold several; "" for an empty cell.

    Raises DataError if no cell holds several, and no separator is given.
    """
    cells = ["" if cell.lower() == "nan" else cell for cell in table.cells(column)]
    listed = all(cell.startswith("[") and cell.endswith("]") for cell in cells if cell)  # Python's: ['cat', 'dog']
    bare = [cell.strip("[]") if listed else cell for cell in cells]
    mark = separator or find_separator(bare)
    if not mark:
        raise DataError(
            f"{table.path}: no cell of '{column}' has several labels; --label-separator TEXT says what is between them, "
            "--label A,B,C chooses columns of 0 and 1"
        )
    words = [[word.strip(" '\"" if listed else " ") for word in cell.split(mark)] for cell in bare]
    if not separator:
        names = sorted({name for row in words for name in row if name})
        say(f"{table.path}: '{mark}' is between the labels of '{column}': {names_of(names)}")
    return tuple(join_labels(filter(None, row)) if cell else "" for cell, row in zip(cells, words, strict=True))


def find_separator(cells: Sequence[str]) -> str:
    """Return what is between several labels in a cell; "" if there is nothing that must be that.

    A space is only if what it divides also occurs alone: "golden retriever" is one name.
    """
    for mark in MARKS:
        several = [cell for cell in cells if mark in cell]
        words = {word.strip() for cell in several for word in cell.split(mark)}
        if several and (mark != " " or words & set(cells)):
            return mark
    return ""


def read_numbers(table: Table, column: str) -> tuple[str, ...]:
    """Return the numbers in a column; "" for missing ones. Raises DataError for anything else."""
    cells = tuple("" if cell.lower() in ("nan", "na", "null", "none") else cell for cell in table.cells(column))
    if strange := next((cell for cell in cells if cell and not is_number(cell)), None):
        raise DataError(f"{table.path}: '{column}' is a number for each image, not '{strange}'")
    return cells


def are_marks(table: Table, columns: Sequence[str]) -> bool:
    """Return whether several columns hold nothing but 0 and 1."""
    return len(columns) > 1 and all(is_mark(cell) for column in columns for cell in table.cells(column))


def is_mark(cell: str) -> bool:
    """Return whether a cell is 0 or 1."""
    return is_number(cell) and float(cell) in (0, 1)


def is_number(cell: str) -> bool:
    """Return whether a cell is a decimal number."""
    return bool(NUMBER.fullmatch(cell))
