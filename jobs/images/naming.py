"""Classes from the names of files: by a regular expression, fast.ai's rule, or the user's function."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

from ..config.data import CATS_UPPERCASE, is_function
from ..errors import DataError
from ..program import count_of, names_of, say
from .listing import Listing, find_images

Label = Callable[[Path, str], str]
"""Returns the class of a file, whose name below the data folder is given; "" if it has none."""


def make_label(asked: str) -> Label:
    """Return what --label-from asks for, running the file of a function. Raises DataError."""
    if asked == CATS_UPPERCASE:
        return label_cat
    if is_function(asked):
        function = load_function(asked, "--label-from")
        return lambda path, _: function(path)
    try:
        pattern = re.compile(asked)
    except re.error as error:
        raise DataError(f"--label-from '{asked}': not a regular expression: {error}") from error
    at = "label" if "label" in pattern.groupindex else min(1, pattern.groups)

    def label(path: Path, name: str) -> str:
        # A pattern with a slash is about the folders too; without them, ^ is the start of the file's own name.
        found = pattern.search(name if "/" in asked else path.name)
        return (found[at] or "") if found else ""

    return label


def label_cat(path: Path, name: str) -> str:  # noqa: ARG001  the signature is Label's
    """Return the class by fast.ai's rule: names of cats start with a capital, those of dogs do not."""
    first = path.name[:1]
    return ("cat" if first.isupper() else "dog") if first.isalpha() else ""


def load_function(asked: str, option: str) -> Callable[[Path], str]:
    """Return the function in FILE.py:FUNCTION, from a path to a class or None. Raises DataError."""
    if not is_function(asked):
        raise DataError(f"{option} {asked}: expected FILE.py:FUNCTION")
    file, _, name = asked.rpartition(":")
    try:
        function = runpy.run_path(file).get(name)
    except Exception as error:  # whatever the user's file raises
        raise DataError(f"{option} {asked}: cannot run {file}: {describe(error)}") from error
    if not callable(function):
        raise DataError(f"{option} {asked}: no function '{name}' in {file}")

    def label(path: Path) -> str:
        try:
            found = function(path)
        except Exception as error:
            raise DataError(f"{option} {asked}: {name}({path}): {describe(error)}") from error
        return "" if found is None else str(found)

    return label


def describe(error: Exception) -> str:
    """Return an error's kind and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def list_named(folder: Path, asked: str, label: Label, strict: bool) -> Listing | None:
    """List the images below a folder, each with the class that its name gives; None if no name gives one.

    Images without a class are reported and left out. Raises DataError if `strict`.
    """
    files = find_images(folder)
    names = [path.relative_to(folder).as_posix() for path in files]
    labels = [label(path, name) for path, name in zip(files, names, strict=True)]
    unknown = [name for name, found in zip(names, labels, strict=True) if not found]
    if len(unknown) == len(files):
        return None
    if unknown and strict:
        raise DataError(f"{folder / unknown[0]}: --label-from '{asked}' gives no class")
    if unknown:
        say(f"{folder}: {count_of(len(unknown), 'image')} skipped, without a class: {names_of(unknown, 3)}")
    kept = [at for at, found in enumerate(labels) if found]
    return Listing(folder.name, *(tuple(each[at] for at in kept) for each in (files, labels, names)))  # type: ignore[arg-type]
