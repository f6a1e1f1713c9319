"""Find images in folders, and list them by class folder."""

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import DataError
from ..program import count_of, say
from .decoding import ENDINGS, HEIF

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"P5", b"P6")
"""The first bytes of JPEG, PNG, GIF, BMP, TIFF, WebP and PGM, for files without an extension."""


MARK = "\x1f"
"""Before each of the labels of one image, if it may have several; alone for none."""


@dataclass(frozen=True)
class Listing:
    """Files with their labels; `units` are what must not be split: groups, or the files' names."""

    name: str
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    """Each image's class or number, or its labels as `join_labels` joins them."""
    units: tuple[str, ...]
    grouped: bool = False
    target: str = ""
    """The column of the labels, if there is one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, sorted: integers by value, others alphabetically."""
        found = {name for label in self.labels for name in split_labels(label)}
        return tuple(sorted(found, key=lambda word: (0, int(word), word) if word.isdecimal() else (1, 0, word)))


def join_labels(names: Iterable[str]) -> str:
    """Return the labels of one image as a word, equal for equal labels."""
    return MARK + MARK.join(sorted(set(names)))


def split_labels(word: str) -> list[str]:
    """Return the labels of one image, or its only class."""
    return [name for name in word.split(MARK) if name]


def find_images(folder: Path) -> list[Path]:
    """Return the images below `folder` sorted by name, without hidden ones; report skipped files.

    Linked folders are followed, each once.
    """
    found: list[Path] = []
    skipped: Counter[str] = Counter()
    entered = {folder.resolve()}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and enter(Path(place, name), entered))
        for name in names:
            if not name.startswith("."):
                why = why_not(path := Path(place, name))
                if why:
                    skipped[why] += 1
                else:
                    found.append(path)
    if skipped:
        listed = ", ".join(f"{number:,} {why}" for why, number in sorted(skipped.items()))
        say(f"{folder}: {count_of(skipped.total(), 'file')} skipped: {listed}")
    return sorted(found)


def enter(folder: Path, entered: set[Path]) -> bool:
    """Return whether to enter a folder: only once, as links may form a cycle."""
    real = folder.resolve()
    new = real not in entered
    entered.add(real)
    return new


def why_not(path: Path) -> str:
    """Return why a file cannot be read as an image, by its extension or first bytes; "" if it can."""
    ending = path.suffix.lower()
    if not path.is_file():
        return "broken link" if path.is_symlink() else "special file"
    if ending in HEIF and not find_spec("pillow_heif"):
        return f"{ending} (pip install pillow-heif)"
    if ending in ENDINGS or ending in HEIF:
        return ""
    if ending and not ending[1:].isdecimal():  # scan.0017 has no extension
        return ending
    with suppress(OSError), path.open("rb") as content:
        if content.read(16).startswith(SIGNATURES):
            return ""
    return ending or "without an extension"


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
