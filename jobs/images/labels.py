"""List the images that a CSV file names, with their classes."""

import difflib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from ..config.data import MULTI, REGRESSION, SINGLE
from ..errors import DataError
from ..program import count_of, names_of, say
from .decoding import ENDINGS, HEIF
from .listing import MARK, Listing
from .table import (
    Table,
    are_marks,
    read_classes,
    read_marks,
    read_numbers,
    read_one_hot,
    read_sets,
    read_table,
    without_header,
)

VALID = "is_valid"
"""fastai's column: whether a row is for validation."""
YES, NO = ("1", "true", "yes"), ("0", "false", "no", "")
SAMPLE = 50
"""The number of rows whose files are looked up to find the column with file names."""


@dataclass(frozen=True)
class Columns:
    """The columns that the command line names."""

    label: str | None = None
    file: str | None = None
    group: str | None = None
    task: str = SINGLE
    separator: str | None = None
    """What is between several labels in a cell, if it is known."""


def list_csv(path: Path, images: Path | None, asked: Columns, strict: bool) -> tuple[Listing, Listing | None]:
    """List the images and labels in a CSV file, and its validation rows if marked. Raises DataError.

    Files are relative to `images` or, by default, to the CSV file's folder; endings are optional. By default their column
    is the first that names some, and the classes' the next one, or all others if those are one-hot.
    """
    folder = Folder(images or path.parent)
    table = read_table(path)
    if any(folder.find(cell) for cell in table.columns):
        table = without_header(table)
        say(f"{path}: no header; its columns are called {', '.join(table.columns)}")
    file = need_column(table, asked.file) if asked.file else file_column(table, folder)
    labels, named = find_labels(table, file, asked)
    units = table.cells(need_column(table, asked.group) if asked.group else file)
    names = table.cells(file)
    chosen = choose_rows(table, names, labels, [folder.find(name) for name in names], strict)
    valid = read_valid(table) if named != VALID else frozenset()
    parts = []
    for rows in ([at for at in chosen if at not in valid], [at for at in chosen if at in valid]):
        files = tuple(chosen[at] for at in rows)
        kept = [tuple(each[at] for at in rows) for each in (labels, units)]
        parts.append(Listing(path.stem, files, kept[0], kept[1], bool(asked.group), named))
    if valid and asked.group:
        raise DataError(f"{path}: has a column '{VALID}', so --group has nothing to split")
    return parts[0], parts[1] if parts[1].files else None


def find_labels(table: Table, file: str, asked: Columns) -> tuple[tuple[str, ...], str]:
    """Return each row's class, labels or number, and the column it is from. Raises DataError."""
    others = [column for column in table.columns if column not in (file, asked.group, VALID)]
    if asked.task == SINGLE and not asked.label and (classes := read_one_hot(table, others)):
        return classes, ""
    if asked.task == MULTI and (marks := mark_columns(table, others, asked)):
        return read_marks(table, marks), ""
    label = need_column(table, asked.label) if asked.label else next(iter(others), "")
    if not label:
        raise DataError(
            f"{table.path}: no column with {'numbers' if asked.task == REGRESSION else 'classes'} besides '{file}'"
        )
    if asked.task == MULTI:
        return read_sets(table, label, asked.separator), label
    return (read_numbers if asked.task == REGRESSION else read_classes)(table, label), label


def mark_columns(table: Table, others: Sequence[str], asked: Columns) -> list[str]:
    """Return the columns of 0 and 1 that are labels: those that were named as A,B,C, or all."""
    if asked.separator:
        return []
    if not asked.label:
        return list(others) if are_marks(table, others) else []
    if asked.label in table.columns or "," not in asked.label:
        return []
    return [need_column(table, name.strip()) for name in asked.label.split(",")]


