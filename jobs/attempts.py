"""Attempts: the runs of a project that trained a model, with the notes that the user made about them.

Notes and scores of a leaderboard are in a table next to the runs, which any editor opens, and `gpujob runs` shows too:

    runs/notes.csv    run,note,leaderboard
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from .config.recipe import option
from .errors import DataError
from .look.names import shorten
from .program import list_results, names_of
from .scores.intervals import Interval, wilson

NOTES = "notes.csv"
COLUMNS = ("run", "note", "leaderboard")
PARTS = ("data", "images", "label", "file", "group", "label_from", "holdout", "seed", "folds", "fold")
"""The options that decide which images a run is tested on."""
ACCURACY = "accuracy"
ERRORS = ("MAE", "RMSE", "loss")
"""Figures of which less is better."""
MOST_LETTERS = 40
"""Of the value of an option."""
LEADING = ("program", "model")
"""The options that are named first where several differ."""
FACTS = frozenset(
    (
        *("out", "device", "resume", "save_every_s", "lr_find", "tensorboard", "wandb", "stream"),
        *("precision", "layout", "runtime", "compile", "dtype", "channels_last"),
        *("command", "commit", "started", "seconds", "torch", "data_set", "train_images", "train_digest"),
        *("fold_scores", "task"),
    )
)
"""What args.json has besides options: facts of a run, and what each machine chooses for itself."""


@dataclass(frozen=True)
class Note:
    """What the user wrote about a run."""

    text: str = ""
    leaderboard: float | None = None


@dataclass(frozen=True)
class Attempt:
    """A run that trained a model, by its args.json and, if it has one, its receipt."""

    run: str
    facts: Mapping[str, Any]
    figure: str
    """What its score is: accuracy, or what leads in another task."""
    started: datetime
    name: str = ""
    usd: float | None = None
    dry: bool = False
    """Whether it ran on the local cloud, where the cost is what AWS would have billed."""
    code: tuple[str, str] = ("", "")
    """Its commit, and a hash of how the code differed from it."""
    note: Note = Note()

    @property
    def score(self) -> Interval:
        """Its test score, of folds the mean; an accuracy of a known number of images has an interval."""
        score, images = float(self.facts[f"test_{self.figure}"]), self.facts.get("test_images")
        if self.figure != ACCURACY or not isinstance(images, int) or images < 1:
            return Interval(score, math.nan, math.nan)
        return wilson(score, images)

    def is_better(self, other: "Attempt") -> bool:
        """Return whether its score is better than another one's."""
        one, two = self.score.value, other.score.value
        return one < two if self.figure in ERRORS else one > two

    def compare(self, best: "Attempt") -> list[str]:
        """Return what differs from another attempt, as one would type it, with the other's value in brackets."""
        names = [name for name in {**best.facts, **self.facts} if name not in FACTS and not name.startswith("test_")]
        names = [*LEADING, *(name for name in names if name not in LEADING)]
        found = [
            write_option(name, self.facts.get(name), best.facts.get(name))
            for name in names
            if (self.facts.get(name) or None) != (best.facts.get(name) or None)  # an older run has fewer options
        ]
        if self.facts.get("train_images") != best.facts.get("train_images") and self.is_comparable(best):
            found.append(f"{self.facts.get('train_images')} training images ({best.facts.get('train_images')})")
        elif not self.is_comparable(best):
            found.append("tested on other images")
        return [*found, *["code"] * (self.code != best.code)]

    def is_comparable(self, other: "Attempt") -> bool:
        """Return whether both were tested on the same part of the same data, as far as their options say."""
        return all((self.facts.get(name) or None) == (other.facts.get(name) or None) for name in PARTS)


def write_option(name: str, value: object, other: object) -> str:
    """Return an option with its value, and the other one in brackets."""
    if name == "program":
        return f"{value} ({other})"
    if isinstance(value, bool):
        return option(name) if value else option(f"no_{name}")
    shown, before = ("default" if each in (None, "") else shorten(str(each), MOST_LETTERS) for each in (value, other))
    return f"{option(name)} {shown} ({before})"


