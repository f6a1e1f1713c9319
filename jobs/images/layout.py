"""How a folder of images is laid out: class folders, training and test part, names, Kaggle's table."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from ..errors import DataError
from ..program import count_of, names_of, say
from .labels import Columns, list_csv
from .listing import Listing, find_images, list_classes, why_not
from .naming import list_named, make_label

TRAIN = ("train", "training")
TEST = ("test", "val", "valid", "validation", "testing")
TABLES = (".csv", ".tsv")
NO_LABELS = re.compile(r"sample|submi|test", re.IGNORECASE)
"""In the names of Kaggle's tables that hold no classes of training images."""

ANY_COLUMN = Columns()

Parts = tuple[Listing, Listing | None]
"""What to train on, and what to test with: None if it has to be held out."""


def list_folder(
    folder: Path, label_from: str | None = None, strict: bool = False, columns: Columns = ANY_COLUMN
) -> Parts:
    """List the images of a folder with their classes, and its labelled test part. Raises DataError."""
    inside = {path.name.lower(): path for path in subfolders(folder)}
    train = next((inside[name] for name in TRAIN if name in inside), None)
    tests = [inside[name] for name in TEST if name in inside]
    if label_from:
        return list_by_name(folder, train, tests, label_from, strict)
    if train is None:
        return list_alone(folder), None
    if not class_folders(train):
        return list_flat(folder, train, tests, (columns, strict))
    learned = list_classes(train)
    labelled = [path for path in tests if has_labels(path, learned.classes)]
    report_tests(labelled, tests)
    return learned, list_classes(labelled[0]) if labelled else None


def list_by_name(folder: Path, train: Path | None, tests: Sequence[Path], asked: str, strict: bool) -> Parts:
    """List images whose names give their classes, in `train` and the first test folder whose names do."""
    label = make_label(asked)
    learned = list_named(train or folder, asked, label, strict)
    if learned is None:
        raise DataError(f"{train or folder}: no name fits --label-from '{asked}'")
    held = {path: list_named(path, asked, label, strict) for path in tests} if train else {}
    labelled = [path for path in tests if held.get(path)]
    if train:
        report_tests(labelled, tests)
    return learned, held[labelled[0]] if labelled else None


def list_flat(folder: Path, train: Path, tests: Sequence[Path], how: tuple[Columns, bool]) -> Parts:
    """List a folder whose `train` has no class folders: by a table, or as a class like others."""
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLES)
    tables = [path for path in tables if not NO_LABELS.search(path.stem)]
    if len(tables) > 1:
        raise DataError(
            f"{folder}: several tables may have the classes: {names_of([path.name for path in tables])}; choose one: "
            f"--data {quote(str(tables[0]))} --images {quote(str(train))}"
        )
    if tables:
        say(f"{folder}: classes from {tables[0].name}, images in {train.name}/")
        report_tests([], tests)
        return list_csv(tables[0], train, *how)
    if others := [path.name for path in class_folders(folder) if path != train and path not in tests]:
        say(f"{folder}: {train.name}/ holds images, so it is a class, like {names_of(others, 3)}")
        return list_classes(folder), None
    raise DataError(
        f"{train}: no class folders with images, and no table of classes in {folder}; if the names of the files have "
        "the classes: --label-from REGEX, such as '^(cat|dog)'"
    )


def list_alone(folder: Path) -> Listing:
    """List class folders; raises DataError with what to type if the images lie in none."""
    if not class_folders(folder) and any(path.is_file() and not why_not(path) for path in folder.iterdir()):
        raise DataError(
            f"{folder}: no class folders with images; if the names of the files have the classes: --label-from REGEX, "
            "such as '^(cat|dog)'"
        )
    return list_classes(folder)


def report_tests(labelled: Sequence[Path], tests: Sequence[Path]) -> None:
    """Say which test folders are not used: those without classes, and all labelled ones but the first."""
    for path in tests:
        if path not in labelled and (count := len(find_images(path))):
            say(
                f"{count_of(count, 'image')} without classes in {path.name}/: not used here; jobs.predict and "
                "jobs.submit classify them"
            )
    if len(labelled) > 1:
        names = names_of([f"{path.name}/" for path in labelled[1:]])
        say(f"testing with {labelled[0].name}/; {names} {'is' if len(labelled) == 2 else 'are'} not used")


def has_labels(folder: Path, classes: Sequence[str]) -> bool:
    """Return whether images lie in class folders: one of the `classes`, or several of any name.

    A single folder of another name, such as images/ or unknown/, is no class.
    """
    names = [path.name for path in class_folders(folder)]
    return len(names) > 1 or any(name in classes for name in names)


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold images, at any depth."""
    return [path for path in subfolders(folder) if holds_image(path)]


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def holds_image(folder: Path) -> bool:
    """Return whether there is an image at any depth."""
    entered = {folder.resolve()}
    for place, folders, names in os.walk(folder, followlinks=True):
        if any(not name.startswith(".") and not why_not(Path(place, name)) for name in names):
            return True
        real = {name: Path(place, name).resolve() for name in folders if not name.startswith(".")}
        folders[:] = [name for name, path in real.items() if path not in entered]  # links may form a cycle
        entered.update(real.values())
    return False
