"""Move images between class folders, or out of a data set, as a CSV file says; delete nothing."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import DataError
from .program import count_of, names_of, say

DELETE = "delete"
REMOVED = "-removed"
"""Added to the name of the data folder: where removed images go."""


@dataclass(frozen=True)
class Move:
    """A file and where it goes."""

    source: Path
    target: Path
    label: str
    """Its new class; "" if it leaves the data set."""


def apply_actions(path: Path, yes: bool) -> None:
    """Move files as the column `action` says, after asking unless `yes`. Raises DataError."""
    moves = plan_moves(path)
    if not moves:
        raise DataError(f"{path}: no actions; fill in the column 'action': {DELETE}, or the right class")
    removed = [move for move in moves if not move.label]
    for move in moves[:20]:
        say(f"{move.source} -> {move.target}")
    if len(moves) > 20:
        say(f"... and {len(moves) - 20:,} more")
    question = (
        f"Move {count_of(len(moves) - len(removed), 'image')} to another class and {len(removed):,} out of the data?"
    )
    if not yes and not confirm(question):
        raise DataError("nothing was moved")
    for move in moves:
        move.target.parent.mkdir(parents=True, exist_ok=True)
        move.source.rename(move.target)
    path.rename(path.with_name(free_name(path.parent, "applied.csv")))
    say(
        f"moved {count_of(len(moves), 'image')}"
        + (f"; removed ones are in {removed[0].target.parent.parent}" if removed else "")
    )


def confirm(question: str) -> bool:
    """Return whether the user agrees; raises DataError without a terminal."""
    if not sys.stdin.isatty():
        raise DataError(f"{question} There is no terminal to ask in; --yes moves them")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def plan_moves(path: Path) -> list[Move]:
    """Return the moves that a CSV file asks for. Raises DataError for what cannot be done."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as text:
            rows = [row for row in csv.DictReader(text) if (row.get("action") or "").strip()]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; run jobs.clean without --apply first") from error
    moves: list[Move] = []
    taken: set[Path] = set()
    for row in rows:
        move = plan_move(path, Path(row.get("file") or ""), (row.get("class") or ""), row["action"].strip())
        if move.target in taken or move.target.exists():
            raise DataError(f"{path}: {move.target} exists already")
        taken.add(move.target)
        moves.append(move)
    return moves


def plan_move(path: Path, file: Path, label: str, action: str) -> Move:
    """Return where one file goes. Raises DataError if it is not in the folder of its class."""
    if not file.is_file():
        raise DataError(f"{path}: {file} does not exist (any more)")
    folder = next((parent for parent in file.parents if parent.name == label), None) if label else None
    if folder is None:
        raise DataError(
            f"{path}: {file} is not in a folder called '{label}': change its class where it is written down"
        )
    inside, root = file.relative_to(folder), folder.parent
    classes = sorted(each.name for each in root.iterdir() if each.is_dir())
    if action.lower() == DELETE and DELETE not in classes:
        return Move(file, root.with_name(root.name + REMOVED) / label / inside, "")
    if action not in classes:
        raise DataError(f"{path}: '{action}' for {file.name}: neither '{DELETE}' nor a class ({names_of(classes)})")
    if action == label:
        raise DataError(f"{path}: {file.name} is of class '{label}' already; leave its action empty")
    return Move(file, root / action / inside, action)


def free_name(folder: Path, name: str) -> str:
    """Return the name, or the name with a number, that no file has."""
    stem, _, ending = name.rpartition(".")
    numbered: Sequence[str] = [name, *(f"{stem}-{at}.{ending}" for at in range(2, 1000))]
    return next(each for each in numbered if not (folder / each).exists())