def choose_rows(
    table: Table, names: Sequence[str], labels: Sequence[str], found: Sequence[Path | None], strict: bool
) -> dict[int, Path]:
    """Return the rows to use, with their files; report the others.

    Raises DataError if `strict`, or if none is left.
    """
    missing = [names[at] for at, path in enumerate(found) if path is None]
    if missing and (strict or len(missing) == len(names)):
        raise DataError(f"{table.path}: no image '{names_of(missing[:1])}'; set the folder with --images")
    if missing:
        say(f"{table.path}: {count_of(len(missing), 'row')} skipped, without an image: {names_of(missing, 3)}")
    unknown = sum(not label for label in labels)
    if unknown:
        say(f"{table.path}: {count_of(unknown, 'row')} skipped, without a class")
    chosen: dict[int, Path] = {}
    classes: dict[Path, str] = {}
    torn: set[Path] = set()
    twice = []
    for at, path in enumerate(found):
        if path is None or not labels[at]:
            continue
        if path in classes:
            twice.append(names[at])
            if classes[path] != labels[at]:
                torn.add(path)
        else:
            classes[path] = labels[at]
            chosen[at] = path
    if twice:
        if torn and any(labels[at].startswith(MARK) for at in chosen):
            raise DataError(
                f"{table.path}: several rows for one image, with different labels: {names_of(twice, 3)}; put all its "
                "labels into one row"
            )
        also = f", {len(torn):,} of them with different classes, which are left out" if torn else ""
        if strict:
            raise DataError(f"{table.path}: listed more than once: {names_of(twice, 3)}{also}")
        say(f"{table.path}: {count_of(len(twice), 'image')} listed more than once: {names_of(twice, 3)}{also}")
    return {at: path for at, path in chosen.items() if path not in torn}


def read_valid(table: Table) -> frozenset[int]:
    """Return the rows that the file marks for validation."""
    if VALID not in table.columns:
        return frozenset()
    cells = [cell.lower().removesuffix(".0") for cell in table.cells(VALID)]
    if strange := next((cell for cell in cells if cell not in (*YES, *NO)), ""):
        raise DataError(f"{table.path}: '{VALID}' is true or false, not '{strange}'")
    rows = frozenset(at for at, cell in enumerate(cells) if cell in YES)
    if rows:
        say(f"{table.path}: testing with the {count_of(len(rows), 'row')} that '{VALID}' marks")
    return rows


def file_column(table: Table, folder: "Folder") -> str:
    """Return the first column whose cells name images; the first of all if none does."""
    counts = {
        column: sum(folder.find(cell) is not None for cell in table.cells(column)[:SAMPLE]) for column in table.columns
    }
    best = max(counts.values())
    return next(column for column in table.columns if counts[column] == best) if best else table.columns[0]


def need_column(table: Table, wanted: str) -> str:
    """Return a column's name; raises DataError with a suggestion."""
    if wanted in table.columns:
        return wanted
    near = difflib.get_close_matches(wanted, table.columns, 1)
    meant = f"; did you mean '{near[0]}'?" if near else ""
    raise DataError(f"{table.path}: no column '{wanted}' among {names_of(table.columns)}{meant}")


class Folder:
    """The images that a CSV file may name, however it spells their paths."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spelled: dict[str, Path] | None = None

    def find(self, name: str) -> Path | None:
        """Return the image of a name, with or without its ending; None if there is none."""
        if not name or name in (".", ".."):
            return None
        name = PureWindowsPath(name).as_posix() if "\\" in name else name
        for ending in ("", *ENDINGS, *HEIF):
            try:
                if (found := self.path / f"{name}{ending}").is_file():
                    return found
            except (OSError, ValueError):  # a cell that is not a valid name
                return None
        return self.other_spellings().get(unicodedata.normalize("NFC", name)) if not name.isascii() else None

    def other_spellings(self) -> dict[str, Path]:
        """Return the images by their names in composed letters, with and without ending: macOS writes others."""
        if self.spelled is None:
            self.spelled = {}
            for path in self.path.rglob("*"):
                name = path.relative_to(self.path)
                for text in (name.as_posix(), name.with_suffix("").as_posix()):
                    self.spelled.setdefault(unicodedata.normalize("NFC", text), path)
        return self.spelled
