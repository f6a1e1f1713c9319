"""Predict what images show: `python -m jobs.predict cat.jpg` prints `cat 99.8%`.

A model of several labels prints those of at least --threshold, one of numbers the number. The model is that of the run
given first, by default `outputs`. Images are files, folders, http(s) addresses, or - for one on standard input.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import contextlib
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from .config.data import MULTI, REGRESSION, SINGLE, THRESHOLD
from .errors import DataError
from .program import Parser, check_file, default_out, keep_memory, names_of, number, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .models import Classifier
    from .models.modelfile import Facts

STDIN = "-"
MOST_BYTES = 50_000_000
"""Of an image from an address or standard input."""
TIMEOUT_S = 20


@dataclass(frozen=True)
class Predictions:
    """The images that could be read, as they were named, and their probabilities."""

    images: tuple[str, ...]
    classes: tuple[str, ...]
    chances: "Tensor"
    """(N, classes), or numbers (N, 1)"""
    task: str = SINGLE

    def rank(self, at: int, most: int) -> list[tuple[str, float]]:
        """Return the most probable classes of an image with their probabilities."""
        top = self.chances[at].topk(min(most, len(self.classes)))
        return [
            (self.classes[index], chance)
            for index, chance in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]

    def choose(self, at: int, choice: "Choice") -> list[tuple[str, float]]:
        """Return what is shown of an image: the first classes, or the labels that are probable enough."""
        if self.task != MULTI or choice.top:
            return self.rank(at, choice.top or 1)
        return [each for each in self.rank(at, len(self.classes)) if each[1] >= (choice.threshold or THRESHOLD)]


@dataclass(frozen=True)
class Choice:
    """Which classes or labels to show."""

    top: int = 0
    """How many, however probable; 0 for one class, or for all labels from the threshold on."""
    threshold: float | None = None


def main(argv: Sequence[str] | None = None) -> Predictions:
    """Run the program and return the predictions; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.predict", description="Predict the classes, labels or numbers of images.")
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[RUN] IMAGE",
        help=f"a run or model file (default: {default_out()}), then images: files, folders, http(s) addresses, - for stdin",
    )
    parser.add_argument("--top", type=number(int, 1), default=0, metavar="N", help="classes for each image (1)")
    parser.add_argument(
        "--threshold",
        type=number(float, 0, 1, above=True),
        metavar="P",
        help=f"of several labels, show those of at least this probability ({THRESHOLD})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a CSV file with all probabilities")
    parser.add_argument("--tta", action="store_true", help="average over each image and its mirror image")
    asked = parser.parse_args(argv)
    keep_memory()

    def run() -> Predictions:
        if asked.out:
            check_file(asked.out)
        with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
            choice = Choice(int(asked.top), asked.threshold)
            found = predict_all(asked.paths, asked.tta, choice)
        show_json(found, choice) if asked.json else show(found, choice)
        if asked.out:
            write(found, asked.out, choice)
        return found

    return run_program("jobs.predict", run)


def predict_all(words: Sequence[str], tta: bool, choice: Choice) -> Predictions:
    """Return the predictions for images, by the model named first or the default run's. Raises JobsError."""
    from .models.modelfile import is_model

    first = is_model(Path(words[0]))
    checkpoint, images = (Path(words[0]), words[1:]) if first else (default_out(), words)
    if not images:
        raise DataError(f"{checkpoint}: no images to classify; name some after the model")
    facts = find_facts([checkpoint])
    with tempfile.TemporaryDirectory(prefix="jobs-predict-") as folder:
        check_choice(choice, facts.task.name)
        files = {file: name for word in images for file, name in find_files(word, Path(folder))}
        whole, chances = predict_runs([checkpoint], list(files), tta)
        return Predictions(tuple(files[file] for file in whole), facts.classes, chances, facts.task.name)


def check_threshold(threshold: float | None, task: str) -> None:
    """Raise DataError for a threshold that the model's task does not have."""
    if threshold is not None and task != MULTI:
        raise DataError(f"--threshold is for models of several labels, and this one's task is {task}")


def check_choice(choice: Choice, task: str) -> None:
    """Raise DataError for a choice that the model's task does not have."""
    check_threshold(choice.threshold, task)
    if choice.top and task == REGRESSION:
        raise DataError("--top is for classes, and this model predicts a number")


def find_files(word: str, folder: Path) -> list[tuple[Path, str]]:
    """Return the files that a word names; what is fetched goes to `folder`. Raises DataError."""
    if word == STDIN:
        return [(keep(sys.stdin.buffer.read(MOST_BYTES + 1), folder, "standard input"), STDIN)]
    if word.startswith(("http://", "https://")):
        return [(download(word, folder), word)]
    return [(path, str(path)) for path in expand(Path(word))]


def download(address: str, folder: Path) -> Path:
    """Download an image; raises DataError."""
    request = Request(address, headers={"User-Agent": "jobs.predict"})  # noqa: S310  find_files checked the scheme
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return keep(answer.read(MOST_BYTES + 1), folder, address)
    except (URLError, OSError, ValueError) as error:
        raise DataError(f"{address}: {getattr(error, 'reason', '') or error}") from error