def list_attempts(runs: Path) -> list[Attempt]:
    """Return the attempts among the runs in a folder, oldest first. Raises DataError."""
    if not runs.is_dir():
        raise DataError(f"{runs}: no such folder; each run needs a folder of its own in it, as gpujob downloads them")
    notes = read_notes(runs)
    found = [read_attempt(folder) for folder in sorted(runs.iterdir()) if not folder.name.startswith(".")]
    kept = [replace(each, note=notes.get(each.run, Note())) for each in found if each]
    return sorted(kept, key=lambda each: each.started)


def read_attempt(folder: Path) -> Attempt | None:
    """Return the attempt in a run's folder; None if it did not train a model to its end."""
    facts = next(filter(None, (read_object(place / "args.json") for place in list_results(folder))), {})
    name = next((name for name in facts if name.startswith("test_") and name != "test_images"), "")
    score, figure = facts.get(name), name.removeprefix("test_")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        return None
    if figure == ACCURACY and not 0 <= score <= 1:
        return None
    receipt = read_object(folder / "receipt.json")
    job = as_object(receipt.get("job"))
    source, usd = as_object(job.get("source")), receipt.get("usd")
    return Attempt(
        folder.name,
        facts,
        figure,
        read_time(facts.get("started"), folder),
        str(job.get("name", "")),
        float(usd) if isinstance(usd, int | float) else None,
        receipt.get("cloud") == "local",
        (str(source.get("commit") or facts.get("commit", "")), str(source.get("changes_sha256", ""))),
    )


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if it is missing or invalid."""
    with suppress(OSError, ValueError, RecursionError):
        return as_object(json.loads(path.read_text()))
    return {}


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object; empty for anything else."""
    return value if isinstance(value, dict) else {}


def read_time(text: object, folder: Path) -> datetime:
    """Return an ISO time, by default that of a folder, in the time zone of this computer."""
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(str(text)).astimezone()
    return datetime.fromtimestamp(folder.stat().st_mtime).astimezone()


def read_notes(runs: Path) -> dict[str, Note]:
    """Return the notes by run. Raises DataError if the table is damaged, so that it is never replaced."""
    path = runs / NOTES
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot read: {error}") from error
    found = {}
    for row in rows:
        if not set(COLUMNS) <= {name for name, value in row.items() if value is not None}:
            raise DataError(f"{path}: expected the columns {', '.join(COLUMNS)} in each row")
        found[row["run"]] = Note(row["note"], read_score(row["leaderboard"], path))
    return found


def read_score(text: str, where: object) -> float | None:
    """Return a score of a leaderboard; None of an empty text. Raises DataError."""
    with suppress(ValueError):
        if not text.strip() or math.isfinite(float(text)):
            return float(text) if text.strip() else None
    raise DataError(f"{where}: '{text}' is not a number")


def write_notes(runs: Path, notes: Mapping[str, Note]) -> None:
    """Write the notes, replacing the table at once."""
    part = runs / f".{NOTES}.part"
    with part.open("w", newline="", encoding="utf-8") as text:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for run, note in sorted(notes.items()):
            if note != Note():
                table.writerow((run, note.text, "" if note.leaderboard is None else f"{note.leaderboard:.10g}"))
    part.replace(runs / NOTES)


def find_attempt(attempts: Sequence[Attempt], asked: str) -> Attempt:
    """Return the attempt of a folder, a job's name, or a number if only one run has it. Raises DataError."""
    word = Path(asked).name
    found = [each for each in attempts if each.run == word]
    found = found or [each for each in attempts if each.name == word][-1:]
    found = found or [each for each in attempts if word.isdecimal() and each.run.endswith(f"-{word}")]
    if len(found) == 1:
        return found[0]
    names = names_of(sorted(each.run for each in found or attempts))
    raise DataError(
        f"{asked}: {'several runs have this number' if found else 'no such run'}; there are {names or 'none'}"
    )
