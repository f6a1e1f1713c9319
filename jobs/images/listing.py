"""List images and their classes: a folder with one subfolder per class, or a CSV file."""

import csv
import difflib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..program import names_of, say
from .decoding import ENDINGS

TRAIN = ("train", "training")
TEST = ("test", "val", "valid", "validation", "testing")


@dataclass(frozen=True)
class Listing:
    """Files with their classes; `units` are what must not be split: groups, or the files' names."""

    name: str
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    units: tuple[str, ...]
    grouped: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, sorted: integers by value, others alphabetically."""
        found = set(self.labels)
        return tuple(sorted(found, key=lambda word: (0, int(word), word) if word.isdecimal() else (1, 0, word)))


def find_images(folder: Path) -> list[Path]:
    """Return the images below `folder` sorted by name, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def list_folder(folder: Path) -> tuple[Listing, Listing | None]:
    """List a folder of class folders, and its test split if there is one."""
    inside = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    train = next((inside[name] for name in TRAIN if name in inside), None)
    test = next((inside[name] for name in TEST if name in inside), None)
    if train is None:
        return list_classes(folder), None
    return list_classes(train), list_classes(test) if test else None


def list_classes(folder: Path) -> Listing:
    """List the images in each subfolder, labelled with its name. Raises DataError."""
    files: list[Path] = []
    labels: list[str] = []
    units: list[str] = []
    for inside in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = find_images(inside)
        if not found:
            say(f"{inside}: no images, skipping class '{inside.name}'")
        files += found
        labels += [inside.name] * len(found)
        units += [path.relative_to(inside).as_posix() for path in found]
    if not files:
        raise DataError(f"{folder}: no class folders with images and no idx files; expected FOLDER/CLASS/IMAGE")
    return Listing(folder.name, tuple(files), tuple(labels), tuple(units))


def list_csv(path: Path, images: Path | None, label: str | None, file: str | None, group: str | None) -> Listing:
    """List the images and labels in a CSV file. Raises DataError for a missing column or image.

    By default the columns are the first two, as in Kaggle's competitions. Files are relative to `images` or, by default,
    to the CSV file's folder; extensions are optional.
    """
    with path.open(newline="", encoding="utf-8-sig") as text:
        reader = csv.DictReader(text)
        rows = list(reader)
        columns = list(reader.fieldnames or ())
    if len(columns) < 2 or not rows:
        raise DataError(f"{path}: the CSV file needs a header, two columns and at least one row")
    file = need_column(path, columns, file or columns[0])
    label = need_column(path, columns, label or next(name for name in columns if name != file))
    unit = need_column(path, columns, group or file)
    kept = [at for at, row in enumerate(rows) if (row[label] or "").strip()]
    if len(kept) < len(rows):
        say(f"{path}: {len(rows) - len(kept):,} rows without {label} skipped")
    files = tuple(find_file(path, images or path.parent, rows[at][file] or "") for at in kept)
    twice = [str(found) for found, times in Counter(files).items() if times > 1]
    if twice:
        raise DataError(f"{path}: listed more than once: {names_of(twice, 3)}")
    labels = tuple(rows[at][label].strip() for at in kept)
    return Listing(path.stem, files, labels, tuple(rows[at][unit] or "" for at in kept), grouped=bool(group))


def need_column(path: Path, columns: list[str], wanted: str) -> str:
    """Return a column's name; raises DataError with a suggestion."""
    if wanted in columns:
        return wanted
    near = difflib.get_close_matches(wanted, columns, 1)
    meant = f"; did you mean '{near[0]}'?" if near else ""
    raise DataError(f"{path}: no column '{wanted}' among {names_of(columns)}{meant}")


def find_file(path: Path, folder: Path, name: str) -> Path:
    """Return the image that a row names; raises DataError if it does not exist."""
    for ending in ("", *ENDINGS):
        if name and (found := folder / f"{name}{ending}").is_file():
            return found
    raise DataError(f"{path}: no image '{name}' in {folder}; set the folder with --images")