def keep(content: bytes, folder: Path, name: str) -> Path:
    """Write what was fetched to a new file; raises DataError if it is too large or empty."""
    if not content or len(content) > MOST_BYTES:
        raise DataError(f"{name}: {'no image' if not content else f'more than {MOST_BYTES // 1_000_000} MB'}")
    path = folder / str(len(list(folder.iterdir())))
    path.write_bytes(content)
    return path


def show(found: Predictions, choice: Choice) -> None:
    """Print one line per image; its name leads if there are several."""
    width = max(map(len, found.images))
    for at, name in enumerate(found.images):
        chosen = found.choose(at, choice)
        ranked = "  ".join(f"{label} {write_value(found.task, value)}" for label, value in chosen) or "no label"
        say(ranked if len(found.images) == 1 else f"{name:<{width}}  {ranked}")


def write_value(task: str, value: float) -> str:
    """Return a probability as a percentage, or a number."""
    return f"{value:.6g}" if task == REGRESSION else f"{value:.1%}"


def show_json(found: Predictions, choice: Choice) -> None:
    """Print a list with an object per image."""
    rows: list[dict[str, Any]] = []
    for at, name in enumerate(found.images):
        chosen = found.choose(at, choice)
        if found.task == REGRESSION:
            rows.append({"file": name, "target": chosen[0][0], "value": chosen[0][1]})
            continue
        ranked = [{"class": label, "probability": round(chance, 6)} for label, chance in chosen]
        rows.append(
            {"file": name, "labels": ranked} if found.task == MULTI else {"file": name, **ranked[0], "top": ranked}
        )
    say(json.dumps(rows, indent=2))


def write(found: Predictions, out: Path, choice: Choice) -> None:
    """Write a row per image: file, class and probabilities; or labels joined by |; or the number."""
    heads = {SINGLE: ["file", "class", "probability"], MULTI: ["file", "labels"], REGRESSION: ["file"]}[found.task]
    with out.open("w", newline="", encoding="utf-8", errors="surrogateescape") as text:
        table = csv.writer(text)
        table.writerow([*heads, *found.classes])
        for at, name in enumerate(found.images):
            numbers = found.chances[at].tolist()
            if found.task == REGRESSION:
                table.writerow([name, f"{numbers[0]:.9g}"])
                continue
            chosen = found.choose(at, replace(choice, top=0))
            labels = "|".join(label for label, _ in chosen)
            first = [labels] if found.task == MULTI else [labels, f"{chosen[0][1]:.6f}"]
            table.writerow([name, *first, *(f"{each:.6f}" for each in numbers)])
    sys.stderr.write(f"{len(found.images):,} images: {out}\n")


def expand(path: Path) -> list[Path]:
    """Return the images in a folder, or the file itself; raises DataError."""
    from .images.listing import find_images

    if path.is_dir() and (found := find_images(path)):
        return found
    if not path.is_file():
        raise DataError(f"{path}: not an image, nor a folder with images")
    return [path]


def find_facts(runs: Sequence[Path]) -> "Facts":
    """Return the first model's facts; all runs have its task and classes. Raises JobsError."""
    from .models.modelfile import find_models, load_model

    known = {path: load_model(path)[1] for run in runs for path in find_models(run)}
    first, *others = known
    for path in others:
        if strange := sorted({*known[first].classes} ^ {*known[path].classes}):
            raise DataError(f"{path}: has other classes than {first}: {names_of(strange)}")
        if (task := known[path].task.name) != known[first].task.name:
            raise DataError(f"{path}: its task is {task}, that of {first} {known[first].task.name}")
    return known[first]


def predict_runs(runs: Sequence[Path], files: Sequence[Path], tta: bool) -> "tuple[list[Path], Tensor]":
    """Return the readable files, and the mean of what runs say about them (N, classes).

    Each run counts once, however many folds it has. Raises JobsError.
    """
    import torch

    from .models.modelfile import find_models, load_model

    whole, means = list(files), []
    for run in runs:
        found = []
        for path in find_models(run):
            whole, chances = predict_files(*load_model(path), whole, tta)
            found.append(chances)
        means.append(torch.stack(found).mean(dim=0))
    return whole, torch.stack(means).mean(dim=0)


def predict_files(model: "Classifier", facts: "Facts", files: Sequence[Path], tta: bool) -> "tuple[list[Path], Tensor]":
    """Return the readable files, and their probabilities (N, classes), or numbers (N, 1)."""
    import torch

    from .data import Split
    from .images.decoding import BrokenImageError, Files
    from .training.evaluation import predict

    source = Files(tuple(files), facts.shape[1], facts.shape[0], levels=facts.levels, square=facts.square)
    whole: list[Path] = []
    found: list[Tensor] = []
    for start in range(0, len(files), 256):
        pixels = []
        for at in range(start, min(start + 256, len(files))):
            try:
                pixels.append(source.read(at))
                whole.append(files[at])
            except BrokenImageError as error:
                say(f"skipped: {error}")
        if pixels:
            found.append(predict(model, Split(torch.stack(pixels), torch.empty(0, dtype=torch.int64)), tta))
    if not found:
        raise DataError(f"could not read any of {names_of(list(map(str, files)), 3)}")
    return whole, torch.cat(found)


if __name__ == "__main__":
    main()
